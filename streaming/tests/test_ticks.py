import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streaming.contracts import CALL, CASH, PLACES, PUT, UNKNOWN, Contract, Instruments
from streaming.packet_fields import FULL, Fields
from streaming.packet_fields import PLACES as PLACES_OF_FIELDS
from streaming.packets import decode_window
from streaming.tests import chain, frames
from streaming.tests.chain import FUTURE_TOKEN, INDEX_TOKEN, NOW, option_token, slot, tick
from streaming.ticks import MISSING, TickTable

CALL_TOKEN = option_token(25_000.0, CALL)
TOTALS = (
    "last_traded_quantity",
    "volume_traded",
    "total_buy_quantity",
    "total_sell_quantity",
    "oi",
    "oi_day_high",
    "oi_day_low",
)


def test_the_changed_rows_are_named_once_each() -> None:
    table = chain.table()
    applied = tick(table, frames.ltp(FUTURE_TOKEN, 1), frames.ltp(CALL_TOKEN, 2), frames.ltp(FUTURE_TOKEN, 3))
    assert applied.slots.tolist() == sorted([slot(table, FUTURE_TOKEN), slot(table, CALL_TOKEN)])
    assert (applied.accepted, applied.conflated) == (3, 1)


def test_within_a_window_the_newest_tick_wins() -> None:
    table = chain.table()
    tick(table, *(frames.full(CALL_TOKEN, price, exchange_timestamp=NOW) for price in (100, 200, 300)))
    assert table["last_price"][slot(table, CALL_TOKEN)] == 3.0


def test_a_tick_that_was_overtaken_on_the_way_does_not_win() -> None:
    table = chain.table()
    newer = frames.full(CALL_TOKEN, 200, exchange_timestamp=NOW)
    older = frames.full(CALL_TOKEN, 100, exchange_timestamp=NOW - 1)
    tick(table, newer, older)
    assert table["last_price"][slot(table, CALL_TOKEN)] == 2.0


def test_the_newest_valid_tick_wins_over_a_newer_bad_one() -> None:
    table = chain.table()
    tick(
        table,
        frames.full(FUTURE_TOKEN, 2_500_000, close=2_500_000),
        frames.full(FUTURE_TOKEN, 9_900_000, close=2_500_000),
    )
    assert table["last_price"][slot(table, FUTURE_TOKEN)] == 25_000.0


@pytest.mark.parametrize("full_first", [True, False])
def test_packets_of_two_lengths_in_one_window_are_taken_in_order_of_arrival(full_first: bool) -> None:
    table = chain.table()
    some = [frames.full(CALL_TOKEN, 100), frames.ltp(CALL_TOKEN, 200)]
    tick(table, *(some if full_first else reversed(some)))
    assert table["last_price"][slot(table, CALL_TOKEN)] == (2.0 if full_first else 1.0)


def test_every_field_of_a_full_tick_reaches_its_row() -> None:
    table = chain.table()
    tick(table, chain.option_packet(25_000.0, CALL))
    row = slot(table, CALL_TOKEN)
    price = chain.paise_of(25_000.0, CALL)
    assert (table["volume_traded"][row], table["oi"][row], table["exchange_timestamp"][row]) == (100, 900, NOW)
    book = frames.book(price - 5, price + 5)
    assert (table["bid"][row], table["ask"][row]) == (book[0][1] / 100, book[5][1] / 100)
    assert Fields(FULL, table.words[[row]])["depth_price"][0].tolist() == [p / 100 for _, p, _ in book]
    assert table["received_at"][row] == 1_000.0


def test_what_never_came_is_missing() -> None:
    table = chain.table()
    tick(table, frames.ltp(CALL_TOKEN, 100), frames.full(FUTURE_TOKEN, 100))
    assert np.isnan(table["close"][slot(table, CALL_TOKEN)])
    assert table["oi"][slot(table, CALL_TOKEN)] == MISSING
    assert table["last_trade_time"][slot(table, FUTURE_TOKEN)] == MISSING  # the broker's zero
    words = table.words[slot(table, CALL_TOKEN)]
    assert {name: words[place] for name, place in PLACES_OF_FIELDS.items() if words[place]} == {
        "instrument_token": CALL_TOKEN,
        "last_price": 100,
        **dict.fromkeys(TOTALS, MISSING),
    }


def test_instruments_that_stay_keep_their_values_when_the_subscriptions_change() -> None:
    table = chain.table()
    tick(table, *chain.packets())
    price = table["last_price"][slot(table, CALL_TOKEN)]
    newcomer = Contract(5, "INFY", "INFY", CASH)
    kept = [contract for contract in chain.contracts() if contract.instrument_token in (CALL_TOKEN, INDEX_TOKEN)]
    table.replace_instruments(Instruments([newcomer, *kept]))
    assert len(table) == 3
    assert table["last_price"][slot(table, CALL_TOKEN)] == price
    assert Fields(FULL, table.words[[slot(table, CALL_TOKEN)]])["last_price"] == [price]
    assert np.isnan(table["last_price"][slot(table, 5)])
    assert tick(table, frames.ltp(FUTURE_TOKEN, 1)).counts == {"unknown_token": 1}


def test_open_interest_before_the_first_trade_of_the_day_is_that_of_the_day_before() -> None:
    table = chain.table()
    row = slot(table, CALL_TOKEN)
    tick(table, frames.full(CALL_TOKEN, 100, volume=0, oi=1_000, exchange_timestamp=NOW))
    tick(table, frames.full(CALL_TOKEN, 100, volume=50, oi=1_200, exchange_timestamp=NOW + 1))
    assert (table["oi"][row], table["previous_oi"][row]) == (1_200, 1_000)
    tomorrow = NOW + 86_400
    tick(table, frames.full(CALL_TOKEN, 100, volume=50, oi=1_300, exchange_timestamp=tomorrow), market_time=tomorrow)
    assert table["previous_oi"][row] == MISSING


def test_yesterdays_open_interest_can_be_told() -> None:
    table = chain.table()
    table.set_previous_oi(np.array([CALL_TOKEN, 99], np.uint32), np.array([700, 1]), day_of=NOW)
    tick(table, frames.full(CALL_TOKEN, 100, volume=50, oi=1_200, exchange_timestamp=NOW))
    assert table["previous_oi"][slot(table, CALL_TOKEN)] == 700


# Of few exchange tokens and segments, and some as far apart as the places are many: a good part of them share a place.
tokens = st.builds(
    lambda number, lap, segment: (number + lap * PLACES) % 2**24 << 8 | segment,
    st.integers(0, 5),
    st.integers(0, 20),
    st.integers(0, 3),
)


@given(st.sets(tokens, max_size=30), st.lists(tokens, max_size=30))
def test_every_token_has_its_slot_whoever_shares_its_place(subscribed: set[int], asked: list[int]) -> None:
    found = Instruments([Contract(token, f"T{token}", "TCS", CASH) for token in subscribed])
    in_order = sorted(subscribed)
    expected = [in_order.index(token) if token in subscribed else UNKNOWN for token in asked]
    assert found.slots_of(np.array(asked, np.uint32)).tolist() == expected


def test_two_contracts_with_one_token_are_refused() -> None:
    with pytest.raises(ValueError, match="same instrument_token"):
        Instruments([Contract(5, "A", "A", CASH), Contract(5, "B", "B", CASH)])


def test_an_option_without_its_terms_is_refused() -> None:
    with pytest.raises(ValueError, match="NIFTYX: an option needs"):
        Instruments([Contract(5, "NIFTYX", "NIFTY", PUT)])


def test_parts_hold_options_by_strike_and_cash_before_futures() -> None:
    instruments = Instruments(reversed(chain.contracts()))
    symbols = {
        name: [instruments.contracts[slot].tradingsymbol for slot in part.slots]
        for name, part in instruments.parts.items()
    }
    assert symbols["nifty:underlying"] == ["NIFTY 50", "NIFTY26DECFUT"]
    assert symbols["nifty:2026-12-01"][:3] == ["NIFTY26D0124900CE", "NIFTY26D0124900PE", "NIFTY26D0124950CE"]


ticks = st.tuples(
    st.sampled_from([CALL_TOKEN, FUTURE_TOKEN, INDEX_TOKEN, 99]),
    st.integers(-10, 10_000_000),
    st.integers(NOW - 3, NOW + 8),
    st.integers(0, 3),
)


@given(st.lists(ticks, max_size=30), st.data())
def test_one_window_or_many_end_in_the_same_table(some: list[tuple[int, int, int, int]], data: st.DataObject) -> None:
    """Conflation loses only what was overtaken: the same ticks, cut into windows anywhere, give the same prices."""
    packets = [
        # A zero leaves the price before it, and which one that is a window knows better than its packets one by one.
        frames.full(t, p or 1, exchange_timestamp=time, volume=v)
        for t, p, time, v in some
        if t != INDEX_TOKEN
    ]
    together, apart = chain.table(), chain.table()
    tick(together, *packets)
    while packets:
        size = data.draw(st.integers(1, len(packets)))
        tick(apart, *packets[:size])
        packets = packets[size:]
    assert together["last_price"].tolist() == pytest.approx(apart["last_price"].tolist(), nan_ok=True)


@given(st.lists(st.binary(max_size=200), max_size=4), st.lists(ticks, max_size=8))
def test_no_frame_can_break_the_table(noise: list[bytes], some: list[tuple[int, int, int, int]]) -> None:
    table = TickTable(Instruments(chain.contracts()))
    packets = [frames.full(t, p, exchange_timestamp=time, volume=v) for t, p, time, v in some]
    window = decode_window([*noise, frames.frame(*packets)])
    applied = table.apply(window, received_at=1.0, market_time=NOW)
    assert applied.accepted + sum(applied.counts.values()) >= window.packets
