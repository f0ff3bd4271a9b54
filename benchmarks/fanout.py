"""From Redis to 200 WebSocket clients, in real web processes: CPU time of a message, and messages a second at most.

A message is 20 kB: a part's line as the stream publishes it. Ours is `/ws/ticks/` with all that belongs to it: who asks
is known by a key, each frame has its number, and a client acknowledges it. The peer is a consumer with a group on
`RedisChannelLayer` (`benchmarks/channel_layer.py`) on the same server, without any of it. The floor is picows, which
sends the bytes to everybody and is no ASGI server. All of them stand at once and take turns in every round.

`200-clients` is under uvicorn, `200-clients-daphne` under Daphne; `json` is the form that clients get who ask for no
other, and of `each` the clients acknowledge every frame, where the page and the Python client do every second one. CPU
time is the web process's own, at ten messages a second. `saturated`: the next message goes out when every client has
the last one. `core` is that phase by the CPU second: on a machine with other work a rate tells how much of a core was
to be had.
"""

import asyncio
import statistics
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field

import redis.asyncio as redis
import uvloop
from channels_redis.core import RedisChannelLayer

from benchmarks import layer_hosts
from benchmarks.browsers import BINARY, Browser, Crowd, frame_number
from benchmarks.feed import EACH, JSON, MESSAGE_BYTES, PLAIN, Feed
from benchmarks.harness import PeerMissing, Result
from benchmarks.postgres import database
from benchmarks.valkey import valkey
from benchmarks.web_servers import CHANNEL_LAYER, DAPHNE, SERVICE, UVICORN, Web, cores, keys, picows, running, serving

NAME = "fanout"
PEER, FLOOR = "channel-layer", "picows-broadcast"
CLIENTS, RATE = 200, 10.0
OPEN_SECONDS, SATURATED_SECONDS, PATIENCE_SECONDS = 2.0, 1.5, 10.0
TOPIC = "batch"


@dataclass
class Contender:
    """A web process with its clients, and how they are sent one message."""

    name: str
    web: Web
    publish: Callable[[], Awaitable[None]]
    crowd: Crowd
    all_have_it: asyncio.Event = field(default_factory=asyncio.Event)
    frames: int = 0
    wanted: int = 0
    cpu: list[float] = field(default_factory=list)
    """Seconds a message, one number a round."""
    rates: list[float] = field(default_factory=list)
    """Messages a second, at most."""
    capacities: list[float] = field(default_factory=list)
    """The same by the second of CPU time: what the rate would be on a core that nobody else wants."""

    def count(self) -> None:
        self.frames += 1
        if self.frames == self.wanted:
            self.all_have_it.set()

    async def once(self) -> bool:
        """Send one message, and wait until all have it; False if some have not in good time."""
        self.frames, self.wanted = 0, len(self.crowd.browsers)
        self.all_have_it.clear()
        await self.publish()
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self.all_have_it.wait()
        except TimeoutError:
            return False
        return True

    async def round(self) -> None:
        """At an even pace first, and then as fast as all of them take it."""
        before, delivered = self.web.cpu_seconds(), 0
        for _ in range(round(OPEN_SECONDS * RATE)):
            due = time.monotonic() + 1 / RATE
            if not await self.once():
                raise RuntimeError(
                    f"{self.name}: {self.frames} of {self.wanted} had a message, {self.crowd.gone} clients are gone: "
                    "this is not a measurement"
                )
            delivered += self.frames
            await asyncio.sleep(due - time.monotonic())
        self.cpu.append((self.web.cpu_seconds() - before) / delivered)
        began, before, delivered = time.monotonic(), self.web.cpu_seconds(), 0
        while time.monotonic() - began < SATURATED_SECONDS:
            if await self.once():
                delivered += self.frames
        self.rates.append(delivered / (time.monotonic() - began))
        self.capacities.append(delivered / (self.web.cpu_seconds() - before))


def run(rounds: int) -> Iterator[Result]:
    """Microseconds of CPU time a message, and messages a second."""
    with valkey(beside_us=True) as url, database(url):
        door = keys(CLIENTS)
        for server, suffix in ((UVICORN, ""), (DAPHNE, "-daphne")):
            try:
                yield from uvloop.run(_compared(server, suffix, url, door, rounds))
            except PeerMissing as exc:
                print(exc, file=sys.stderr)


async def _compared(server: str, suffix: str, url: str, door: Sequence[str], rounds: int) -> list[Result]:
    async with AsyncExitStack() as stack:
        feed = await stack.enter_async_context(Feed.through(url))
        ours = await stack.enter_async_context(_ours(server, feed, door, PLAIN))
        each = await stack.enter_async_context(_ours(server, feed, door, EACH))
        json = await stack.enter_async_context(_ours(server, feed, door, JSON))
        peer = await stack.enter_async_context(_peer(server, feed, url))
        floor = None
        if server == UVICORN:
            try:
                floor = await stack.enter_async_context(_floor(feed, url))
            except PeerMissing as exc:
                print(exc, file=sys.stderr)
        sides = [side for side in (ours, each, json, peer, floor) if side is not None]
        for side in sides:
            for _ in range(3):
                await side.once()
        for number in range(rounds):
            for side in sides if number % 2 == 0 else reversed(sides):
                await side.round()
    case = f"{CLIENTS}-clients{suffix}"
    results = []
    for name, side in ((case, ours), (f"{case}-each", each), (f"{case}-json", json)):
        results += [
            _cpu(name, side, PEER, peer),
            _result(f"{name}-saturated", "messages/s", PEER, side.rates, peer.rates, less_is_better=False),
            _result(f"{name}-core", "messages/CPU s", PEER, side.capacities, peer.capacities, less_is_better=False),
        ]
    if server == UVICORN:
        results += [_cpu(case, ours, FLOOR, floor), _cpu(f"{case}-each", each, FLOOR, floor)]
    return results


def _cpu(case: str, ours: Contender, name: str, peer: Contender | None) -> Result:
    mine = [seconds * 1e6 for seconds in ours.cpu]
    theirs = [seconds * 1e6 for seconds in peer.cpu] if peer else None
    return _result(case, "us CPU/message", name, mine, theirs, less_is_better=True)


def _result(
    case: str, unit: str, name: str, mine: Sequence[float], theirs: Sequence[float] | None, *, less_is_better: bool
) -> Result:
    if theirs is None:
        return Result(NAME, case, statistics.median(mine), unit, name, None, None)
    ratio = statistics.median(own / other for own, other in zip(mine, theirs, strict=True))
    ratio = 1 / ratio if less_is_better else ratio
    return Result(NAME, case, statistics.median(mine), unit, name, statistics.median(theirs), ratio)


# --- the contenders --------------------------------------------------------------------------------------------------


@asynccontextmanager
async def _ours(server: str, feed: Feed, door: Sequence[str], whose: int) -> AsyncIterator[Contender]:
    found: list[Contender] = []
    # Frames may follow each other at once: how often a client is sent one is a setting, and not what is measured.
    with serving(server, SERVICE, core=cores()[0], STREAM_FRAME_MS="0") as web:

        def on_frame(browser: Browser, opcode: int, payload: memoryview) -> None:
            if opcode == BINARY:
                number = frame_number(payload)
            elif (begins := bytes(payload[:60])).startswith((b'{"type":"update"', b'{"type":"snapshot"')):
                number = int(begins.split(b'"frame":', 1)[1].split(b",", 1)[0])
            else:
                return  # the answer to the subscription
            browser.took(number, acknowledge_each=1 if whose == EACH else 2)
            if found:
                found[0].count()

        path = "/ws/ticks/" if whose == JSON else "/ws/ticks/?form=binary"
        crowd = await Crowd.at(web.port, path, CLIENTS, on_frame, keys=door)
        for browser in crowd.browsers:
            browser.say(type="subscribe", id="1", chains=[feed.chain(whose)])
        await asyncio.sleep(2)
        found.append(Contender("ticker", web, lambda: feed.publish(whose), crowd))
        try:
            yield found[0]
        finally:
            crowd.leave()


@asynccontextmanager
async def _peer(server: str, feed: Feed, url: str) -> AsyncIterator[Contender]:
    layer = RedisChannelLayer(hosts=layer_hosts.hosts(url))

    async def publish() -> None:
        await layer.group_send(TOPIC, {"type": "tick.batch", "data": feed.message()})

    with serving(server, CHANNEL_LAYER, core=cores()[0], REDIS_URL=url) as web:
        async with _listening(PEER, web, f"/{TOPIC}/", publish) as contender:
            yield contender


@asynccontextmanager
async def _floor(feed: Feed, url: str) -> AsyncIterator[Contender]:
    client = redis.Redis.from_url(url)

    async def publish() -> None:
        await client.publish(TOPIC, feed.message())

    with running(lambda port: picows(port, TOPIC), core=cores()[0], REDIS_URL=url) as web:
        async with client, _listening(FLOOR, web, "/", publish) as contender:
            yield contender


@asynccontextmanager
async def _listening(
    name: str, web: Web, path: str, publish: Callable[[], Awaitable[None]]
) -> AsyncIterator[Contender]:
    """Clients who do nothing but listen."""
    found: list[Contender] = []

    def on_frame(browser: Browser, opcode: int, payload: memoryview) -> None:
        if len(payload) < 0.9 * MESSAGE_BYTES:
            raise RuntimeError(f"a message of {len(payload)} bytes came: this is not a measurement")
        if found:
            found[0].count()

    crowd = await Crowd.at(web.port, path, CLIENTS, on_frame)
    await asyncio.sleep(1)
    found.append(Contender(name, web, publish, crowd))
    try:
        yield found[0]
    finally:
        crowd.leave()
