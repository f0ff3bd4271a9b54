"""Four kinds of clients for a soak: one as it should be, and three that are a burden. Each runs until cancelled."""

import asyncio
import contextlib
import json
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from jsonschema import ValidationError
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from streaming.tests.ws_schemas import check

CHECK_EVERY = 20
"""Of update frames; every snapshot and every other message is checked."""
NO_READING_SECONDS = 14.0
NOT_ACKNOWLEDGED = 4408


@dataclass(frozen=True)
class Service:
    """Where the clients go, and what they ask for."""

    port: int
    api_key: str
    chain: dict[str, str]

    def open(self) -> connect:
        # No pings of our own: a client that stops reading must not end the connection itself.
        return connect(
            f"ws://127.0.0.1:{self.port}/ws/ticks/",
            additional_headers={"X-API-Key": self.api_key},
            max_size=2**24,
            ping_interval=None,
            close_timeout=2,
        )

    async def subscribe(self, socket: ClientConnection) -> None:
        await socket.send(json.dumps({"type": "subscribe", "id": "1", "chains": [self.chain]}))


@dataclass
class Seen:
    """What a client noted: what it was sent, and what was not as documented."""

    connections: int = 0
    frames: int = 0
    checked: int = 0
    wrong: list[str] = field(default_factory=list)
    """Messages that do not follow their schema, and lines out of order."""
    closed: Counter[str] = field(default_factory=Counter)

    def message(self, text: str | bytes) -> dict[str, Any]:
        """The message, checked against its schema or, of many updates, counted."""
        message: dict[str, Any] = json.loads(text)
        kind = message["type"]
        if kind in ("snapshot", "update"):
            self.frames += 1
        if kind != "update" or self.frames % CHECK_EVERY == 0:
            self.checked += 1
            try:
                check(kind, message)
            except (ValidationError, AssertionError, KeyError) as exc:
                self.wrong.append(f"{kind}: {str(exc)[:300]}")
        return message


@dataclass
class GoodClient:
    """Acknowledges every frame and applies its lines in order, as the documentation asks."""

    service: Service
    seen: Seen = field(default_factory=Seen)
    newest_price: float = 0.0
    """When the newest price that it has was received from the broker, Unix seconds."""
    versions: dict[str, tuple[int, int]] = field(default_factory=dict)

    async def run(self) -> None:
        while True:
            with contextlib.suppress(OSError, WebSocketException):
                async with self.service.open() as socket:
                    self.seen.connections += 1
                    self.versions.clear()
                    await self.service.subscribe(socket)
                    async for text in socket:
                        message = self.seen.message(text)
                        for line in message["parts"] if "frame" in message else ():
                            self._take(line)
                        if "frame" in message:
                            await socket.send(json.dumps({"type": "ack", "frame": message["frame"]}))
            await asyncio.sleep(0.2)

    def _take(self, line: dict[str, Any]) -> None:
        part, version = line["part"], (line["epoch"], line["seq"])
        if part in self.versions and version <= self.versions[part]:
            self.seen.wrong.append(f"{part}: {version} came after {self.versions[part]}")
        self.versions[part] = version
        ages = [age for age in line["columns"]["age_ms"] if age is not None]
        if ages and line["feed_state"] == "live":
            self.newest_price = max(self.newest_price, line["sent_at"] - min(ages) / 1000)


async def never_acknowledge(service: Service, seen: Seen) -> None:
    while True:
        with contextlib.suppress(OSError, WebSocketException):
            async with service.open() as socket:
                seen.connections += 1
                await service.subscribe(socket)
                async for text in socket:
                    seen.message(text)
        await asyncio.sleep(0.2)


async def stop_reading(service: Service, seen: Seen) -> None:
    """Begins well, then neither reads nor acknowledges for a while; what came meanwhile is read at last."""
    while True:
        try:
            async with service.open() as socket:
                seen.connections += 1
                await service.subscribe(socket)
                while seen.frames < 20 * seen.connections:
                    message = seen.message(await socket.recv())
                    if "frame" in message:
                        await socket.send(json.dumps({"type": "ack", "frame": message["frame"]}))
                socket.transport.pause_reading()
                await asyncio.sleep(NO_READING_SECONDS)
                socket.transport.resume_reading()
                while True:
                    seen.message(await socket.recv())
        except ConnectionClosed as closed:
            seen.closed[str(closed.rcvd.code if closed.rcvd else "lost")] += 1
        except (OSError, WebSocketException):
            await asyncio.sleep(0.2)


async def come_and_go(service: Service, seen: Seen, choose: random.Random) -> None:
    """Connects and leaves again and again, in every manner that there is."""
    manners: list[Callable[[Service, Seen], Any]] = [_politely, _at_once, _abruptly, _half_a_handshake, _nonsense]
    while True:
        with contextlib.suppress(OSError, WebSocketException, TimeoutError):
            async with asyncio.timeout(10):
                await choose.choice(manners)(service, seen)
        await asyncio.sleep(choose.uniform(0.05, 0.3))


async def _politely(service: Service, seen: Seen) -> None:
    async with service.open() as socket:
        seen.connections += 1
        await service.subscribe(socket)
        while seen.message(await socket.recv())["type"] != "snapshot":
            pass


async def _at_once(service: Service, seen: Seen) -> None:
    async with service.open():
        seen.connections += 1


async def _abruptly(service: Service, seen: Seen) -> None:
    async with service.open() as socket:
        seen.connections += 1
        await service.subscribe(socket)
        await asyncio.sleep(0.1)
        socket.transport.abort()


async def _half_a_handshake(service: Service, seen: Seen) -> None:
    _, writer = await asyncio.open_connection("127.0.0.1", service.port)
    seen.connections += 1
    writer.write(b"GET /ws/ticks/ HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\n")
    await writer.drain()
    writer.close()
    await writer.wait_closed()


async def _nonsense(service: Service, seen: Seen) -> None:
    async with service.open() as socket:
        seen.connections += 1
        for text in ("", "[]", "{", '{"type": "buy"}', '{"type": "ack", "frame": -1}', "\0" * 1000):
            await socket.send(text)
        while True:
            seen.message(await socket.recv())


async def flows_within(client: GoodClient, since: float, seconds: float) -> float:
    """How long after `since` (Unix seconds) the client had a price of after `since`; infinity if it took too long.

    A second is added to what counts as after, so that nothing which was on its way then is taken for a new price.
    """
    while client.newest_price <= since + 1.0:
        if time.time() - since > seconds:
            return float("inf")
        await asyncio.sleep(0.05)
    return time.time() - since
