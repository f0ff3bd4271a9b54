"""Candles of any past moment, computed from the same paths that the ticks come from."""

from collections.abc import Iterator
from datetime import date, datetime, timedelta
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator.activity import Activity
from simulator.clock import IST
from simulator.contract_prices import STEPS_A_SECOND, ContractPrices, Hours, expiry_closes
from simulator.expiries import expiries
from simulator.instruments import Kind, Universe
from simulator.market import Market
from simulator.paths import FIRST_DAY

MINUTES = {
    "minute": 1,
    "3minute": 3,
    "5minute": 5,
    "10minute": 10,
    "15minute": 15,
    "30minute": 30,
    "60minute": 60,
    "day": 24 * 60,
}
_HISTORY_FROM = FIRST_DAY + timedelta(days=365)
_LISTED_DAYS = 100  # before expiry, if not earlier
# A minute's bar is made from the last trades at these seconds: every point of the past's paths, and the minute's end.
_LOOKS = np.array([0, 10, 20, 30, 40, 50, 59.9])


class Candle(NamedTuple):
    """A bar that starts at `at` (IST); prices in rupees."""

    at: datetime
    open: float
    high: float
    low: float
    close: float
    volume: int
    oi: int


def candles(
    market: Market, row: int, interval: str, first: datetime, last: datetime, now: float, *, continuous: bool = False
) -> list[Candle]:
    """Bars of `market.universe.contracts[row]` that start within [first, last] (aware) and before `now` (Unix seconds).

    `continuous` goes back through the expired futures that were nearest in their time.
    """
    return [
        candle
        for day in _days(market, row, first, last, continuous=continuous)
        for candle in _day_candles(market, row, day, MINUTES[interval], now, continuous=continuous)
        if first <= candle.at <= last
    ]


def _days(market: Market, row: int, first: datetime, last: datetime, *, continuous: bool) -> Iterator[date]:
    expiry = market.universe.contracts[row].expiry
    start = max(first.astimezone(IST).date(), _HISTORY_FROM)
    if expiry is not None and not continuous:
        start = max(start, min(expiry, market.day) - timedelta(days=_LISTED_DAYS))
    end = min(last.astimezone(IST).date(), market.day)
    for offset in range((end - start).days + 1):
        day = start + timedelta(days=offset)
        if market.calendar.trades_on("NFO", "derivatives", day):
            yield day


def _day_candles(market: Market, row: int, day: date, minutes: int, now: float, *, continuous: bool) -> list[Candle]:
    contract = market.universe.contracts[row]
    if continuous and contract.kind is Kind.FUTURE:
        nearest = expiries(contract.exchange, day, market.calendar, weeklies=False, quarterlies=False)[0]
        contract = contract.expiring(nearest.day)
    hours = Hours.of(day, market.calendar)
    universe = Universe(day, [contract])
    liquidity = market.prices.liquidity[row : row + 1]
    path = market.paths.skeleton(contract.underlying, day, hours.seconds) if day != market.day else market.prices.path
    prices = ContractPrices(
        universe,
        path,
        market.paths.volatility(day),
        hours,
        expiry_closes(universe, market.calendar),
        market.seed,
        liquidity,
    )
    activity = Activity(universe, liquidity, hours, market.seed)

    first_step, last_step = int(activity.first_steps[0]), int(activity.last_steps[0])
    until = min(last_step, int((now - hours.opens_at) * STEPS_A_SECOND))
    if until <= first_step:
        return []
    minute_starts = np.arange(first_step, until, 60 * STEPS_A_SECOND)
    looks = (minute_starts[:, None] + (_LOOKS * STEPS_A_SECOND).astype(np.int64)).ravel()
    looks = np.minimum(looks, until)
    only = np.zeros(len(looks), dtype=np.int64)
    prices_seen = prices.book(only, activity.last_trades(only, looks)).last / 100

    bar_starts = np.arange(0, len(minute_starts), minutes)
    starts, edges = bar_starts * len(_LOOKS), np.append(minute_starts[bar_starts[1:]], until)
    ends = np.append(starts[1:], len(looks)) - 1
    one = np.zeros(len(edges), dtype=np.int64)
    volumes = np.diff(activity.volume_until(one, edges), prepend=0)
    times = _times(day, hours, minute_starts[bar_starts], is_daily=minutes == MINUTES["day"])
    columns = (
        prices_seen[starts],
        np.maximum.reduceat(prices_seen, starts),
        np.minimum.reduceat(prices_seen, starts),
        prices_seen[ends],
        volumes,
        activity.oi_at(one, edges),
    )
    return [Candle(at, *values) for at, *values in zip(times, *(c.tolist() for c in columns), strict=True)]


def _times(day: date, hours: Hours, steps: NDArray[np.int64], *, is_daily: bool) -> list[datetime]:
    """When the bars start; a day's bar is stamped with its midnight."""
    if is_daily:
        return [datetime(day.year, day.month, day.day, tzinfo=IST)] * len(steps)
    return [datetime.fromtimestamp(hours.opens_at + step / STEPS_A_SECOND, IST) for step in steps.tolist()]
