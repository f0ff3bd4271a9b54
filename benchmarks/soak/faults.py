"""What befalls the broker's calls, and which process is hurt when: both follow from the seed."""

import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from benchmarks.soak.profile import LEASE_SECONDS
from benchmarks.soak.rig import Rig

Rule = dict[str, Any]

PROBABILITY = 0.3  # of a call that something befalls it
LATE_SECONDS = 1.2  # an order is in no book for so long; less than the window after which it counts as absent
BOOK = {"method": "GET", "path": "/orders"}
PLACING = {"method": "POST", "path": "/orders/{variety}"}
CHANGING = (
    {"method": "PUT", "path": "/orders/{variety}/{order_id}"},
    {"method": "DELETE", "path": "/orders/{variety}/{order_id}"},
)
LIE = {"kind": "error", "status": 400, "error_type": "OrderException", "message": "Request timed out"}
# What befalls calls that change something, each as likely as the others.
KINDS: tuple[Rule, ...] = (
    {"kind": "html", "status": 502, "after_work": True},
    {"kind": "error", "status": 503, "after_work": True},
    LIE | {"after_work": True},
    {"kind": "reset", "after_work": True},
    {"kind": "hang", "after_work": True},
    {"kind": "html", "status": 502},
    {"kind": "error", "status": 503},
    {"kind": "html", "status": 504},
    {"kind": "reset"},
    {"kind": "hang"},
    {"kind": "truncate"},
    {"kind": "drip", "bytes": 20, "seconds": 0.3},
    {"kind": "error", "status": 429},
)
BOOK_KINDS: tuple[tuple[float, Rule], ...] = (
    (0.12, {"kind": "html", "status": 502}),
    (0.06, {"kind": "empty_book"}),
    (0.06, {"kind": "short_book", "orders": 3}),
    (0.06, {"kind": "stale_book", "seconds": 5}),
)
ORDER_KINDS: tuple[tuple[float, Rule], ...] = (
    (0.05, {"kind": "late", "seconds": LATE_SECONDS}),
    (0.01, {"kind": "alter", "quantity": 7}),  # another order under our tag
)


def rules(seed: int) -> Iterator[Rule]:
    """Every rule of a run, for the simulator's control API."""
    numbers = iter(range(seed * 1000, seed * 1000 + 1000))
    for path in (PLACING, *CHANGING):
        share = PROBABILITY / len(KINDS)
        for before, kind in enumerate(KINDS):
            # Each rule sees the calls that those before it have spared, and takes an equal part of all.
            yield kind | path | {"probability": share / (1 - before * share), "seed": next(numbers)}
    for probability, kind in BOOK_KINDS:
        yield kind | BOOK | {"probability": probability, "seed": next(numbers)}
    for probability, kind in ORDER_KINDS:
        yield {"on": "order", "probability": probability, "seed": next(numbers)} | kind


def quiet_opening(user_id: str, *, reads: int) -> list[Rule]:
    """The account's first order is taken and answered 502, and for so many reads the book does not show it.

    No later order is there to prove that the book is a new one, so that its silence proves nothing.
    """
    return [
        {"kind": "html", "status": 502, "after_work": True, "user_id": user_id, "times": 1} | PLACING,
        {"kind": "empty_book", "user_id": user_id, "times": reads} | BOOK,
    ]


# --- processes -------------------------------------------------------------------------------------------------------

WORKERS = ("worker-1", "worker-2")
OTHERS = ("pump", "beat", "web")
VICTIMS = (*WORKERS, *OTHERS)
WEIGHTS = 4, 4, 1, 1, 1
INFRASTRUCTURE = ("valkey", "postgres")
# Where a worker dies or stands still in the middle of an order, and how often.
FAILPOINTS = {
    "worker-1": "order.after_claim=sigkill:0.003,order.after_mark=sigkill:0.003,order.after_response=sigkill:0.003",
    "worker-2": "order.after_claim=sigstop:0.004,order.after_mark=sigstop:0.004,order.after_response=sigstop:0.004",
}
# For the proof that fencing is needed: each halt comes right after a claim, and outlasts its lease.
WITHOUT_FENCING = {"worker-2": "order.after_claim=sigstop:0.25"}
BETWEEN_SECONDS = 5.0, 9.0
STOP_SECONDS, LONG_STOP_SECONDS = (0.5, 1.5 * LEASE_SECONDS), (2.0 * LEASE_SECONDS, 2.5 * LEASE_SECONDS)
GRACE_SECONDS = 4.0  # who has not ended so long after a SIGTERM is killed, as by every supervisor
FIRST_INFRASTRUCTURE_SECONDS, INFRASTRUCTURE_EVERY_SECONDS = (3.0, 8.0), 60.0


@dataclass(frozen=True, slots=True)
class Blow:
    """At `at` seconds of the run `signal` for `victim`; after a SIGSTOP it goes on `seconds` later."""

    at: float
    victim: str
    signal: signal.Signals
    seconds: float = 0.0


def schedule(seed: int) -> Iterator[Blow]:
    """The endless list of blows, in the order of time: a process each few seconds, a server once a minute."""
    dice = random.Random(seed)
    at, next_server = 0.0, dice.uniform(*FIRST_INFRASTRUCTURE_SECONDS)
    servers = dice.sample(INFRASTRUCTURE, len(INFRASTRUCTURE))
    while True:
        at += dice.uniform(*BETWEEN_SECONDS)
        while next_server < at:
            servers.append(servers.pop(0))
            # A fast restart of PostgreSQL: it drops all connections, and keeps what was committed.
            how = signal.SIGKILL if servers[-1] == "valkey" else signal.SIGINT
            yield Blow(next_server, servers[-1], how)
            next_server += INFRASTRUCTURE_EVERY_SECONDS
        victim = dice.choices(VICTIMS, WEIGHTS)[0]
        how = dice.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGSTOP, signal.SIGTERM))
        yield Blow(at, victim, how, dice.uniform(*STOP_SECONDS))


class Hurting(threading.Thread):
    """Carries the schedule out until it is told to stop; what stands still by then goes on."""

    def __init__(self, rig: Rig, seed: int, *, longer_than_a_lease: bool = False) -> None:
        super().__init__(name="hurting", daemon=True)
        self._rig, self._blows, self._dice = rig, schedule(seed), random.Random(-seed)
        self._stop_seconds = LONG_STOP_SECONDS if longer_than_a_lease else STOP_SECONDS
        self._over = threading.Event()
        self._wakes_at: dict[str, float] = {}
        self._dies_at: dict[str, tuple[int, float]] = {}  # by which life, and when
        self._stops = 0
        self._lives = {name: rig[name].lives for name in (*VICTIMS, *INFRASTRUCTURE)}

    @property
    def kills(self) -> int:
        """Lives that ended and times that a process stood still, by our signals and by failpoints."""
        return self._stops + sum(self._rig[name].lives - before for name, before in self._lives.items())

    def run(self) -> None:
        began, blow = time.monotonic(), next(self._blows)
        while not self._over.wait(0.1):
            passed = time.monotonic() - began
            if passed >= blow.at:
                self._rig[blow.victim].signal(blow.signal)
                if blow.signal is signal.SIGSTOP:
                    self._stopped(blow.victim, passed + blow.seconds)
                if blow.signal is signal.SIGTERM:
                    self._dies_at.setdefault(blow.victim, (self._rig[blow.victim].lives, passed + GRACE_SECONDS))
                blow = next(self._blows)
            for name in VICTIMS:
                self._let_go(name, passed)
                self._end_patience(name, passed)
        for name in VICTIMS:
            self._rig[name].signal(signal.SIGCONT)

    def end(self) -> None:
        self._over.set()
        self.join()

    def _stopped(self, name: str, wakes_at: float) -> None:
        if name not in self._wakes_at:
            self._stops += 1
            self._wakes_at[name] = wakes_at

    def _end_patience(self, name: str, passed: float) -> None:
        life, dies_at = self._dies_at.get(name, (0, 0.0))
        if life == self._rig[name].lives and passed >= dies_at:
            self._rig[name].signal(signal.SIGKILL)
        if life and (life != self._rig[name].lives or passed >= dies_at):
            del self._dies_at[name]

    def _let_go(self, name: str, passed: float) -> None:
        """Wake what has stood still for long enough, whether we stopped it or a failpoint did."""
        if not self._rig[name].is_stopped:
            self._wakes_at.pop(name, None)
            return
        self._stopped(name, passed + self._dice.uniform(*self._stop_seconds))
        if passed >= self._wakes_at[name]:
            del self._wakes_at[name]
            self._rig[name].signal(signal.SIGCONT)
