"""Fixtures of the market's tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from accounts.models import KiteApp, TradingAccount
from market import calendar, latest
from market.calendar import Calendar
from market.hours import plan_days, read_exceptions, read_regular_hours
from market.tests import chains


@pytest.fixture(autouse=True)
def _no_calendar_from_another_test() -> Iterator[None]:
    calendar.forget()
    yield
    calendar.forget()


@pytest.fixture(scope="session")
def project_calendar() -> Calendar:
    """What the project's own files say, without a database."""
    folder = Path(django_settings.MARKET_DATA_DIR)
    regular = read_regular_hours(folder / "regular_hours.csv")
    return Calendar(plan_days(regular, read_exceptions(folder / "session_exceptions.csv")), regular)


@pytest.fixture
def account(db: None) -> TradingAccount:
    """An account that may feed market data, with its owner."""
    owner = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    return TradingAccount.objects.create(kite_user_id="AB1234", label="Asha Rao", app=app, owner=owner)


@pytest.fixture
def reader(client: Client, account: TradingAccount) -> Client:
    """Somebody who may read, where the chain of `market.tests.chains` is listed."""
    chains.list_contracts()
    client.force_login(account.owner)
    cache.clear()
    return client


@pytest.fixture
def without_redis(settings: Settings) -> Iterator[None]:
    """No Redis answers, for prices and cache alike."""
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    settings.CACHES = {"default": settings.CACHES["default"] | {"LOCATION": "redis://127.0.0.1:1/1"}}
    latest._client.cache_clear()
    yield
    latest._client.cache_clear()
