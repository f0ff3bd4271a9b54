"""What every WebSocket of the service has: who is at the other end and whether they still may, limits, errors, closing.

Two tasks per client: Channels hands in what the client sends; the sender waits for news. Nothing here waits for another
client.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, ClassVar

import orjson
from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from django.db import Error as DatabaseError
from django.utils import timezone
from prometheus_client import Counter

from accounts.actions import Action
from accounts.authorisation import authorise
from accounts.exceptions import Refused
from accounts.principals import Principal
from accounts.send_guard import SendGuard
from accounts.sockets import SUBPROTOCOL, principal_of_scope

logger = logging.getLogger(__name__)

TRY_AGAIN, BAD_FRAMES, NOT_AUTHENTICATED, DENIED, NOT_ACKNOWLEDGED, OVER_LIMIT = 1013, 4400, 4401, 4403, 4408, 4429
FAILED = 1011


@dataclass(frozen=True, slots=True)
class SocketLimits:
    """What one client may ask for; times in seconds."""

    frame_bytes: int = 64 * 1024
    frames_per_second: int = 20
    bad_frames: int = 5
    sockets_per_principal: int = 20
    sockets: int = 500
    send_timeout: float = 10.0  # Daphne never waits; other servers do while a client does not read
    recheck: float = 60.0  # whether the client may still be here


class BadMessage(Exception):
    """A message that is answered with an error frame. The connection stays, unless malformed ones repeat."""

    def __init__(
        self, code: str, message: str, details: Mapping[str, Any] | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.details = dict(details or {})
        self.request_id = request_id

    @property
    def is_malformed(self) -> bool:
        """Whether no client that follows the protocol would send it."""
        return self.code in {"bad_message", "frame_too_large", "bad_acknowledgement"}


class FrameBudget:
    """A bucket of `rate` frames that refills in a second; it may hold two seconds' worth, for a burst after a pause."""

    def __init__(self, rate: int, clock: Callable[[], float]) -> None:
        self._rate = rate
        self._clock = clock
        self._left = 2.0 * rate
        self._seen = clock()

    def spend(self) -> bool:
        """Whether one more frame is allowed; it is counted either way."""
        now = self._clock()
        self._left = min(2.0 * self._rate, self._left + (now - self._seen) * self._rate) - 1
        self._seen = now
        return self._left >= 0

    def give_back(self) -> None:
        """The last one does not count."""
        self._left += 1


def as_text(event: Mapping[str, Any], largest: int) -> str:
    """The text of an ASGI receive event. Raises BadMessage for a binary frame and for one that is too large."""
    text = event.get("text")
    if text is None:
        raise BadMessage("bad_message", "Frames must be text.")
    if 4 * len(text) > largest and len(text.encode()) > largest:
        raise BadMessage("frame_too_large", f"A frame may have {largest} bytes.", {"limit": largest})
    return str(text)


def read_object(text: str) -> dict[str, Any]:
    """A frame's JSON object. Raises BadMessage."""
    try:
        message = orjson.loads(text)
    except ValueError:  # also NaN, Infinity, lone surrogates, and nesting without end
        raise BadMessage("bad_message", "Frames must be JSON.") from None
    if not isinstance(message, dict):
        raise BadMessage("bad_message", "Frames must be JSON objects.")
    return message


def error_frame(request_id: str | None, code: str, message: str, details: Mapping[str, Any] | None = None) -> str:
    """An error in the protocol's form."""
    body = {"type": "error", "id": request_id, "code": code, "message": message, "details": dict(details or {})}
    return orjson.dumps(body).decode()


def close_code(exc: Refused) -> int:
    return {401: NOT_AUTHENTICATED, 403: DENIED, 429: OVER_LIMIT, 503: TRY_AGAIN}.get(exc.status_code, BAD_FRAMES)


class SocketConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """One client. What it is sent, and what it may say, is the subclass's."""

    # Without a channel layer: news come through a hub, and a layer would cost every client a receive loop of its own.
    channel_layer = None
    limits: ClassVar[SocketLimits] = SocketLimits()
    action: ClassVar[Action]
    closed_counter: ClassVar[Counter]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.principal: Principal | None = None
        self.is_closed = self.is_gone = False
        self.recheck_at = float("inf")
        self._sender: asyncio.Task[None] | None = None
        self._bad_frames = 0
        self.scope, self.base_send = scope, send
        self._guard = SendGuard(self.limits.send_timeout)
        try:
            await self._hear_all(receive)
        finally:
            await self._end_sender()
            self._guard.close()
            await self.leave()

    async def _hear_all(self, receive: Any) -> None:
        """Hand each message to its handler, until the client is gone.

        The base class makes a task of each one, for consumers that listen to a channel layer besides, and looks after
        database connections around it: a hop to the process's one database thread for each acknowledgement. Only
        look-ups need that, and `database_sync_to_async` does it.
        """
        handlers = {
            "websocket.connect": self.websocket_connect,
            "websocket.receive": self.websocket_receive,
            "websocket.disconnect": self.websocket_disconnect,
        }
        while not self.is_gone:
            message = await receive()
            await handlers[message["type"]](message)

    # --- a subclass's own -------------------------------------------------------------------------------------------

    def read_address(self) -> None:
        """What the address itself says. Raises BadMessage."""

    def sockets_open(self, principal: str) -> tuple[int, int]:
        """How many sockets are open in this process: all of this kind, and the principal's."""
        raise NotImplementedError

    async def enter(self, principal: Principal) -> None:
        """The client is known and may be here."""
        raise NotImplementedError

    async def hear(self, text: str) -> None:
        """What the client says. Raises BadMessage."""
        raise NotImplementedError

    def expected(self) -> None:
        """What was heard answers a frame of ours, of which there are only so many: it costs the client nothing."""
        self._budget.give_back()

    async def send_news(self) -> int:
        """Send what there is as the client takes it. Returns the code to close with."""
        raise NotImplementedError

    async def leave(self) -> None:
        """The client is gone; it may never have entered."""
        raise NotImplementedError

    async def identify(self) -> Principal:
        """Who is at the other end, if they may be here. Raises Refused, or a database error."""
        principal: Principal = await database_sync_to_async(_allowed_principal)(self.scope, self.action)
        return principal

    # --- what the client does ----------------------------------------------------------------------------------------

    async def websocket_connect(self, event: dict[str, Any]) -> None:
        # Accepted before it is refused: a browser is told the close code only of a connection that once was open.
        offered = self.scope.get("subprotocols", ())
        await self.send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})
        try:
            self.read_address()
        except BadMessage as exc:
            await self.send_frame(error_frame(None, exc.code, str(exc)))
            await self.close(BAD_FRAMES)
            return
        try:
            principal = self.principal = await self.identify()
        except Refused as exc:
            await self.refuse(exc)
            return
        except DatabaseError as exc:
            logger.warning("a WebSocket client cannot be identified: %s", exc)
            await self.send_frame(error_frame(None, "unavailable", "You cannot be identified now; try again."))
            await self.close(TRY_AGAIN)
            return
        everybody, mine = self.sockets_open(principal.name)
        if everybody >= self.limits.sockets or mine >= self.limits.sockets_per_principal:
            limit = self.limits.sockets_per_principal
            used, of = (mine, "principal") if mine >= limit else (everybody, "process")
            details = {"limit": limit if of == "principal" else self.limits.sockets, "in_use": used, "of": of}
            await self.send_frame(error_frame(None, "too_many_sockets", "Too many sockets are open.", details))
            await self.close(OVER_LIMIT)
            return
        self._budget = FrameBudget(self.limits.frames_per_second, time.monotonic)
        self.recheck_at = self._next_recheck()
        await self.enter(principal)
        self._sender = asyncio.create_task(self._run_sender(), name=f"{type(self).__name__} sender")

    async def websocket_receive(self, event: dict[str, Any]) -> None:
        if self._sender is None or self.is_closed:
            return
        if not self._budget.spend():
            details = {"limit": self.limits.frames_per_second}
            await self.send_frame(error_frame(None, "too_many_frames", "Too many frames per second.", details))
            await self.close(OVER_LIMIT)
            return
        try:
            await self.hear(as_text(event, self.limits.frame_bytes))
        except BadMessage as exc:
            await self.send_frame(error_frame(exc.request_id, exc.code, str(exc), exc.details))
            if exc.is_malformed:
                self._bad_frames += 1
            if self._bad_frames >= self.limits.bad_frames:
                await self.close(BAD_FRAMES)

    async def websocket_disconnect(self, event: dict[str, Any]) -> None:
        self.is_closed = self.is_gone = True

    # --- what the client is sent ------------------------------------------------------------------------------------

    async def _run_sender(self) -> None:
        try:
            code = await self.send_news()
        except TimeoutError:
            code = NOT_ACKNOWLEDGED
        except Exception:  # told to nobody else: this task has no one waiting for it
            logger.exception("the sender of a WebSocket client failed")
            code = FAILED
        await self.close(code)

    async def _end_sender(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)

    async def recheck(self) -> int | None:
        """Look again whether the client may still be here. The code to close with; None if it may."""
        try:
            self.principal = await self.identify()
        except Refused as exc:
            return close_code(exc)
        except DatabaseError as exc:
            # Nobody is cut off because the database is: it is asked again soon.
            logger.warning("whether a client may still be here could not be looked up: %s", exc)
        self.recheck_at = self._next_recheck()
        return None

    def _next_recheck(self) -> float:
        """When to look again: at once when the client's key or token ends."""
        wait = self.limits.recheck
        if self.principal is not None and (ends_at := self.principal.ends_at) is not None:
            wait = min(wait, max(0.1, (ends_at - timezone.now()).total_seconds()))
        return time.monotonic() + wait

    async def send_frame(self, frame: str | bytes) -> None:
        """Send, unless the socket is closed. Raises TimeoutError if the server waits for the client for too long."""
        if not self.is_closed:
            form = "text" if isinstance(frame, str) else "bytes"
            try:
                await self._guard.run(self.base_send({"type": "websocket.send", form: frame}))
            except TimeoutError:
                raise
            except OSError:  # how servers say that the client is gone; Daphne says nothing
                self.is_closed = True

    # --- the end ----------------------------------------------------------------------------------------------------

    async def refuse(self, exc: Refused) -> None:
        await self.send_frame(error_frame(None, exc.code, str(exc), exc.details))
        await self.close(close_code(exc))

    async def close(self, code: int) -> None:
        if not self.is_closed:
            self.is_closed = True
            self.closed_counter.labels(code).inc()
            with suppress(OSError):  # it is gone already
                await self.base_send({"type": "websocket.close", "code": code})


def _allowed_principal(scope: Any, action: Action) -> Principal:
    principal = principal_of_scope(scope)
    authorise(principal, action)
    return principal
