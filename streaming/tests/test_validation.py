import numpy as np
import pytest

from market.pricing_rules import Flag
from streaming.contracts import CALL, CASH, PUT, Contract, Instruments
from streaming.packets import Window, decode_window
from streaming.tests import chain, frames
from streaming.tests.chain import FUTURE_TOKEN, INDEX_TOKEN, NOW, option_token, slot, tick
from streaming.ticks import TickTable
from streaming.validation import Policy, Reason

CALL_TOKEN = option_token(25_000.0, CALL)
PUT_TOKEN = option_token(25_000.0, PUT)
CROSSED = frames.book(10_005, 10_000)
NEGATIVE_DEPTH = [(-75, 9_995, 1), *frames.book(9_995, 10_005)[1:]]


def ticked() -> TickTable:
    table = chain.table()
    tick(table, *chain.packets())
    return table


def full(token: int, price: int, *, time: int = NOW + 1, close: int = 0) -> bytes:
    return frames.full(token, price, exchange_timestamp=time, close=close, volume=200)


@pytest.mark.parametrize(
    ("packet", "token", "reason"),
    [
        (full(frames.token(77), 100), CALL_TOKEN, Reason.UNKNOWN_TOKEN),
        (full(FUTURE_TOKEN, 3_250_100, close=2_500_000), FUTURE_TOKEN, Reason.PRICE_BAND),
        (full(FUTURE_TOKEN, 1_749_900, close=2_500_000), FUTURE_TOKEN, Reason.PRICE_BAND),
        (full(FUTURE_TOKEN, -100, close=2_500_000), FUTURE_TOKEN, Reason.PRICE_BAND),
        (frames.ltp(FUTURE_TOKEN, 3_250_100), FUTURE_TOKEN, Reason.PRICE_BAND),
        (frames.index(INDEX_TOKEN, 3_300_000, close=2_490_000), INDEX_TOKEN, Reason.PRICE_BAND),
        (full(CALL_TOKEN, 2_500_001), CALL_TOKEN, Reason.OPTION_BOUND),
        (full(PUT_TOKEN, 2_500_001), PUT_TOKEN, Reason.OPTION_BOUND),
        (full(CALL_TOKEN, -5), CALL_TOKEN, Reason.OPTION_BOUND),
        (full(CALL_TOKEN, 10_000, time=NOW + 6), CALL_TOKEN, Reason.FUTURE_TIME),
        (frames.full(CALL_TOKEN, 10_000, depth=NEGATIVE_DEPTH), CALL_TOKEN, Reason.NEGATIVE_DEPTH),
        (
            frames.full(CALL_TOKEN, 10_000, depth=[*frames.book(9_995, 10_005)[:9], (-1, 0, 0)]),
            CALL_TOKEN,
            Reason.NEGATIVE_DEPTH,
        ),
        (full(FUTURE_TOKEN, 131, close=100), FUTURE_TOKEN, Reason.PRICE_BAND),
        (full(FUTURE_TOKEN, -69, close=-100), FUTURE_TOKEN, Reason.PRICE_BAND),
        (full(CALL_TOKEN, 10_000, time=NOW - 1), CALL_TOKEN, Reason.OLDER),
        (frames.full(CALL_TOKEN, 10_000, exchange_timestamp=NOW, volume=99), CALL_TOKEN, Reason.OLDER),
    ],
)
def test_a_tick_that_cannot_be_true_is_counted_and_the_last_good_value_stays(
    packet: bytes, token: int, reason: Reason
) -> None:
    table = ticked()
    before = table["last_price"].copy()
    applied = tick(table, packet)
    assert applied.counts == {reason: 1}
    assert (applied.accepted, len(applied.slots)) == (0, 0)
    assert table["last_price"].tolist() == before.tolist()
    assert table["last_price"][slot(table, token)] > 0


@pytest.mark.parametrize(
    "packet",
    [
        full(FUTURE_TOKEN, 3_250_000, close=2_500_000),  # at the edge of the band
        full(FUTURE_TOKEN, 9_999_900, close=0, time=NOW + 5),
        full(CALL_TOKEN, 2_500_000),  # what the spot costs
        full(PUT_TOKEN, 2_500_000),  # what the strike is
        frames.full(CALL_TOKEN, 10_000, depth=frames.book(10_000, 10_000)),  # locked, not crossed
        frames.full(CALL_TOKEN, 10_000, depth=[*frames.book(10_000, 0)[:5], *frames.NO_DEPTH[:5]]),  # nobody offers
        full(CALL_TOKEN, 10_000, time=NOW + 5),
        full(CALL_TOKEN, 10_000, time=NOW),
    ],
)
def test_what_may_be_true_is_taken_without_a_flag(packet: bytes) -> None:
    table = chain.table()
    tick(table, *chain.underlying_packets()[:1])
    applied = tick(table, packet)
    assert (applied.accepted, len(applied.slots), applied.counts) == (1, 1, {})
    assert not table["flags"].any()


@pytest.mark.parametrize(
    ("packet", "flag", "reason"),
    [
        (full(CALL_TOKEN, 0), Flag.UNTRADED, Reason.UNTRADED),
        (frames.full(CALL_TOKEN, 10_000, exchange_timestamp=NOW + 1, depth=CROSSED), Flag.CROSSED, Reason.CROSSED),
        (full(FUTURE_TOKEN, 0, close=2_500_000), Flag.UNTRADED, Reason.UNTRADED),
        (
            frames.full(CALL_TOKEN, 20, exchange_timestamp=NOW + 1, depth=frames.book(55, 50)),
            Flag.CROSSED,
            Reason.CROSSED,
        ),
    ],
)
def test_a_doubtful_tick_is_taken_flagged_and_counted(packet: bytes, flag: Flag, reason: Reason) -> None:
    table = ticked()
    applied = tick(table, packet)
    assert applied.counts == {reason: 1}
    assert table["flags"][applied.slots].tolist() == [flag]


@pytest.mark.parametrize("paise", [-3_763, -1])
def test_a_commodity_below_zero_is_flagged_not_dropped(paise: int) -> None:
    table = chain.table()
    applied = tick(table, full(FUTURE_TOKEN, paise))
    assert (applied.accepted, applied.counts) == (1, {Reason.NEGATIVE_PRICE: 1})
    assert table["last_price"][applied.slots].tolist() == [paise / 100]
    assert table["flags"][applied.slots].tolist() == [Flag.NEGATIVE_PRICE]


def test_a_price_of_zero_leaves_the_last_good_one_which_grows_old_until_a_good_tick_comes() -> None:
    table = ticked()
    row, price = slot(table, CALL_TOKEN), chain.paise_of(25_000.0, CALL) / 100
    tick(table, full(CALL_TOKEN, 0), at=1_007.0)
    found = (table["last_price"][row], table["flags"][row], table["received_at"][row])
    assert found == (price, Flag.UNTRADED, 1_000.0)
    tick(table, full(CALL_TOKEN, 10_000, time=NOW + 2), full(CALL_TOKEN, 0, time=NOW + 3), at=1_009.0)
    found = (table["last_price"][row], table["flags"][row], table["received_at"][row])
    assert found == (100.0, Flag.UNTRADED, 1_009.0)
    tick(table, full(CALL_TOKEN, 10_005, time=NOW + 4), at=1_011.0)
    assert (table["last_price"][row], table["flags"][row], table["received_at"][row]) == (100.05, 0, 1_011.0)


@pytest.mark.parametrize("in_one_window", [True, False])
def test_a_price_of_zero_leaves_one_below_zero_as_it_leaves_any(in_one_window: bool) -> None:
    table = chain.table()
    below, untraded = full(FUTURE_TOKEN, -3_763), full(FUTURE_TOKEN, 0, time=NOW + 1)
    for packets in [(below, untraded)] if in_one_window else [(below,), (untraded,)]:
        tick(table, *packets)
    row = slot(table, FUTURE_TOKEN)
    assert (table["last_price"][row], table["flags"][row]) == (-37.63, Flag.UNTRADED | Flag.NEGATIVE_PRICE)


def test_what_never_had_a_good_price_has_none_and_no_age() -> None:
    table = chain.table()
    tick(table, full(CALL_TOKEN, 0))
    row = slot(table, CALL_TOKEN)
    assert table["last_price"][row] == 0
    assert np.isnan(table["received_at"][row])


@pytest.mark.parametrize("packet", [full(CALL_TOKEN, 2_500_001), full(CALL_TOKEN, 10_000, time=NOW - 1)])
def test_what_is_dropped_makes_no_value_younger(packet: bytes) -> None:
    table = ticked()
    tick(table, packet, at=1_030.0)
    assert table["received_at"][slot(table, CALL_TOKEN)] == 1_000.0


def test_the_next_good_tick_takes_the_flag_away() -> None:
    table = ticked()
    tick(table, full(CALL_TOKEN, 0))
    tick(table, full(CALL_TOKEN, 10_000, time=NOW + 2))
    assert not table["flags"].any()


def test_a_crossed_book_stays_flagged_while_only_prices_come() -> None:
    table = ticked()
    tick(table, frames.full(CALL_TOKEN, 10_000, exchange_timestamp=NOW + 1, depth=CROSSED))
    applied = tick(table, frames.ltp(CALL_TOKEN, 10_005))
    assert table["flags"][applied.slots].tolist() == [Flag.CROSSED]


def test_the_band_is_a_setting_per_segment() -> None:
    table = TickTable(Instruments(chain.contracts()), Policy(price_band_of_segment={frames.NFO: 0.01}))
    applied = tick(table, full(FUTURE_TOKEN, 2_530_000, close=2_500_000), *chain.underlying_packets()[:1])
    assert applied.counts == {Reason.PRICE_BAND: 1}
    assert applied.accepted == 1


@pytest.mark.parametrize("segment", [frames.INDICES, 255])
def test_every_segment_has_its_own_band(segment: int) -> None:
    token = frames.token(1, segment)
    table = TickTable(Instruments([Contract(token, "X", "X", CASH)]), Policy(price_band_of_segment={segment: 0.01}))
    assert tick(table, frames.index(token, 101_100, close=100_000)).counts == {Reason.PRICE_BAND: 1}
    assert tick(table, frames.index(token, 100_900, close=100_000)).counts == {}


def test_a_tick_may_be_five_seconds_ahead_of_the_market_clock_and_no_more() -> None:
    table = ticked()
    assert tick(table, full(CALL_TOKEN, 10_000, time=NOW + 5), market_time=NOW - 0.01).counts == {Reason.FUTURE_TIME: 1}
    assert tick(table, full(CALL_TOKEN, 10_000, time=NOW + 5), market_time=NOW).counts == {}


def test_what_is_dropped_or_flagged_is_counted_each_time() -> None:
    table = ticked()
    stranger, doubtful = frames.ltp(frames.token(77), 100), frames.ltp(CALL_TOKEN, 0)
    assert tick(table, stranger, doubtful, stranger, doubtful).counts == {Reason.UNKNOWN_TOKEN: 2, Reason.UNTRADED: 2}


def test_a_tick_may_carry_two_flags() -> None:
    table = ticked()
    applied = tick(table, frames.full(CALL_TOKEN, 0, exchange_timestamp=NOW + 1, depth=CROSSED))
    assert table["flags"][applied.slots].tolist() == [Flag.UNTRADED | Flag.CROSSED]


def test_flags_are_the_bits_that_the_schema_tells_and_reasons_are_named_in_small_letters() -> None:
    assert (Flag.UNTRADED, Flag.CROSSED, Flag.NEGATIVE_PRICE) == (1, 2, 4)
    assert [reason.value for reason in Reason] == [reason.name.lower() for reason in Reason]


def test_ticks_of_nobody_leave_the_table_as_it_is() -> None:
    empty = TickTable(Instruments([]))
    window: Window = decode_window([frames.frame(*chain.packets())])
    applied = empty.apply(window, received_at=1.0, market_time=NOW)
    assert applied.counts == {Reason.UNKNOWN_TOKEN: window.packets}
    assert len(applied.slots) == 0


def test_a_quantity_below_zero_costs_its_own_tick_and_no_other_of_the_window() -> None:
    table = ticked()
    nobody_there = frames.full(PUT_TOKEN, 10_000, exchange_timestamp=NOW + 1, volume=200)  # all levels are zero
    applied = tick(table, frames.full(CALL_TOKEN, 10_000, depth=NEGATIVE_DEPTH), nobody_there)
    assert applied.counts == {Reason.NEGATIVE_DEPTH: 1}
    assert applied.slots.tolist() == [slot(table, PUT_TOKEN)]
