"""A database that may lose a commit sends no order in production."""

from collections.abc import Iterator

import pytest
from django.db import connection
from pytest_django import Settings

from accounts.models import TradingAccount
from orders.durability import keeps_what_it_commits, problems
from orders.execute import may_send

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    keeps_what_it_commits.cache_clear()
    yield
    keeps_what_it_commits.cache_clear()


def forget_commits() -> None:
    with connection.cursor() as cursor:
        cursor.execute("set local synchronous_commit to off")


def test_a_server_that_acknowledges_before_it_has_written_is_named() -> None:
    forget_commits()
    assert any("synchronous_commit is off" in problem for problem in problems())


def test_in_production_nothing_is_sent_through_it(settings: Settings, account: TradingAccount) -> None:
    forget_commits()
    settings.PRODUCTION = True
    assert not may_send(account)


def test_elsewhere_it_is_only_said(
    settings: Settings, account: TradingAccount, caplog: pytest.LogCaptureFixture
) -> None:
    forget_commits()
    settings.PRODUCTION = False
    assert may_send(account)
    assert "sent twice after a crash" in caplog.text
