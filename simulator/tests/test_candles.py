"""Candles: bars of the same prices that the ticks show."""

from datetime import datetime
from itertools import pairwise

import pytest

from simulator.candles import MINUTES, Candle, candles
from simulator.clock import IST, SessionCalendar
from simulator.market import Market
from simulator.tests.running import OPEN

FIRST, LAST = (datetime(2026, 11, day, hour, tzinfo=IST) for day, hour in ((19, 0), (25, 23)))


@pytest.fixture(scope="module")
def market(calendar: SessionCalendar) -> Market:
    market = Market(datetime.fromtimestamp(OPEN, IST).date(), calendar)
    market.advance(OPEN)
    return market


def bars(market: Market, symbol: str, interval: str, *, continuous: bool = False) -> list[Candle]:
    row = market.universe.row_of_symbol[symbol]
    return candles(market, row, interval, FIRST, LAST, OPEN, continuous=continuous)


@pytest.mark.parametrize("symbol", ["NSE:NIFTY 50", "NSE:RELIANCE", "NFO:NIFTY26DECFUT", "NFO:NIFTY26D0126800CE"])
@pytest.mark.parametrize("interval", [name for name in MINUTES if name != "minute"])
def test_longer_bars_are_made_of_the_minutes_in_them(market: Market, symbol: str, interval: str) -> None:
    minutes = bars(market, symbol, "minute")
    longer = bars(market, symbol, interval)
    after_the_last = datetime.max.replace(tzinfo=IST)
    for bar, following in pairwise([*longer, None]):
        assert bar is not None
        end = following.at if following else after_the_last
        inside = [minute for minute in minutes if bar.at <= minute.at < end]
        assert (bar.open, bar.close) == (inside[0].open, inside[-1].close)
        assert (bar.high, bar.low) == (max(m.high for m in inside), min(m.low for m in inside))
        assert bar.volume == sum(m.volume for m in inside)


def test_the_running_bar_ends_at_the_last_price(market: Market) -> None:
    for symbol in ("NSE:NIFTY 50", "NSE:INFY", "NFO:NIFTY26D0126800CE"):
        packet = market.packets[market.universe.row_of_symbol[symbol]]
        assert bars(market, symbol, "minute")[-1].close == packet["last_price"] / 100


def test_todays_bars_lie_within_todays_range_and_add_up_to_its_volume(market: Market) -> None:
    today = [bar for bar in bars(market, "NSE:INFY", "minute") if bar.at.day == 25]
    packet = market.packets[market.universe.row_of_symbol["NSE:INFY"]]
    assert sum(bar.volume for bar in today) == pytest.approx(int(packet["volume"]), rel=0.01)
    assert today[0].open == packet["open"] / 100


def test_shares_have_375_minutes_and_derivatives_385(market: Market) -> None:
    count = {
        symbol: len([bar for bar in bars(market, symbol, "minute") if bar.at.day == 23])
        for symbol in ("NSE:INFY", "NFO:NIFTY26DECFUT")
    }
    assert list(count.values()) == [375, 385]


def test_there_are_no_bars_on_holidays_and_none_of_the_future(market: Market) -> None:
    days = {bar.at.day for bar in bars(market, "NSE:NIFTY 50", "minute")}
    assert days == {19, 20, 23, 25}
    assert bars(market, "NSE:NIFTY 50", "minute")[-1].at.timestamp() < OPEN


def test_continuous_bars_go_back_through_expired_futures(market: Market) -> None:
    row = market.universe.row_of_symbol["NFO:NIFTY26DECFUT"]
    first = datetime(2025, 1, 1, tzinfo=IST)
    alone = candles(market, row, "day", first, LAST, OPEN)
    stitched = candles(market, row, "day", first, LAST, OPEN, continuous=True)
    assert stitched[0].at.year == 2025
    assert alone[0].at.year == 2026
    # On 20 November the nearest future was November's, with less carry in it than December's.
    assert stitched[-3].at == alone[-3].at
    assert stitched[-3].close < alone[-3].close
