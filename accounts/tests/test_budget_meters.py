"""Who may see an account's budget, what it says, and where else it is shown."""

import uuid

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts import breaker, shared_scripts
from accounts.actions import Action
from accounts.breaker import Outcome
from accounts.broker.places import place
from accounts.budget import acquire_data, acquire_order
from accounts.budget_limits import OrderKind, RouteClass
from accounts.models import Grant, TradingAccount

pytestmark = pytest.mark.usefixtures("valkey")


def address(public_id: uuid.UUID) -> str:
    return f"/api/v1/trading-accounts/{public_id}/budget"


def open_breaker(name: str) -> None:
    for _ in range(5):
        breaker.report(breaker.ask(name), Outcome.FAILED)


@pytest.fixture(autouse=True)
def two_in_reserve(settings: Settings) -> None:
    settings.ORDER_BUDGET_RESERVE_PER_SECOND = 2


def test_the_budget_tells_each_window_breaker_and_call(
    client: Client, account: TradingAccount, asha: User, settings: Settings
) -> None:
    settings.DATA_BUDGET_WINDOW_SECONDS = 60.0  # a busy machine takes more than a second to ask
    client.force_login(asha)
    acquire_order(account, OrderKind.ENTRY, charge_id="1", cost=3)
    acquire_data("appkey1", RouteClass.QUOTE)
    open_breaker("AB1234:data")
    with place("AB1234"):
        body = client.get(address(account.public_id)).json()
    meters = {(meter["route_class"], meter["window"]): meter for meter in body["budgets"]}
    assert meters["orders", "second"] | {"used": 3} == {
        "route_class": "orders",
        "owner": "AB1234",
        "window": "second",
        "window_seconds": 1.1,
        "limit": 8,
        "reserve": 2,
        "used": 3,
        "next_free_seconds": 0.0,
    }
    assert [meters["orders", window]["used"] for window in ("minute", "day")] == [3, 3]
    assert [meters["orders", window]["limit"] for window in ("minute", "day")] == [380, 4900]
    assert 0 < meters["quote", "second"]["next_free_seconds"] <= 60
    assert meters["quote", "second"]["owner"] == "…key1"
    assert {one["name"]: one["state"] for one in body["breakers"]} == {
        "AB1234:orders": "closed",
        "AB1234:data": "open",
        "AB1234:session": "closed",
    }
    assert body["calls_under_way"] == 1
    assert "appkey1" not in str(body)


def test_a_foreign_and_a_missing_account_look_alike(
    client: Client, asha: User, account: TradingAccount, other_account: TradingAccount
) -> None:
    client.force_login(asha)
    foreign, missing = (client.get(address(one)) for one in (other_account.public_id, uuid.uuid4()))
    assert (foreign.status_code, missing.status_code) == (404, 404)
    assert foreign.json()["error"]["message"] == missing.json()["error"]["message"]
    assert client.get("/api/v1/trading-accounts/nonsense/budget").status_code == 404
    Grant.objects.create(user=asha, account=other_account, action=Action.READ)
    assert client.get(address(other_account.public_id)).status_code == 200


def test_nobody_is_told_without_saying_who_they_are(client: Client, account: TradingAccount) -> None:
    assert client.get(address(account.public_id)).status_code in (401, 403)


def test_what_nobody_knows_without_redis_is_null(
    client: Client, account: TradingAccount, administrator: User, settings: Settings
) -> None:
    client.force_login(administrator)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    shared_scripts._server.cache_clear()
    body = client.get(address(account.public_id)).json()
    assert {meter["used"] for meter in body["budgets"]} == {None}
    assert {meter["next_free_seconds"] for meter in body["budgets"]} == {None}
    page = client.get(reverse("admin:accounts_tradingaccount_change", args=[account.pk]))
    assert "orders a day: unknown of 4900" in page.content.decode()


def test_the_admin_shows_breakers_and_budgets(client: Client, account: TradingAccount, administrator: User) -> None:
    client.force_login(administrator)
    open_breaker("AB1234:orders")
    acquire_order(account, OrderKind.ENTRY, charge_id="1")
    page = client.get(reverse("admin:accounts_tradingaccount_change", args=[account.pk])).content.decode()
    assert "AB1234:orders: open" in page
    assert "orders a day: 1 of 4900" in page
    assert client.get(reverse("admin:accounts_tradingaccount_add")).status_code == 200


def test_metrics_show_the_limits_by_account_and_the_end_of_the_key(client: Client, account: TradingAccount) -> None:
    acquire_order(account, OrderKind.ENTRY, charge_id="1", cost=2)
    open_breaker("AB1234:data")
    text = client.get("/metrics").content.decode()
    assert 'broker_budget_used{owner="AB1234",route_class="orders",window="second"} 2.0' in text
    assert 'broker_budget_limit{owner="…key1",route_class="quote",window="second"} 1.0' in text
    assert 'broker_breaker_state{breaker="AB1234:data"} 2.0' in text
    assert 'broker_budget_charged_total{owner="AB1234",route_class="orders"}' in text
    assert "appkey1" not in text


def test_health_names_an_open_breaker_and_is_degraded(client: Client, account: TradingAccount) -> None:
    assert client.get("/health").json()["broker"]["status"] == "ok"
    open_breaker("AB1234:data")
    answer = client.get("/health")
    assert answer.status_code == 503
    assert answer.json()["broker"] == {
        "status": "degraded",
        "breakers": {"AB1234:orders": "closed", "AB1234:data": "open", "AB1234:session": "closed"},
    }
