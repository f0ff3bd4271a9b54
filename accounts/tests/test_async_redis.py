"""Redis under uvloop, where a connection ends at the wrong moment."""

import asyncio
from collections.abc import Callable

import pytest
import redis.asyncio as redis
import uvloop
from django.conf import settings
from redis.asyncio.client import PubSub

from accounts.async_redis import async_client


@pytest.mark.parametrize("loop_factory", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_connection_that_has_just_closed_is_an_error_of_redis_under_every_loop(
    valkey: object, loop_factory: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def speak_to_nobody() -> None:
        client = async_client(settings.REDIS_URL, read_seconds=1, connect_seconds=1)
        async with client, client.pubsub() as pubsub:
            await pubsub.subscribe("something")
            pubsub.connection._writer.transport.abort()
            await asyncio.sleep(0.01)
            with pytest.raises((redis.RedisError, OSError)):
                await ask(pubsub)
            assert await client.ping()

    async def ask(pubsub: PubSub) -> None:
        await pubsub.ping()
        await pubsub.get_message(timeout=1)

    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(speak_to_nobody())
