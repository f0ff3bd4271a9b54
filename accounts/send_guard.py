"""A time limit for what is awaited often and hardly ever waits: one timer for many calls, not one for each."""

import asyncio
import time
from collections.abc import Awaitable


class SendGuard:
    """Lets no call take longer than `seconds`; several tasks may call at once."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[asyncio.Task[object], float] = {}
        self._overdue: set[asyncio.Task[object]] = set()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, call: Awaitable[object]) -> None:
        """Await the call. Raises TimeoutError if it took too long; it was cancelled then."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine runs in one
        self._since[task] = time.monotonic()
        if self._timer is None:
            self._look_in(self._seconds)
        try:
            await call
        except asyncio.CancelledError as exc:
            # Whoever cancelled the task besides is still to be obeyed.
            if task in self._overdue and task.uncancel() == 0:
                raise TimeoutError(f"not sent in {self._seconds:g} s") from exc
            raise
        finally:
            del self._since[task]
            self._overdue.discard(task)

    def close(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look_in(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        """Cancel what is overdue, and look again when the next one would be; nothing is going on most of the time."""
        self._timer = None
        now = time.monotonic()
        for task, since in self._since.items():
            # A timer may come a little early.
            if now - since >= self._seconds - 0.005 and task not in self._overdue:
                self._overdue.add(task)
                task.cancel()
        if waiting := [since for task, since in self._since.items() if task not in self._overdue]:
            self._look_in(max(0.0, min(waiting) + self._seconds - now))
