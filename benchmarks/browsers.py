"""Many WebSocket clients in one process, as cheap as Python has them: what is measured is the server, not they.

Only what a browser does: a handshake, frames in, acknowledgements out. Frames are looked at where they arrived.
"""

import asyncio
import json
import socket
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Self, cast

from streaming.outbox import FRAME

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
_LENGTHS: Final = {126: struct.Struct(">H"), 127: struct.Struct(">Q")}
CONNECT_SECONDS = 30.0
TOGETHER = 20
"""How many connect at the same time."""


def masked(opcode: int, payload: bytes) -> bytes:
    """A frame as clients send it: masked, here with zeros, which changes nothing."""
    size = len(payload)
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 1 << 16:
        head = struct.pack(">BBH", 0x80 | opcode, 0xFE, size)
    else:
        head = struct.pack(">BBQ", 0x80 | opcode, 0xFF, size)
    return head + bytes(4) + payload


class Browser(asyncio.Protocol):
    """One client. `on_frame(self, opcode, payload)` is called for every text and binary frame, in order.

    `payload` is a view that is valid during the call only.
    """

    def __init__(self, request: bytes, on_frame: Callable[["Browser", int, memoryview], None]) -> None:
        self.number = 0
        self.opened = asyncio.get_running_loop().create_future()
        self.closed_with: int | None = None
        self.is_gone = False
        self._request = request
        self._on_frame = on_frame
        self._held = bytearray()
        self._is_open = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is one in all but name
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        held = self._held
        held += data
        at = self._end_of_handshake() if not self._is_open else 0
        with memoryview(held) as view:
            while self._is_open and (found := _frame(view, at)) is not None:
                opcode, begin, end = found
                with view[begin:end] as payload:
                    self._take(opcode, payload)
                at = end
        del held[:at]

    def connection_lost(self, exc: Exception | None) -> None:
        self.is_gone = True
        if not self.opened.done():
            self.opened.set_exception(ConnectionError("the server closed a handshake"))

    def say(self, **message: Any) -> None:
        self.send(TEXT, json.dumps(message).encode())

    def took(self, frame: int, *, acknowledge_each: int = 2) -> None:
        """Acknowledge it if it is the first of so many; of two, as the page and the Python client do."""
        if acknowledge_each == 1 or frame % acknowledge_each == 1:
            self.acknowledge(frame)

    def acknowledge(self, frame: int) -> None:
        self.send(TEXT, b'{"type":"ack","frame":%d}' % frame)

    def send(self, opcode: int, payload: bytes) -> None:
        if self._transport is not None:
            self._transport.write(masked(opcode, payload))

    def read(self, *, on: bool) -> None:
        """Stop reading what comes, or go on with it."""
        if self._transport is not None and not self.is_gone:
            (self._transport.resume_reading if on else self._transport.pause_reading)()

    def leave(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def _end_of_handshake(self) -> int:
        """Where frames begin; 0 while the answer is not complete."""
        end = self._held.find(b"\r\n\r\n")
        if end < 0:
            return 0
        status = bytes(self._held[:end]).split(b"\r\n", 1)[0]
        if b" 101 " not in status:
            if not self.opened.done():
                self.opened.set_exception(ConnectionError(status.decode("latin-1")))
            self.leave()
            return 0
        self._is_open = True
        if not self.opened.done():
            self.opened.set_result(None)
        return end + 4

    def _take(self, opcode: int, payload: memoryview) -> None:
        if opcode in (TEXT, BINARY):
            self._on_frame(self, opcode, payload)
        elif opcode == PING:
            self.send(PONG, bytes(payload))
        elif opcode == CLOSE:
            self.closed_with = int.from_bytes(payload[:2], "big") if len(payload) >= 2 else 1005
            self.send(CLOSE, bytes(payload[:2]))


def _frame(view: memoryview, at: int) -> tuple[int, int, int] | None:
    """The opcode of the frame that begins there, and where its payload lies; None if it is not all there."""
    if len(view) - at < 2:
        return None
    opcode, size, begin = view[at] & 0x0F, view[at + 1] & 0x7F, at + 2
    if (long := _LENGTHS.get(size)) is not None:
        if len(view) - begin < long.size:
            return None
        (size,) = long.unpack_from(view, begin)
        begin += long.size
    return (opcode, begin, begin + size) if len(view) - begin >= size else None


class Crowd:
    """Clients at one address, all with the same `on_frame`."""

    def __init__(self, browsers: Sequence[Browser]) -> None:
        self.browsers = browsers

    @classmethod
    async def at(
        cls,
        port: int,
        path: str,
        number: int,
        on_frame: Callable[[Browser, int, memoryview], None],
        *,
        keys: Sequence[str] = (),
        receive_buffer: int = 0,
        together: int = TOGETHER,
        headers: Mapping[str, str] = {},
    ) -> Self:
        """Connect so many, using the keys in turn. Raises ConnectionError if one is refused."""
        loop = asyncio.get_running_loop()
        browsers: list[Browser] = []
        for first in range(0, number, together):
            group = []
            for place in range(first, min(first + together, number)):
                own = {"X-API-Key": keys[place % len(keys)]} if keys else {}
                request = _request(port, path, own | dict(headers))
                connection = socket.socket()
                if receive_buffer:  # before it connects: the window that is offered follows from it
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
                connection.setblocking(False)
                await loop.sock_connect(connection, ("127.0.0.1", port))
                browser: Browser
                _, browser = await loop.create_connection(
                    lambda request=request: Browser(request, on_frame),  # type: ignore[misc]
                    sock=connection,
                )
                browser.number = place
                group.append(browser)
            async with asyncio.timeout(CONNECT_SECONDS):
                await asyncio.gather(*(browser.opened for browser in group))
            browsers += group
        return cls(browsers)

    def leave(self) -> None:
        for browser in self.browsers:
            browser.leave()

    @property
    def gone(self) -> int:
        return sum(browser.is_gone for browser in self.browsers)


def frame_number(payload: memoryview) -> int:
    """Of a binary frame with lines."""
    return int(FRAME.unpack_from(payload)[2])


def _request(port: int, path: str, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: 127.0.0.1:{port}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return "\r\n".join([*lines, "", ""]).encode()
