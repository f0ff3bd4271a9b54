import json
from datetime import UTC, datetime

import pytest
import redis
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from accounts import clock
from accounts.broker import orders_client
from accounts.clock import IST
from accounts.credentials import Kind, has_secret
from accounts.exceptions import SessionExpired, SessionMismatch
from accounts.models import BrokerSession, TradingAccount
from accounts.sessions import end_session, store_session, token_end, token_of_the_day
from accounts.tests.fakes import ScriptedBroker

LOGIN = {"user_id": "AB1234", "access_token": "token-of-the-day"}


@pytest.mark.parametrize(
    ("logged_in", "ends"),
    [
        ("2026-11-25T08:50:00", "2026-11-26T06:00:00"),
        ("2026-11-25T05:59:59", "2026-11-25T06:00:00"),
        ("2026-11-25T06:00:00", "2026-11-26T06:00:00"),
    ],
)
def test_a_token_ends_at_the_next_six_in_india(logged_in: str, ends: str) -> None:
    moment = datetime.fromisoformat(f"{logged_in}+05:30")
    assert token_end(moment.astimezone(UTC)) == datetime.fromisoformat(f"{ends}+05:30")


def test_a_login_gives_the_token_of_the_day(account: TradingAccount) -> None:
    session = store_session(account, LOGIN)
    assert token_of_the_day(account).text == "token-of-the-day"
    assert (session.status, session.token_version) == ("active", 1)
    assert session.expires_at is not None
    assert session.expires_at.astimezone(IST).hour == 6
    assert repr(orders_client(account)) == "<OrdersClient of AB1234>"


def test_each_login_raises_the_version_and_is_announced_after_commit(
    account: TradingAccount,
    valkey: "redis.Redis",
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    listener: redis.client.PubSub = valkey.pubsub(ignore_subscribe_messages=True)  # type: ignore[no-untyped-call]
    listener.subscribe("ticker:control")
    listener.get_message(timeout=5)
    with django_capture_on_commit_callbacks(execute=True):
        store_session(account, LOGIN)
        assert store_session(account, LOGIN | {"access_token": "second"}).token_version == 2
        assert listener.get_message() is None, "nothing is said before the commit"
    first, second = (json.loads(_next(listener)) for _ in range(2))
    assert first == {"type": "token_changed", "account": "AB1234", "token_version": 1}
    assert second["token_version"] == 2
    listener.close()


def test_a_login_is_kept_while_redis_is_away(
    account: TradingAccount,
    settings: Settings,
    caplog: pytest.LogCaptureFixture,
    django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks,
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    with django_capture_on_commit_callbacks(execute=True):
        store_session(account, LOGIN)
    assert token_of_the_day(account).text == "token-of-the-day"
    assert "not delivered" in caplog.text


@pytest.mark.parametrize(
    "answer",
    [{**LOGIN, "user_id": "CD5678"}, {"access_token": "x"}, {"user_id": "AB1234"}, {**LOGIN, "access_token": ""}],
)
def test_another_users_login_or_an_odd_answer_is_not_stored(account: TradingAccount, answer: dict[str, str]) -> None:
    with pytest.raises(SessionMismatch, match="nothing was stored"):
        store_session(account, answer)
    assert not has_secret(account, Kind.ACCESS_TOKEN)


def test_without_a_login_the_session_is_expired(account: TradingAccount) -> None:
    with pytest.raises(SessionExpired, match="AB1234"):
        token_of_the_day(account)


def test_the_clock_ends_a_token(account: TradingAccount) -> None:
    store_session(account, LOGIN)
    BrokerSession.objects.update(expires_at=clock.now())
    with pytest.raises(SessionExpired):
        token_of_the_day(account)


def test_a_logout_forgets_the_token_and_raises_the_version(account: TradingAccount) -> None:
    store_session(account, LOGIN)
    end_session(account)
    assert not has_secret(account, Kind.ACCESS_TOKEN)
    assert BrokerSession.objects.get().token_version == 2
    with pytest.raises(SessionExpired):
        token_of_the_day(account)


def _next(listener: "redis.client.PubSub") -> bytes:
    message = listener.get_message(timeout=5)
    assert message is not None
    data: bytes = message["data"]
    return data


def test_a_token_that_the_broker_refuses_ends_the_session_for_everybody(
    account: TradingAccount, broker: ScriptedBroker
) -> None:
    store_session(account, LOGIN)
    broker.refuse("GET /orders", 403, "TokenException", "Incorrect `api_key` or `access_token`.")
    with pytest.raises(SessionExpired, match="Incorrect"):
        orders_client(account).book()
    assert not has_secret(account, Kind.ACCESS_TOKEN)
    with pytest.raises(SessionExpired, match="not logged in"):
        orders_client(account)


def test_a_refusal_of_an_older_token_does_not_end_the_newer_login(
    account: TradingAccount, broker: ScriptedBroker
) -> None:
    store_session(account, LOGIN)
    late = orders_client(account)
    store_session(account, LOGIN | {"access_token": "second"})
    broker.refuse("GET /orders", 403, "TokenException", "Incorrect `api_key` or `access_token`.")
    with pytest.raises(SessionExpired):
        late.book()
    assert token_of_the_day(account).text == "second"


def test_a_token_does_not_show_itself(account: TradingAccount) -> None:
    store_session(account, LOGIN)
    assert "token-of-the-day" not in repr(token_of_the_day(account))
