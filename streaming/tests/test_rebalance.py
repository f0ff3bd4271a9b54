"""Which strikes a rule should hold: the pure decision, by example and by property."""

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.rebalance import UNSEEN_STRIKES, Chain, Change, Decision, Strike, Terms, WidthKind, decide
from streaming.wire_requests import Mode

NEAR, NEXT = date(2026, 12, 1), date(2026, 12, 8)
PLENTY = 10_000


def chain(
    price: str, *, expiry: date = NEAR, centre: str | None = None, count: int = 41, first: int = 24_000, step: int = 50
) -> Chain:
    """Strikes from 24,000 to 26,000; the keys of an expiry's calls are even, those of its puts odd."""
    base = 0 if expiry == NEAR else 1_000
    strikes = [Strike(Decimal(first + step * n), base + 2 * n, base + 2 * n + 1) for n in range(count)]
    return Chain(expiry, strikes, Decimal(price), None if centre is None else Decimal(centre))


def terms(kind: str = "count", width: str = "2", **changes: Any) -> Terms:
    return Terms(WidthKind(kind), Decimal(width), **changes)


def carried_out(held: Mapping[int, Mode], decision: Decision) -> dict[int, Mode]:
    after = dict(held)
    for move in decision.moves:
        if move.change is Change.REMOVED:
            del after[move.instrument]
        else:
            after[move.instrument] = move.mode
    return after


def followed(decision: Decision, chains: Sequence[Chain]) -> list[Chain]:
    """The same chains with the centres of the decision."""
    return [Chain(one.expiry, one.strikes, one.price, decision.centres.get(one.expiry)) for one in chains]


def strikes_of(instruments: Mapping[int, Mode]) -> set[int]:
    return {24_000 + 50 * (key % 1_000 // 2) for key in instruments}


def first_pass(asked: Terms, *chains: Chain, room: int = PLENTY) -> tuple[dict[int, Mode], list[Chain]]:
    decision = decide(asked, chains, held={}, room=room)
    return carried_out({}, decision), followed(decision, chains)


# --- the width --------------------------------------------------------------------------------------------------------


def test_a_width_by_count_is_so_many_strikes_on_either_side() -> None:
    held, _ = first_pass(terms(width="2"), chain("24510"))
    assert strikes_of(held) == {24_400, 24_450, 24_500, 24_550, 24_600}
    assert len(held) == 10


def test_a_width_in_per_cent_is_measured_from_the_centre() -> None:
    held, _ = first_pass(terms("percent", "0.5"), chain("24510"))
    assert strikes_of(held) == {24_400, 24_450, 24_500, 24_550, 24_600}  # 122.5 on either side


def test_at_the_end_of_the_list_there_is_less_on_one_side() -> None:
    held, _ = first_pass(terms(width="3"), chain("23000"))
    assert strikes_of(held) == {24_000, 24_050, 24_100, 24_150}


def test_a_width_by_delta_grows_as_deltas_become_known_and_holds_one_strike_beyond_the_edge() -> None:
    asked = terms("delta", "0.30")
    known = {key: delta for n in range(41) for key, delta in ((2 * n, 0.5 - (n - 10) * 0.05), (2 * n + 1, -0.05 * n))}
    held: dict[int, Mode] = {}
    chains = [chain("24500")]
    sizes = []
    for _ in range(3):
        decision = decide(asked, chains, held=held, deltas={k: known[k] for k in held}, room=PLENTY)
        held, chains = carried_out(held, decision), followed(decision, chains)
        sizes.append(len(strikes_of(held)))
    assert sizes[0] == 1 + 2 * UNSEEN_STRIKES
    assert strikes_of(held) == set(range(24_250, 24_800, 50))  # calls of 0.30 to 24,700, puts of 0.30 from 24,300
    assert sizes[1] == sizes[2]


def test_an_option_whose_delta_swings_about_the_edge_is_neither_added_nor_removed_again() -> None:
    asked = terms("delta", "0.30")
    deltas = {2 * n: 0.5 - (n - 10) * 0.05 for n in range(10, 41)} | {2 * n + 1: -0.05 * n for n in range(11)}
    decision = decide(asked, [chain("24500")], held={}, deltas=deltas, room=PLENTY)
    held, chains = carried_out({}, decision), followed(decision, [chain("24500")])
    settled = 0
    for edge in (0.301, 0.299, 0.301, 0.299, 0.301):
        decision = decide(asked, chains, held=held, deltas=deltas | {28: edge}, room=PLENTY)
        held = carried_out(held, decision)
        settled = len(decision.moves)
    assert settled == 0


def test_where_no_delta_ever_comes_the_band_stays_small() -> None:
    held, chains = first_pass(terms("delta", "0.10"), chain("24500"))
    assert not decide(terms("delta", "0.10"), chains, held=held, room=PLENTY).moves
    assert len(strikes_of(held)) == 1 + 2 * UNSEEN_STRIKES


# --- moving -----------------------------------------------------------------------------------------------------------


def test_when_the_price_has_gone_far_enough_the_strikes_go_with_it_and_say_why() -> None:
    asked = terms(width="1")
    held, chains = first_pass(asked, chain("24500"))
    moved = [Chain(NEAR, chains[0].strikes, Decimal("24551"), chains[0].centre)]
    decision = decide(asked, moved, held=held, room=PLENTY)
    assert decision.centres == {NEAR: Decimal(24_550)}
    assert strikes_of(carried_out(held, decision)) == {24_500, 24_550, 24_600}
    said = {(move.change, move.reason) for move in decision.moves}
    assert said == {
        (Change.REMOVED, "outside of ±1 strikes"),
        (Change.ADDED, "1 strike from 24550: within ±1 strikes"),
    }


@given(
    start=st.decimals(24_100, 25_900, places=2),
    hysteresis=st.decimals(0, 3, places=2),
    swings=st.lists(st.decimals(-1, 1, places=4), max_size=8),
    kind=st.sampled_from(["count", "percent"]),
)
def test_a_price_that_swings_within_the_hysteresis_moves_nothing(
    start: Decimal, hysteresis: Decimal, swings: list[Decimal], kind: str
) -> None:
    asked = terms(kind, "1.5" if kind == "percent" else "4", hysteresis=hysteresis, full_within=1, quote_within=3)
    held, chains = first_pass(asked, chain(str(start)))
    centre = chains[0].centre
    assert centre is not None
    for swing in swings:
        price = centre + swing * (Decimal("0.5") + hysteresis) * 50
        decision = decide(asked, [Chain(NEAR, chains[0].strikes, price, centre)], held=held, room=PLENTY)
        assert (decision.moves, decision.centres[NEAR]) == ([], centre)


# --- what others asked for --------------------------------------------------------------------------------------------

KEYS = st.integers(0, 81)
MODES = st.sampled_from(list(Mode))


@given(
    prices=st.tuples(st.integers(23_900, 26_100), st.integers(23_900, 26_100)),
    held=st.dictionaries(KEYS, MODES, max_size=30),
    explicit=st.sets(KEYS, max_size=30),
    kind=st.sampled_from(["count", "percent", "delta"]),
    deltas=st.dictionaries(KEYS, st.floats(-1, 1), max_size=60),
    room=st.integers(0, 60),
    full_within=st.none() | st.integers(0, 3),
)
def test_what_others_asked_for_is_never_touched_room_is_kept_and_a_second_look_changes_nothing(
    prices: tuple[int, int],
    held: dict[int, Mode],
    explicit: set[int],
    kind: str,
    deltas: dict[int, float],
    room: int,
    full_within: int | None,
) -> None:
    held = {key: mode for key, mode in held.items() if key not in explicit}
    asked = terms(kind, {"count": "4", "percent": "1", "delta": "0.2"}[kind], full_within=full_within)
    chains = [chain(str(prices[0])), chain(str(prices[1]), expiry=NEXT)]
    decision = decide(asked, chains, held=held, explicit=explicit, deltas=deltas, room=room)
    touched = [move.instrument for move in decision.moves]
    assert len(touched) == len(set(touched))
    assert explicit.isdisjoint(touched)
    after = carried_out(held, decision)
    assert len(after) <= room
    again = decide(asked, followed(decision, chains), held=after, explicit=explicit, deltas=deltas, room=room)
    assert again.moves == []


def test_of_a_strike_that_somebody_asked_for_only_the_other_option_is_the_rules() -> None:
    decision = decide(terms(width="0"), [chain("24500")], held={}, explicit={20}, room=PLENTY)
    assert [move.instrument for move in decision.moves] == [21]


# --- slots and modes --------------------------------------------------------------------------------------------------


@given(room=st.integers(0, 40))
def test_when_slots_are_short_no_strike_is_held_that_is_farther_away_than_one_that_is_not(room: int) -> None:
    asked = terms(width="5")
    chains = [chain("24500"), chain("25000", expiry=NEXT)]
    decision = decide(asked, chains, held={}, room=room)
    held = carried_out({}, decision)
    middles = {NEAR: 10, NEXT: 20}
    distance = {
        key: abs(n - middles[one.expiry])
        for one in chains
        for n, strike in enumerate(one.strikes)
        for key in strike.instruments
        if abs(n - middles[one.expiry]) <= 5
    }
    dropped = [far for key, far in distance.items() if key not in held]
    assert len(held) == min(len(distance), room - room % 2)
    assert decision.left_out == len(dropped)
    assert max((distance[key] for key in held), default=0) <= min(dropped, default=99)


def test_a_strike_that_loses_its_slot_is_told_why() -> None:
    held, chains = first_pass(terms(width="1"), chain("24500"))
    decision = decide(terms(width="1"), chains, held=held, room=4)
    assert {move.reason for move in decision.moves} == {
        "no slot: room for 4 instruments, and it stands 1 strike from 24500"
    }


def test_modes_fall_with_the_distance_and_follow_the_centre() -> None:
    asked = terms(width="3", full_within=1, quote_within=2)
    held, chains = first_pass(asked, chain("24500"))
    modes = {distance: held[2 * (10 + distance)] for distance in range(4)}
    assert modes == {0: Mode.FULL, 1: Mode.FULL, 2: Mode.QUOTE, 3: Mode.LTP}
    moved = [Chain(NEAR, chains[0].strikes, Decimal(24_600), chains[0].centre)]
    decision = decide(asked, moved, held=held, room=PLENTY)
    changes = {move.instrument: (move.change, move.mode) for move in decision.moves}
    assert changes[2 * 12] == (Change.PROMOTED, Mode.FULL)
    assert changes[2 * 10] == (Change.DEMOTED, Mode.QUOTE)
    assert changes[2 * 7] == (Change.REMOVED, Mode.LTP)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, [Mode.FULL, Mode.FULL, Mode.FULL]),
        ({"full_within": 0}, [Mode.FULL, Mode.QUOTE, Mode.QUOTE]),
        ({"quote_within": 1}, [Mode.FULL, Mode.FULL, Mode.LTP]),
        ({"mode": Mode.QUOTE, "full_within": 1}, [Mode.QUOTE, Mode.QUOTE, Mode.QUOTE]),
        ({"mode": Mode.LTP, "full_within": 0, "quote_within": 1}, [Mode.LTP, Mode.LTP, Mode.LTP]),
    ],
)
def test_a_strikes_mode_is_the_lesser_of_the_rules_and_of_its_distance(
    changes: dict[str, Any], expected: list[Mode]
) -> None:
    assert [terms(**changes).mode_at(distance) for distance in range(3)] == expected


def test_an_expiry_that_is_no_longer_among_the_nearest_is_given_up() -> None:
    held, _ = first_pass(terms(width="0"), chain("24500"), chain("24500", expiry=NEXT))
    decision = decide(terms(width="0"), [chain("24500", expiry=NEXT)], held=held, room=PLENTY)
    assert [(move.instrument, move.reason) for move in decision.moves] == [
        (20, "its expiry is not followed any more"),
        (21, "its expiry is not followed any more"),
    ]


def test_without_any_strike_there_is_nothing_to_do() -> None:
    assert decide(terms(), [Chain(NEAR, [], Decimal(1))], held={}, room=9) == Decision({}, [])
