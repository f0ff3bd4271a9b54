"""The whole ingest on one core: windows of 900 ticks over 9,000 instruments, from raw frames to Redis.

Ours goes through the service's own modules: `TickPipeline` decodes, checks, prices and encodes; `Publisher` writes. The
peer is `typical.TypicalService`. Every window has its own ticks, so that nothing is conflated away.
"""

import asyncio
import contextlib
import itertools
from collections.abc import Awaitable, Callable, Iterator

import numpy as np
import redis
import redis.asyncio
import uvloop

from benchmarks.harness import Result, compare_or_miss
from benchmarks.market import MARKET_TIME, RATE, Market, frames_of, market
from benchmarks.typical import NAME, TypicalService
from benchmarks.valkey import valkey
from market.names import RedisNames
from market.pricing_terms import PricingTerms
from streaming.pipeline import TickPipeline
from streaming.pricing import PricingSettings
from streaming.publisher import Batch, Publisher, hot_path_client

TICKS = 900
PACKETS_A_FRAME = 30
WINDOWS = 12
LOOP_TURNS = 8
"""Enough for the publisher's task to have handed its bytes to the socket."""
WINDOW_SECONDS = 0.1


def run(rounds: int) -> Iterator[Result]:
    """Ticks per second, with publishing and (`-unpublished`) without it on either side."""
    source = market()
    windows = [_window(source, number) for number in range(WINDOWS)]
    with valkey() as url, asyncio.Runner(loop_factory=uvloop.new_event_loop) as loop:  # the service's loop
        # Patient: in the peer's turns the loop stands still, for longer than the service would wait for an answer.
        writer = hot_path_client(url, timeout_seconds=60)
        publisher = Publisher(writer, RedisNames("benchmark"))
        writing = loop.get_loop().create_task(publisher.run())

        async def publish(batch: Batch) -> None:
            # As in the service, Valkey takes one batch while the next window is computed; but no batch is ever merged.
            await publisher.drained()
            if publisher.failures or publisher.dropped:
                raise RuntimeError("the publisher could not write: this is not a measurement")
            publisher.put(batch)
            for _ in range(LOOP_TURNS):
                await asyncio.sleep(0)

        async def keep(batch: Batch) -> None:
            pass

        client = redis.Redis.from_url(url)
        yield _case("900-ticks", source, windows, loop, publish, client.publish, rounds)
        yield _case("900-ticks-unpublished", source, windows, loop, keep, lambda channel, message: None, rounds)
        loop.run(publisher.drained())
        writing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            loop.run(_wait(writing))
        loop.run(writer.aclose())
        client.close()


async def _wait(task: "asyncio.Task[None]") -> None:
    await task


def _case(
    case: str,
    source: Market,
    windows: list[list[bytes]],
    loop: asyncio.Runner,
    publish: Callable[[Batch], Awaitable[None]],
    publish_tick: Callable[[str, str], object],
    rounds: int,
) -> Result:
    windows_passed = itertools.count()
    pipeline = TickPipeline(
        source="simulated",
        epoch=1,
        market_time=lambda: MARKET_TIME,
        pricing=PricingSettings(PricingTerms(rate=RATE)),
        # Windows come as fast as they can be done; to the pipeline they are 100 ms apart: keyframes keep their share.
        monotonic=lambda: next(windows_passed) * WINDOW_SECONDS,
    )
    pipeline.follow(source.contracts)
    pipeline.flush(frames_of(source, range(len(source.contracts)), 100, volume=1), MARKET_TIME)

    async def all_windows() -> None:
        for window in windows:
            flushed = pipeline.flush(window, MARKET_TIME)
            if flushed.packets != TICKS or flushed.rejected or flushed.faults:
                raise RuntimeError(f"not all ticks were good: {flushed.packets}, {flushed.rejected}, {flushed.faults}")
            await publish(flushed.batch)

    def prepare() -> Callable[[], None]:
        service = TypicalService(source, publish_tick)
        return lambda: service.window(windows[0])

    # In one go, as the service's loop does not stop between two windows. The peer does one of them, and takes longer.
    timing = compare_or_miss(lambda: loop.run(all_windows()), prepare, rounds=rounds, share=1 / WINDOWS)
    rate = None if timing.peer is None else WINDOWS * TICKS / timing.peer
    return Result("pipeline", case, WINDOWS * TICKS / timing.ours, "ticks/s", NAME, rate, timing.ratio)


def _window(source: Market, number: int) -> list[bytes]:
    rows = np.random.default_rng(number).permutation(len(source.contracts))[:TICKS].tolist()
    return frames_of(source, rows, PACKETS_A_FRAME, volume=10, seed=number)
