"""One account's share of the stream in this process: its sockets, its token, its order updates, and how they are."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Final

from streaming import broker_messages
from streaming.connection import ConnectionState, Dial, DialGuard, TickerConnection, Timing
from streaming.feed_account import FeedAccount, StoredTokens
from streaming.inbox import Inbox
from streaming.leases import HeldSlot
from streaming.order_updates import OrderUpdates
from streaming.pool import ConnectionPool
from streaming.socket_names import socket_name
from streaming.state import AccountState
from streaming.wire_requests import Mode

LOST_SECONDS: Final = 30.0


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """What every feed is told.

    `on_data`: with a socket's name, when it last had data (Unix seconds), and now. `on_moved`: with instruments that
    another socket carries from now on, when theirs last had data, and now.
    """

    dial: Dial
    inbox: Inbox
    counters: "Counter[str]"
    on_data: Callable[[str, float | None, float], None]
    on_moved: Callable[[frozenset[int], float, float], None]
    in_session: Callable[[Collection[str]], bool]
    timing: Timing
    look_seconds: float
    stale_seconds: float
    lost_seconds: float = LOST_SECONDS


class Feed:
    """Everything of one account. `start` it once, `stop` it once."""

    def __init__(
        self, account: FeedAccount, options: FeedOptions, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.account = account
        self.exchanges: frozenset[str] = frozenset()
        self.tokens = StoredTokens(account, look_seconds=options.look_seconds)
        self.pool = ConnectionPool(account.name, self._make)
        self._updates = OrderUpdates(account.pk, account.name, options.counters)
        self._options = options
        self._dials = DialGuard()
        self._on_text = broker_messages.Reader(account.name, options.counters, self._updates.put)
        self._clock = clock
        self._down_since: float | None = None
        self._tasks: list[asyncio.Task[None]] = []

    def start(self, group: asyncio.TaskGroup) -> None:
        name = self.account.name
        self._tasks = [
            group.create_task(self.pool.run(), name=f"{name} sockets"),
            group.create_task(self._updates.run(), name=f"{name} order updates"),
        ]

    async def stop(self) -> None:
        """Close the sockets, and write down which order updates came through them."""
        sockets, updates = self._tasks
        try:
            await _end(sockets)
            await self._updates.drained()
        finally:  # a stop may come in the middle of it, and nobody else knows of this task any more
            await _end(updates)

    def carry(self, wanted: Mapping[int, Mode], exchanges: Iterable[str]) -> None:
        """Make these, of these exchanges, the instruments that are streamed through the account."""
        self.exchanges = frozenset(exchanges)
        self.pool.want(wanted)

    # --- how it is ----------------------------------------------------------------------------------------------------

    @property
    def is_stale(self) -> bool:
        """Whether prices that should come now do not."""
        if not self.pool.open_connections:
            return True
        if not self._expects_data():
            return False  # silence is right, and the socket's heartbeats come
        last = self.pool.last_tick_at
        return last is None or time.time() - last > self._options.stale_seconds

    @property
    def status(self) -> str:
        """The account in one word: the worst state of its connections; open ones without data are `stalled`."""
        status = self.pool.status
        return "stalled" if status == ConnectionState.OPEN and self.is_stale else status

    def state(self) -> AccountState:
        return AccountState(
            status=self.status, subscriptions=self.pool.subscribed, last_tick_at=self.pool.last_tick_at
        )  # fmt: skip

    def is_lost(self) -> bool:
        """Whether others should carry its instruments: no socket has been open for long, or none will be for as long.

        The latter where nobody is logged in, and where the broker still counts another process's sockets.

        To be asked every second or so: it is what notices.
        """
        connections = self.pool.connections
        if not connections or self.pool.open_connections:
            self._down_since = None
            return False
        if self._down_since is None:
            self._down_since = self._clock()
        return self._clock() - self._down_since > self._options.lost_seconds or all(
            one.state is ConnectionState.AWAITING_TOKEN or self._waits_long(one) for one in connections
        )

    def relieve(self) -> None:
        """Have other sockets carry what is on one that the broker refused, as far as they have room.

        To be asked every second or so.
        """
        now = time.time()
        for connection, tokens in self.pool.relieve(self._waits_long):
            self._options.on_moved(tokens, connection.last_tick_at or now, now)

    def _waits_long(self, connection: TickerConnection) -> bool:
        wait = connection.tries_again_at - self._clock()
        return connection.state is ConnectionState.WAITING and wait > self._options.lost_seconds

    def _expects_data(self) -> bool:
        return self._options.in_session(self.exchanges)

    def _make(self, slot: HeldSlot) -> TickerConnection:
        name = socket_name(self.account.name, slot.number)
        return TickerConnection(
            name,
            dial=self._options.dial,
            tokens=self.tokens,
            inbox=self._options.inbox,
            on_text=self._on_text,
            guard=self._dials,
            slot=slot,
            on_open=self._updates.opened,
            on_data=partial(self._options.on_data, name),
            expects_data=self._expects_data,
            timing=self._options.timing,
        )


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
