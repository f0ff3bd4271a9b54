"""The morning's automated logins: who is due, that each happens once, and that a refusal is not repeated."""

import threading
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.db import connection
from pytest_django import Settings

from accounts import clock
from accounts.broker.login import log_in_automatically
from accounts.clock import IST
from accounts.credentials import Kind, store_secret
from accounts.exceptions import LoginFailed, LoginUnderWay
from accounts.models import BrokerSession, TradingAccount
from accounts.sessions import end_session, store_session, token_of_the_day
from accounts.tasks import refresh_tokens as refresh_tokens_task
from accounts.tests.fakes import Answer, ScriptedBroker
from accounts.token_refresh import BETWEEN_TRIES, log_in_now, refresh_tokens

MORNING = datetime(2026, 11, 25, 8, 30, tzinfo=IST)


class Hour:
    """The market clock of a test, moved by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = MORNING
        monkeypatch.setattr(clock, "now", lambda: self.now.astimezone(UTC))


@pytest.fixture(autouse=True)
def hour(monkeypatch: pytest.MonkeyPatch) -> Hour:
    return Hour(monkeypatch)


def logins(broker: ScriptedBroker) -> int:
    return sum(asked.path == "/api/login" for asked in broker.asked)


def test_who_has_opted_in_is_logged_in_once(opted_in: TradingAccount, broker: ScriptedBroker) -> None:
    assert refresh_tokens() == ["AB1234"]
    assert token_of_the_day(opted_in).text == "token-of-the-day"
    assert refresh_tokens() == []
    assert logins(broker) == 1


def test_nobody_else_is(opted_in: TradingAccount, other_account: TradingAccount, broker: ScriptedBroker) -> None:
    TradingAccount.objects.filter(pk=opted_in.pk).update(state=TradingAccount.State.DISABLED)
    assert refresh_tokens() == []
    TradingAccount.objects.filter(pk=opted_in.pk).update(state=TradingAccount.State.ENABLED, automated_login=False)
    assert refresh_tokens() == []
    assert broker.asked == []


def test_a_token_is_renewed_the_next_morning_after_the_broker_has_ended_the_old_ones(
    opted_in: TradingAccount, hour: Hour, broker: ScriptedBroker
) -> None:
    refresh_tokens()
    hour.now = datetime(2026, 11, 26, 6, 1, tzinfo=IST)  # some tokens were seen to end only at 07:30
    assert refresh_tokens() == []
    hour.now = datetime(2026, 11, 26, 7, 36, tzinfo=IST)
    assert refresh_tokens() == ["AB1234"]
    assert logins(broker) == 2


def test_a_token_that_died_by_day_is_renewed_at_once(opted_in: TradingAccount, broker: ScriptedBroker) -> None:
    refresh_tokens()
    end_session(opted_in)
    assert refresh_tokens() == ["AB1234"]


def test_a_refusal_is_noted_and_not_repeated_before_the_next_day(
    opted_in: TradingAccount, hour: Hour, broker: ScriptedBroker
) -> None:
    broker.refuse("POST /api/login", 400, "InputException", "Invalid username or password.")
    assert refresh_tokens() == []
    session = BrokerSession.objects.get()
    assert session.login_failed_at == MORNING
    assert "Invalid username or password." in session.login_failure
    hour.now = MORNING + timedelta(hours=8)
    assert refresh_tokens() == []
    assert logins(broker) == 1
    hour.now = MORNING + timedelta(days=1)
    refresh_tokens()
    assert logins(broker) == 2


def test_a_broker_that_answers_nothing_is_asked_three_times_minutes_apart(
    opted_in: TradingAccount, hour: Hour, broker: ScriptedBroker
) -> None:
    broker.answer("POST /api/login", Answer(b"<html>", 502))
    asked = []
    for _ in range(30):
        refresh_tokens()
        asked.append(logins(broker))
        hour.now += timedelta(minutes=1)
    assert asked[-1] == 3
    assert asked[: int(BETWEEN_TRIES.total_seconds() // 60)] == [1] * 5


def test_a_broker_that_cannot_be_reached_is_tried_until_it_can(
    opted_in: TradingAccount, hour: Hour, broker: ScriptedBroker, settings: Settings
) -> None:
    settings.KITE_LOGIN_ROOT = "http://127.0.0.1:1"
    for _ in range(5):
        assert refresh_tokens() == []
        hour.now += timedelta(minutes=1)
    settings.KITE_LOGIN_ROOT = broker.root
    assert refresh_tokens() == ["AB1234"]


def test_a_persons_login_ends_the_waiting(opted_in: TradingAccount, broker: ScriptedBroker) -> None:
    broker.refuse("POST /api/login", 400, "InputException", "Invalid username or password.")
    refresh_tokens()
    store_session(opted_in, {"user_id": "AB1234", "access_token": "by-hand"})
    session = BrokerSession.objects.get()
    assert (session.login_failures, session.login_failed_at, session.login_failure) == (0, None, "")


def test_a_person_may_have_it_tried_again(opted_in: TradingAccount, broker: ScriptedBroker) -> None:
    good = broker.answers["POST /api/login"]
    broker.refuse("POST /api/login", 400, "InputException", "Invalid username or password.")
    for _ in range(2):
        with pytest.raises(LoginFailed):
            log_in_now(opted_in)
    broker.answer("POST /api/login", good)
    log_in_now(opted_in)
    assert token_of_the_day(opted_in).text == "token-of-the-day"


def test_one_accounts_failure_does_not_keep_the_next_one_out(
    opted_in: TradingAccount, other_account: TradingAccount, broker: ScriptedBroker
) -> None:
    TradingAccount.objects.filter(pk=other_account.pk).update(automated_login=True, priority=1)  # without any secret
    assert refresh_tokens() == ["AB1234"]
    assert BrokerSession.objects.get(account=other_account).login_failure


@pytest.mark.django_db(transaction=True)
def test_two_at_once_log_in_once(
    opted_in: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_the_broker, may_go_on = threading.Event(), threading.Event()

    def slowly(account: TradingAccount) -> BrokerSession:
        at_the_broker.set()
        assert may_go_on.wait(10)
        return log_in_automatically(account)

    monkeypatch.setattr("accounts.token_refresh.log_in_automatically", slowly)

    def first() -> None:
        try:
            refresh_tokens_task()
        finally:
            connection.close()

    worker = threading.Thread(target=first)
    worker.start()
    assert at_the_broker.wait(10)
    assert refresh_tokens() == []
    with pytest.raises(LoginUnderWay):
        log_in_now(opted_in)
    may_go_on.set()
    worker.join(10)
    assert logins(broker) == 1
    assert token_of_the_day(opted_in).text == "token-of-the-day"


def test_beat_asks_every_minute() -> None:
    entry: dict[str, Any] = django_settings.CELERY_BEAT_SCHEDULE["Log in accounts by themselves"]
    assert entry["task"] == refresh_tokens_task.name
    assert entry["schedule"] <= 60


def test_a_stored_secret_that_does_not_open_is_noted(opted_in: TradingAccount, settings: Settings) -> None:
    store_secret(opted_in, Kind.PASSWORD, "pass")
    settings.CREDENTIAL_KEYS = ["MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="]
    assert refresh_tokens() == []
    assert "none of the 1 in CREDENTIAL_KEYS" in BrokerSession.objects.get().login_failure
