"""Answers that take the database a while, kept in the cache until they may have changed."""

from collections.abc import Callable
from typing import TypeVar

from django.core.cache import cache
from redis.exceptions import RedisError

Value = TypeVar("Value")


def kept(key: str, find: Callable[[], Value], seconds: int) -> Value:
    """What `find` gives, asked again after so many seconds; never None. A cache that is away is done without."""
    key = "kept:" + key.replace(" ", "_")
    try:
        value: Value | None = cache.get(key)
        if value is None:
            value = find()
            cache.set(key, value, seconds)
    except RedisError:
        return find()
    return value
