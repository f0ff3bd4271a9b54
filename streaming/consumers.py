"""`/ws/ticks/`: live ticks for browsers and programs. The protocol is in `docs/websocket.md`.

Two tasks per client: Channels hands in what the client sends; the sender waits for news and for the client's
acknowledgements. Nothing here waits for another client.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from channels.consumer import AsyncConsumer, get_handler_name
from channels.db import database_sync_to_async
from channels.exceptions import StopConsumer
from django.db import Error as DatabaseError
from django.utils import timezone
from redis.exceptions import RedisError

from accounts.actions import Action
from accounts.authorisation import authorise
from accounts.exceptions import Refused
from accounts.principals import Principal
from accounts.sockets import SUBPROTOCOL, principal_of_scope
from streaming import metrics
from streaming.client_messages import (
    Ack,
    BadMessage,
    Subscribe,
    Unsubscribe,
    ack_frame,
    as_text,
    error_frame,
    read_client_message,
    status_frame,
    wants_binary,
)
from streaming.exceptions import ConnectionLost
from streaming.hub import Client, FeedState, Hub, hub
from streaming.outbox import Outbox, Pacing

logger = logging.getLogger(__name__)

TRY_AGAIN, BAD_FRAMES, NOT_AUTHENTICATED, DENIED, NOT_ACKNOWLEDGED, OVER_LIMIT = 1013, 4400, 4401, 4403, 4408, 4429


@dataclass(frozen=True, slots=True)
class Limits:
    """What one client may ask for; times in seconds."""

    frame_bytes: int = 64 * 1024
    frames_per_second: int = 20
    subscriptions: int = 3000
    bad_frames: int = 5
    sockets_per_principal: int = 20
    sockets: int = 500
    send_timeout: float = 10.0  # Daphne never waits; other servers do while a client does not read
    recheck: float = 60.0  # whether the client may still stream
    retry: float = 1.0  # reading from Redis


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


class TicksConsumer(AsyncConsumer):  # type: ignore[misc]  # Channels has no types
    """One client of `/ws/ticks/`."""

    # No such layer: ticks come through the hub, and a layer would cost every client a receive loop of its own.
    channel_layer_alias = "none"
    limits: ClassVar[Limits] = Limits()
    pacing: ClassVar[Pacing] = Pacing()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._hub: Hub | None = None
        self._client: Client | None = None
        self._sender: asyncio.Task[None] | None = None
        self._principal: Principal | None = None
        self._asked = Subscribe.nothing()
        self._bad_frames = 0
        self._closed = False
        try:
            await super().__call__(scope, receive, send)
        finally:
            await self._leave()

    async def identify(self) -> Principal:
        """Who is at the other end, if they may stream. Raises Refused, or a database error."""
        principal: Principal = await database_sync_to_async(_streaming_principal)(self.scope)
        return principal

    async def dispatch(self, message: dict[str, Any]) -> None:
        """Hand a message to its handler.

        The base class looks after database connections around every message: a hop to the process's one database thread
        for each acknowledgement. Only the look-up of the principal needs that, and `database_sync_to_async` does it.
        """
        await getattr(self, get_handler_name(message))(message)

    # --- what the client does ----------------------------------------------------------------------------------------

    async def websocket_connect(self, event: dict[str, Any]) -> None:
        # Accepted before it is refused: a browser is told the close code only of a connection that once was open.
        offered = self.scope.get("subprotocols", ())
        await self.send({"type": "websocket.accept", "subprotocol": SUBPROTOCOL if SUBPROTOCOL in offered else None})
        try:
            binary = wants_binary(self.scope.get("query_string", b""))
        except BadMessage as exc:
            await self._send_text(error_frame(None, exc.code, str(exc)))
            await self._close(BAD_FRAMES)
            return
        try:
            principal = self._principal = await self.identify()
        except Refused as exc:
            await self._refuse(exc)
            return
        except DatabaseError as exc:
            logger.warning("a WebSocket client cannot be identified: %s", exc)
            await self._send_text(error_frame(None, "unavailable", "You cannot be identified now; try again."))
            await self._close(TRY_AGAIN)
            return
        feed = hub()
        if (
            len(feed.clients) >= self.limits.sockets
            or feed.sockets_of(principal.name) >= self.limits.sockets_per_principal
        ):
            details = {"limit": self.limits.sockets_per_principal, "in_use": feed.sockets_of(principal.name)}
            await self._send_text(error_frame(None, "too_many_sockets", "Too many sockets are open.", details))
            await self._close(OVER_LIMIT)
            return
        self._budget = FrameBudget(self.limits.frames_per_second, time.monotonic)
        self._hub, self._client = feed, Client(principal.name, Outbox(self.pacing, binary=binary))
        feed.join(self._client)
        self._sender = asyncio.create_task(self._run_sender(feed, self._client), name="ticks sender")

    async def websocket_receive(self, event: dict[str, Any]) -> None:
        if self._client is None or self._hub is None or self._closed:
            return
        if not self._budget.spend():
            details = {"limit": self.limits.frames_per_second}
            await self._send_text(error_frame(None, "too_many_frames", "Too many frames per second.", details))
            await self._close(OVER_LIMIT)
            return
        try:
            message = read_client_message(as_text(event, self.limits.frame_bytes))
            match message:
                case Ack(frame):
                    self._acknowledge(self._client, frame)
                case Subscribe():
                    await self._change(self._hub, self._client, message, self._asked.plus(message))
                case Unsubscribe():
                    await self._change(self._hub, self._client, message, self._asked.minus(message))
        except BadMessage as exc:
            await self._send_text(error_frame(exc.request_id, exc.code, str(exc), exc.details))
            if exc.is_malformed:
                self._bad_frames += 1
            if self._bad_frames >= self.limits.bad_frames:
                await self._close(BAD_FRAMES)

    async def websocket_disconnect(self, event: dict[str, Any]) -> None:
        self._closed = True
        raise StopConsumer

    def _acknowledge(self, client: Client, frame: int) -> None:
        try:
            client.outbox.acknowledge(frame)
        except ValueError as exc:
            raise BadMessage("bad_acknowledgement", str(exc)) from None
        client.wake.set()

    async def _change(self, feed: Hub, client: Client, message: Subscribe | Unsubscribe, asked: Subscribe) -> None:
        """Make `asked` everything the client gets, or raise and change nothing."""
        if asked.size > self.limits.subscriptions:
            details = {"limit": self.limits.subscriptions, "asked": asked.size, "in_use": self._asked.size}
            raise BadMessage("too_many_subscriptions", "That is more than one client may have.", details, message.id)
        try:
            directory = await feed.directory()
            if isinstance(message, Subscribe) and message.unknown_in(directory):
                directory = await feed.directory(afresh=True)  # it may have begun to be streamed just now
        except (RedisError, OSError):
            raise BadMessage("unavailable", "The feed cannot be asked now; try again.", request_id=message.id) from None
        if isinstance(message, Subscribe) and (missing := message.unknown_in(directory)):
            raise BadMessage(missing.code, missing.message, missing.details, message.id)
        self._asked = asked
        answered = message if isinstance(message, Subscribe) else asked
        await self._send_text(ack_frame(message.id, sorted(answered.parts_in(directory))))
        await feed.follow(client, asked.parts_in(directory))

    # --- what the client is sent ------------------------------------------------------------------------------------

    async def _run_sender(self, feed: Hub, client: Client) -> None:
        try:
            code = await self._send_news(feed, client)
        except TimeoutError:
            code = NOT_ACKNOWLEDGED
        except Exception:  # told to nobody else: this task has no one waiting for it
            logger.exception("the sender of a WebSocket client failed")
            code = 1011
        await self._close(code)

    async def _send_news(self, feed: Hub, client: Client) -> int:
        """Send what there is as the client takes it. Returns the code to close with."""
        outbox = client.outbox
        recheck_at = self._recheck_at()
        not_before = 0.0
        while True:
            client.wake.clear()
            now = time.monotonic()
            if now >= outbox.overdue_at():
                return NOT_ACKNOWLEDGED
            if now >= recheck_at:
                try:
                    self._principal = await self.identify()
                except Refused as exc:
                    return _close_code(exc)
                except DatabaseError as exc:
                    # Nobody is cut off because the database is: it is asked again soon.
                    logger.warning("whether a client may still stream could not be looked up: %s", exc)
                recheck_at = self._recheck_at()
            if feed.feed_state is not client.feed_state:
                await self._tell_feed_state(feed.feed_state, client)
            send_at = max(outbox.may_send_at(), not_before) if outbox.has_news else float("inf")
            if send_at <= now:
                if not await self._send_frame(feed, client):
                    not_before = time.monotonic() + self.limits.retry
                continue
            try:
                async with asyncio.timeout(min(send_at, outbox.overdue_at(), recheck_at) - now):
                    await client.wake.wait()
            except TimeoutError:
                pass

    def _recheck_at(self) -> float:
        """When to look again whether the client may still stream: at once when its key or token ends."""
        wait = self.limits.recheck
        if self._principal is not None and (ends_at := self._principal.ends_at) is not None:
            wait = min(wait, max(0.1, (ends_at - timezone.now()).total_seconds()))
        return time.monotonic() + wait

    async def _send_frame(self, feed: Hub, client: Client) -> bool:
        """Send the next frame. False if Redis could not be read: it is still to be sent."""
        outbox = client.outbox
        kind, lines, whole = outbox.take()
        if whole:
            try:
                lines += await feed.blobs(whole)
            except ConnectionLost:
                outbox.put_back([*whole, *(line.part for line in lines)])
                return False
        skipped = outbox.skipped
        frame = outbox.frame_of(kind, lines, time.monotonic())
        if frame is not None:
            await self._send(frame)
            metrics.CLIENT_FRAMES.inc()
            metrics.CLIENT_SKIPPED.inc(skipped)
        return True

    async def _tell_feed_state(self, state: FeedState, client: Client) -> None:
        """Say when nobody feeds any more and when somebody does again; that all is well goes without saying."""
        if client.feed_state is not None or state is not FeedState.LIVE:
            await self._send_text(status_frame(state))
        client.feed_state = state

    async def _send_text(self, text: str) -> None:
        await self._send(text)

    async def _send(self, frame: str | bytes) -> None:
        if not self._closed:
            async with asyncio.timeout(self.limits.send_timeout):
                form = "text" if isinstance(frame, str) else "bytes"
                await self.base_send({"type": "websocket.send", form: frame})

    # --- the end ----------------------------------------------------------------------------------------------------

    async def _refuse(self, exc: Refused) -> None:
        await self._send_text(error_frame(None, exc.code, str(exc), exc.details))
        await self._close(_close_code(exc))

    async def _close(self, code: int) -> None:
        if not self._closed:
            self._closed = True
            metrics.CLIENT_CLOSED.labels(code).inc()
            await self.base_send({"type": "websocket.close", "code": code})

    async def _leave(self) -> None:
        if self._sender is not None:
            self._sender.cancel()
            await asyncio.gather(self._sender, return_exceptions=True)
        if self._hub is not None and self._client is not None:
            await self._hub.leave(self._client)


def _streaming_principal(scope: Any) -> Principal:
    principal = principal_of_scope(scope)
    authorise(principal, Action.STREAM)
    return principal


def _close_code(exc: Refused) -> int:
    return {401: NOT_AUTHENTICATED, 403: DENIED, 429: OVER_LIMIT, 503: TRY_AGAIN}.get(exc.status_code, BAD_FRAMES)
