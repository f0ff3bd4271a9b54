"""Order updates beside the ticks: written down in order, in nobody's way, and none lost without a look at the book."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest
from django.db import OperationalError

from streaming.order_updates import OrderUpdates
from streaming.tests.fake_broker import until

ACCOUNT = 7


class Tables:
    """What the database was given; it can be slow, or away."""

    def __init__(self) -> None:
        self.taken: list[Any] = []
        self.wants = 0
        self.is_away = False
        self.seconds = 0.0

    def take(self, account_id: int, updates: Sequence[Any]) -> None:
        self._answer(account_id)
        self.taken += updates

    def want(self, account_id: int) -> None:
        self._answer(account_id)
        self.wants += 1

    def _answer(self, account_id: int) -> None:
        assert account_id == ACCOUNT
        time.sleep(self.seconds)
        if self.is_away:
            raise OperationalError("the connection is lost")


@asynccontextmanager
async def running(tables: Tables, counters: "Counter[str]", *, most: int = 1000) -> AsyncIterator[OrderUpdates]:
    updates = OrderUpdates(
        ACCOUNT, "AB1234", counters, take=tables.take, want=tables.want, most=most, again_seconds=0.01
    )
    task = asyncio.create_task(updates.run())
    try:
        yield updates
        assert not task.done()
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_updates_are_written_down_in_their_order() -> None:
    tables = Tables()
    async with running(tables, Counter()) as updates:
        for number in range(200):
            updates.put({"order_id": str(number)})
            if number % 50 == 0:
                await asyncio.sleep(0)
        await updates.drained()
    assert [one["order_id"] for one in tables.taken] == [str(number) for number in range(200)]
    assert tables.wants == 0


async def test_a_slow_table_holds_nobody_up() -> None:
    tables = Tables()
    tables.seconds = 0.2
    async with running(tables, Counter()) as updates:
        updates.put({"order_id": "1"})
        await asyncio.sleep(0.02)
        began = time.monotonic()
        for number in range(500):
            updates.put({"order_id": str(number)})
        await asyncio.sleep(0)
        assert time.monotonic() - began < 0.1
        await updates.drained()
    assert len(tables.taken) == 501


async def test_what_the_queue_cannot_hold_is_owed_and_the_book_is_read_for_it() -> None:
    tables, counters = Tables(), Counter[str]()
    async with running(tables, counters, most=10) as updates:
        for number in range(25):
            updates.put({"order_id": str(number)})
        await updates.drained()
    assert len(tables.taken) == 10
    assert tables.wants == 1
    assert counters["order_updates_owed"] == 15


async def test_what_an_absent_database_does_not_take_is_owed_until_it_is_back() -> None:
    tables, counters = Tables(), Counter[str]()
    tables.is_away = True
    async with running(tables, counters) as updates:
        updates.put({"order_id": "1"})
        await asyncio.sleep(0.1)
        assert tables.wants == 0
        tables.is_away = False
        await until(lambda: tables.wants == 1)
        updates.put({"order_id": "2"})
        await updates.drained()
    assert [one["order_id"] for one in tables.taken] == ["2"]
    assert counters["order_updates_owed"] == 1


async def test_after_a_socket_has_opened_the_book_is_read() -> None:
    tables = Tables()
    async with running(tables, Counter()) as updates:
        updates.opened()
        await updates.drained()
        assert tables.wants == 1
        updates.opened()
        updates.opened()
        await updates.drained()
    assert tables.wants == 2


async def test_an_update_that_breaks_something_does_not_silence_the_next_ones(caplog: pytest.LogCaptureFixture) -> None:
    tables = Tables()

    def take(account_id: int, updates: Sequence[Any]) -> None:
        if None in updates:
            raise TypeError("odd")
        tables.take(account_id, updates)

    updates = OrderUpdates(ACCOUNT, "AB1234", Counter(), take=take, want=tables.want, again_seconds=0.01)
    task = asyncio.create_task(updates.run())
    updates.put(None)
    await until(lambda: tables.wants == 1)
    updates.put({"order_id": "1"})
    await updates.drained()
    task.cancel()
    assert len(tables.taken) == 1
    assert "could not be taken over" in caplog.text
