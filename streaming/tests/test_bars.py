"""Bars of ticks, held against a plain loop over the same ticks."""

import time as system_time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming.bars import LATE_SECONDS, MISSING, BarColumns, BarMaker, Ticks
from streaming.tests import chain, frames

SLOTS = 3
BEGIN = 1_795_839_300  # 2026-11-28 09:45 IST, a whole minute
DAY = 86_400


@dataclass(frozen=True)
class Tick:
    slot: int
    price: float
    volume: int
    oi: int
    time: int


Row = tuple[int, int, int, float, float, float, float, int, float, int]
"""seconds, start, slot, open, high, low, close, volume, turnover, oi"""


def ticks_of(some: Sequence[Tick]) -> Ticks:
    def whole(name: str) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
        return np.array([getattr(tick, name) for tick in some], np.int64)

    prices = np.array([tick.price for tick in some], np.float64)
    return Ticks(whole("slot").astype(np.intp), prices, whole("volume"), whole("oi"), whole("time"))


def rows_of(columns: BarColumns) -> Iterator[Row]:
    for n in range(len(columns)):
        yield (
            columns.seconds,
            columns.start,
            int(columns.slots[n]),
            float(columns.open[n]),
            float(columns.high[n]),
            float(columns.low[n]),
            float(columns.close[n]),
            int(columns.volume[n]),
            round(float(columns.turnover[n]), 6),
            int(columns.oi[n]),
        )


@dataclass
class PlainBar:
    prices: list[float] = field(default_factory=list)
    volume: int = 0
    turnover: float = 0.0
    oi: int = MISSING


class PlainMaker:
    """The rules of `streaming.bars`, one tick after the other."""

    def __init__(self) -> None:
        self.until = 0
        self.seconds: dict[tuple[int, int], PlainBar] = {}
        self.minutes: dict[tuple[int, int], PlainBar] = {}
        self.volume: dict[int, int] = {}
        self.day: dict[int, int] = {}
        self.oi: dict[int, int] = {}

    def forget(self) -> None:
        self.volume.clear()

    def take(self, some: Sequence[Tick], market_time: float) -> None:
        def when(tick: Tick) -> int:
            return int(market_time) if tick.time == MISSING else tick.time

        for tick in sorted(some, key=lambda tick: (tick.slot, when(tick), tick.volume)):
            slot, at = tick.slot, when(tick)
            if tick.oi != MISSING:
                self.oi[slot] = tick.oi
            quantity = 0
            if tick.volume != MISSING:
                day = (at + 19_800) // DAY
                if slot in self.volume and day > self.day[slot]:
                    self.volume[slot] = 0
                before = self.volume.get(slot, tick.volume)
                quantity = max(tick.volume - before, 0)
                self.volume[slot], self.day[slot] = max(tick.volume, before), day
                if not quantity:
                    continue
            if tick.price == 0:
                continue
            newest = max((start for start, other in self.seconds if other == slot), default=0)
            bar = self.seconds.setdefault((max(at, self.until, newest), slot), PlainBar())
            bar.prices.append(tick.price)
            bar.volume += quantity
            bar.turnover += tick.price * quantity
            bar.oi = self.oi.get(slot, MISSING)

    def close(self, market_time: float) -> Iterator[Row]:
        self.until = max(self.until, int(market_time) - LATE_SECONDS)
        for start, slot in sorted(self.seconds):
            if start < self.until:
                second = self.seconds.pop((start, slot))
                minute = self.minutes.setdefault((start - start % 60, slot), PlainBar())
                minute.prices += second.prices
                minute.volume += second.volume
                minute.turnover += second.turnover
                minute.oi = second.oi
                yield self.row(1, start, slot, second)
        for start, slot in sorted(self.minutes):
            if start + 60 <= self.until:
                yield self.row(60, start, slot, self.minutes.pop((start, slot)))

    def row(self, seconds: int, start: int, slot: int, bar: PlainBar) -> Row:
        prices = bar.prices
        ohlc = prices[0], max(prices), min(prices), prices[-1]
        return (seconds, start, slot, *ohlc, bar.volume, round(bar.turnover, 6), bar.oi)


some_ticks = st.lists(
    st.builds(
        Tick,
        slot=st.integers(0, SLOTS - 1),
        price=st.integers(0, 40).map(lambda steps: steps * 0.25),
        volume=st.integers(0, 60) | st.just(MISSING),
        oi=st.integers(0, 9) | st.just(MISSING),
        time=st.integers(-4, 3),
    ),
    max_size=12,
)
windows = st.lists(
    st.tuples(
        st.sampled_from([0, 0, 1, 1, 2, 7, 61, DAY]), some_ticks, st.sampled_from(["close", "close", "", "forget"])
    ),
    max_size=25,
)


@settings(deadline=None)
@given(windows)
def test_bars_are_what_a_plain_loop_makes_of_the_same_ticks(
    steps: list[tuple[int, list[Tick], str]],
) -> None:
    maker, plain = BarMaker(SLOTS), PlainMaker()
    now = BEGIN
    for passed, some, then in steps:
        now += passed
        placed = [
            Tick(tick.slot, tick.price, tick.volume, tick.oi, MISSING if tick.time == 3 else now + tick.time)
            for tick in some
        ]
        maker.take(ticks_of(placed), now)
        plain.take(placed, now)
        if then == "forget":
            maker.forget(np.arange(SLOTS))
            plain.forget()
        elif then:
            found = [row for columns in maker.close(now) for row in rows_of(columns)]
            assert sorted(found) == sorted(plain.close(now))
    found = [row for columns in maker.close(now + 1_000) for row in rows_of(columns)]
    assert sorted(found) == sorted(plain.close(now + 1_000))


def bars(maker: BarMaker, now: float, seconds: int = 1) -> list[Row]:
    return [row for columns in maker.close(now) if columns.seconds == seconds for row in rows_of(columns)]


def test_a_volume_jump_over_an_interruption_is_in_no_bar() -> None:
    maker = BarMaker(1)
    maker.take(ticks_of([Tick(0, 10.0, 100, 5, BEGIN), Tick(0, 11.0, 130, 5, BEGIN)]), BEGIN)
    maker.forget(np.arange(1))
    maker.take(ticks_of([Tick(0, 12.0, 9_000, 6, BEGIN + 1), Tick(0, 13.0, 9_010, 7, BEGIN + 2)]), BEGIN + 2)
    assert [(row[1] - BEGIN, row[6], row[7], row[9]) for row in bars(maker, BEGIN + 9)] == [
        (0, 11.0, 30, 5),
        (2, 13.0, 10, 7),
    ]


def test_a_new_days_volume_counts_from_its_beginning() -> None:
    maker = BarMaker(1)
    maker.take(ticks_of([Tick(0, 10.0, 5_000, 5, BEGIN)]), BEGIN)
    maker.take(ticks_of([Tick(0, 11.0, 40, 5, BEGIN + DAY)]), BEGIN + DAY)
    assert [row[7] for row in bars(maker, BEGIN + DAY + 9)] == [40]


def test_a_late_trade_counts_in_the_first_open_second_and_closed_bars_stay() -> None:
    maker = BarMaker(1)
    maker.take(ticks_of([Tick(0, 10.0, 1, 5, BEGIN), Tick(0, 10.0, 3, 5, BEGIN)]), BEGIN)
    assert [row[7] for row in bars(maker, BEGIN + 5)] == [2]
    maker.take(ticks_of([Tick(0, 12.0, 8, 5, BEGIN + 1)]), BEGIN + 5)
    [late] = bars(maker, BEGIN + 20)
    assert (late[1], late[7]) == (BEGIN + 5 - LATE_SECONDS, 5)


def test_a_minutes_bar_comes_once_behind_its_last_second() -> None:
    maker = BarMaker(1)
    for second in range(61):
        maker.take(ticks_of([Tick(0, 10.0 + second, second, 5, BEGIN + second)]), BEGIN + second)
    found = [(columns.seconds, columns.start - BEGIN) for columns in maker.close(BEGIN + 60 + LATE_SECONDS)]
    assert found == [*((1, second) for second in range(1, 60)), (60, 0)]
    assert bars(maker, BEGIN + 119, 60) == []


def test_vwap_lies_between_the_prices_and_is_nan_without_a_quantity() -> None:
    maker = BarMaker(2)
    index = [Tick(1, 25_000.0, MISSING, MISSING, BEGIN)]
    traded = [Tick(0, 10.0, 0, 0, BEGIN), Tick(0, 10.0, 30, 0, BEGIN), Tick(0, 20.0, 40, 0, BEGIN)]
    maker.take(ticks_of([*traded, *index]), BEGIN)
    [columns] = maker.close(BEGIN + 9)
    np.testing.assert_array_equal(columns.vwap, [12.5, np.nan])


def test_bars_follow_their_instruments_when_the_subscriptions_change() -> None:
    maker = BarMaker(3)
    maker.take(ticks_of([Tick(slot, 10.0 + slot, volume, 1, BEGIN) for slot in range(3) for volume in (0, 5)]), BEGIN)
    maker.take(ticks_of([Tick(2, 22.0, 9, 1, BEGIN + 1)]), BEGIN + 1)  # its first second waits to be handed out
    maker.follow(2, np.array([2]), np.array([0]))
    maker.take(ticks_of([Tick(0, 23.0, 10, 1, BEGIN + 1), Tick(1, 5.0, 7, 1, BEGIN + 1)]), BEGIN + 1)
    assert [(row[1] - BEGIN, row[2], row[6], row[7]) for row in bars(maker, BEGIN + 9)] == [
        (0, 0, 12.0, 5),
        (1, 0, 23.0, 5),
    ]


def test_nothing_is_lost_of_what_a_window_conflates() -> None:
    table = chain.table()
    token = chain.FUTURE_TOKEN
    some = [
        frames.full(token, price, volume=volume, exchange_timestamp=chain.NOW, oi=volume)
        for price, volume in ((2_500_000, 1), (2_510_000, 2), (2_490_000, 3), (2_501_000, 4))
    ]
    applied = chain.tick(table, *some, frames.index(chain.INDEX_TOKEN, 2_500_000))
    maker = BarMaker(len(table))
    maker.take(applied.ticks, chain.NOW)
    [future] = [row for row in bars(maker, chain.NOW + 9) if row[2] == chain.slot(table, token)]
    assert future[3:8] == (25_100.0, 25_100.0, 24_900.0, 25_010.0, 3)


@pytest.mark.long
def test_27_000_instruments_take_a_small_part_of_a_second() -> None:
    size = 27_000
    maker, slots = BarMaker(size), np.arange(size)
    prices = np.random.default_rng(1).uniform(1, 900, size)
    spent = []
    for second in range(30):
        began = system_time.perf_counter()
        for volume in (2 * second, 2 * second + 1):
            whole = np.full(size, volume, np.int64)
            maker.take(Ticks(slots, prices, whole, whole, np.full(size, BEGIN + second)), BEGIN + second)
        made = sum(len(columns) for columns in maker.close(BEGIN + second + LATE_SECONDS) if columns.seconds == 1)
        spent.append(system_time.perf_counter() - began)
        assert made == (size if second else 0)
    assert np.median(spent) < 0.25  # 0.02 where nothing else runs
