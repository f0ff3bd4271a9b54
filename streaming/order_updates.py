"""Order updates on their way from the broker's sockets to the tables: beside the ticks, which never wait for them.

None is lost unnoticed. What the queue cannot hold, or the database does not take, is owed: the account's order book is
read instead, and so it is after each time a socket was opened, since nobody knows what was missed before.
"""

import asyncio
import contextlib
import logging
from collections import Counter, deque
from collections.abc import Callable, Sequence
from typing import Any

from channels.db import database_sync_to_async
from django.db import Error as DatabaseError

from accounts.cancellation import raise_if_cancelled
from orders.incoming import take_updates, want_reading

logger = logging.getLogger(__name__)

MOST_WAITING = 1000
AGAIN_SECONDS = 1.0
DRAIN_SECONDS = 2.0


class OrderUpdates:
    """Those of one account. `put` and `opened` are called by its sockets and return at once; `run` does the work."""

    def __init__(
        self,
        account_id: int,
        name: str,
        counters: "Counter[str]",
        *,
        take: Callable[[int, Sequence[Any]], None] = take_updates,
        want: Callable[[int], None] = want_reading,
        most: int = MOST_WAITING,
        again_seconds: float = AGAIN_SECONDS,
    ) -> None:
        self._account_id = account_id
        self._name = name
        self._counters = counters
        # Threads of their own: a slow table must not hold up what the stream itself asks of the database.
        self._take = database_sync_to_async(take, thread_sensitive=False)
        self._want = database_sync_to_async(want, thread_sensitive=False)
        self._most = most
        self._again_seconds = again_seconds
        self._waiting: deque[Any] = deque()
        self._owes = False
        self._work = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def put(self, update: Any) -> None:
        """Take one in. Where the queue is full it is let go, and the book is owed."""
        if len(self._waiting) >= self._most:
            self._counters["order_updates_owed"] += 1
            self._owe()
            return
        self._waiting.append(update)
        self._wake()

    def opened(self) -> None:
        """A socket has opened: what happened before it did was not heard."""
        self._owe()

    async def run(self) -> None:
        """Write down what comes until cancelled. No absent database ends it."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._waiting or self._owes:
                if not await self._turn():
                    await asyncio.sleep(self._again_seconds)
                raise_if_cancelled()
            self._idle.set()

    async def drained(self) -> None:
        """Wait until nothing is waiting, for a moment at most."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                await self._idle.wait()

    async def _turn(self) -> bool:
        """Everything that waits now, and then what is owed. Whether the database took it."""
        updates = list(self._waiting)
        self._waiting.clear()
        owed = self._owes
        try:
            if updates:
                await self._take(self._account_id, updates)
            if owed:
                self._owes = False  # before asking: what is owed meanwhile is owed again
                await self._want(self._account_id)
        except DatabaseError as exc:
            logger.warning("%s: %d order updates could not be written down: %s", self._name, len(updates), exc)
            self._counters["order_updates_owed"] += len(updates)
            self._owes = True
            return False
        except Exception:  # whatever is wrong with one of them must not silence those that follow
            logger.exception("%s: %d order updates could not be taken over", self._name, len(updates))
            self._counters["order_updates_owed"] += len(updates)
            self._owes = True
            return False
        return True

    def _owe(self) -> None:
        self._owes = True
        self._wake()

    def _wake(self) -> None:
        self._idle.clear()
        self._work.set()
