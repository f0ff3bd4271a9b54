"""Counting by the minute over all processes; by this process alone while Redis is away, but never not at all."""

import time

from django.core.cache import BaseCache, cache
from django.core.cache.backends.locmem import LocMemCache
from redis.exceptions import RedisError

SECONDS = 60
LEFT_ALONE_SECONDS = 1.0


class MinuteCount:
    """Counts of one kind of thing, each by whom it is of."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._in_this_process = LocMemCache(kind, {})
        self._away_until = 0.0

    @property
    def is_redis_away(self) -> bool:
        """Whether Redis did not answer a moment ago: it is left alone then, since one that hangs costs a second."""
        return time.monotonic() < self._away_until

    def add(self, whose: str) -> int:
        """Count one more. How many there were in this minute, that one included."""
        if not self.is_redis_away:
            try:
                return self._add(cache, whose)
            except RedisError:
                self._away_until = time.monotonic() + LEFT_ALONE_SECONDS
        return self._add(self._in_this_process, whose)

    def so_far(self, whose: str) -> int:
        """How many there were in this minute."""
        name = self._name(whose)
        if not self.is_redis_away:
            try:
                return int(cache.get(name, 0))
            except RedisError:
                self._away_until = time.monotonic() + LEFT_ALONE_SECONDS
        return int(self._in_this_process.get(name, 0))

    def _add(self, where: BaseCache, whose: str) -> int:
        name = self._name(whose)
        where.add(name, 0, 2 * SECONDS)
        try:
            return where.incr(name)
        except ValueError:  # it ran out in between
            return 1

    def _name(self, whose: str) -> str:
        return f"{self._kind}:{whose}:{_minute()}"

    def forget(self) -> None:
        """Begin anew in this process; what Redis has counted stays."""
        self._in_this_process.clear()
        self._away_until = 0.0


def _minute() -> int:
    return int(time.time() // SECONDS)
