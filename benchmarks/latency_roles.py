"""Processes of the latency benchmark: `python -m benchmarks.latency_roles feed|stream|typical …`.

`feed PORT RATE BEGAN` is the broker: three sockets with 3,000 instruments each, 30 frames a second, every instrument as
often as the others. A packet's volume is when it was sent: microseconds since BEGAN (`time.monotonic`).
`stream FEED WINDOW` is the service's own connections, window, pipeline and publisher without a database; a window of 0
closes at every frame. `typical FEED` is a service that hands on each tick by itself to its topic's group.
"""

import asyncio
import contextlib
import json
import os
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import uvloop
from channels_redis.core import RedisChannelLayer
from kiteconnect import KiteTicker
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from benchmarks import layer_hosts
from benchmarks.market import MARKET_TIME, RATE, Market, frames_of, market

SOCKETS, FRAMES_A_SECOND = 3, 30
HOST = "127.0.0.1"
IDLE = "IDLE"
"""An underlying whose instrument never ticks."""
IDLE_TOKEN = 1 << 8 | 1
_PACKET, _VOLUME = 186, 2 + 16


async def feed(port: int, rate: int, began: float, seconds: float) -> None:
    """Ticks for so many seconds to each who comes, and nothing but heartbeats afterwards."""
    source = market()
    whole = b"".join(frame[2:] for frame in frames_of(source, range(len(source.contracts)), 100, volume=0))
    packets = np.frombuffer(whole, np.uint8).reshape(-1, _PACKET)
    sockets = iter(range(SOCKETS))
    of_a_frame = rate // (SOCKETS * FRAMES_A_SECOND)

    async def tick(connection: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await tick_until_it_leaves(connection)

    async def tick_until_it_leaves(connection: ServerConnection) -> None:
        mine = packets[next(sockets) :: SOCKETS].copy()
        at, first = 0, time.monotonic()
        for number in range(1, round(seconds * FRAMES_A_SECOND) + 1):
            await asyncio.sleep(first + number / FRAMES_A_SECOND - time.monotonic())
            rows = mine[(at + np.arange(of_a_frame)) % len(mine)]
            at += of_a_frame
            now = round((time.monotonic() - began) * 1e6)
            rows[:, _VOLUME : _VOLUME + 4] = np.frombuffer(now.to_bytes(4, "big"), np.uint8)
            await connection.send(of_a_frame.to_bytes(2, "big") + rows.tobytes())
        while True:
            await asyncio.sleep(1)
            await connection.send(b"\x00")

    async with serve(tick, HOST, port, compression=None, max_queue=None):
        await asyncio.Event().wait()


async def stream(feed_port: int, window_ms: int) -> None:
    """The service's stream process but for what it reads from and writes to the database."""
    from market.names import RedisNames
    from market.pricing_terms import PricingTerms
    from streaming.contracts import CASH, Contract
    from streaming.leases import SlotLeases
    from streaming.pipeline import LIVE, TickPipeline
    from streaming.pricing import PricingSettings
    from streaming.publisher import hot_path_client
    from streaming.supervisor import StreamOptions, StreamProcess

    source = market()
    pipeline = TickPipeline(
        source="simulated",
        epoch=1,
        market_time=lambda: MARKET_TIME,
        pricing=PricingSettings(PricingTerms(rate=RATE)),
        feed_state=LIVE,
    )
    pipeline.follow([*source.contracts, Contract(IDLE_TOKEN, IDLE, IDLE, CASH)])
    options = StreamOptions(os.environ["REDIS_URL"], RedisNames(), "simulated", window=window_ms / 1000)
    if window_ms == 0:
        options = replace(options, window=1.0, window_packets=1, shortest_window=0.0)
    leases = SlotLeases({}, "benchmark")  # never taken, and nothing is dialled
    process = StreamProcess(options, dial=None, pipeline=pipeline, leases=leases)  # type: ignore[arg-type]
    names, client = options.names, hot_path_client(options.redis_url, timeout_seconds=5.0)
    await client.hset(names.parts, mapping={str(t): part for t, part in pipeline.part_of_token.items()})
    await client.set(names.state("benchmark"), b"{}")
    process.publisher.put(pipeline.whole())
    async with asyncio.TaskGroup() as group:
        group.create_task(process.publisher.run())
        await process.publisher.drained()
        await client.set("benchmark:ready", "1")
        while not await client.exists("benchmark:go"):  # noqa: ASYNC110 - another process's word
            await asyncio.sleep(0.02)
        group.create_task(process._run_windows())
        for _ in range(SOCKETS):
            group.create_task(_read(feed_port, process.inbox.put))


async def typical(feed_port: int) -> None:
    """Each tick parsed, written as JSON, and sent to a group by itself; what comes meanwhile waits."""
    layer = RedisChannelLayer(hosts=layer_hosts.hosts(os.environ["REDIS_URL"]))
    topics = topic_of_token(market())
    ticker = KiteTicker("key", "token")
    frames: asyncio.Queue[bytes] = asyncio.Queue()

    async def send() -> None:
        while True:
            for tick in ticker._parse_binary(await frames.get()):
                data = json.dumps(tick, default=str).encode()
                await layer.group_send(
                    topics[tick["instrument_token"]], {"type": "tick.batch", "data": data, "at": tick["volume_traded"]}
                )

    async with asyncio.TaskGroup() as group:
        group.create_task(send())
        for _ in range(SOCKETS):
            group.create_task(_read(feed_port, frames.put_nowait))


def topic_of_token(source: Market) -> dict[int, str]:
    """One topic for each underlying, as clients subscribe."""
    return {contract.instrument_token: contract.underlying.lower() for contract in source.contracts}


async def _read(port: int, put: Callable[[bytes], Any]) -> None:
    async with connect(f"ws://{HOST}:{port}", compression=None, proxy=None, max_size=2**22) as socket:
        async for frame in socket:
            if isinstance(frame, bytes) and len(frame) > 1:
                put(frame)


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        match sys.argv[1:]:
            case ["feed", port, rate, began, seconds]:
                uvloop.run(feed(int(port), int(rate), float(began), float(seconds)))
            case ["stream", feed_port, window]:
                import django

                os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")
                django.setup()
                uvloop.run(stream(int(feed_port), int(window)))
            case ["typical", feed_port]:
                uvloop.run(typical(int(feed_port)))
