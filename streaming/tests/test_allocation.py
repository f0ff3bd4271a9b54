"""Which account carries which part."""

from hypothesis import given
from hypothesis import strategies as st

from streaming.allocation import Assignment, PartDemand, allocate


def demand(part: str, size: int, pinned_to: str | None = None) -> PartDemand:
    return PartDemand(part, frozenset(range(size)), pinned_to)


def test_a_part_is_never_split() -> None:
    found = allocate([demand("nifty", 6), demand("banknifty", 6)], {"A": 10, "B": 5})
    assert found.parts == {"A": {"banknifty"}, "B": frozenset()}
    assert found.overflow == {"nifty": "6 instruments, and no account has room for them"}


def test_a_pinned_part_goes_to_its_account_or_nowhere() -> None:
    found = allocate([demand("nifty", 6, "B"), demand("banknifty", 1, "C")], {"A": 10, "B": 5})
    assert found.overflow == {
        "nifty": "no room left on account B",
        "banknifty": "account C is not streaming",
    }


def test_without_an_account_everything_is_left_over() -> None:
    assert allocate([demand("nifty", 1)], {}).overflow == {"nifty": "no account is streaming"}


def test_a_part_stays_where_it_is_although_another_account_has_more_room() -> None:
    before = Assignment({"A": frozenset({"nifty"}), "B": frozenset()})
    assert allocate([demand("nifty", 6)], {"A": 7, "B": 100}, before).account_of("nifty") == "A"


demands = st.lists(
    st.builds(
        demand,
        st.text("abcdefgh", min_size=1, max_size=3),
        st.integers(1, 20),
        st.none() | st.sampled_from(["A", "B", "Z"]),
    ),
    unique_by=lambda one: one.part,
)
capacities = st.dictionaries(st.sampled_from(["A", "B", "C"]), st.integers(0, 40))


@given(demands, capacities)
def test_every_part_is_placed_once_or_left_over_and_no_account_is_overfull(
    wanted: list[PartDemand], capacity: dict[str, int]
) -> None:
    found = allocate(wanted, capacity)
    sizes = {one.part: len(one.tokens) for one in wanted}
    placed = [part for parts in found.parts.values() for part in parts]
    assert sorted([*placed, *found.overflow]) == sorted(sizes)
    assert all(sum(sizes[part] for part in parts) <= capacity[account] for account, parts in found.parts.items())


@given(demands, capacities)
def test_the_same_question_has_the_same_answer_and_asking_again_moves_nothing(
    wanted: list[PartDemand], capacity: dict[str, int]
) -> None:
    found = allocate(wanted, capacity)
    assert allocate(reversed(wanted), capacity) == found
    placed = [one for one in wanted if one.part not in found.overflow]
    assert allocate(placed, capacity, found).parts == found.parts
