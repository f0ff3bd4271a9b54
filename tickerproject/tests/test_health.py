"""`/health` tells the truth, in its documented shape; `/health/live` asks nobody; `/metrics` is not for strangers."""

import time
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import Settings

from accounts.models import KiteApp, TradingAccount
from market.calendar_loading import load_calendar
from market.names import RedisNames
from streaming.state import AccountState, StreamState, encode

SHAPE = {"status", "environment", "source", "ticker", "broker", "dependencies"}


def stream_state(accounts: dict[str, AccountState] | None = None) -> StreamState:
    now = time.time()
    healthy = AccountState(status="open", subscriptions=3, last_tick_at=now - 0.1)
    return StreamState(
        process="test",
        running=True,
        source="simulated",
        feed_state="live",
        epoch=1,
        started_at=now - 60,
        written_at=now,
        active_subscriptions=3,
        derived_subscriptions=0,
        active_accounts=1,
        accounts={"AB1234": healthy} if accounts is None else accounts,
        sockets=[],
        overflow={},
        slots=[],
        capacity={"used": 0, "total": 0, "free": 0, "largest_chain": 0, "free_after_another": 0},
        unconfirmed=[],
        alerts=[],
        counters={},
        rejected=[],
        lag_seconds=0.0,
        loop_delay={"p50": 0.0, "p99": 0.0, "p999": 0.0, "busy_p999": 0.0},
        encode_seconds=0.0,
        publisher="closed",
        parts=[],
    )


@pytest.fixture
def told(db: None, valkey: "redis.Redis", client: Client) -> Any:
    """What `/health` answers when a stream says `state`."""
    load_calendar(django_settings.MARKET_DATA_DIR)

    def ask(state: StreamState | None) -> tuple[int, dict[str, Any]]:
        if state is not None:
            valkey.set(RedisNames(django_settings.REDIS_PREFIX).state(state["process"]), encode(state), ex=10)
        answer = client.get("/health")
        return answer.status_code, answer.json()

    return ask


def test_without_a_stream_the_feed_is_degraded_and_says_so(told: Any) -> None:
    status, body = told(None)
    assert status == 503
    assert set(body) == SHAPE
    assert body["status"] == "degraded"
    assert body["ticker"]["reasons"] == ["no stream process is running"]


def test_the_body_has_the_documented_shape(told: Any) -> None:
    _, body = told(stream_state())
    assert body["ticker"]["running"] is True
    assert body["ticker"]["active_subscriptions"] == 3
    account = body["ticker"]["accounts"]["AB1234"]
    assert set(account) == {"status", "subscriptions", "last_tick_at"}
    assert account["last_tick_at"].endswith("+00:00")
    assert set(body["dependencies"]) == {"redis", "database", "instrument_registry"}
    assert set(body["dependencies"]["instrument_registry"]) == {"status", "cached_instruments", "last_refresh"}


@pytest.mark.parametrize("stranger", [{"REMOTE_ADDR": "192.0.2.1"}, {"HTTP_X_FORWARDED_FOR": "192.0.2.1"}])
def test_a_stranger_is_told_how_it_is_and_no_account(told: Any, client: Client, stranger: dict[str, str]) -> None:
    told(stream_state({"AB1234": AccountState(status="stalled", subscriptions=3, last_tick_at=None)}))
    chief, app = User.objects.create_superuser("chief"), KiteApp.objects.create(api_key="key", label="App")
    TradingAccount.objects.create(kite_user_id="AB1234", app=app, owner=chief)
    answer = client.get("/health", **stranger)  # type: ignore[arg-type]
    assert (answer.status_code, answer.json()["ticker"]["status"]) == (503, "critical")
    assert "AB1234" not in answer.content.decode()
    client.force_login(chief)
    assert "AB1234" in client.get("/health", **stranger).json()["ticker"]["accounts"]  # type: ignore[arg-type]


def test_connected_but_silent_in_market_hours_is_red(told: Any) -> None:
    now = time.time()
    silent = {"AB1234": AccountState(status="open", subscriptions=3, last_tick_at=now - 60)}
    status, body = told(stream_state(accounts=silent))
    assert status == 503
    assert body["ticker"]["status"] == "critical"
    assert "connected but silent" in body["ticker"]["reasons"][0]


def test_an_account_that_two_processes_share_is_told_of_once(told: Any, valkey: "redis.Redis") -> None:
    names = RedisNames(django_settings.REDIS_PREFIX)
    now = time.time()
    idle = {"AB1234": AccountState(status="idle", subscriptions=0, last_tick_at=None)}
    busy = {"AB1234": AccountState(status="open", subscriptions=3, last_tick_at=now)}
    valkey.set(names.state("one"), encode({**stream_state(accounts=busy), "process": "one"}))
    _, body = told({**stream_state(accounts=idle), "process": "two"})
    assert body["ticker"]["accounts"]["AB1234"]["status"] == "open"
    assert body["ticker"]["accounts"]["AB1234"]["subscriptions"] == 3
    assert (body["ticker"]["active_accounts"], body["ticker"]["processes"]) == (1, 2)
    assert body["ticker"]["status"] == "ok"


def test_parts_without_room_and_a_mute_feed_are_reasons(told: Any) -> None:
    state = stream_state()
    state["overflow"] = {"nifty:2026-12-01": "no room", "sensex:2026-12-01": "account AB1234 is not connected"}
    state["alerts"] = [{"kind": "mute_feed", "account": "AB1234", "socket": "s", "text": "It is mute.", "since": 1.0}]
    _, body = told(state)
    assert body["ticker"]["status"] == "degraded"
    assert body["ticker"]["reasons"][-2:] == ["It is mute.", "1 parts are not streamed; nifty:2026-12-01: no room"]


def test_silence_is_no_fault_while_the_market_is_closed(told: Any, settings: Settings) -> None:
    settings.MARKET_CLOCK = "2026-11-25T22:00:00+05:30"
    silent = {"AB1234": AccountState(status="open", subscriptions=3, last_tick_at=None)}
    _, body = told(stream_state(accounts=silent))
    assert body["ticker"]["status"] == "ok"


def test_an_account_without_a_session_is_named(told: Any) -> None:
    waiting = {"AB1234": AccountState(status="awaiting_token", subscriptions=3, last_tick_at=None)}
    _, body = told(stream_state(accounts=waiting))
    assert body["ticker"]["reasons"] == ["account AB1234 is awaiting_token"]


def test_a_lost_redis_is_told_without_an_error(db: None, client: Client, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["dependencies"]["redis"] == "degraded"


def test_liveness_asks_neither_database_nor_redis(client: Client, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    assert client.get("/health/live").json() == {"status": "ok"}  # pytest-django refuses the database to this test


def test_metrics_are_for_this_machine_and_for_readers(db: None, client: Client) -> None:
    assert client.get("/metrics").status_code == 200
    assert client.get("/metrics", REMOTE_ADDR="192.0.2.1").status_code == 403
    assert client.get("/metrics", HTTP_X_FORWARDED_FOR="192.0.2.1").status_code == 403


def test_a_request_id_comes_back_and_an_odd_one_is_replaced(client: Client) -> None:
    assert client.get("/health/live", headers={"X-Request-ID": "my-own-id-1"})["X-Request-ID"] == "my-own-id-1"
    odd = client.get("/health/live", headers={"X-Request-ID": "a b\tc"})["X-Request-ID"]
    assert len(odd) == 32


def test_our_pages_allow_no_inline_script_and_no_other_host(client: Client) -> None:
    policy = client.get("/health/live")["Content-Security-Policy"]
    assert "unsafe-inline" not in policy
    assert "default-src 'self'" in policy
