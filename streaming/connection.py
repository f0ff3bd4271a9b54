"""One socket to the broker: connect, subscribe, hand over raw frames, notice silence, back off, try again.

Nothing is parsed here: binary frames go to the inbox as they came, text frames to their own path. The access token
travels in the URL (the broker's protocol), so the URL is built anew at each attempt, is logged nowhere, and no
redirect is followed.
"""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol
from urllib.parse import urlencode, urlsplit

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from streaming.exceptions import (
    ConnectionLost,
    HandshakeRefused,
    MuteFeed,
    SessionExpired,
    SlotLost,
    TooManyConnections,
)
from streaming.inbox import Inbox
from streaming.leases import HeldSlot
from streaming.wire_requests import Mode, requests_for

logger = logging.getLogger(__name__)
# `websockets` writes the request line, token and all, at DEBUG: this logger never goes that low.
_wire_logger = logging.getLogger("streaming.wire")
_wire_logger.setLevel(logging.INFO)

MUTE_ALERT = 3
LOOK_AT_SLOT_SECONDS = 1.0
"""A slot may also be lost before its time."""
_LOOPBACK = {"127.0.0.1", "localhost", "::1"}


class ConnectionState(StrEnum):
    """Where a connection stands; set in one method only."""

    IDLE = "idle"
    CONNECTING = "connecting"
    OPEN = "open"  # data flows: a mere handshake is not enough
    WAITING = "waiting"  # backing off
    AWAITING_TOKEN = "awaiting_token"  # noqa: S105 - a state
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """What opens a socket. Not shown by `repr`: it ends up in tracebacks."""

    api_key: str
    access_token: str

    def __repr__(self) -> str:
        return "AccessToken(…)"


class TokenSource(Protocol):
    """Where a connection gets its token, read again for each attempt."""

    async def current(self) -> AccessToken | None:
        """The token as stored now; None while the account is logged out."""

    async def changed(self, since: AccessToken | None) -> AccessToken:
        """Wait until there is a token other than `since`."""

    async def is_dead(self, token: AccessToken) -> bool:
        """Whether the broker says that this token, which a handshake was refused with, has ended."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Every wait of a connection, in seconds."""

    open_timeout: float = 10.0
    close_timeout: float = 3.0
    ping_interval: float = 10.0
    silence: float = 10.0  # no frame at all, not even a heartbeat
    resubscribe: float = 15.0  # heartbeats, but no data although the market is open
    mute: float = 30.0  # the same, for so long that the socket is given up
    backoff_base: float = 0.5
    backoff_cap: float = 30.0
    steady: float = 60.0  # so long must data have flowed before the back-off starts afresh
    refused: float = 60.0  # after HTTP 429
    between_requests: float = 0.05
    confirm: float = 60.0  # so long after its subscription must an instrument have ticked
    settle: float = 0.2  # a churn of subscriptions is applied once


Dial = Callable[[AccessToken], AbstractAsyncContextManager[ClientConnection]]


def backoff(base: float, cap: float) -> Iterator[float]:
    """Full jitter: each delay is anywhere between zero and a bound that doubles, so that nobody dials in step."""
    bound = base
    while True:
        yield random.uniform(0, bound)  # noqa: S311 - spreads load, hides nothing
        bound = min(cap, bound * 2)


class DialGuard:
    """At most `limit` dials in any `seconds`, over all connections of an account."""

    def __init__(self, limit: int = 10, seconds: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._dials: deque[float] = deque(maxlen=limit)
        self._seconds = seconds
        self._clock = clock

    async def permit(self) -> None:
        """Wait until one more dial is allowed, and count it."""
        while len(self._dials) == self._dials.maxlen:
            wait = self._dials[0] + self._seconds - self._clock()
            if wait <= 0:
                break
            await asyncio.sleep(wait)
        self._dials.append(self._clock())


class _ConnectOnce(connect):
    """A redirect would carry the token to another address."""

    def process_redirect(self, exc: Exception) -> Exception:
        return exc


def kite_dial(root: str, timing: Timing) -> Dial:
    """A dialler for the broker (or its simulator) at `root`, such as `wss://ws.kite.trade`."""
    address = urlsplit(root)
    if address.scheme not in {"ws", "wss"} or not address.hostname:
        raise ValueError(f"KITE_WS_ROOT must be a ws:// or wss:// address, not {root!r}")
    options: dict[str, Any] = {
        "compression": None,
        "additional_headers": {"X-Kite-Version": "3"},
        "open_timeout": timing.open_timeout,
        "close_timeout": timing.close_timeout,
        "ping_interval": timing.ping_interval,
        "ping_timeout": timing.ping_interval,
        "max_size": 2**20,
        "max_queue": 64,
        "logger": _wire_logger,
    }
    if address.hostname in _LOOPBACK:
        options["proxy"] = None

    @asynccontextmanager
    async def dial(token: AccessToken) -> AsyncIterator[ClientConnection]:
        query = urlencode({"api_key": token.api_key, "access_token": token.access_token})
        try:
            connection = await _ConnectOnce(f"{root.rstrip('/')}?{query}", **options)
        except InvalidStatus as exc:
            raise refusal(exc.response.status_code) from None
        except InvalidURI:  # its message quotes the whole address
            raise ConnectionLost("KITE_WS_ROOT does not make a valid address") from None
        async with connection:
            yield connection

    return dial


def refusal(status: int) -> HandshakeRefused:
    """The error for a handshake answered with `status` instead of 101."""
    kind = {403: SessionExpired, 429: TooManyConnections}.get(status, HandshakeRefused)
    return kind(status)


class TickerConnection:
    """One socket and what is subscribed on it."""

    def __init__(
        self,
        name: str,
        *,
        dial: Dial,
        tokens: TokenSource,
        inbox: Inbox,
        on_text: Callable[[str], None],
        guard: DialGuard,
        slot: HeldSlot,
        on_open: Callable[[], None] = lambda: None,
        on_data: Callable[[float | None, float], None] = lambda last, now: None,
        expects_data: Callable[[], bool] = lambda: False,
        timing: Timing = Timing(),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self.state = ConnectionState.IDLE
        self.desired: dict[int, Mode] = {}
        self.applied: dict[int, Mode] = {}
        self.last_tick_at: float | None = None  # unix seconds
        self.tries_again_at = 0.0  # by `clock`; of no meaning unless it waits
        self.subscribed_at: dict[int, float] = {}  # monotonic, of what is applied
        self.reconnects = 0
        self.mutes = 0  # times in a row that it was given up because it stayed without data
        self.mute_since = 0.0  # unix seconds
        self._dial = dial
        self._tokens = tokens
        self._inbox = inbox
        self._on_text = on_text
        self._guard = guard
        self._slot = slot
        self._on_open = on_open
        self._on_data = on_data
        self._expects_data = expects_data
        self._timing = timing
        self._clock = clock
        self._wanted = asyncio.Event()
        self._data_began: float | None = None
        self._data_latest = 0.0
        self._quiet_since = 0.0
        self._asked_again = False

    @property
    def flows(self) -> bool:
        """Whether data has come since it was opened."""
        return self.state is ConnectionState.OPEN and self._data_began is not None

    @property
    def is_mute(self) -> bool:
        """Whether dialling anew has brought no data so often that a person should look."""
        return self.mutes >= MUTE_ALERT

    def subscribe_again(self, tokens: Iterable[int]) -> None:
        """Ask once more for instruments that are subscribed, by all we know, and do not come."""
        for token in tokens:
            self.applied.pop(token, None)
        self._wanted.set()

    def want(self, desired: Mapping[int, Mode]) -> None:
        """Make this the whole set of subscriptions; the difference goes out soon, or with the next connection."""
        self.desired = dict(desired)
        self._wanted.set()

    async def run(self) -> None:
        """Stay connected. Ends by cancellation and with its slot: an error here would end the other connections too."""
        timing = self._timing
        delays = backoff(timing.backoff_base, timing.backoff_cap)
        try:
            while True:
                reason: Exception | str
                token = await self._tokens.current()
                if token is None:
                    logger.warning("%s: nobody is logged in; waiting for a token", self.name)
                    await self._await_token(None)
                    continue
                await self._guard.permit()
                self._set_state(ConnectionState.CONNECTING)
                try:
                    with self._slot.dialled():
                        await self._dial_and_serve(token)
                except SlotLost as exc:
                    logger.warning("%s ends: %s", self.name, exc)
                    return
                except SessionExpired:
                    if await self._tokens.is_dead(token):
                        logger.error("%s: the broker refused the access token; log in again", self.name)
                        await self._await_token(token)
                        delays = backoff(timing.backoff_base, timing.backoff_cap)
                        continue
                    delay = timing.refused * random.uniform(1, 1.25)  # noqa: S311 - spreads load
                    reason = "refused with a token that works elsewhere; has the app its streaming plan?"
                except TooManyConnections as exc:
                    delay = timing.refused * random.uniform(1, 1.25)  # noqa: S311 - spreads load
                    reason = exc
                except MuteFeed as exc:
                    delay, reason = next(delays), exc
                    if self._note_mute() and await self._tokens.is_dead(token):
                        await self._await_token(token)
                        continue
                except (OSError, InvalidHandshake, HandshakeRefused, ConnectionLost) as exc:
                    if self._was_steady():
                        delays = backoff(timing.backoff_base, timing.backoff_cap)
                    delay, reason = next(delays), exc
                logger.warning("%s lost: %s; trying again in %.1f s", self.name, reason or "timed out", delay)
                self.reconnects += 1
                self.tries_again_at = self._clock() + delay
                self._set_state(ConnectionState.WAITING)
                await asyncio.sleep(delay)
        finally:
            self._set_state(ConnectionState.CLOSED)

    async def _await_token(self, since: AccessToken | None) -> None:
        self._set_state(ConnectionState.AWAITING_TOKEN)
        await self._tokens.changed(since)
        logger.info("%s: there is a new token", self.name)

    async def _dial_and_serve(self, token: AccessToken) -> None:
        async with AsyncExitStack() as stack:
            websocket = await self._while_ours(stack.enter_async_context(self._dial(token)))
            try:
                await self._serve(websocket)
            finally:
                if not self._slot.is_live:  # no time for the closing handshake
                    websocket.transport.abort()

    async def _while_ours(self, dialling: Coroutine[Any, Any, ClientConnection]) -> ClientConnection:
        """The socket that is being dialled; raises SlotLost, and gives it up, if the lease is over before."""
        task = asyncio.create_task(dialling, name=f"{self.name} dial")
        try:
            while not task.done():
                self._slot.check()
                await asyncio.wait({task}, timeout=min(self._slot.seconds_left, LOOK_AT_SLOT_SECONDS))
        finally:
            task.cancel()
            await asyncio.wait({task})
        return task.result()

    async def _serve(self, websocket: ClientConnection) -> None:
        """Read and keep subscribed until the socket ends; raises ConnectionLost with the reason, or SlotLost."""
        self._data_began = None
        self._quiet_since = self._clock()
        self._asked_again = False
        self.applied = {}
        self.subscribed_at = {}
        reason, is_mute = "closed", False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._keep_subscribed(websocket), name=f"{self.name} subscriptions")
                group.create_task(self._read(websocket), name=f"{self.name} reader")
                group.create_task(self._watch_slot(), name=f"{self.name} slot")
        except* (ConnectionClosed, ConnectionLost, SlotLost) as ended:
            first = ended.exceptions[0]
            reason, is_mute = str(first), isinstance(first, MuteFeed)
        self._slot.check()
        raise MuteFeed(reason) if is_mute else ConnectionLost(reason)

    async def _watch_slot(self) -> None:
        """Raises SlotLost when the lease is over."""
        while True:
            self._slot.check()
            await asyncio.sleep(min(self._slot.seconds_left, LOOK_AT_SLOT_SECONDS))

    async def _read(self, websocket: ClientConnection) -> None:
        loop = asyncio.get_running_loop()
        silence = self._timing.silence
        try:
            async with asyncio.timeout(silence) as patience:
                while True:
                    frame = await websocket.recv()
                    self._slot.check()  # who stood still may read what another process is reading by now
                    patience.reschedule(loop.time() + silence)
                    if self.state is not ConnectionState.OPEN:
                        self._set_state(ConnectionState.OPEN)
                        self._on_open()
                    if isinstance(frame, str):
                        self._on_text(frame)
                        continue
                    self._inbox.put(frame)
                    if len(frame) > 2:
                        self._note_data()
                    else:
                        self._check_for_data()
        except TimeoutError:
            # The closing handshake of a dead link would only cost its own timeout on top.
            websocket.transport.abort()
            raise ConnectionLost(f"nothing received for {silence:g} s") from None

    def _note_data(self) -> None:
        self._data_latest = self._quiet_since = self._clock()
        self._asked_again = False
        self.mutes = 0
        last, self.last_tick_at = self.last_tick_at, time.time()
        if self._data_began is None:
            self._data_began = self._data_latest
            self._on_data(last, self.last_tick_at)

    def _check_for_data(self) -> None:
        """A heartbeat came: the link lives, but a feed that is mute in market hours is as good as none."""
        quiet = self._clock() - self._quiet_since
        if not self.desired or not self._expects_data():
            self._quiet_since = self._clock()
        elif quiet > self._timing.mute:
            raise MuteFeed(f"connected, but no data for {self._timing.mute:g} s while the market is open")
        elif quiet > self._timing.resubscribe and not self._asked_again:
            logger.warning("%s: no data for %g s while the market is open; subscribing again", self.name, quiet)
            self._asked_again = True
            self.subscribe_again(list(self.applied))

    def _note_mute(self) -> bool:
        """Count it; whether it has happened so often that the token is looked at."""
        self.mutes += 1
        if self.mutes == 1:
            self.mute_since = time.time()
        if self.mutes == MUTE_ALERT:
            logger.error("%s: no data, though it was dialled anew %d times; is the feed mute?", self.name, self.mutes)
        return self.mutes % MUTE_ALERT == 0

    def _was_steady(self) -> bool:
        """Whether the last session earned a fresh start: an open socket has not, data over a minute has."""
        return self._data_began is not None and self._data_latest - self._data_began >= self._timing.steady

    async def _keep_subscribed(self, websocket: ClientConnection) -> None:
        while True:
            self._wanted.clear()
            for request in requests_for(self.applied, self.desired):
                await websocket.send(request.text)
                request.apply(self.applied)
                if request.is_subscription:
                    self.subscribed_at |= dict.fromkeys(request.tokens, self._clock())
                await asyncio.sleep(self._timing.between_requests)
            await self._wanted.wait()
            await asyncio.sleep(self._timing.settle)

    def _set_state(self, state: ConnectionState) -> None:
        if state is not self.state:
            logger.info("%s: %s → %s", self.name, self.state, state)
            self.state = state
