"""The market: the same for the same seed, and prices that hang together."""

from collections.abc import Callable
from datetime import date, datetime

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.clock import SessionCalendar
from simulator.instruments import EXCHANGES, Kind
from simulator.market import Market, trading_day
from simulator.packets import FULL
from simulator.tests.running import CLOSED, OPEN

DAY = date(2026, 11, 25)
NewMarket = Callable[..., Market]


@pytest.fixture(scope="module")
def new_market(calendar: SessionCalendar) -> NewMarket:
    def make(**options: int) -> Market:
        return Market(DAY, calendar, **options)

    return make


@pytest.fixture(scope="module")
def market(new_market: NewMarket) -> Market:
    """A market that has been open for some time and has been watched for a second."""
    market = new_market()
    for tenth in range(11):
        market.advance(OPEN + tenth / 10)
    return market


def moment(text: str) -> float:
    return datetime.fromisoformat(f"{text}+05:30").timestamp()


def column(market: Market, name: str) -> NDArray[np.int64]:
    return market.packets[name].astype(np.int64)


def chain(market: Market, underlying: int, kind: Kind, expiry: date) -> NDArray[np.int64]:
    """Rows of one expiry in the order of their strikes."""
    universe = market.universe
    chosen = (universe.underlyings == underlying) & (universe.kinds == kind) & (universe.expiries == expiry.toordinal())
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(universe.strikes[rows])]


def test_the_same_seed_gives_the_same_market_however_often_one_looks(market: Market, new_market: NewMarket) -> None:
    late = new_market()
    late.advance(OPEN + 1)
    gathered = {"high", "low", "average_price", "oi_day_high", "oi_day_low"}
    for name in FULL.names or ():
        if name not in gathered:
            assert np.array_equal(market.packets[name], late.packets[name]), name


def test_another_seed_gives_another_market(market: Market, new_market: NewMarket) -> None:
    other = new_market(seed=2)
    other.advance(OPEN + 1)
    assert np.mean(column(market, "last_price") == column(other, "last_price")) < 0.3


def test_a_larger_dump_does_not_change_the_prices(market: Market, new_market: NewMarket) -> None:
    larger = new_market(rows=50_000)
    larger.advance(OPEN + 1)
    for symbol in ("NSE:NIFTY 50", "NSE:RELIANCE", "NFO:NIFTY26DECFUT", "NFO:NIFTY26D0126800CE"):
        here, there = (m.packets[m.universe.row_of_symbol[symbol]]["last_price"] for m in (market, larger))
        assert here == there


def test_the_last_price_lies_within_the_days_range(market: Market) -> None:
    low, last, high = (column(market, name) for name in ("low", "last_price", "high"))
    opening, average, volume = (column(market, name) for name in ("open", "average_price", "volume"))
    assert np.all((low > 0) & (low <= last) & (last <= high) & (low <= opening) & (opening <= high))
    traded = volume > 0
    assert np.all((low <= average + 1)[traded] & (average - 1 <= high)[traded])


def test_books_are_ordered_and_on_the_tick_grid(market: Market) -> None:
    tradable = ~market.is_index
    bids, offers = market.packets["bids"][tradable], market.packets["offers"][tradable]
    best_bid, best_offer = bids["price"][:, 0].astype(int), offers["price"][:, 0].astype(int)
    assert np.all(best_bid < best_offer)
    assert np.all(np.diff(bids["price"].astype(int)) <= 0)
    assert np.all(np.diff(offers["price"].astype(int)) > 0)
    ticks = market.universe.ticks[tradable]
    assert np.all(best_bid % ticks == 0)
    assert np.all(best_offer % ticks == 0)
    lots = market.universe.lots[tradable]
    assert np.all(bids["quantity"].astype(int) % lots[:, None] == 0)
    assert np.all((bids["quantity"] > 0) == (bids["price"] > 0))


@pytest.mark.parametrize("underlying", range(4))
def test_calls_and_puts_agree_on_one_forward(market: Market, underlying: int) -> None:
    expiry = date(2026, 12, 31) if underlying == 3 else date(2026, 12, 29)
    calls, puts = (chain(market, underlying, kind, expiry) for kind in (Kind.CALL, Kind.PUT))
    steps = np.full(len(calls), market.activity.last_trades(calls, 50_000).max())
    difference = market.prices.fair(calls, steps) - market.prices.fair(puts, steps)
    slope = np.diff(difference) / np.diff(market.universe.strikes[calls])
    assert np.allclose(slope, slope[0], rtol=1e-6)  # minus the discount factor
    assert -1 < slope[0] < -0.99


@pytest.mark.parametrize("underlying", [0, 1, 3, 4, 30])
def test_call_prices_fall_and_are_convex_in_the_strike(market: Market, underlying: int) -> None:
    expiry = date(2026, 12, 31) if underlying == 3 else date(2026, 12, 29)
    calls = chain(market, underlying, Kind.CALL, expiry)
    prices = market.prices.fair(calls, np.full(len(calls), 50_000))
    assert np.all(np.diff(prices) <= 1e-9)
    assert np.all(np.diff(prices, 2) >= -1e-4 * prices.max())


def test_futures_stand_above_spot_by_the_cost_of_carry(market: Market) -> None:
    price = {
        symbol: int(market.packets[market.universe.row_of_symbol[symbol]]["last_price"])
        for symbol in ("NSE:NIFTY 50", "NFO:NIFTY26DECFUT", "NFO:NIFTY27JANFUT")
    }
    spot, near, far = price.values()
    assert 1.002 < near / spot < 1.012
    assert near < far < spot * 1.02


def test_options_near_the_money_trade_once_to_three_times_a_second(market: Market) -> None:
    calls = chain(market, 0, Kind.CALL, date(2026, 12, 1))
    spot = market.packets[market.universe.row_of_symbol["NSE:NIFTY 50"]]["last_price"] / 100
    distance = np.abs(market.universe.strikes[calls] - spot)
    per_second = 10 / market.activity.periods[calls]
    assert np.all((per_second[distance < 150] >= 1) & (per_second[distance < 150] <= 3))
    assert np.all(per_second[distance > 3_000] < 0.2)


def test_volume_only_grows(new_market: NewMarket) -> None:
    market = new_market()
    market.advance(OPEN)
    before = column(market, "volume")
    market.advance(OPEN + 600)
    after = column(market, "volume")
    assert np.all(after >= before)
    assert np.count_nonzero(after > before) > 5_000


def test_a_closed_market_stands_still(new_market: NewMarket) -> None:
    market = new_market()
    market.advance(CLOSED)
    assert len(market.advance(CLOSED + 3_600)) == 0
    last_trades = column(market, "last_trade_time")
    derivatives = np.isin(market.universe.exchanges, [EXCHANGES.index("NFO"), EXCHANGES.index("BFO")])
    assert last_trades[~derivatives].max() <= moment("2026-11-25T15:30:00")
    assert moment("2026-11-25T15:39:00") < last_trades[derivatives].max() <= moment("2026-11-25T15:40:00")


def test_before_the_opening_there_are_yesterdays_closes_and_no_volume(new_market: NewMarket) -> None:
    market = new_market()
    assert len(market.advance(moment("2026-11-25T09:00:00"))) == 0
    assert np.array_equal(market.packets["last_price"], market.packets["close"])
    assert not column(market, "volume").any()


def test_yesterdays_close_is_what_yesterday_closed_at(market: Market, calendar: SessionCalendar) -> None:
    yesterday = Market(date(2026, 11, 23), calendar)
    yesterday.advance(moment("2026-11-23T16:00:00"))
    for symbol in ("NSE:NIFTY 50", "BSE:SENSEX", "NSE:TCS"):
        closed_at = yesterday.packets[yesterday.universe.row_of_symbol[symbol]]["last_price"]
        assert market.packets[market.universe.row_of_symbol[symbol]]["close"] == pytest.approx(closed_at, rel=1e-3)


def test_indices_move_a_realistic_amount(calendar: SessionCalendar, market: Market) -> None:
    days = np.arange(date(2024, 11, 25).toordinal(), DAY.toordinal())
    closes = []
    for ordinal in days.tolist():
        if calendar.trades_on("NFO", "derivatives", day := date.fromordinal(ordinal)):
            closes.append(market.paths.skeleton(0, day, 23_100).prices[0, -1])
    moves = np.diff(np.log(closes))
    assert 0.08 < moves.std() * np.sqrt(248) < 0.17
    assert 0.8 * 26_000 < min(closes) < max(closes) < 1.2 * 26_000


@pytest.mark.parametrize(
    ("at", "day"),
    [
        ("2026-11-25T07:59:59", "2026-11-23"),  # the 24th is a holiday
        ("2026-11-25T08:00:00", "2026-11-25"),
        ("2026-11-28T12:00:00", "2026-11-27"),
    ],
)
def test_a_days_contracts_are_shown_from_eight_in_the_morning(calendar: SessionCalendar, at: str, day: str) -> None:
    assert trading_day(moment(at), calendar).isoformat() == day
