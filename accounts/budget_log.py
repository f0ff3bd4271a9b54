"""One budget's log of charges: in Redis for all processes, or in this process alone while Redis is away."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from django.conf import settings

from accounts.budget_limits import Limits, OrderKind, RouteClass, Window
from accounts.order_days import WRITING_SECONDS, WRITTEN_EVERY_SECONDS, DayCount
from accounts.shared_scripts import SharedScript

_script = SharedScript("budget.lua")
_MICROSECONDS = 1_000_000
LONGEST_FREEZE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Budget:
    """Whose log, and under which limits. `owner` is what people are shown, `name` what stands in Redis."""

    owner: str
    name: str
    route_class: RouteClass
    limits: Limits

    @property
    def keys(self) -> list[str]:
        """The log and its facts."""
        log = f"{settings.REDIS_PREFIX}:budget:{self.name}:{self.route_class}"
        return [log, f"{log}:facts"]


@dataclass(frozen=True, slots=True)
class DayUnknown:
    """Redis does not know this day's count (days since 1970-01-01): it wants to be told first."""

    day: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a log says. `wait_seconds` is 0.0 where the call may go, and `window` then means nothing."""

    wait_seconds: float
    window: str  # second, minute, day, frozen
    day: int = 0  # days since 1970-01-01; of the day, both counts
    used_of_day: int = 0
    without_redis_of_day: int = 0
    at: int = 0  # microseconds on Redis' clock
    windows: tuple[tuple[int, float], ...] = ()  # each window's count, and seconds until the cost would fit


def ask(
    op: str,
    budget: Budget,
    *,
    kind: OrderKind | None = None,
    cost: int = 1,
    charge_id: str = "",
    known: DayCount | None = None,
) -> Answer | DayUnknown:
    """``take`` (charge if all windows allow it) or ``look``, in one step over all processes.

    Parameters
    ----------
    known : for orders, what PostgreSQL knows of the day; whether it was read just now, it says itself.

    Raises
    ------
    RedisAway
    ValueError
        The cost would not fit into an empty window.
    """
    limits = budget.limits
    with_reserve = kind is None or kind.may_use_reserve
    allowed = [window.allows(with_reserve=with_reserve) for window in limits.windows]
    if not 1 <= cost <= min(allowed):
        raise ValueError(f"a cost of {cost} never fits into {min(allowed)} a {limits.windows[0].name}")
    known = known or DayCount(-1)
    arguments: list[str | int] = [
        op,
        charge_id,
        cost,
        limits.of_day(with_reserve=with_reserve),
        int(kind is not None and kind.counts_in_day),
        known.day,
        known.used,
        known.used_without_redis,
        int(known.is_fresh),
        _to_assume_after_loss(limits, known),
        _unwritten_at_most(limits, known),
    ]
    for window, most in zip(limits.windows, allowed, strict=True):
        arguments += [round(window.seconds * _MICROSECONDS), most]
    go, wait, reason, day, used, without_redis, at, *counts = _script.run(budget.keys, arguments)
    if go == -1:
        return DayUnknown(day)
    name = {0: "day", -1: "frozen"}.get(reason) or limits.windows[reason - 1].name
    windows = tuple((counts[i], counts[i + 1] / _MICROSECONDS) for i in range(0, len(counts), 2))
    return Answer(wait / _MICROSECONDS, name, day, used, without_redis, at, windows)


def freeze(budget: Budget, seconds: float) -> None:
    """Let nothing through for `seconds` (60 at most). Raises RedisAway."""
    _script.run(budget.keys, ["freeze", "", round(seconds * _MICROSECONDS)])


def _to_assume_after_loss(limits: Limits, known: DayCount) -> int:
    """Charges to put into an empty log: all but the reserve, if the last minute may have seen any.

    Entries then wait for a minute, cancels and exits for a second, and no limit is passed.
    """
    longest = limits.windows[-1]
    return longest.allows(with_reserve=False) if known.may_have_charged_within(longest.seconds) else 0


def _unwritten_at_most(limits: Limits, known: DayCount) -> int:
    """Orders that a Redis that has lost its memory may have let through since its count was last written down."""
    if known.seconds_ago is None:  # the first charge of a day is written down before it is made
        return 0
    shortest = limits.windows[0]
    return shortest.limit * math.ceil((WRITTEN_EVERY_SECONDS + WRITING_SECONDS) / shortest.seconds)


class ProcessLogs:
    """Logs of this process alone, for data calls while Redis is away.

    The processes do not see each other then, so each window is as many times as long as processes may share the key.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._logs: dict[str, deque[float]] = {}
        self._frozen_until: dict[str, float] = {}

    def take(self, budget: Budget, *, away_since: float) -> float:
        """Charge one call, or say how many seconds to wait.

        `away_since` is when Redis was found away (monotonic): what it counted until then is assumed to be full.
        """
        with self._lock:
            wait = self._wait(budget, away_since)
            if wait == 0:
                self._logs.setdefault(budget.keys[0], deque()).append(self._clock())
            return wait

    def look(self, budget: Budget, *, away_since: float) -> float:
        with self._lock:
            return self._wait(budget, away_since)

    def just_used(self, budget: Budget) -> float:
        """Seconds during which Redis, back again, does not know of this process's own latest call; mostly 0.0."""
        if not self._logs:
            return 0.0
        with self._lock:
            log = self._logs.get(budget.keys[0])
            left = log[-1] + budget.limits.windows[0].seconds - self._clock() if log else 0.0
            if left <= 0:
                self._logs.pop(budget.keys[0], None)
            return max(left, 0.0)

    def freeze(self, budget: Budget, seconds: float) -> None:
        with self._lock:
            self._frozen_until[budget.keys[0]] = self._clock() + min(seconds, LONGEST_FREEZE_SECONDS)

    def _wait(self, budget: Budget, away_since: float) -> float:
        [window] = budget.limits.windows
        now, seconds = self._clock(), _stretched(window)
        log = self._logs.setdefault(budget.keys[0], deque())
        while log and log[0] <= now - seconds:
            log.popleft()
        free_at = log[0] + seconds if len(log) >= window.limit else 0.0
        free_at = max(free_at, self._frozen_until.get(budget.keys[0], 0.0), away_since + window.seconds)
        return max(free_at - now, 0.0)


def _stretched(window: Window) -> float:
    return window.seconds * float(max(1, settings.DATA_BUDGET_PROCESSES))
