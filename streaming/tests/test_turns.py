from hypothesis import given
from hypothesis import strategies as st

from streaming.turns import Turns


def test_a_part_is_sent_whole_at_once_and_then_once_an_interval() -> None:
    turns = Turns(1.0)
    sent = []
    for tenth in range(25):
        turns.changed(["nifty:2026-12-01"])
        if turns.take_due(tenth / 10):
            sent.append(tenth)
    assert sent == [0, 10, 20]


def test_what_does_not_change_is_not_sent_again() -> None:
    turns = Turns(1.0)
    turns.changed(["a"])
    assert [turns.take_due(now) for now in (0.0, 1.0, 2.0)] == [["a"], [], []]


def test_a_change_right_after_a_keyframe_is_made_whole_even_if_nothing_follows() -> None:
    turns = Turns(1.0)
    turns.changed(["a"])
    turns.take_due(0.0)
    turns.changed(["a"])
    assert [turns.take_due(now) for now in (0.1, 0.5, 1.0, 1.1)] == [[], [], ["a"], []]


def test_parts_that_became_due_together_are_spread_over_the_interval() -> None:
    turns = Turns(1.0)
    parts = [f"p{number}" for number in range(50)]
    sizes = []
    for tenth in range(40):
        turns.changed(parts)
        sizes.append(len(turns.take_due(tenth / 10)))
    assert sizes[0] == 50
    assert max(sizes[1:]) <= 6
    assert sum(sizes[20:30]) >= 40


def test_parts_that_are_gone_are_forgotten() -> None:
    turns = Turns(1.0)
    turns.changed(["a", "b"])
    turns.take_due(0.0)
    turns.changed(["a", "b"])
    turns.follow({"b", "c"})
    assert turns.take_due(5.0) == ["b"]


@given(st.lists(st.sets(st.sampled_from("abcdefgh")), min_size=1, max_size=40))
def test_every_change_is_followed_by_a_whole_part_within_two_intervals(changes: list[set[str]]) -> None:
    turns = Turns(1.0)
    owed: dict[str, float] = {}
    for tenth in range(len(changes) + 21):
        now = tenth / 10
        if tenth < len(changes):
            turns.changed(changes[tenth])
            owed |= {part: owed.get(part, now) for part in changes[tenth]}
        for part in turns.take_due(now):
            assert now - owed.pop(part) <= 2.0
    assert not owed


def test_no_more_are_served_at_once_than_asked_for_and_the_others_next() -> None:
    turns = Turns(1.0)
    turns.changed(["a", "b", "c"])
    assert [turns.take_due(now, most=2) for now in (0.0, 0.1, 0.2)] == [["a", "b"], ["c"], []]
