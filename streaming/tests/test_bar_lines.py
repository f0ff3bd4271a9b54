"""Bars as they are published, and minutes of them on their way into the database."""

import asyncio
import json
from collections import Counter
from datetime import date
from typing import Any

import numpy as np
import pytest
from django.db import IntegrityError, OperationalError

from market.candle_models import MinuteBar
from market.lines import as_json, decode
from market.models import Instrument
from market.names import RedisNames, bars_part, kind_of
from streaming.bars import BarColumns, Span
from streaming.contracts import CASH, Contract
from streaming.minute_bars import MOST_MINUTES, MinuteBarWriter, Tokens, write_minute
from streaming.pipeline import Minute, TickPipeline
from streaming.tests import chain, frames
from streaming.tests.ws_schemas import check

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
    assert list(line["columns"]) == [
        "instrument_token",
        "open",
        "high",
        "low",
        "close",
        "volume",
        "oi",
        "vwap",
        "is_partial",
    ]
    assert rows == {
        chain.FUTURE_TOKEN: [25_000.7, 25_000.7, 25_000.7, 25_000.7, 4, 75, 25_000.7, False],
        chain.INDEX_TOKEN: [24_990.1, 24_990.1, 24_990.1, 24_990.1, 0, None, None, False],
    }
    assert pipeline.take_bars() == ({}, [])


@pytest.mark.parametrize(
    ("segment", "kind", "close"), [(frames.CDS, "i4", 83.2712345), (frames.NSE, "f8", 8_327_123.45)]
)
def test_prices_of_bars_are_the_whole_numbers_that_came_and_doubles_where_segments_differ(
    clock: Clock, segment: int, kind: str, close: float
) -> None:
    pipeline = TickPipeline(source="simulated", epoch=3, market_time=clock)
    future, other = frames.token(1, frames.CDS), frames.token(2, segment)
    pipeline.follow(Contract(token, str(token), "USDINR", CASH) for token in (future, other))
    for volume in (10, 14):
        of_both = [
            frames.quote(token, price, volume=volume) for token, price in ((future, 832_712_340), (other, 832_712_345))
        ]
        pipeline.flush([frames.frame(*of_both)], clock.now)
    clock.now += 2
    [line] = pipeline.take_bars()[0]["usdinr:bars"].lines
    columns = decode(line)["columns"]
    assert columns["high"] == columns["close"] == [83.271234, close]
    assert f'["close","{kind}"'.encode() in line


def test_a_minute_comes_once_when_it_is_over(pipeline: TickPipeline, clock: Clock) -> None:
    for second in range(3):
        pipeline.flush([packets(chain.NOW + second, second)], clock.now)
        clock.now += 1
    clock.now = chain.NOW + 61.0
    batch, [(minute, _)] = pipeline.take_bars()
    assert (minute.start, minute.seconds, len(minute)) == (chain.NOW, 60, 3)
    lines = [json.loads(as_json(line)) for line in batch["nifty:bars"].lines]
    assert [line["seconds"] for line in lines] == [1, 1, 1, 60], "the minute takes the place of none of its seconds"
    for line in lines:
        check("bars", line)


def test_the_names_of_bars() -> None:
    assert bars_part("NIFTY 50") == "nifty_50:bars"
    assert kind_of("nifty:bars") == "bars"
    assert RedisNames("ticker").channel("nifty:bars") == "ticker:nifty:bars"


def columns(start: int = chain.NOW) -> BarColumns:
    price, whole = np.array([10.0, 20.0]), np.array([5, 0], np.int64)
    span = Span(np.zeros(2, np.bool_), whole + start, whole + start, whole, whole)
    return BarColumns(start, 60, np.array([0, 2]), price, price, price, price, whole, price * whole, whole - 1, span)


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


def stream(epoch: int, clock: Clock) -> TickPipeline:
    return TickPipeline(source="simulated", epoch=epoch, market_time=clock)


def keep(minutes: list[Minute]) -> None:
    for bars, tokens in minutes:
        write_minute(bars, tokens[bars.slots])


@pytest.fixture
def infy_trades(db: None) -> list[tuple[int, int, int]]:
    """Second of the minute, the day's volume, price in paise."""
    Instrument.objects.create(
        exchange="NSE",
        tradingsymbol="INFY",
        segment="NSE",
        instrument_type="EQ",
        instrument_token=INFY,
        first_seen=date(2026, 1, 1),
        last_seen=date(2026, 11, 27),
    )
    random = np.random.default_rng(11)
    volumes = 1_000 + np.cumsum(random.integers(1, 90, 60))
    prices = 150_000 + 5 * random.integers(-200, 200, 60)
    return list(zip(range(60), volumes.tolist(), prices.tolist(), strict=True))


def infy_bar() -> tuple[Any, ...]:
    [bar] = MinuteBar.objects.values_list("open", "high", "low", "close", "volume", "oi", "vwap")
    return bar


@pytest.mark.parametrize("overlap", [-4, 0, 1, 9])
@pytest.mark.parametrize("later_writes_first", [False, True])
@pytest.mark.parametrize("how", ["moves", "stops"])
def test_a_minute_in_which_an_instrument_changes_hands_is_one_bar_of_both_halves(
    infy_trades: list[tuple[int, int, int]], clock: Clock, overlap: int, later_writes_first: bool, how: str
) -> None:
    infy = Contract(INFY, "INFY", "INFY", CASH)
    old, new = stream(1, clock), stream(2, clock)
    old.follow([infy])
    for process in (old, new):  # where counting starts
        process.flush([frames.frame(frames.full(INFY, 150_000, volume=1_000, exchange_timestamp=chain.NOW - 1))], 0)
    left: list[Minute] = []
    handed_over_at = 31
    for second, volume, paise in infy_trades:
        clock.now = chain.NOW + second + 0.5
        if second == handed_over_at - overlap:
            new.follow([infy])
        if second == handed_over_at:
            if how == "moves":
                old.follow([])
                left += old.take_bars()[1]
            else:
                left += old.end_bars()
        tick = frames.frame(frames.full(INFY, paise, volume=volume, oi=7, exchange_timestamp=chain.NOW + second))
        for process in (old, new):
            process.flush([tick], clock.now)
            if process is new or second < handed_over_at:
                left += process.take_bars()[1]
    clock.now = chain.NOW + 62
    taken_over = new.take_bars()[1]
    assert [bars.span.is_partial.tolist() for bars, _ in (*left, *taken_over)] == [[True], [True]]
    for minutes in (taken_over, left) if later_writes_first else (left, taken_over):
        keep(minutes)
        keep(minutes)  # a write whose answer was lost is tried again
    prices = np.array([paise / 100 for _, _, paise in infy_trades])
    seen = [bars for bars, _ in (*left, *taken_over)]
    assert infy_bar()[:6] == (
        prices[0],
        max(bars.high[0] for bars in seen),
        min(bars.low[0] for bars in seen),
        prices[-1],
        infy_trades[-1][1] - 1_000,  # what was traded between the two is in it, what both saw is in it once
        7,
    )
    assert prices.min() <= infy_bar()[6] <= prices.max()
    if overlap > 0:
        assert infy_bar()[1:3] == (prices.max(), prices.min())


@pytest.mark.django_db
def test_what_a_process_streams_all_along_is_no_part_though_another_instrument_comes_or_goes(clock: Clock) -> None:
    one = stream(1, clock)
    infy, future = Contract(INFY, "INFY", "INFY", CASH), chain.contracts()[-1]
    one.follow([infy])
    clock.now += 20
    one.follow([infy, future])
    for volume in (1, 2):
        one.flush([packets(chain.NOW + 20, volume)], clock.now)
    clock.now = chain.NOW + 62
    [(bars, tokens)] = one.take_bars()[1]
    assert dict(zip(tokens[bars.slots].tolist(), bars.span.is_partial.tolist(), strict=True)) == {
        INFY: False,
        chain.FUTURE_TOKEN: True,
    }


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
