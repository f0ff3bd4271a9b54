"""The market of one trading day: every instrument's full packet, moved forward in steps of market time.

What an instrument shows depends on the seed and on the step of its last trade, not on when or how often anybody looked:
the same seed gives the same market. Only the day's high, low and average gather what was seen on the way.
"""

from datetime import date, datetime, timedelta
from datetime import time as time_of_day

import numpy as np
from numpy.typing import NDArray

from simulator.activity import Activity
from simulator.clock import IST, SessionCalendar
from simulator.contract_prices import STEPS_A_SECOND, Book, ContractPrices, Hours, Rows, expiry_closes
from simulator.instruments import Kind, Universe, build_universe
from simulator.noise import bits_of, hashed
from simulator.packets import FULL
from simulator.paths import DayPath, Paths
from simulator.underlyings import UNDERLYINGS

DUMP_AT = time_of_day(8, 0)  # a new trading day's contracts are listed from here on
_PAST_SAMPLES = 10  # moments looked at to find the high and low of a session joined late
_LEVELS = 5


def trading_day(timestamp: float, calendar: SessionCalendar) -> date:
    """The day whose contracts and prices are shown then: today's, or the last session's until the new dump."""
    moment = datetime.fromtimestamp(timestamp, IST)
    day = moment.date() if moment.time() >= DUMP_AT else moment.date() - timedelta(days=1)
    return calendar.last_trading_day("NFO", "derivatives", day)


class Market:
    """All instruments of one day. `packets[row]` is the current full packet of `universe.contracts[row]`."""

    def __init__(
        self, day: date, calendar: SessionCalendar, *, seed: int = 1, rows: int = 30_000, activity: float = 1.0
    ) -> None:
        self.day = day
        self.seed = seed
        self.calendar = calendar
        self.universe: Universe = build_universe(day, calendar, rows)
        self.paths = Paths(seed, until=day)
        self.hours = Hours.of(day, calendar)
        self.prices = ContractPrices(
            self.universe,
            self.paths.fine(day, self.hours.seconds),
            self.paths.volatility(day),
            self.hours,
            expiry_closes(self.universe, calendar),
            seed,
        )
        self.activity = Activity(self.universe, self.prices.liquidity, self.hours, seed, activity)
        self.is_index = self.universe.kinds == Kind.INDEX
        self._all_rows = np.arange(len(self.universe.contracts))
        self._tokens = self.universe.tokens.astype(np.int64)
        self._turnover = np.zeros(len(self._all_rows))
        self._step = -1  # the market has not opened
        self.packets = self._opening_packets()

    def advance(self, timestamp: float) -> Rows:
        """Move to that moment (Unix seconds of market time, never backwards) and return the rows that changed."""
        step = int((timestamp - self.hours.opens_at) * STEPS_A_SECOND)
        if timestamp < self.hours.opens_at or step <= self._step:
            return np.empty(0, dtype=np.int64)
        traded_at = self.activity.last_trades(self._all_rows, step)
        changed = np.flatnonzero((traded_at > self._step) & (step >= self.activity.first_steps))
        if len(changed):
            if self._step < 0:
                self._catch_up(changed, traded_at[changed])
            self._trade(changed, traded_at[changed])
        self._step = step
        return changed

    @property
    def now(self) -> float:
        """The moment (Unix seconds of market time) that the packets show."""
        return self.hours.opens_at + max(self._step, 0) / STEPS_A_SECOND

    def _opening_packets(self) -> NDArray[np.void]:
        """Packets before the first trade: yesterday's close, no volume, an empty book."""
        yesterday = self.calendar.last_trading_day("NFO", "derivatives", self.day - timedelta(days=1))
        hours = Hours.of(yesterday, self.calendar)
        skeletons = [self.paths.skeleton(u, yesterday, hours.seconds) for u in range(len(UNDERLYINGS))]
        prices = ContractPrices(
            self.universe,
            DayPath(np.concatenate([s.prices for s in skeletons]), skeletons[0].spacing_seconds),
            self.paths.volatility(yesterday),
            hours,
            self.prices.expiry_closes,
            self.seed,
            self.prices.liquidity,
        )
        last_steps = hours.last_steps[self.universe.exchanges]
        packets = np.zeros(len(self._all_rows), dtype=FULL)
        packets["instrument_token"] = self.universe.tokens
        packets["close"] = packets["last_price"] = prices.book(self._all_rows, last_steps).last
        opening_oi = self.activity.oi_at(self._all_rows, self.activity.first_steps)
        packets["oi"] = packets["oi_day_high"] = packets["oi_day_low"] = opening_oi
        packets["exchange_timestamp"] = packets["last_trade_time"] = int(hours.opens_at) + last_steps // STEPS_A_SECOND
        return packets

    def _catch_up(self, rows: Rows, traded_at: Rows) -> None:
        """Opening price, range and turnover of a session that has been running before anybody looked."""
        first = self.activity.first_steps[rows]
        for share in np.linspace(0, 1, _PAST_SAMPLES):
            moments = first + (share * (traded_at - first)).astype(np.int64)
            self._record(rows, moments, self.prices.book(rows, moments).last)

    def _trade(self, rows: Rows, steps: Rows) -> None:
        book = self.prices.book(rows, steps)
        self._record(rows, steps, book.last)
        packets = self.packets
        seconds = (self.hours.opens_at + steps / STEPS_A_SECOND).astype(np.int64)
        packets["exchange_timestamp"][rows] = packets["last_trade_time"][rows] = seconds
        oi = self.activity.oi_at(rows, steps)
        packets["oi"][rows] = oi
        packets["oi_day_high"][rows] = np.maximum(packets["oi_day_high"][rows], oi)
        packets["oi_day_low"][rows] = np.minimum(packets["oi_day_low"][rows], oi)
        tradable = ~self.is_index[rows]
        self._fill_depth(rows[tradable], steps[tradable], Book(*(column[tradable] for column in book)))

    def _record(self, rows: Rows, steps: Rows, last: NDArray[np.int64]) -> None:
        """Enter a trade at `last`: price, range, volume and average."""
        packets = self.packets
        first_trade = packets["open"][rows] == 0
        packets["last_price"][rows] = last
        packets["open"][rows] = np.where(first_trade, last, packets["open"][rows])
        packets["high"][rows] = np.maximum(packets["high"][rows], last)
        packets["low"][rows] = np.where(first_trade, last, np.minimum(packets["low"][rows], last))
        volume = self.activity.volume_until(rows, steps)
        self._turnover[rows] += (volume - packets["volume"][rows]) * last.astype(np.float64)
        packets["volume"][rows] = volume
        packets["average_price"][rows] = (self._turnover[rows] / np.maximum(volume, 1)).round()
        lots = 1 + bits_of(hashed(self.seed, 5, self._tokens[rows], steps), 0, 3)
        packets["last_quantity"][rows] = np.where(volume > 0, self.universe.lots[rows] * lots, 0)

    def _fill_depth(self, rows: Rows, steps: Rows, book: Book) -> None:
        """Five levels a side, one tick apart; where a side would reach zero its levels are empty."""
        levels = np.arange(_LEVELS)
        tick, lot = self.universe.ticks[rows][:, None], self.universe.lots[rows][:, None]
        thickness = 0.02 * np.sqrt(self.activity.day_volume[rows] / self.universe.lots[rows])[:, None]
        sides = ((6, "bids", "buy_quantity", book.bid, -1), (7, "offers", "sell_quantity", book.ask, 1))
        for salt, side, total, best, direction in sides:
            bits = hashed(self.seed, salt, self._tokens[rows][:, None] * 8 + levels, steps[:, None])
            price = best[:, None] + direction * tick * levels
            there = (price > 0) & (best[:, None] > 0)
            orders = 1 + bits_of(bits, 0, 4)
            quantity = (orders + (thickness * bits_of(bits, 8, 4)).astype(np.int64)) * lot * there
            depth = self.packets[side]
            depth["price"][rows] = price * there
            depth["quantity"][rows] = quantity
            depth["orders"][rows] = orders * there
            self.packets[total][rows] = quantity.sum(axis=1) * (6 + bits_of(bits[:, 0], 16, 3))
