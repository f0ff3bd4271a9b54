"""Breakers that all processes share: a broker that fails for one is left alone by all.

Each has a name (`AB1234:data`) and a generation, which grows whenever its state changes. Whoever asks is given the
generation, and a report of an older one counts for nothing: a call that hung for a minute says nothing about now. While
Redis is away each process has breakers of its own, by the same rules.
"""

import threading
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from enum import StrEnum

from django.conf import settings

from accounts.exceptions import BreakerOpen
from accounts.metrics import BREAKER_REFUSALS
from accounts.shared_scripts import RedisAway, SharedScript

_script = SharedScript("breaker.lua")


class Group(StrEnum):
    """What fails together: an account has a breaker for each."""

    ORDERS = "orders"
    DATA = "data"
    SESSION = "session"


class BreakerState(StrEnum):
    CLOSED = "closed"
    HALF_OPEN = "half_open"
    OPEN = "open"


class Outcome(StrEnum):
    """How a call ended, as far as the broker's health goes."""

    OK = "ok"
    FAILED = "failed"
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class Permit:
    """The right to make one call; to be handed back with `report`.

    `is_clean`: it was closed and no failure was counted, so that a call which does not fail changes nothing.
    """

    name: str
    asker: str
    generation: int
    is_shared: bool
    is_clean: bool


@dataclass(frozen=True, slots=True)
class Refusal:
    state: BreakerState
    wait_seconds: float


def breaker_name(account: str, group: Group) -> str:
    """The breaker of one account's group of calls: `AB1234:data`."""
    return f"{account}:{group}"


def breaker_names(account: str) -> list[str]:
    """All breakers of one account."""
    return [breaker_name(account, group) for group in Group]


def ask(name: str, *, urgent: bool = False) -> Permit:
    """The right to make a call.

    Parameters
    ----------
    urgent : cancels, exits and the reads that settle unknown orders go through an open breaker too.

    Raises
    ------
    BreakerOpen
        With the seconds until the next try is let through.
    """
    asker = uuid.uuid4().hex
    try:
        go, state, generation, wait_ms, failures = _run("ask", name, asker)
        is_clean = failures == 0 and state.decode() == BreakerState.CLOSED
        permit = Permit(name, asker, generation, is_shared=True, is_clean=is_clean)
        refusal = None if go == 1 else Refusal(BreakerState(state.decode()), wait_ms / 1000)
    except RedisAway:
        permit, refusal = _of_this_process.ask(name, asker)
    if refusal is not None and not urgent:
        BREAKER_REFUSALS.labels(name).inc()
        raise BreakerOpen(
            f"the broker failed too often: {name} is {refusal.state.replace('_', ' ')}",
            retry_after_seconds=max(refusal.wait_seconds, 0.001),
        )
    return permit


def report(permit: Permit, outcome: Outcome) -> None:
    """Say how the call ended. A permit of an earlier generation, or of a time with or without Redis, says nothing."""
    if permit.is_clean and outcome is not Outcome.FAILED:
        return  # nothing to forgive: what failed meanwhile was asked for when all was well, as this was
    if not permit.is_shared:
        _of_this_process.report(permit, outcome)
        return
    try:
        _run("report", permit.name, permit.asker, permit.generation, outcome)
    except RedisAway:
        return  # it will have forgotten, or will let a probe through when its time is over


def states(names: Iterable[str]) -> dict[str, BreakerState]:
    """The shared state of each; of this process's own while Redis is away."""
    found: dict[str, BreakerState] = {}
    for name in names:
        try:
            found[name] = BreakerState(_run("look", name, "")[1].decode())
        except RedisAway:
            found[name] = _of_this_process.state(name)
    return found


def _run(op: str, name: str, asker: str, generation: int = 0, outcome: str = "") -> tuple[int, bytes, int, int, int]:
    rules = Rules.from_settings()
    go, state, current, wait_ms, failures = _script.run(
        [f"{settings.REDIS_PREFIX}:breaker:{name}"],
        [
            op,
            rules.failures,
            round(rules.open_seconds * 1000),
            rules.successes,
            round(rules.probe_seconds * 1000),
            asker,
            generation,
            outcome,
        ],
    )
    return go, state, current, wait_ms, failures


@dataclass(frozen=True, slots=True)
class Rules:
    """Failures in a row that open it, how long it stays so, successes that close it, how long a probe may take."""

    failures: int
    open_seconds: float
    successes: int
    probe_seconds: float

    @classmethod
    def from_settings(cls) -> "Rules":
        return cls(
            settings.BREAKER_FAILURES,
            settings.BREAKER_OPEN_SECONDS,
            settings.BREAKER_SUCCESSES,
            settings.BREAKER_PROBE_SECONDS,
        )


@dataclass(slots=True)
class _Breaker:
    state: BreakerState = BreakerState.CLOSED
    generation: int = 0
    failures: int = 0
    successes: int = 0
    opened: float = 0.0
    probe: str = ""
    probe_until: float = 0.0

    def change(self, to: BreakerState, now: float) -> None:
        self.state, self.generation = to, self.generation + 1
        self.failures = self.successes = 0
        self.probe = ""
        if to is BreakerState.OPEN:
            self.opened = now


class ProcessBreakers:
    """The same rules in this process alone. Bounded by the accounts there are."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._breakers: dict[str, _Breaker] = {}

    def ask(self, name: str, asker: str) -> tuple[Permit, Refusal | None]:
        """A permit, and why it is for urgent calls only."""
        rules, now = Rules.from_settings(), self._clock()
        with self._lock:
            breaker = self._breakers.setdefault(name, _Breaker())
            open_for = now - breaker.opened
            if breaker.state is BreakerState.OPEN and open_for >= rules.open_seconds:
                breaker.change(BreakerState.HALF_OPEN, now)
            refusal = None
            if breaker.state is BreakerState.OPEN:
                refusal = Refusal(breaker.state, rules.open_seconds - open_for)
            elif breaker.state is BreakerState.HALF_OPEN and breaker.probe and breaker.probe_until > now:
                refusal = Refusal(breaker.state, breaker.probe_until - now)
            elif breaker.state is BreakerState.HALF_OPEN:
                breaker.probe, breaker.probe_until = asker, now + rules.probe_seconds
            is_clean = breaker.state is BreakerState.CLOSED and not breaker.failures
            return Permit(name, asker, breaker.generation, is_shared=False, is_clean=is_clean), refusal

    def report(self, permit: Permit, outcome: Outcome) -> None:
        rules, now = Rules.from_settings(), self._clock()
        with self._lock:
            breaker = self._breakers.setdefault(permit.name, _Breaker())
            if permit.generation != breaker.generation:
                return
            if breaker.probe == permit.asker:
                breaker.probe = ""
            match outcome, breaker.state:
                case Outcome.OK, BreakerState.CLOSED:
                    breaker.failures = 0
                case Outcome.OK, BreakerState.HALF_OPEN:
                    breaker.successes += 1
                    if breaker.successes >= rules.successes:
                        breaker.change(BreakerState.CLOSED, now)
                case Outcome.FAILED, BreakerState.HALF_OPEN:
                    breaker.change(BreakerState.OPEN, now)
                case Outcome.FAILED, BreakerState.CLOSED:
                    breaker.failures += 1
                    if breaker.failures >= rules.failures:
                        breaker.change(BreakerState.OPEN, now)

    def state(self, name: str) -> BreakerState:
        with self._lock:
            breaker = self._breakers.get(name, _Breaker())
            rested = self._clock() - breaker.opened >= Rules.from_settings().open_seconds
            return BreakerState.HALF_OPEN if breaker.state is BreakerState.OPEN and rested else breaker.state


_of_this_process = ProcessBreakers()
