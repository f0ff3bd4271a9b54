"""Twenty thousand ticks a second: conflated and counted, and never behind."""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

import psutil
import pytest
import redis
from pytest_django import Settings

from benchmarks.market import market
from market.gaps import Kept
from streaming import feed, feed_account, supervisor
from streaming.connection import kite_dial
from streaming.gaps import GapWatch
from streaming.minute_bars import MinuteBarWriter
from streaming.order_updates import OrderUpdates
from streaming.pace import MUCH_BYTES
from streaming.pipeline import TickPipeline
from streaming.supervisor import StreamOptions, StreamProcess
from streaming.tests.fake_broker import QUICK, until
from streaming.tests.test_supervisor import NAMES, Database, StandingLeases, running
from streaming.wire_requests import CONNECTIONS_PER_APP
from tests.frame_source import market_time

TICKS_A_SECOND = 20_000
SECONDS = 60.0
LAG_SECONDS = 1.0
GROWTH_BYTES = 24 * 2**20
SAMPLE_SECONDS = 0.1
PATIENT = replace(QUICK, silence=10)
ROOT = Path(__file__).parents[1]


@dataclass
class Storm:
    """What one run left behind."""

    sent: int = 0
    memory: list[int] = field(default_factory=list)
    lags: list[float] = field(default_factory=list)
    """Since the newest tick that readers have was sent."""
    pending_bytes: list[int] = field(default_factory=list)


class Source:
    """`frame_source` in a process of its own."""

    def __init__(self, process: asyncio.subprocess.Process, root: str) -> None:
        self.root = root
        self._process = process

    async def end(self) -> int:
        """Have it stop; how many packets it sent."""
        answer, _ = await self._process.communicate(b"")
        return int(answer)


@asynccontextmanager
async def frame_source(began: float) -> AsyncIterator[Source]:
    arguments = ("-m", "tests.frame_source", str(TICKS_A_SECOND), str(began), str(CONNECTIONS_PER_APP))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(sys.executable, *arguments, cwd=ROOT, stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            root = (await process.stdout.readline()).decode().strip()
        yield Source(process, root)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def weather(seconds: float, monkeypatch: pytest.MonkeyPatch, redis_url: str) -> tuple[Storm, StreamProcess]:
    """A whole stream process under that load for so long."""
    database = Database()
    database.contracts = market().contracts
    monkeypatch.setattr(feed_account, "read_token", database.read_token)
    monkeypatch.setattr(feed, "OrderUpdates", partial(OrderUpdates, take=lambda *_: None, want=lambda *_: None))
    monkeypatch.setattr(supervisor, "MinuteBarWriter", partial(MinuteBarWriter, write=lambda bars, _: len(bars)))
    no_ledger = partial(GapWatch, take_over=lambda: Kept(None, ()), keep=lambda *_: None)
    monkeypatch.setattr(supervisor, "GapWatch", no_ledger)
    monkeypatch.setattr("market.chain_history.keep", lambda *_, **__: 0)
    storm, began = Storm(), time.time()
    async with frame_source(began) as source:
        process = StreamProcess(
            StreamOptions(redis_url=redis_url, names=NAMES, source="simulated", timing=PATIENT),
            dial=kite_dial(source.root, PATIENT),
            pipeline=TickPipeline(source="simulated", epoch=7, market_time=lambda: market_time(began)),
            leases=StandingLeases(database),
            load=database.load,
            place=database.look,
        )
        async with running(process):
            await until(lambda: process.counters["ticks"] > TICKS_A_SECOND / 2, 60)
            ends = time.monotonic() + seconds
            while time.monotonic() < ends:
                await asyncio.sleep(SAMPLE_SECONDS)
                # The newest that the table knows of was sent then, and what is encoded waits for Redis so long.
                sent_at = int(process.pipeline.table["oi"].max()) / 1000
                storm.lags.append(time.time() - began - sent_at + process.publisher.lag_seconds)
                storm.memory.append(psutil.Process().memory_info().rss)
                storm.pending_bytes.append(process.publisher.pending_bytes)
            storm.sent = await source.end()
            await until(lambda: process.counters["ticks"] >= storm.sent, 60)
    return storm, process


@pytest.mark.long
async def test_twenty_thousand_ticks_a_second_are_conflated_and_counted_and_cost_no_memory(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, valkey: "redis.Redis", progress: Callable[[str], None]
) -> None:
    storm, process = await weather(SECONDS, monkeypatch, settings.REDIS_URL)
    third = len(storm.memory) // 3
    before, after = (statistics.median(storm.memory[part]) for part in (slice(third, 2 * third), slice(-third, None)))
    late = statistics.quantiles(storm.lags, n=100)
    told = f"{storm.sent / SECONDS:.0f} ticks/s, {process.counters['conflated'] / storm.sent:.0%} conflated"
    progress(f"{told}; behind by {late[49]:.3f} s, p99 {late[98]:.3f} s; memory {(after - before) / 2**20:+.1f} MiB")
    assert storm.sent >= 0.9 * TICKS_A_SECOND * SECONDS
    assert process.counters["conflated"] > storm.sent // 10
    for lost in ("windows_lost", "bars_lost", "unknown_token"):
        assert process.counters[lost] == 0
    assert process.publisher.dropped == 0
    assert max(storm.pending_bytes) < 4 * MUCH_BYTES
    assert after - before < GROWTH_BYTES
    assert late[98] < LAG_SECONDS
