"""At most two calls of an account at once, over all processes, so that a broker that hangs holds up two and not all.

A place ends by itself after a while, in case its holder died; whoever comes back late from a call frees only the place
that is still its own. One more place is kept for cancels and exits. While Redis is away each process counts its own.
"""

import random
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from django.conf import settings

from accounts.exceptions import PlacesTaken
from accounts.metrics import PLACES_REFUSALS
from accounts.shared_scripts import RedisAway, SharedScript

_script = SharedScript("places.lua")
ASK_AGAIN_SECONDS = 0.03


def held_seconds() -> float:
    """How long a place lasts without being renewed: longer than a call can."""
    return float(2 * settings.KITE_TIMEOUT_SECONDS + 5)


class Place:
    """A place that is held. `keep` renews it, for answers that take long; `release` may be called twice."""

    def __init__(self, account: str, token: str, *, is_shared: bool) -> None:
        self._account = account
        self._token = token
        self._is_shared = is_shared
        self._renewed_at = time.monotonic()

    def keep(self) -> None:
        """Hold it for longer. Cheap to call often."""
        now = time.monotonic()
        if now - self._renewed_at < held_seconds() / 4:
            return
        self._renewed_at = now
        if not self._is_shared:
            _of_this_process.keep(self._account, self._token, held_seconds())
            return
        try:
            _run("keep", self._account, self._token)
        except RedisAway:
            return  # it ends by itself; the call goes on

    def release(self) -> None:
        if not self._is_shared:
            _of_this_process.release(self._account, self._token)
            return
        try:
            _run("release", self._account, self._token)
        except RedisAway:
            return  # it ends by itself


@contextmanager
def place(account: str, *, patience_seconds: float = 0.0, may_use_kept: bool = False) -> Iterator[Place]:
    """Hold a place of the account (a Kite user id) while the block runs. Raises as `take_place`."""
    held = take_place(account, patience_seconds=patience_seconds, may_use_kept=may_use_kept)
    try:
        yield held
    finally:
        held.release()


def take_place(account: str, *, patience_seconds: float = 0.0, may_use_kept: bool = False) -> Place:
    """Take a place that the caller releases.

    Parameters
    ----------
    patience_seconds : how long to wait for one.
    may_use_kept : for cancels and exits: also the place that is kept for them.

    Raises
    ------
    PlacesTaken
        None was free in that time.
    """
    token = uuid.uuid4().hex
    places = settings.KITE_PLACES + (settings.KITE_PLACES_KEPT if may_use_kept else 0)
    give_up_at = time.monotonic() + patience_seconds
    while True:
        try:
            yes, taken, free_in_ms = _run("take", account, token, places)
            is_shared = True
        except RedisAway:
            yes, taken, free_in_ms = _of_this_process.take(account, token, places, held_seconds())
            is_shared = False
        if yes:
            return Place(account, token, is_shared=is_shared)
        left = give_up_at - time.monotonic()
        if left <= 0:
            PLACES_REFUSALS.labels(account).inc()
            raise PlacesTaken(
                f"{taken} calls of {account} are under way, and no more may be",
                # the first may end at any moment; its own end is only the latest
                retry_after_seconds=min(1.0, max(free_in_ms / 1000, ASK_AGAIN_SECONDS)),
            )
        # Not in step with the others that wait.
        time.sleep(min(left, ASK_AGAIN_SECONDS * random.uniform(0.5, 1.5)))  # noqa: S311


def calls_under_way(account: str) -> int:
    """How many places are taken now."""
    try:
        return _run("look", account, "")[1]
    except RedisAway:
        return _of_this_process.taken(account)


def _run(op: str, account: str, token: str, places: int = 0) -> tuple[bool, int, int]:
    key = f"{settings.REDIS_PREFIX}:places:{account}"
    yes, taken, free_in_ms = _script.run([key], [op, token, round(held_seconds() * 1000), places])
    return bool(yes), taken, free_in_ms


class ProcessPlaces:
    """The same in this process alone."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._ends: dict[str, dict[str, float]] = {}

    def take(self, account: str, token: str, places: int, seconds: float) -> tuple[bool, int, int]:
        with self._lock:
            ends, now = self._living(account), self._clock()
            yes = len(ends) < places
            if yes:
                ends[token] = now + seconds
            return yes, len(ends), round((min(ends.values()) - now) * 1000)

    def keep(self, account: str, token: str, seconds: float) -> None:
        with self._lock:
            ends = self._living(account)
            if token in ends:
                ends[token] = self._clock() + seconds

    def release(self, account: str, token: str) -> None:
        with self._lock:
            self._living(account).pop(token, None)

    def taken(self, account: str) -> int:
        with self._lock:
            return len(self._living(account))

    def _living(self, account: str) -> dict[str, float]:
        now = self._clock()
        ends = {token: end for token, end in self._ends.get(account, {}).items() if end > now}
        self._ends[account] = ends
        return ends


_of_this_process = ProcessPlaces()
