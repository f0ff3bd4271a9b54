"""Counting by the minute over all processes; by this process alone while Redis is away, but never not at all."""

import time

from django.core.cache import BaseCache, cache
from django.core.cache.backends.locmem import LocMemCache
from redis.exceptions import RedisError

SECONDS = 60


class MinuteCount:
    """Counts of one kind of thing, each by whom it is of."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._in_this_process = LocMemCache(kind, {})

    def add(self, whose: str) -> int:
        """Count one more. How many there were in this minute, that one included."""
        try:
            return self._add(cache, whose)
        except RedisError:
            return self._add(self._in_this_process, whose)

    def so_far(self, whose: str) -> int:
        """How many there were in this minute."""
        try:
            found = cache.get(self._name(whose), 0)
        except RedisError:
            found = self._in_this_process.get(self._name(whose), 0)
        return int(found)

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


def _minute() -> int:
    return int(time.time() // SECONDS)
