"""Wakes one task, when something happened or when it is time: an event with a time limit that costs no timer a wait.

A client's sender waits some times a second for what comes anyway, with a limit seconds away. The timer of an earlier
wait is left to run: at worst it wakes the task once too often.
"""

import asyncio
import time
from math import inf


class Alarm:
    """As `asyncio.Event`, for one task that waits. Times are of `time.monotonic`."""

    def __init__(self) -> None:
        self._is_set = False
        self._waiter: asyncio.Future[None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._due = inf

    def set(self) -> None:
        self._is_set = True
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def clear(self) -> None:
        self._is_set = False

    async def wait(self, until: float) -> None:
        """Wait until it is set, or at the latest until then; now and then it returns earlier. It is set afterwards."""
        if self._is_set:
            return
        loop = asyncio.get_running_loop()
        if until < self._due:
            self.close()
            self._due = until
            self._timer = loop.call_later(max(0.0, until - time.monotonic()), self._ring)
        self._waiter = loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def close(self) -> None:
        """Stop the timer, if there is one."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer, self._due = None, inf

    def _ring(self) -> None:
        self._timer, self._due = None, inf
        self.set()
