"""The control channel: short messages to the running processes, such as "subscriptions changed"."""

import logging
from functools import lru_cache, partial
from typing import Any

import orjson
import redis
from django.conf import settings
from django.db import transaction
from redis.backoff import NoBackoff
from redis.retry import Retry

logger = logging.getLogger(__name__)


def control_channel() -> str:
    return f"{settings.REDIS_PREFIX}:control"


def announce(message: dict[str, Any]) -> None:
    """Publish `message` once the transaction has committed (at once outside of one).

    Redis may be away: then nobody is told, which is logged and no error. What a message says is always in the database
    too, and readers look there from time to time.
    """
    transaction.on_commit(partial(_publish, orjson.dumps(message)), robust=True)


def _publish(payload: bytes) -> None:
    try:
        _client(settings.REDIS_URL).publish(control_channel(), payload)
    except redis.RedisError as exc:
        logger.warning("control message %s not delivered: %s", payload.decode(), exc)


@lru_cache(maxsize=4)
def _client(url: str) -> "redis.Redis":
    return redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=1, retry=Retry(NoBackoff(), 0))
