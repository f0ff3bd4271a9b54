"""One account's share of the stream in this process: its sockets, its token, its order updates, and how they are."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping
from functools import partial

from streaming import broker_messages
from streaming.connection import ConnectionState, Dial, DialGuard, TickerConnection, Timing
from streaming.feed_account import FeedAccount, StoredTokens
from streaming.inbox import Inbox
from streaming.leases import HeldSlot
from streaming.order_updates import OrderUpdates
from streaming.pool import ConnectionPool
from streaming.state import AccountState
from streaming.wire_requests import Mode


class Feed:
    """Everything of one account. `run` it once, `stop` it once."""

    def __init__(
        self,
        account: FeedAccount,
        *,
        dial: Dial,
        inbox: Inbox,
        counters: "Counter[str]",
        on_data: Callable[[str, float | None, float], None],
        in_session: Callable[[Collection[str]], bool],
        timing: Timing,
        look_seconds: float,
        stale_seconds: float,
        lost_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.account = account
        self.exchanges: frozenset[str] = frozenset()
        self.tokens = StoredTokens(account, look_seconds=look_seconds)
        self.pool = ConnectionPool(account.name, self._make)
        self._updates = OrderUpdates(account.pk, account.name, counters)
        self._dial = dial
        self._dials = DialGuard()
        self._inbox = inbox
        self._on_text = broker_messages.Reader(account.name, counters, self._updates.put)
        self._on_data = on_data
        self._in_session = in_session
        self._timing = timing
        self._stale_seconds = stale_seconds
        self._lost_seconds = lost_seconds
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
        return last is None or time.time() - last > self._stale_seconds

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
        """Whether others should carry its instruments: nobody is logged in, or no socket has been open for long.

        To be asked every second or so: it is what notices.
        """
        connections = self.pool.connections
        if not connections or self.pool.open_connections:
            self._down_since = None
            return False
        if self._down_since is None:
            self._down_since = self._clock()
        if all(connection.state is ConnectionState.AWAITING_TOKEN for connection in connections):
            return True
        return self._clock() - self._down_since > self._lost_seconds

    def _expects_data(self) -> bool:
        return self._in_session(self.exchanges)

    def _make(self, slot: HeldSlot) -> TickerConnection:
        name = socket_name(self.account.name, slot.number)
        return TickerConnection(
            name,
            dial=self._dial,
            tokens=self.tokens,
            inbox=self._inbox,
            on_text=self._on_text,
            guard=self._dials,
            slot=slot,
            on_open=self._updates.opened,
            on_data=partial(self._on_data, name),
            expects_data=self._expects_data,
            timing=self._timing,
        )


def socket_name(account: str, number: int) -> str:
    """What a socket is called, in all processes alike."""
    return f"{account} socket {number + 1}"


async def _end(task: "asyncio.Task[None]") -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
