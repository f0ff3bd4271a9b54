"""What the ticket is told of an order that it is to change, and of which orders it is told nothing."""

import json
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.actions import Action
from accounts.models import Grant, TradingAccount
from dashboard.tests import order_day
from orders.models import BrokerOrder, OrderTask

pytestmark = pytest.mark.usefixtures("valkey")


@pytest.fixture
def day(account: TradingAccount, foreign: TradingAccount) -> dict[str, OrderTask]:
    foreign.is_trading = True
    foreign.save(update_fields=["is_trading"])
    order_day.list_options()
    return order_day.a_day(account, foreign)


@pytest.fixture
def browser(account: TradingAccount, client: Client) -> Client:
    client.force_login(account.owner)
    return client


def address(task: OrderTask) -> str:
    return f"/orders/{task.public_id}/change/"


def judged(browser: Client, task: OrderTask, body: Any) -> Any:
    text = body if isinstance(body, str) else json.dumps(body)
    return browser.post(address(task), text, content_type="application/json")


def test_the_order_is_told_as_it_stands_with_how_often_it_was_changed(
    browser: Client, day: dict[str, OrderTask]
) -> None:
    task = day["trigger"]
    shown = BrokerOrder.objects.filter(order_id=task.broker_order_id)
    shown.update(quantity=195, trigger_price="80.00", modifications=3)
    told = browser.get(address(task)).json()
    order = told["order"]
    assert (order["quantity"], order["type"], order["trigger"], order["price"]) == (195, "SL", "80", "76")
    assert (order["changes"], order["changes_left"], order["validities"]) == (3, 22, ["DAY", "IOC"])
    assert told["address"] == f"/api/v1/orders/{task.public_id}"
    assert told["contract"]["lot_size"] == 65


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cancelled", "over (cancelled)"),
        ("unknown", "has not answered"),
        ("undecided", "never reached the broker"),
        ("refused", "never reached the broker"),
    ],
)
def test_an_order_that_cannot_be_changed_is_refused_with_the_reason(
    browser: Client, day: dict[str, OrderTask], name: str, words: str
) -> None:
    for answer in (browser.get(address(day[name])), judged(browser, day[name], {"price": "136"})):
        assert answer.status_code == 409
        assert words in answer.json()["error"]
    assert f'data-change="{address(day[name])}"' not in browser.get("/orders/").content.decode()


def test_a_change_is_judged_by_the_rules_of_orders_and_nothing_is_stored(
    browser: Client, day: dict[str, OrderTask]
) -> None:
    before = OrderTask.objects.count()
    verdict = judged(browser, day["open"], {"price": "135.27"}).json()
    assert verdict["would_be_accepted"] is False
    assert "tick_size" in [check["code"] for check in verdict["checks"] if check["passed"] is False]
    assert verdict["notional"] == "17585.10"
    assert OrderTask.objects.count() == before


@pytest.mark.parametrize("body", ["", "[]", "not json", {}, {"price": "much"}, {"side": "BUY"}, " " * 3000])
def test_what_cannot_be_read_changes_nothing(browser: Client, day: dict[str, OrderTask], body: Any) -> None:
    answer = judged(browser, day["open"], body)
    assert (answer.status_code, answer.json()) == (400, {"error": "Nothing is changed yet."})


def test_an_order_placed_elsewhere_is_told_by_the_brokers_id(
    browser: Client, account: TradingAccount, day: dict[str, OrderTask]
) -> None:
    order_day.told(account, "777", None, status="OPEN")
    told = browser.get(f"/accounts/{account.public_id}/orders/777/change/").json()
    assert told["order"]["is_elsewhere"] is True
    assert told["address"] == f"/api/v1/trading-accounts/{account.public_id}/broker-orders/777"
    assert browser.get(f"/accounts/{account.public_id}/orders/778/change/").status_code == 404


def test_who_may_not_trade_is_offered_no_change_and_told_nothing(
    client: Client, account: TradingAccount, day: dict[str, OrderTask]
) -> None:
    reader = User.objects.create_user("reader")
    Grant.objects.create(user=reader, account=account, action=Action.READ)
    client.force_login(reader)
    assert "data-change" not in client.get("/orders/").content.decode()
    assert client.get(address(day["open"])).status_code == 403


def test_anothers_order_is_not_found(browser: Client, day: dict[str, OrderTask]) -> None:
    assert browser.get(address(day["part"])).status_code == 404
