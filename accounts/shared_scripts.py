"""Lua scripts in Redis, through which the processes share budgets, breakers and places.

They stand in the way of every call to the broker, so nothing here waits: short timeouts, no retries, and a Redis that
did not answer is left alone for a moment, while the callers fall back to what their own process knows.
"""

import hashlib
import logging
import threading
import time
from functools import lru_cache
from pathlib import Path
from typing import Any, cast

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)

ANSWER_SECONDS = 0.25
LEFT_ALONE_SECONDS = 1.0
FOLDER = Path(__file__).with_name("lua")


class RedisAway(Exception):
    """Redis did not answer, or refused; whether the script ran is not known. `since` is monotonic."""

    def __init__(self, message: str, *, since: float) -> None:
        super().__init__(message)
        self.since = since


class SharedScript:
    """One script of `accounts/lua/`, run by its digest; a server that does not know it yet is sent the text once."""

    def __init__(self, file_name: str) -> None:
        self._text = (FOLDER / file_name).read_text(encoding="utf-8")
        self._digest = hashlib.sha1(self._text.encode(), usedforsecurity=False).hexdigest()

    def run(self, keys: list[str], arguments: list[str | int]) -> list[Any]:
        """The script's answer: integers and bytes.

        Raises
        ------
        RedisAway
            Within `ANSWER_SECONDS` at most; at once if it was away less than `LEFT_ALONE_SECONDS` ago.
        """
        server = _server(settings.REDIS_URL)
        server.raise_if_left_alone()
        try:
            try:
                answer = server.client.evalsha(self._digest, len(keys), *keys, *arguments)
            except redis.exceptions.NoScriptError:  # it was restarted: nothing has run
                answer = server.client.eval(self._text, len(keys), *keys, *arguments)
        except redis.RedisError as exc:
            raise RedisAway(f"Redis does not answer: {type(exc).__name__}", since=server.is_away(exc)) from exc
        server.answered()
        return cast(list[Any], answer)


def publish(channel: str, message: str) -> None:
    """Tell whoever listens to a channel; nobody may. Raises RedisAway as `SharedScript.run` does."""
    server = _server(settings.REDIS_URL)
    server.raise_if_left_alone()
    try:
        server.client.publish(channel, message)
    except redis.RedisError as exc:
        raise RedisAway(f"Redis does not answer: {type(exc).__name__}", since=server.is_away(exc)) from exc
    server.answered()


class _Server:
    """The client of one Redis, and when it was last found away."""

    def __init__(self, url: str) -> None:
        self.client = redis.Redis.from_url(
            url, socket_timeout=ANSWER_SECONDS, socket_connect_timeout=ANSWER_SECONDS, retry=Retry(NoBackoff(), 0)
        )
        self.away_since = 0.0
        self._ask_again_at = 0.0
        self._lock = threading.Lock()

    def raise_if_left_alone(self) -> None:
        if self.away_since and time.monotonic() < self._ask_again_at:
            raise RedisAway("Redis did not answer a moment ago", since=self.away_since)

    def is_away(self, exc: redis.RedisError) -> float:
        """Remember it; gives back since when (monotonic)."""
        with self._lock:
            now = time.monotonic()
            if not self.away_since:
                logger.warning("Redis does not answer (%s): limits are kept by this process alone", exc)
                self.away_since = now
            self._ask_again_at = now + LEFT_ALONE_SECONDS
            return self.away_since

    def answered(self) -> None:
        if self.away_since:
            with self._lock:
                self.away_since = 0.0
            logger.info("Redis answers again: limits are shared")


def away_since() -> float | None:
    """When this process found Redis away (monotonic); None if it answered last."""
    return _server(settings.REDIS_URL).away_since or None


@lru_cache(maxsize=4)
def _server(url: str) -> _Server:
    return _Server(url)
