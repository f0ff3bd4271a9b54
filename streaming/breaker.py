"""A circuit breaker for one process and one dependency: after enough failures, stop asking for a while."""

import random
import time
from collections.abc import Callable
from enum import StrEnum


class BreakerState(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Breaker:
    """Opens after `failures` in a row, or after failing for `seconds`; one try goes through after `rest` s ± 25 %."""

    def __init__(
        self,
        *,
        failures: int = 10,
        seconds: float = 1.0,
        rest: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.state = BreakerState.CLOSED
        self._failures_allowed = failures
        self._seconds_allowed = seconds
        self._rest = rest
        self._clock = clock
        self._failures = 0
        self._failing_since = 0.0
        self._try_at = 0.0

    def allows(self) -> bool:
        """Whether to try now. After the rest one caller is told yes; it must report how it went."""
        if self.state is BreakerState.CLOSED:
            return True
        if self.state is BreakerState.OPEN and self._clock() >= self._try_at:
            self.state = BreakerState.HALF_OPEN
            return True
        return False

    def succeeded(self) -> None:
        self.state = BreakerState.CLOSED
        self._failures = 0

    def failed(self) -> None:
        now = self._clock()
        if self._failures == 0:
            self._failing_since = now
        self._failures += 1
        # One failure is never enough on its own, however long the call took.
        lasting = self._failures > 1 and now - self._failing_since >= self._seconds_allowed
        if self.state is BreakerState.HALF_OPEN or self._failures >= self._failures_allowed or lasting:
            self.state = BreakerState.OPEN
            self._try_at = now + self._rest * random.uniform(0.75, 1.25)  # noqa: S311 - spreads load
