"""`/ws/ticks/`: live ticks for browsers and programs. The protocol is in `docs/websocket.md`.

What all WebSockets have in common is in `accounts.socket_consumer`.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, ClassVar

from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from accounts.actions import Action
from accounts.principals import Principal
from accounts.socket_consumer import NOT_ACKNOWLEDGED, TRY_AGAIN, BadMessage, SocketConsumer, SocketLimits
from market.instrument_cache import instruments_by_symbols
from streaming import metrics
from streaming.client_messages import (
    Ack,
    Directory,
    Subscribe,
    Unknown,
    Unsubscribe,
    ack_frame,
    read_client_message,
    status_frame,
    unknown_symbols,
    wants_binary,
)
from streaming.exceptions import ConnectionLost
from streaming.hub import Client, FeedState, Hub, hub
from streaming.outbox import Outbox, Pacing


@dataclass(frozen=True, slots=True)
class Limits(SocketLimits):
    """What one client may ask for; times in seconds."""

    subscriptions: int = 3000
    retry: float = 1.0  # reading from Redis


class TicksConsumer(SocketConsumer):
    """One client of `/ws/ticks/`."""

    action = Action.STREAM
    closed_counter = metrics.CLIENT_CLOSED
    limits: ClassVar[Limits] = Limits()
    pacing: ClassVar[Pacing] = Pacing(min_interval=settings.STREAM_FRAME_MS / 1000)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._hub: Hub | None = None
        self._client: Client | None = None
        self._asked = Subscribe.nothing()
        self._is_binary = False
        await super().__call__(scope, receive, send)

    def read_address(self) -> None:
        self._is_binary = wants_binary(self.scope.get("query_string", b""))

    def sockets_open(self, principal: str) -> tuple[int, int]:
        feed = hub()
        return len(feed.clients), feed.sockets_of(principal)

    async def enter(self, principal: Principal) -> None:
        self._hub = hub()
        self._client = Client(principal.name, Outbox(self.pacing, binary=self._is_binary))
        self._hub.join(self._client)

    async def leave(self) -> None:
        if self._hub is not None and self._client is not None:
            await self._hub.leave(self._client)

    # --- what the client says ----------------------------------------------------------------------------------------

    async def hear(self, text: str) -> None:
        assert self._client is not None and self._hub is not None  # noqa: S101, PT018 - who has not entered is not heard
        message = read_client_message(text)
        match message:
            case Ack(frame):
                self._acknowledge(self._client, frame)
            case Subscribe() | Unsubscribe():
                await self._change(self._hub, self._client, message)

    def _acknowledge(self, client: Client, frame: int) -> None:
        try:
            answers = client.outbox.acknowledge(frame)
        except ValueError as exc:
            raise BadMessage("bad_acknowledgement", str(exc)) from None
        if answers:
            self.expected()
        if client.outbox.has_news:
            client.wake.set()

    async def _change(self, feed: Hub, client: Client, message: Subscribe | Unsubscribe) -> None:
        """Make everything the client gets what it is after the message, or raise and change nothing."""
        self._check_number(message.size, message.id)
        try:
            directory = await feed.directory()
            tokens = await self._tokens_of(message)
            if isinstance(message, Subscribe) and _missing_in(directory, message, tokens):
                directory = await feed.directory(afresh=True)  # it may have begun to be streamed just now
        except (RedisError, OSError, DatabaseError):
            raise BadMessage("unavailable", "The feed cannot be asked now; try again.", request_id=message.id) from None
        if isinstance(message, Subscribe) and (missing := _missing_in(directory, message, tokens)):
            raise BadMessage(missing.code, missing.message, missing.details, message.id)
        message = message.by_token(tokens.values())
        asked = self._asked.plus(message) if isinstance(message, Subscribe) else self._asked.minus(message)
        self._check_number(asked.size, message.id)
        self._asked = asked
        answered = message if isinstance(message, Subscribe) else asked
        await self.send_frame(ack_frame(message.id, sorted(answered.parts_in(directory))))
        await feed.follow(client, asked.parts_in(directory))

    def _check_number(self, asked: int, request_id: str | None) -> None:
        if asked > self.limits.subscriptions:
            details = {"limit": self.limits.subscriptions, "asked": asked, "in_use": self._asked.size}
            raise BadMessage("too_many_subscriptions", "That is more than one client may have.", details, request_id)

    async def _tokens_of(self, message: Subscribe | Unsubscribe) -> dict[str, int]:
        """The tokens of the symbols that are traded today: a retired one's may be somebody else's by now."""
        if not message.symbols:
            return {}
        found = await database_sync_to_async(instruments_by_symbols)(message.symbols)
        return {symbol: found[symbol].instrument_token for symbol in found if found[symbol].is_active}

    # --- what the client is sent ------------------------------------------------------------------------------------

    async def send_news(self) -> int:
        """Send what there is as the client takes it. Returns the code to close with."""
        feed, client = self._hub, self._client
        assert feed is not None and client is not None  # noqa: S101, PT018 - the sender starts after entering
        outbox = client.outbox
        not_before = 0.0
        while True:
            client.wake.clear()
            if feed.has_ended:
                return TRY_AGAIN
            now = time.monotonic()
            if now >= outbox.overdue_at():
                return NOT_ACKNOWLEDGED
            if now >= self.recheck_at and (code := await self.recheck()) is not None:
                return code
            if feed.feed_state is not client.feed_state:
                await self._tell_feed_state(feed.feed_state, client)
            send_at = max(outbox.may_send_at(), not_before) if outbox.has_news else inf
            if send_at <= now:
                if not await self._send_news_frame(feed, client):
                    not_before = time.monotonic() + self.limits.retry
                continue
            await client.wake.wait(min(send_at, outbox.overdue_at(), self.recheck_at))

    async def _send_news_frame(self, feed: Hub, client: Client) -> bool:
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
            await self.send_frame(frame)
            feed.frames_sent += 1
            feed.updates_skipped += skipped
        return True

    async def _tell_feed_state(self, state: FeedState, client: Client) -> None:
        """Say when nobody feeds any more and when somebody does again; that all is well goes without saying."""
        if client.feed_state is not None or state is not FeedState.LIVE:
            await self.send_frame(status_frame(state))
        client.feed_state = state


def _missing_in(directory: Directory, message: Subscribe, tokens: Mapping[str, int]) -> Unknown | None:
    """What of it is not streamed, its symbols by these tokens."""
    streamed = {symbol for symbol, token in tokens.items() if token in directory.part_of_token}
    if missing := message.symbols - streamed:
        return unknown_symbols(missing)
    return message.unknown_in(directory)
