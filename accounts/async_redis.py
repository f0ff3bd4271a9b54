"""Redis for the tasks of an event loop: a client that fails at once, and always with Redis's own errors."""

from collections.abc import Iterable
from typing import Any

import redis.asyncio as redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff


def async_client(url: str, *, read_seconds: float | None, connect_seconds: float) -> "redis.Redis":
    """A client for one event loop; whoever uses it decides when to try again.

    Parameters
    ----------
    read_seconds : how long to wait for an answer; None for subscriptions, where silence is normal
    """
    client = redis.Redis.from_url(
        url,
        socket_timeout=read_seconds,
        socket_connect_timeout=connect_seconds,
        retry=Retry(NoBackoff(), 0),
        health_check_interval=0,
    )
    pool = client.connection_pool
    pool.connection_class = _saying_what_it_is(pool.connection_class)
    return client


def _saying_what_it_is(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """uvloop says RuntimeError of a connection that has just closed, where asyncio would lose the bytes unsaid."""

    class Connection(kind):  # type: ignore[misc, valid-type]
        async def send_packed_command(self, command: bytes | str | Iterable[bytes], check_health: bool = True) -> Any:
            try:
                return await super().send_packed_command(command, check_health)
            except RuntimeError as exc:
                raise redis.ConnectionError(str(exc)) from exc

    return Connection
