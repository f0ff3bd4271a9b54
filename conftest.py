"""Fixtures that every app's tests share."""

import gc
from collections.abc import AsyncIterator, Callable, Iterator

import hypothesis
import pytest
import redis
import redis.asyncio
from celery.signals import worker_shutting_down
from django.conf import settings as django_settings
from django.db import connection
from pytest_django import DjangoDbBlocker, Settings

from accounts import stopping
from market import calendar, instrument_cache

# How long an example takes says something about the machine only; speed is measured in `benchmarks/`.
hypothesis.settings.register_profile("ticker", deadline=None)
hypothesis.settings.load_profile("ticker")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole services first, since they take longest: two workers then end together. They use no test database."""

    def is_service(item: pytest.Item) -> bool:
        uses_database = "django_db" in item.keywords or "transactional_db" in getattr(item, "fixturenames", ())
        return "processes" in item.keywords and not uses_database

    items.sort(key=lambda item: not is_service(item))


def pytest_collection_finish() -> None:
    """What is imported and collected stays to the end: the garbage collector need not look at it again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """After a test with transactions every table is emptied, which the audit refuses everywhere else."""
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute("ALTER TABLE accounts_auditevent DISABLE TRIGGER accounts_auditevent_not_emptied")
        cursor.execute("ALTER TABLE accounts_auditlink DISABLE TRIGGER accounts_auditlink_not_emptied")
    yield
    # PostgreSQL may not have noticed yet that a process is gone which a test has killed; its session would keep the
    # database from being dropped.
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity"
            " where datname = current_database() and pid <> pg_backend_pid()"
        )


@pytest.fixture
def valkey() -> Iterator["redis.Redis"]:
    """The run's own Valkey, emptied."""
    with redis.Redis.from_url(django_settings.REDIS_URL) as client:
        client.flushall()
        yield client


@pytest.fixture
async def async_valkey() -> AsyncIterator["redis.asyncio.Redis"]:
    """The same for asyncio code."""
    client = redis.asyncio.Redis.from_url(django_settings.REDIS_URL)
    await client.flushall()
    yield client
    await client.aclose()


@pytest.fixture
def stopping_worker() -> Iterator[None]:
    """This process, if it were a worker, is asked to stop."""
    worker_shutting_down.send(sender="test", sig="TERM", how="Warm", exitcode=0)
    yield
    stopping._is_asked.clear()


@pytest.fixture(autouse=True)
def fresh_calendar() -> Iterator[None]:
    """The calendar and instruments are kept in the process; a test's rows must not be seen by the next one."""
    calendar.forget()
    instrument_cache.forget()
    yield
    calendar.forget()


@pytest.fixture(autouse=True)
def quick_passwords(settings: Settings) -> None:
    """Production's hash takes a second here; no test is about it. Nor are many tests about wrong tries."""
    settings.AUTH_FAILURES_PER_MINUTE = 1_000_000
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture(scope="session")
def progress(request: pytest.FixtureRequest) -> Callable[[str], None]:
    """Tells a person at the terminal how far a long test is; a captured line would come when it is over."""
    capture = request.config.pluginmanager.getplugin("capturemanager")
    reporter = request.config.pluginmanager.getplugin("terminalreporter")

    def say(text: str) -> None:
        if capture is not None and reporter is not None:
            with capture.global_and_fixture_disabled():
                reporter.ensure_newline()
                reporter.write_line(f"  {text}")

    return say
