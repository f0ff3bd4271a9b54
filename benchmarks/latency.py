"""From the broker's tick to 200 WebSocket clients, through all processes: how late, how many, and whether all of them.

9,000 instruments of 20 underlyings tick in turn; ten clients follow each underlying, its cash, its future and two
chains. A tick's time is from the moment at which the broker's end writes it to when a client has the frame with it,
over all ticks of all clients. What it may be is the window plus 40 ms, or 40 ms where a window closes at every frame:
so a ratio of 1 is what was promised. Clients and everything but the web process share a core.

The peer of `delivered-ticks` sends each tick by itself to its topic's group (`group_send`), as tutorials do: it at the
most it carries, ours at 45,000 ticks a second, to the same clients on the same server.
"""

import asyncio
import json
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import redis
import uvloop
from numpy.typing import NDArray

from benchmarks.browsers import BINARY, Browser, Crowd, frame_number
from benchmarks.harness import PeerMissing, Result
from benchmarks.latency_roles import IDLE, IDLE_TOKEN
from benchmarks.market import UNDERLYINGS, market
from benchmarks.postgres import database
from benchmarks.valkey import valkey
from benchmarks.web_servers import CHANNEL_LAYER, DAPHNE, SERVICE, UVICORN, Web, cores, keys, role, running, serving
from market.lines import ALIGNMENT, MISSING_U4, PREFIX
from streaming.outbox import FRAME

NAME = "latency"
PROMISE, PEER = "promise", "group-send-per-tick"
CLIENTS, IDLE_CLIENTS, RATE, MOST = 200, 10, 9_000, 45_000
WINDOWS_MS = (100, 50, 20, 0)
ALLOWED_MS = 40
WARM_SECONDS, ROUND_SECONDS, PEER_SECONDS, LONG_SECONDS = 3.0, 2.0, 5.0, 60.0
PEER_RATES = (360, 900)


@dataclass
class Seen:
    """What all clients were sent."""

    began: float
    waits: list[NDArray[np.int64]] = field(default_factory=list)
    """Microseconds of the ticks of each line, for each client that had it."""
    is_on: bool = False
    ticks: int = 0
    _fresh: dict[bytes, NDArray[np.int64]] = field(default_factory=dict)
    _places: dict[bytes, tuple[int, int, int]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._tokens = np.array(sorted([*(c.instrument_token for c in market().contracts), IDLE_TOKEN]), np.uint32)
        self._last = np.zeros(len(self._tokens), np.uint32)

    def on_frame(self, browser: Browser, opcode: int, payload: memoryview) -> None:
        if opcode != BINARY:
            return
        browser.took(frame_number(payload))
        now = round((time.monotonic() - self.began) * 1e6)
        at, end = FRAME.size, len(payload)
        while at < end:
            _, size, head, _, _ = PREFIX.unpack_from(payload, at)
            name = bytes(payload[at : at + PREFIX.size + head])
            if (sent := self._fresh.get(name)) is None:
                sent = self._fresh[name] = self._new_in(bytes(payload[at : at + size]))
            at += size
            if self.is_on and len(sent):
                self.waits.append(now - sent)
                self.ticks += len(sent)

    def _new_in(self, line: bytes) -> NDArray[np.int64]:
        """When those of a line's ticks were sent that no earlier line had. Clients of a part have the same lines."""
        _, _, head, layout, rows = PREFIX.unpack_from(line)
        begin = PREFIX.size + head
        described = line[begin : begin + layout]
        if described not in self._places:
            self._places[described] = _places_of(json.loads(described))
        eights, token, volume = self._places[described]
        columns = -(-(begin + layout) // ALIGNMENT) * ALIGNMENT + 8 * eights * rows
        tokens, sent = (np.frombuffer(line, "<u4", rows, columns + 4 * at * rows) for at in (token, volume))
        slots = np.searchsorted(self._tokens, tokens)
        is_new = (sent != MISSING_U4) & (sent != 0) & (self._last[slots] != sent)
        self._last[slots] = sent
        found: NDArray[np.int64] = sent[is_new].astype(np.int64)
        return found


def _places_of(layout: list[list[Any]]) -> tuple[int, int, int]:
    """The number of columns of eight bytes, and of those of four the places of the token and of the volume."""
    fours = [name for name, kind, *_ in layout if kind in ("i4", "u4")]
    eights = sum(kind in ("f8", "i8") for _, kind, *_ in layout)
    return eights, fours.index("instrument_token"), fours.index("volume_traded")


def run(rounds: int) -> Iterator[Result]:
    """Milliseconds, ticks a second, and a share."""
    with valkey(beside_us=True) as url, database(url):
        door = keys(CLIENTS + IDLE_CLIENTS)
        try:
            for window in WINDOWS_MS:
                yield from _how_late(UVICORN, url, door, window, rounds)
        except PeerMissing as exc:
            print(exc, file=sys.stderr)
        yield from _how_late(DAPHNE, url, door, WINDOWS_MS[0], rounds)
        try:
            yield _how_many(url, door)
            yield _all_of_them(url, door)
        except PeerMissing as exc:
            print(exc, file=sys.stderr)


def _how_late(server: str, url: str, door: Sequence[str], window: int, rounds: int) -> Iterator[Result]:
    async def measured() -> tuple[float, float]:
        middles, lasts = [], []
        async with _watched(server, url, door, window, RATE, WARM_SECONDS + (rounds + 1) * ROUND_SECONDS) as seen:
            await asyncio.sleep(WARM_SECONDS)
            for _ in range(rounds):
                seen.waits.clear()
                seen.is_on = True
                await asyncio.sleep(ROUND_SECONDS)
                seen.is_on = False
                waits = np.concatenate(seen.waits) / 1000
                middles.append(float(np.quantile(waits, 0.5)))
                lasts.append(float(np.quantile(waits, 0.99)))
        return statistics.median(middles), statistics.median(lasts)

    middle, last = uvloop.run(measured())
    case = (f"window-{window}" if window else "each-frame") + ("" if server == UVICORN else f"-{server}")
    yield Result(NAME, f"{case}-p50", middle, "ms", "", None, None)
    allowed = float(window + ALLOWED_MS)
    yield Result(NAME, f"{case}-p99", last, "ms", PROMISE, allowed, allowed / last)


def _how_many(url: str, door: Sequence[str]) -> Result:
    async def ours() -> float:
        async with _watched(UVICORN, url, door, WINDOWS_MS[0], MOST, 2 * WARM_SECONDS + PEER_SECONDS) as seen:
            await asyncio.sleep(WARM_SECONDS)
            seen.is_on, began = True, time.monotonic()
            await asyncio.sleep(PEER_SECONDS)
            return seen.ticks / (time.monotonic() - began)

    own = uvloop.run(ours())
    peer = max(uvloop.run(_one_by_one(url, rate)) for rate in PEER_RATES)
    return Result(NAME, "delivered-ticks", own, "ticks/s", PEER, peer, own / peer)


def _all_of_them(url: str, door: Sequence[str]) -> Result:
    async def measured() -> float:
        async with _watched(UVICORN, url, door, WINDOWS_MS[0], RATE, LONG_SECONDS, idle=IDLE_CLIENTS) as seen:
            seen.is_on = True
            await asyncio.sleep(LONG_SECONDS + WARM_SECONDS)
            return seen.ticks / (RATE * LONG_SECONDS * CLIENTS / UNDERLYINGS)

    share = uvloop.run(measured())
    return Result(NAME, f"delivered-of-expected-{LONG_SECONDS:.0f}-s", share, "", "expected", 1.0, share)


# --- the processes ----------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _watched(
    server: str, url: str, door: Sequence[str], window: int, rate: int, seconds: float, *, idle: int = 0
) -> AsyncIterator[Seen]:
    """All processes with all clients, from the first tick on. Raises RuntimeError if a client was lost."""
    seen = Seen(time.monotonic())
    client = redis.Redis.from_url(url)
    client.flushdb()
    with ExitStack() as stack:
        # As docs/serving.md says: frames may follow each other as fast as windows do.
        web = stack.enter_context(serving(server, SERVICE, core=cores()[0], STREAM_FRAME_MS=f"{window * 4 // 5}"))
        broker = stack.enter_context(_feed(rate, seen.began, seconds))
        stack.enter_context(role("benchmarks.latency_roles", "stream", broker.port, window))
        await _until(lambda: client.exists("benchmark:ready"))
        crowd = await Crowd.at(web.port, "/ws/ticks/?form=binary", CLIENTS + idle, seen.on_frame, keys=door)
        chains = _chains()
        for browser in crowd.browsers:
            if browser.number < CLIENTS:
                browser.say(type="subscribe", id="1", chains=chains[browser.number % UNDERLYINGS])
            else:
                browser.say(type="subscribe", id="1", underlyings=[IDLE])
        await asyncio.sleep(2)
        client.set("benchmark:go", "1")
        try:
            yield seen
            if crowd.gone:
                raise RuntimeError(f"{crowd.gone} clients were lost: this is not a measurement")
        finally:
            crowd.leave()
            client.close()


async def _one_by_one(url: str, rate: int) -> float:
    """Ticks a second that the peer delivers where the broker sends so many."""
    got = 0

    def on_frame(browser: Browser, opcode: int, payload: memoryview) -> None:
        nonlocal got
        got += 1

    with ExitStack() as stack:
        web = stack.enter_context(serving(UVICORN, CHANNEL_LAYER, core=cores()[0], REDIS_URL=url))
        broker = stack.enter_context(_feed(rate, time.monotonic(), 60))
        crowds = [
            await Crowd.at(web.port, f"/index{number}/", CLIENTS // UNDERLYINGS, on_frame)
            for number in range(UNDERLYINGS)
        ]
        await asyncio.sleep(1)
        stack.enter_context(role("benchmarks.latency_roles", "typical", broker.port, REDIS_URL=url))
        await asyncio.sleep(2 * WARM_SECONDS)
        got, began = 0, time.monotonic()
        await asyncio.sleep(PEER_SECONDS)
        delivered = got / (time.monotonic() - began)
        for crowd in crowds:
            crowd.leave()
    return delivered


@contextmanager
def _feed(rate: int, began: float, seconds: float) -> Iterator[Web]:
    def command(port: int) -> list[str]:
        return [sys.executable, "-m", "benchmarks.latency_roles", "feed", *map(str, (port, rate, began, seconds))]

    with running(command, core=cores()[1]) as web:
        yield web


def _chains() -> list[list[dict[str, Any]]]:
    """The chains of each underlying."""
    found: dict[str, set[str]] = {}
    for contract in market().contracts:
        if contract.is_option:
            found.setdefault(contract.underlying, set()).add(str(contract.expiry))
    return [[{"underlying": name, "expiry": day} for day in sorted(days)] for name, days in found.items()]


async def _until(is_so: Any, seconds: float = 60) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.05)
