"""Fixtures that every app's tests share."""

from collections.abc import AsyncIterator, Iterator

import pytest
import redis
import redis.asyncio
from django.conf import settings


@pytest.fixture
def valkey() -> Iterator["redis.Redis"]:
    """The run's own Valkey, emptied."""
    with redis.Redis.from_url(settings.REDIS_URL) as client:
        client.flushall()
        yield client


@pytest.fixture
async def async_valkey() -> AsyncIterator["redis.asyncio.Redis"]:
    """The same for asyncio code."""
    client = redis.asyncio.Redis.from_url(settings.REDIS_URL)
    await client.flushall()
    yield client
    await client.aclose()
