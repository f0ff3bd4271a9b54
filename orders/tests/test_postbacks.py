"""Postbacks: kept once, believed in nothing, and looked into by asking the broker."""

import hashlib
import json
import logging
import socket
import time
from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.core.cache.backends.redis import RedisCache
from django.core.management import call_command
from django.db.models.functions import Now
from django.test import Client
from django.urls import reverse
from kombu.exceptions import OperationalError
from pytest_django import Settings

from accounts import clock
from accounts.credentials import Kind, store_secret
from accounts.models import KiteApp, TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import postback_views, postbacks, tasks
from orders.metrics import POSTBACKS
from orders.models import BrokerOrder, PortfolioReading, Postback

SECRET = "the-apps-secret"
ORDER_ID = "2511000000000009"


@pytest.fixture(autouse=True)
def app(account: TradingAccount, monkeypatch: pytest.MonkeyPatch) -> KiteApp:
    monkeypatch.setattr(clock, "today", lambda: date(2026, 11, 25))
    store_secret(account.app, Kind.API_SECRET, SECRET)
    cache.clear()
    postback_views._counts.forget()
    return account.app


@pytest.fixture(autouse=True)
def rung(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Accounts that a doorbell was rung for."""
    heard: list[int] = []
    monkeypatch.setattr("orders.postback_views.ring_for_news", heard.append)
    return heard  # type: ignore[return-value]


def row(**changes: Any) -> dict[str, Any]:
    return {
        "order_id": ORDER_ID,
        "status": "COMPLETE",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "transaction_type": "BUY",
        "quantity": 75,
        "filled_quantity": 75,
        "order_timestamp": "2026-11-25 10:42:07",
    } | changes


def signed(secret: str = SECRET, **changes: Any) -> dict[str, Any]:
    body = row(**{"user_id": "AB1234"} | changes)
    checksum = hashlib.sha256(f"{body['order_id']}{body['order_timestamp']}{secret}".encode()).hexdigest()
    return {"checksum": checksum} | body


def post(client: Client, app: KiteApp, body: Any, path: str = "") -> int:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    response = client.generic("POST", path or app.hook_path, raw, content_type="application/json")
    assert response.content == b"", "its sender is told nothing"
    return response.status_code


def count(result: str) -> float:
    return POSTBACKS.labels(result)._value.get()  # type: ignore[no-any-return]


def test_f36_the_same_postback_a_hundred_times_is_kept_once(
    client: Client,
    app: KiteApp,
    account: TradingAccount,
    broker: ScriptedBroker,
    rung: list[int],
    django_capture_on_commit_callbacks: Any,
) -> None:
    with django_capture_on_commit_callbacks(execute=True):
        assert {post(client, app, signed()) for _ in range(100)} == {200}
    assert Postback.objects.count() == 1
    assert rung == [account.pk]
    broker.answer(f"GET /orders/{ORDER_ID}", Answer([row(status="OPEN", filled_quantity=0), row()]))
    tasks.sync_news(account.pk)
    tasks.sync_news(account.pk)
    assert [one.path for one in broker.asked] == [f"/orders/{ORDER_ID}"]
    order = BrokerOrder.objects.get()
    assert (order.status, order.filled_quantity, order.source) == ("COMPLETE", 75, "history")


def test_what_a_postback_claims_is_not_believed(
    client: Client, app: KiteApp, account: TradingAccount, broker: ScriptedBroker
) -> None:
    assert post(client, app, signed(filled_quantity=75)) == 200
    broker.answer(f"GET /orders/{ORDER_ID}", Answer([row(status="OPEN", filled_quantity=25)]))
    assert not postbacks.read_waiting(account)
    assert BrokerOrder.objects.values_list("status", "filled_quantity").get() == ("OPEN", 25)


GOOD = signed()


@pytest.mark.parametrize(
    ("body", "status", "reason"),
    [
        (signed(checksum="0" * 64), 400, "checksum"),
        (signed("another-secret"), 400, "checksum"),
        (signed(checksum=GOOD["checksum"].upper()), 400, "checksum"),
        (signed(checksum=GOOD["checksum"][:-1]), 400, "checksum"),
        (signed(checksum=""), 400, "checksum"),
        (signed(checksum=None), 400, "checksum"),
        (signed(checksum="é" * 64), 400, "checksum"),
        ({name: value for name, value in GOOD.items() if name != "checksum"}, 400, "checksum"),
        (GOOD | {"order_timestamp": "2026-11-25 10:42:08"}, 400, "checksum"),
        (GOOD | {"order_id": 2511000000000009}, 400, "form"),
        (GOOD | {"order_id": "../../session/token"}, 400, "form"),
        (GOOD | {"order_id": "٣" * 16}, 400, "form"),
        (GOOD | {"order_timestamp": "\0"}, 400, "form"),
        (GOOD | {"order_timestamp": "x" * 41}, 400, "form"),
        (signed(user_id="CD5678"), 400, "account"),
        (signed(user_id="AB\0"), 400, "account"),
        (signed(user_id={"a": 1}), 400, "account"),
        ([GOOD], 400, "json"),
        (b"null", 400, "json"),
        (b"", 400, "json"),
        (b"order_id=1&checksum=2", 400, "json"),
        (b'{"order_id": "1", "order_id": "2"}', 400, "json"),
        (b"[" * 10_000, 400, "json"),
        (b"\xff\xfe", 400, "json"),
        (b" " * (16 * 1024 + 1), 413, "too_large"),
        (b'{"a": "' + b"x" * 1_000_000 + b'"}', 413, "too_large"),
    ],
    ids=lambda value: str(value)[:40] if not isinstance(value, int) else str(value),
)
def test_f38_what_its_app_has_not_signed_leaves_a_count_and_nothing_else(
    client: Client, app: KiteApp, rung: list[int], body: Any, status: int, reason: str
) -> None:
    before = count(reason)
    assert post(client, app, body) == status
    assert count(reason) == before + 1
    assert not Postback.objects.exists()
    assert rung == []


def test_an_account_of_another_app_is_none_of_this_ones(client: Client, app: KiteApp) -> None:
    other = KiteApp.objects.create(api_key="appkey2", label="Other")
    store_secret(other, Kind.API_SECRET, SECRET)
    assert post(client, other, signed()) == 400
    assert post(client, app, signed()) == 200


def test_without_the_apps_secret_nothing_can_be_verified(
    client: Client, account: TradingAccount, caplog: pytest.LogCaptureFixture
) -> None:
    account.app.credentials.all().delete()
    assert post(client, account.app, signed()) == 400
    assert "cannot be verified" in caplog.text


def test_an_address_that_no_app_has_is_not_found(client: Client, app: KiteApp) -> None:
    assert post(client, app, signed(), path="/hooks/kite/" + "x" * 43) == 404
    assert client.get(app.hook_path).status_code == 405
    assert reverse("kite-postback", args=[app.hook_slug]) == app.hook_path


def test_each_app_has_an_address_of_its_own_that_the_admin_shows(client: Client, app: KiteApp) -> None:
    other = KiteApp.objects.create(api_key="appkey2", label="Other")
    assert len({app.hook_slug, other.hook_slug}) == 2
    client.force_login(User.objects.create_superuser("root"))
    page = client.get(reverse("admin:accounts_kiteapp_change", args=[app.pk])).content.decode()
    assert app.hook_path in page


def test_too_many_in_a_minute_are_turned_away(client: Client, app: KiteApp, settings: Settings) -> None:
    settings.POSTBACKS_PER_MINUTE = 3
    found = [post(client, app, signed(order_id=str(number))) for number in range(1, 10)]
    assert found[:3] == [200, 200, 200]
    assert 429 in found
    assert Postback.objects.count() < 9


def test_without_redis_postbacks_are_kept_all_the_same_and_looked_into_later(
    client: Client, app: KiteApp, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.postback_views.ring_for_news", tasks.ring_for_news)
    monkeypatch.setattr("orders.tasks.sync_news.apply_async", _no_redis)
    assert post(client, app, signed()) == 200
    broker.answer(f"GET /orders/{ORDER_ID}", Answer([row()]))
    assert postbacks.accounts_waiting(waiting_seconds=3) == []
    Postback.objects.update(received_at=Now() - timedelta(seconds=4))
    postbacks.read_all_waiting(waiting_seconds=3)
    assert BrokerOrder.objects.get().status == "COMPLETE"


@pytest.mark.django_db(transaction=True)  # it gives its connections back
def test_the_pump_does_what_no_worker_does(
    client: Client, app: KiteApp, account: TradingAccount, broker: ScriptedBroker
) -> None:
    post(client, app, signed())
    broker.answer("GET /orders", Answer([row()]))
    broker.answer(f"GET /orders/{ORDER_ID}", Answer([row()]))
    broker.answer("GET /trades", Answer([]))
    broker.answer("GET /portfolio/positions", Answer({"net": [], "day": []}))
    PortfolioReading.objects.create(account=account, tried_at=Now())
    call_command("run_orderpump", once=True)
    assert not BrokerOrder.objects.exists(), "it is left to the workers for a while"
    Postback.objects.update(received_at=Now() - timedelta(seconds=4))
    call_command("run_orderpump", once=True)
    assert BrokerOrder.objects.get().source == "history"
    assert PortfolioReading.objects.get().read_at is None
    PortfolioReading.objects.update(tried_at=Now() - timedelta(seconds=60))
    call_command("run_orderpump", once=True)
    assert PortfolioReading.objects.get().read_at is not None


def _no_redis(*_: Any, **__: Any) -> None:
    raise OperationalError("Connection refused")


def test_f42_a_redis_that_hangs_holds_up_one_postback_a_second_and_only_for_a_moment(
    client: Client,
    app: KiteApp,
    rung: list[int],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    django_capture_on_commit_callbacks: Any,
) -> None:
    monkeypatch.setattr("accounts.minute_counts.LEFT_ALONE_SECONDS", 60.0)  # however slow this machine is
    with socket.create_server(("127.0.0.1", 0)) as silent, django_capture_on_commit_callbacks(execute=True):
        backend = RedisCache(f"redis://127.0.0.1:{silent.getsockname()[1]}/1", settings.CACHES["default"])
        monkeypatch.setattr("accounts.minute_counts.cache", backend)
        seconds = []
        for number in range(1, 6):
            began = time.monotonic()
            assert post(client, app, signed(order_id=str(number))) == 200
            seconds.append(time.monotonic() - began)
    assert Postback.objects.count() == 5
    assert sum(seconds[1:]) < seconds[0]
    assert rung == []


def test_many_orders_are_looked_into_with_one_call_and_one_account_is_asked_for_once_a_second(
    client: Client, app: KiteApp, account: TradingAccount, broker: ScriptedBroker
) -> None:
    for number in range(1, 6):
        post(client, app, signed(order_id=str(number)))
    broker.answer("GET /orders", Answer([row(order_id=str(number)) for number in range(1, 6)]))
    assert not postbacks.read_waiting(account)
    assert [one.path for one in broker.asked] == ["/orders"]
    assert BrokerOrder.objects.count() == 5
    post(client, app, signed(order_id="6"))
    assert postbacks.read_waiting(account), "it waits for its second"
    assert len(broker.asked) == 1
    PortfolioReading.objects.update(news_read_at=Now() - timedelta(seconds=1))
    broker.answer("GET /orders/6", Answer([row(order_id="6")]))
    assert not postbacks.read_waiting(account)
    assert BrokerOrder.objects.count() == 6


def test_what_the_broker_cannot_be_asked_now_waits(
    client: Client, app: KiteApp, account: TradingAccount, broker: ScriptedBroker
) -> None:
    post(client, app, signed())
    for _ in range(10):
        broker.answer(f"GET /orders/{ORDER_ID}", Answer(b"<html>", 502))
        PortfolioReading.objects.update(news_read_at=None)
        postbacks.read_waiting(account)
    assert postbacks.accounts_waiting() == [account]
    assert not BrokerOrder.objects.exists()


def test_an_order_that_the_broker_does_not_know_is_given_up_after_some_tries(
    client: Client, app: KiteApp, account: TradingAccount, broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    post(client, app, signed())
    broker.answer(
        f"GET /orders/{ORDER_ID}",
        Answer({"status": "error", "message": "Couldn't find that `order_id`.", "error_type": "GeneralException"}, 404),
    )
    tries = 0
    while postbacks.accounts_waiting() and tries < 10:
        PortfolioReading.objects.update(news_read_at=None)
        postbacks.read_waiting(account)
        tries += 1
    assert tries == postbacks.MOST_TRIES
    assert [one for one in caplog.records if one.levelno == logging.WARNING and "lead to nothing" in one.getMessage()]
    assert not BrokerOrder.objects.exists()


def test_the_history_says_how_often_an_order_was_modified(
    client: Client, app: KiteApp, account: TradingAccount, broker: ScriptedBroker
) -> None:
    post(client, app, signed())
    states = ["OPEN", "MODIFY PENDING", "MODIFIED", "OPEN", "MODIFY PENDING", "MODIFIED", "OPEN"]
    broker.answer(f"GET /orders/{ORDER_ID}", Answer([row(status=status, filled_quantity=0) for status in states]))
    postbacks.read_waiting(account)
    assert BrokerOrder.objects.get().modifications == 2


def test_old_postbacks_are_forgotten(client: Client, app: KiteApp, settings: Settings) -> None:
    post(client, app, signed())
    tasks.forget_postbacks()
    assert Postback.objects.count() == 1
    Postback.objects.update(received_at=Now() - timedelta(days=settings.POSTBACK_DAYS + 1))
    tasks.forget_postbacks()
    assert Postback.objects.count() == 0


def test_the_secret_is_in_no_log(client: Client, app: KiteApp, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        post(client, app, signed("wrong"))
        post(client, app, signed())
    assert SECRET not in caplog.text
    assert GOOD["checksum"] not in caplog.text
