"""Which process and which account stream which part."""

from hypothesis import given
from hypothesis import strategies as st

from streaming.allocation import Forecast, Home, PartDemand, Place, allocate, even_out, forecast, overflow


def demand(part: str, size: int, pinned_to: str | None = None) -> PartDemand:
    return PartDemand(part, frozenset(range(size)), pinned_to)


def test_a_part_is_never_split() -> None:
    found = allocate([demand("nifty:1", 6), demand("banknifty:1", 6)], [Home("P", "A", 10), Home("P", "B", 5)])
    assert {part: place.account for part, place in found.items()} == {"banknifty:1": "A", "nifty:1": None}
    assert overflow(found) == {
        "nifty:1": "6 instruments: the process that streams nifty has 6 of 15 in use, "
        "and no account with room for more than 5"
    }


def test_the_parts_of_an_underlying_lie_on_several_accounts_but_in_one_process() -> None:
    homes = [Home("P", "A", 6), Home("P", "B", 6), Home("Q", "C", 7), Home("Q", "D", 5)]
    found = allocate([demand("nifty:1", 6), demand("nifty:2", 6)], homes)
    assert found == {"nifty:1": Place("P", "B"), "nifty:2": Place("P", "A")}


def test_a_pinned_part_goes_to_its_account_or_nowhere() -> None:
    wanted = [demand("nifty:1", 6, "B"), demand("banknifty:1", 1, "C")]
    assert overflow(allocate(wanted, [Home("P", "A", 10), Home("P", "B", 5)])) == {
        "nifty:1": "6 instruments: account B, to which it is pinned, has room for 5",
        "banknifty:1": "account C, to which it is pinned, is not streaming",
    }


def test_pins_that_no_process_can_follow_together_are_told() -> None:
    wanted = [demand("nifty:1", 2, "A"), demand("nifty:2", 1, "B")]
    found = allocate(wanted, [Home("P", "A", 10), Home("Q", "B", 10)])
    assert found["nifty:1"] == Place("P", "A")
    assert found["nifty:2"].reason == "account B, to which it is pinned, is streamed by another process than nifty"


def test_without_an_account_everything_is_left_over_but_has_a_writer() -> None:
    assert allocate([demand("nifty:1", 1)], [], ["P"]) == {"nifty:1": Place("P", None, "no account is streaming")}
    assert allocate([demand("nifty:1", 1)], []) == {}


def test_a_part_stays_where_it_is_although_another_account_has_more_room() -> None:
    before = {"nifty:1": Place("P", "A")}
    homes = [Home("P", "A", 7), Home("P", "B", 100), Home("Q", "C", 1000)]
    assert allocate([demand("nifty:1", 6)], homes, (), before) == before


def test_what_has_lost_its_place_does_not_take_that_of_another_part_of_its_underlying() -> None:
    before = {"nifty:1": Place("P", "C"), "nifty:2": Place("P", "A")}
    found = allocate([demand("nifty:1", 5), demand("nifty:2", 4)], [Home("P", "A", 5), Home("P", "C", 1)], (), before)
    assert found["nifty:2"] == Place("P", "A")
    assert overflow(found).keys() == {"nifty:1"}


def test_where_every_account_is_lost_all_stays_and_says_why() -> None:
    before = {"nifty:1": Place("P", "A")}
    found = allocate(
        [demand("nifty:1", 6)], [Home("P", "A", 7, is_lost=True), Home("P", "B", 9, is_lost=True)], (), before
    )
    assert found == {"nifty:1": Place("P", "A", "account A is not connected")}


def test_an_underlying_moves_to_a_process_that_has_nothing_to_do_and_no_more_than_evens_it() -> None:
    wanted = [demand("nifty:1", 6), demand("nifty:2", 4), demand("banknifty:1", 5), demand("sensex:1", 3)]
    homes = [Home("P", "A", 30), Home("Q", "B", 30)]
    placement = dict.fromkeys([one.part for one in wanted], Place("P", "A"))
    once = even_out(wanted, homes, placement)
    assert {part for part in once if once[part].owner == "Q"} == {"banknifty:1"}
    twice = even_out(wanted, homes, once)
    assert {part for part in twice if twice[part].owner == "Q"} == {"banknifty:1", "sensex:1"}
    assert even_out(wanted, homes, twice) == twice


def test_a_forecast_tells_whether_another_chain_fits() -> None:
    wanted = [demand("nifty:1", 6), demand("nifty:2", 4), demand("sensex:1", 3)]
    found = forecast(wanted, [Home("P", "A", 20), Home("Q", "B", 30, is_lost=True)])
    assert found == Forecast(used=13, total=20, largest_chain=10)
    assert (found.free, found.free_after_another) == (7, -3)


groups = st.sampled_from(["nifty", "sensex", "infy", "tcs"])
demands = st.lists(
    st.builds(
        lambda group, number, size, pinned_to: demand(f"{group}:{number}", size, pinned_to),
        groups,
        st.integers(1, 3),
        st.integers(1, 20),
        st.none() | st.sampled_from(["A", "B", "Z"]),
    ),
    unique_by=lambda one: one.part,
)
every_home = st.lists(
    st.builds(Home, st.sampled_from("PQ"), st.sampled_from("ABC"), st.integers(0, 60), st.booleans()),
    unique_by=lambda home: (home.owner, home.account),
)


def use(wanted: list[PartDemand], found: dict[str, Place]) -> dict[tuple[str, str | None], int]:
    sizes = {one.part: len(one.tokens) for one in wanted}
    used: dict[tuple[str, str | None], int] = {}
    for part, place in found.items():
        used[place.owner, place.account] = used.get((place.owner, place.account), 0) + sizes[part]
    return used


@given(demands, every_home)
def test_every_part_has_one_place_no_account_is_overfull_and_pins_and_underlyings_are_respected(
    wanted: list[PartDemand], homes: list[Home]
) -> None:
    found = allocate(wanted, homes, ["P"])
    assert found.keys() == {one.part for one in wanted}
    capacity = {(home.owner, home.account): home.capacity for home in homes}
    assert all(size <= capacity[home] for home, size in use(wanted, found).items() if home[1] is not None)  # type: ignore[index]
    lost = {(home.owner, home.account) for home in homes if home.is_lost}
    for one in wanted:
        place = found[one.part]
        assert place.account in (None, one.pinned_to or place.account)
        assert bool(place.reason) == (place.account is None or (place.owner, place.account) in lost)
    for group in {one.group for one in wanted}:
        assert len({found[one.part].owner for one in wanted if one.group == group}) == 1


@given(demands, every_home)
def test_the_same_question_has_the_same_answer_and_asking_again_moves_nothing(
    wanted: list[PartDemand], homes: list[Home]
) -> None:
    found = allocate(wanted, homes, ["P"])
    assert allocate(reversed(wanted), list(reversed(homes)), ["P"]) == found
    streamed = [one for one in wanted if not found[one.part].reason]
    again = allocate(streamed, homes, ["P"], found)
    assert again == {one.part: found[one.part] for one in streamed}


@given(demands, every_home, every_home)
def test_an_account_that_is_lost_or_added_moves_nothing_that_can_stay(
    wanted: list[PartDemand], homes: list[Home], others: list[Home]
) -> None:
    """All in one process, so that nothing moves for the sake of another part of its underlying."""
    now = list({home.account: Home("P", home.account, home.capacity, home.is_lost) for home in homes}.values())
    then = {home.account: home for home in now} | {
        home.account: Home("P", home.account, home.capacity, home.is_lost) for home in others
    }
    before = allocate(wanted, now, ["P"])
    # What is pinned may push out what is not; here no pin changes, so only a place that got smaller may.
    after = allocate(wanted, list(then.values()), ["P"], before)
    for part, place in before.items():
        home = then.get(place.account or "")
        is_as_large = (
            home is not None
            and not home.is_lost
            and any(one.account == home.account and one.capacity <= home.capacity and not one.is_lost for one in now)
        )
        pinned_into_it = any(
            one.pinned_to == place.account and before[one.part].account != place.account for one in wanted
        )
        if is_as_large and not pinned_into_it:
            assert after[part] == place


@given(demands, every_home)
def test_evening_out_comes_to_rest_and_costs_no_part_its_place(wanted: list[PartDemand], homes: list[Home]) -> None:
    found = allocate(wanted, homes, ["P"])
    lost = overflow(found).keys()
    for _ in range(20):
        evened = even_out(wanted, homes, found)
        assert overflow(evened).keys() <= lost
        if evened == found:
            break
        found = evened
    else:
        raise AssertionError("it never rests")
