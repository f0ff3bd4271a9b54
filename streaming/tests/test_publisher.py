"""Batches to a real Valkey, also when it goes away."""

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import redis.asyncio as redis
from channels.layers import get_channel_layer
from django.conf import settings

from market.names import RedisNames
from streaming.breaker import Breaker, BreakerState
from streaming.publisher import QUEUE_BATCHES, PartPayload, Publisher, hot_path_client, merge
from streaming.tests.fake_broker import running, until
from streaming.tests.proxy import Proxy

NAMES = RedisNames("ticker")


def whole(text: str) -> PartPayload:
    return PartPayload((f"whole {text}\n".encode(),), is_whole=True)


def change(text: str) -> PartPayload:
    return PartPayload((f"change {text}\n".encode(),), is_whole=False)


class Messages:
    """What arrives on the tick channels."""

    def __init__(self) -> None:
        self.received: list[tuple[str, list[str]]] = []

    @property
    def lines(self) -> list[str]:
        return [line for _, lines in self.received for line in lines]

    async def listen(self, client: "redis.Redis", ready: asyncio.Event) -> None:
        async with client.pubsub() as pubsub:
            await pubsub.psubscribe("ticker:*:options", "ticker:*:underlying")
            async for message in pubsub.listen():
                if message["type"] == "psubscribe":
                    ready.set()
                else:
                    self.received.append((message["channel"].decode(), message["data"].decode().splitlines()))


@pytest.fixture
async def messages(async_valkey: "redis.Redis") -> AsyncIterator[Messages]:
    heard, ready = Messages(), asyncio.Event()
    listener = redis.Redis.from_url(settings.REDIS_URL, socket_timeout=None)
    async with listener, running(heard.listen(listener, ready)):
        await ready.wait()
        yield heard


@pytest.fixture
async def hot_client() -> AsyncIterator["redis.Redis"]:
    async with hot_path_client(settings.REDIS_URL) as client:
        yield client


async def publishes(client: "redis.Redis") -> int:
    return int((await client.info("commandstats")).get("cmdstat_publish", {}).get("calls", 0))


async def test_one_publish_per_channel_whatever_the_number_of_parts(
    async_valkey: "redis.Redis", messages: Messages, hot_client: "redis.Redis"
) -> None:
    publisher = Publisher(hot_client, NAMES)
    before = await publishes(async_valkey)
    async with running(publisher.run()):
        for flush in range(3):
            publisher.put(
                {f"nifty:2026-12-{day:02}": whole(f"{flush}.{day}") for day in range(1, 31)}
                | {"nifty:underlying": whole(f"{flush}.u"), "banknifty:2026-12-29": whole(f"{flush}.b")}
            )
            await publisher.drained()
        await until(lambda: len(messages.received) == 9)
    assert await publishes(async_valkey) - before == 9  # three channels, three flushes
    assert sorted(len(lines) for _, lines in messages.received) == [1] * 6 + [30] * 3


async def test_a_blob_is_the_newest_whole_line_and_what_changed_since(
    async_valkey: "redis.Redis", hot_client: "redis.Redis"
) -> None:
    publisher = Publisher(hot_client, NAMES)
    async with running(publisher.run()):
        for payload in (whole("1"), change("2"), whole("3"), change("4"), change("5")):
            publisher.put({"nifty:underlying": payload})
            await publisher.drained()
    assert await async_valkey.get("ticker:latest:nifty:underlying") == b"whole 3\nchange 4\nchange 5\n"
    assert await async_valkey.ttl("ticker:latest:nifty:underlying") > 0


async def test_a_queue_that_is_full_loses_nothing(
    async_valkey: "redis.Redis", messages: Messages, hot_client: "redis.Redis"
) -> None:
    publisher = Publisher(hot_client, NAMES)
    publisher.put({"nifty:underlying": whole("1"), "nifty:2026-12-01": whole("1")})
    for number in range(2, QUEUE_BATCHES + 2):
        publisher.put({"nifty:underlying": change(str(number))})
    async with running(publisher.run()):
        await publisher.drained()
        await until(lambda: "change 5" in messages.lines)
    assert len(messages.received) == QUEUE_BATCHES + 1  # the oldest two batches went as one, on two channels
    of_underlying = [line for line in messages.lines if line != "whole 1"]
    assert of_underlying == ["change 2", "change 3", "change 4", "change 5"]
    stored = await async_valkey.get("ticker:latest:nifty:underlying")
    assert stored == b"whole 1\nchange 2\nchange 3\nchange 4\nchange 5\n"


def test_merging_puts_line_behind_line_and_drops_what_a_whole_one_makes_superfluous() -> None:
    merged = merge({"a": whole("1"), "b": change("1")}, {"a": change("2"), "b": whole("2"), "c": change("2")})
    assert merged == {
        "a": PartPayload((b"whole 1\n", b"change 2\n"), is_whole=True),
        "b": whole("2"),
        "c": change("2"),
    }


async def test_when_redis_comes_back_every_part_is_sent_once_in_full(messages: Messages) -> None:
    async with Proxy(settings.REDIS_URL).running() as proxy, hot_path_client(proxy.url) as client:
        publisher = Publisher(client, NAMES, breaker=Breaker(failures=3, rest=0.05))
        async with running(publisher.run()):
            publisher.put({"nifty:2026-12-01": whole("old"), "nifty:underlying": whole("1")})
            await publisher.drained()
            await proxy.cut()
            for number in range(2, 9):
                publisher.put({"nifty:underlying": change(str(number))})
                await publisher.drained()
            assert publisher.breaker.state is BreakerState.OPEN
            assert publisher.dropped >= 1
            await proxy.restore()

            def closed() -> bool:
                publisher.settle()
                return publisher.breaker.state is BreakerState.CLOSED

            await until(closed)
            await until(lambda: "change 8" in messages.lines)
    in_full = ["whole 1", *(f"change {number}" for number in range(2, 9))]
    assert sorted(messages.lines) == sorted(["whole old", "whole 1", "whole old", *in_full])


async def test_no_tick_waits_for_a_redis_that_hangs() -> None:
    async with (
        Proxy(settings.REDIS_URL).running() as proxy,
        hot_path_client(proxy.url, timeout_seconds=0.05) as client,
    ):
        publisher = Publisher(client, NAMES)
        async with running(publisher.run()):
            publisher.put({"nifty:underlying": whole("1")})
            await publisher.drained()
            proxy.hold()
            began = time.perf_counter()
            for number in range(100):
                publisher.put({"nifty:underlying": whole(str(number))})
            assert time.perf_counter() - began < 0.05  # no await: this is arithmetic
            assert publisher.pending_bytes < 5 * len(b"whole 99\n")
            await until(lambda: publisher.failures > 0)


async def test_each_underlyings_group_gets_each_batch_once(
    async_valkey: "redis.Redis", hot_client: "redis.Redis"
) -> None:
    layer = get_channel_layer()
    name = await layer.new_channel()
    await layer.group_add("ticks.nifty", name)
    publisher = Publisher(hot_client, NAMES, layer=layer)
    async with running(publisher.run()):
        publisher.put({"nifty:underlying": whole("u"), "nifty:2026-12-01": change("o")})
        async with asyncio.timeout(5):
            message = await layer.receive(name)
    await layer.flush()
    assert message == {"type": "ticks.batch", "data": b"whole u\nchange o\n"}


def test_the_breaker_opens_after_ten_failures_and_lets_one_try_through_later() -> None:
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0])
    for _ in range(9):
        breaker.failed()
    assert breaker.allows()
    breaker.failed()
    assert not breaker.allows()
    now[0] = 2.6
    assert [breaker.allows(), breaker.allows()] == [True, False]
    breaker.failed()
    assert not breaker.allows()
    now[0] = 5.2
    assert breaker.allows()
    breaker.succeeded()
    assert breaker.allows()


def test_the_breaker_opens_after_failing_for_a_second_too() -> None:
    now = [0.0]
    breaker = Breaker(clock=lambda: now[0])
    breaker.failed()
    now[0] = 1.0
    breaker.failed()
    assert breaker.state is BreakerState.OPEN


async def test_who_has_lost_a_part_to_a_newer_writer_does_not_touch_its_blob(
    hot_client: "redis.Redis", async_valkey: "redis.Redis"
) -> None:
    old, new = Publisher(hot_client, NAMES), Publisher(hot_client, NAMES)
    old.epoch, new.epoch = 4, 5
    async with running(old.run()), running(new.run()):
        for publisher, batch in (
            (old, {"nifty:2026-12-01": whole("old"), "nifty:underlying": whole("old")}),
            (new, {"nifty:2026-12-01": whole("new")}),
            (old, {"nifty:2026-12-01": change("zombie"), "nifty:underlying": change("own")}),
            (old, {"nifty:2026-12-01": whole("zombie")}),
            (new, {"nifty:2026-12-01": change("new")}),
        ):
            publisher.put(batch)
            await publisher.drained()
        assert await async_valkey.get(NAMES.blob("nifty:2026-12-01")) == b"whole new\nchange new\n"
        assert await async_valkey.get(NAMES.blob("nifty:underlying")) == b"whole old\nchange own\n"
    assert (old.refused, new.refused) == (2, 0)
    assert await async_valkey.ttl(NAMES.writers) > 0
