"""One stream process at a time."""

import asyncio

import psycopg
import pytest
from django.conf import settings
from django.db import connection

from streaming.exceptions import AnotherStreamRuns
from streaming.guard import SingleProcess
from streaming.tests.fake_broker import running, until

pytestmark = pytest.mark.django_db


@pytest.fixture
def database() -> dict[str, object]:
    return {**settings.DATABASES["default"], "NAME": connection.settings_dict["NAME"]}


async def test_a_second_process_is_refused_until_the_first_has_ended(database: dict[str, object]) -> None:
    first, second = SingleProcess(database, lock=1), SingleProcess(database, lock=1)
    await first.take()
    with pytest.raises(AnotherStreamRuns, match="another run_stream works on this database already"):
        await second.take()
    await first.release()
    await second.take()
    await second.release()


async def test_a_lock_that_was_lost_with_its_connection_is_taken_again(database: dict[str, object]) -> None:
    guard = SingleProcess(database, lock=2, look_seconds=0.02)
    await guard.take()
    async with running(guard.watch()):
        lost = guard._connection
        await cut(guard)
        await until(lambda: guard._connection not in (None, lost))
        with pytest.raises(AnotherStreamRuns):
            await SingleProcess(database, lock=2).take()
    await guard.release()


async def test_who_finds_the_lock_taken_over_ends(database: dict[str, object]) -> None:
    guard, other = SingleProcess(database, lock=3, look_seconds=0.2), SingleProcess(database, lock=3)
    await guard.take()
    watching = asyncio.ensure_future(guard.watch())
    await cut(guard)
    await other.take()
    with pytest.raises(AnotherStreamRuns):
        async with asyncio.timeout(5):
            await watching
    await other.release()


async def cut(guard: SingleProcess) -> None:
    """End the connection as a restart of PostgreSQL would."""
    held = guard._connection
    assert held is not None
    async with await psycopg.AsyncConnection.connect(**guard._parameters, autocommit=True) as other:
        await other.execute("SELECT pg_terminate_backend(%s, 5000)", (held.info.backend_pid,))
