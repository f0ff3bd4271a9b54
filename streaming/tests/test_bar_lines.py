"""Bars as they are published, and minutes of them on their way into the database."""

import asyncio
from collections import Counter
from datetime import date

import numpy as np
import pytest
from django.db import IntegrityError, OperationalError

from market.candle_models import MinuteBar
from market.lines import decode
from market.models import Instrument
from market.names import RedisNames, bars_part, kind_of
from streaming.bars import BarColumns
from streaming.contracts import CASH, Contract
from streaming.minute_bars import MOST_MINUTES, MinuteBarWriter, Tokens, write_minute
from streaming.pipeline import TickPipeline
from streaming.tests import chain, frames

INFY = frames.token(7, frames.NSE)


class Clock:
    """Market time that a test moves."""

    def __init__(self) -> None:
        self.now = float(chain.NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pipeline(clock: Clock) -> TickPipeline:
    made = TickPipeline(source="simulated", epoch=3, market_time=clock)
    made.follow([*chain.contracts(), Contract(INFY, "INFY", "INFY", CASH)])
    return made


def packets(at: int, volume: int) -> bytes:
    infy = frames.full(INFY, 150_005, volume=volume, exchange_timestamp=at)
    future = frames.full(chain.FUTURE_TOKEN, 2_500_000 + 5 * volume, volume=volume, oi=75, exchange_timestamp=at)
    return frames.frame(infy, future, frames.index(chain.INDEX_TOKEN, 2_499_010, exchange_timestamp=at))


def test_each_underlying_has_its_bars_in_one_line_of_its_channel(pipeline: TickPipeline, clock: Clock) -> None:
    for volume in (10, 14):
        pipeline.flush([packets(chain.NOW, volume)], clock.now)
    clock.now += 2
    batch, minutes = pipeline.take_bars()
    assert minutes == []
    assert set(batch) == {"nifty:bars", "infy:bars"}
    line = decode(batch["nifty:bars"].lines[0])
    assert [line[name] for name in ("kind", "underlying", "expiry", "source", "seconds", "start")] == [
        "bars",
        "NIFTY",
        None,
        "simulated",
        1,
        chain.NOW,
    ]
    rows = {token: row for token, *row in zip(*line["columns"].values(), strict=True)}
    assert list(line["columns"]) == ["instrument_token", "open", "high", "low", "close", "volume", "oi", "vwap"]
    assert rows == {
        chain.FUTURE_TOKEN: [25_000.7, 25_000.7, 25_000.7, 25_000.7, 4, 75, 25_000.7],
        chain.INDEX_TOKEN: [24_990.1, 24_990.1, 24_990.1, 24_990.1, 0, None, None],
    }
    assert pipeline.take_bars() == ({}, [])


def test_a_minute_comes_once_when_it_is_over(pipeline: TickPipeline, clock: Clock) -> None:
    for second in range(3):
        pipeline.flush([packets(chain.NOW + second, second)], clock.now)
        clock.now += 1
    clock.now = chain.NOW + 61.0
    batch, [minute] = pipeline.take_bars()
    assert (minute.start, minute.seconds, len(minute)) == (chain.NOW, 60, 3)
    assert decode(batch["nifty:bars"].lines[-1])["seconds"] == 60


def test_the_names_of_bars() -> None:
    assert bars_part("NIFTY 50") == "nifty_50:bars"
    assert kind_of("nifty:bars") == "bars"
    assert RedisNames("ticker").channel("nifty:bars") == "ticker:nifty:bars"


def columns(start: int = chain.NOW) -> BarColumns:
    price, whole = np.array([10.0, 20.0]), np.array([5, 0], np.int64)
    return BarColumns(start, 60, np.array([0, 2]), price, price, price, price, whole, price * whole, whole - 1)


TOKENS = np.array([11, 12, 13], np.uint32)


@pytest.mark.django_db
def test_a_minute_is_stored_under_whoever_bears_the_tokens_now() -> None:
    terms = {"exchange": "NFO", "segment": "NFO", "instrument_type": "EQ", "last_seen": date(2026, 11, 27)}
    for name, token, is_active in (("OLD", 11, False), ("NEW", 11, True), ("OTHER", 12, True)):
        Instrument.objects.create(
            tradingsymbol=name, instrument_token=token, is_active=is_active, first_seen=date(2026, 1, 1), **terms
        )
    assert write_minute(columns(), TOKENS[columns().slots]) == 1
    bar = MinuteBar.objects.select_related("instrument").get()
    assert (bar.instrument.tradingsymbol, bar.close, bar.volume, bar.oi, bar.vwap) == ("NEW", 10.0, 5, 4, 10.0)
    assert (bar.minute.timestamp(), bar.origin) == (chain.NOW, "live")


async def test_a_minute_that_the_database_did_not_take_is_written_later() -> None:
    written: list[int] = []
    fails = [True, True]

    def write(bars: BarColumns, tokens: Tokens) -> int:
        if fails:
            fails.pop()
            raise OperationalError("away")
        assert tokens.tolist() == [11, 13]
        written.append(bars.start)
        return len(bars)

    counters: Counter[str] = Counter()
    writer = MinuteBarWriter(counters, write=write, retry_seconds=0.001)
    running = asyncio.create_task(writer.run())
    for minute in range(2):
        writer.put(columns(chain.NOW + 60 * minute), TOKENS)
    async with asyncio.timeout(5):
        await writer.drained()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert written == [chain.NOW, chain.NOW + 60]
    assert counters["minute_bars"] == 4


async def test_a_minute_that_is_refused_does_not_hold_up_the_next_one() -> None:
    def write(bars: BarColumns, tokens: Tokens) -> int:
        if bars.start == chain.NOW:
            raise IntegrityError("no such instrument")
        return len(bars)

    counters: Counter[str] = Counter()
    writer = MinuteBarWriter(counters, write=write)
    running = asyncio.create_task(writer.run())
    for minute in range(2):
        writer.put(columns(chain.NOW + 60 * minute), TOKENS)
    async with asyncio.timeout(5):
        await writer.drained()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert counters == {"minute_bars_dropped": 1, "minute_bars": 2}


async def test_a_database_that_stays_away_costs_the_oldest_minutes_and_nobody_waits() -> None:
    counters: Counter[str] = Counter()
    writer = MinuteBarWriter(counters)
    for minute in range(MOST_MINUTES + 3):
        writer.put(columns(chain.NOW + 60 * minute), TOKENS)
    assert len(writer) == MOST_MINUTES
    assert counters["minute_bars_dropped"] == 3
