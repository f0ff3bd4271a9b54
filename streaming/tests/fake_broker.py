"""A small broker: the WebSocket protocol's server side, as scripted by a test, and frames in the wire's form."""

import asyncio
import json
import math
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from streaming.connection import AccessToken, Timing
from streaming.leases import HeldSlot
from streaming.wire_requests import Mode

HEARTBEAT = b"\x00"
TOKEN = AccessToken("key", "token-1")
# Every wait so short that a test takes milliseconds, and none so short that a busy machine breaks it.
QUICK = Timing(
    open_timeout=5,
    close_timeout=0.2,
    silence=0.3,
    backoff_base=0.001,
    backoff_cap=0.01,
    refused=0.05,
    between_requests=0,
    settle=0,
)


def ltp_frame(*prices: tuple[int, int]) -> bytes:
    """A frame of 8-byte packets: (instrument_token, price in hundredths)."""
    packets = (struct.pack(">HIi", 8, token, price) for token, price in prices)
    return struct.pack(">H", len(prices)) + b"".join(packets)


@dataclass
class FakeBroker:
    """Answers handshakes and keeps what clients subscribed to. `on_open` plays a connection's script."""

    valid_tokens: set[str] = field(default_factory=lambda: {TOKEN.access_token})
    refuse_next: list[int] = field(default_factory=list)
    on_open: Callable[[ServerConnection], Awaitable[None]] | None = None
    handshakes: list[str] = field(default_factory=list)  # access tokens, in order
    connections: list[ServerConnection] = field(default_factory=list)
    subscribed: dict[ServerConnection, dict[int, Mode]] = field(default_factory=dict)
    requests: list[dict[str, object]] = field(default_factory=list)
    root: str = ""

    @asynccontextmanager
    async def running(self) -> AsyncIterator["FakeBroker"]:
        async with serve(self._talk, "127.0.0.1", 0, process_request=self._admit, compression=None) as server:
            self.root = f"ws://127.0.0.1:{_port(server)}"
            yield self

    @property
    def modes(self) -> dict[int, Mode]:
        """What all connections together are subscribed to."""
        return {token: mode for modes in self.subscribed.values() for token, mode in modes.items()}

    async def send(self, frame: bytes | str) -> None:
        for connection in self.connections:
            await connection.send(frame)

    def _admit(self, connection: ServerConnection, request: Request) -> Response | None:
        token = parse_qs(urlsplit(request.path).query)["access_token"][0]
        self.handshakes.append(token)
        if self.refuse_next:
            return connection.respond(HTTPStatus(self.refuse_next.pop(0)), "no\n")
        if token not in self.valid_tokens:
            return connection.respond(HTTPStatus.FORBIDDEN, "no\n")
        return None

    async def _talk(self, connection: ServerConnection) -> None:
        self.connections.append(connection)
        modes = self.subscribed.setdefault(connection, {})
        try:
            if self.on_open is not None:
                await self.on_open(connection)
            async for text in connection:
                self._note(modes, json.loads(text))
        except ConnectionClosed:
            pass
        finally:
            self.connections.remove(connection)
            self.subscribed.pop(connection)

    def _note(self, modes: dict[int, Mode], message: dict[str, object]) -> None:
        self.requests.append(message)
        match message:
            case {"a": "subscribe", "v": list(tokens)}:
                modes.update(dict.fromkeys(tokens, Mode.QUOTE))
            case {"a": "unsubscribe", "v": list(tokens)}:
                for token in tokens:
                    modes.pop(token, None)
            case {"a": "mode", "v": [mode, list(tokens)]}:
                modes.update(dict.fromkeys(tokens, Mode(str(mode))))


class FixedTokens:
    """A token source in memory."""

    def __init__(self, token: AccessToken | None = TOKEN) -> None:
        self.token = token
        self.dead = True  # what the broker says of a token that was refused
        self._new = asyncio.Event()

    def log_in(self, token: AccessToken) -> None:
        self.token = token
        self._new.set()

    async def current(self) -> AccessToken | None:
        return self.token

    async def is_dead(self, token: AccessToken) -> bool:
        return self.dead

    async def changed(self, since: AccessToken | None) -> AccessToken:
        while self.token is None or self.token == since:
            self._new.clear()
            await self._new.wait()
        return self.token


def standing_slot(number: int = 0) -> HeldSlot:
    """A slot whose lease does not end."""
    return HeldSlot(number + 1, app_id=1, number=number, epoch=1, renewed_at=0.0, fence=math.inf)


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for a condition; fails rather than hangs."""
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.002)


@asynccontextmanager
async def running(coroutine: Awaitable[None]) -> AsyncIterator["asyncio.Task[None]"]:
    """Run something beside the test, and end it with the test; its own error is the test's."""
    task = asyncio.ensure_future(coroutine)
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def _port(server: Server) -> int:
    return int(next(iter(server.sockets)).getsockname()[1])
