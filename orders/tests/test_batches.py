"""Several orders at once: all of them are taken on, or none."""

from typing import Any

import pytest

from accounts.models import TradingAccount
from orders.models import OrderTask
from orders.tests.trading import BODY, Trader, error_of

pytestmark = pytest.mark.django_db


def test_a_batch_is_taken_on_whole_with_purchases_first(trader: Trader) -> None:
    items = [BODY | {"transaction_type": side, "quantity": 75 * n} for n, side in enumerate(["SELL", "BUY"], 1)]
    body = {"account": str(trader.account.public_id), "items": items}
    response = trader.send("post", "/api/v1/batch/orders", body, key="basket")
    assert response.status_code == 202
    assert [item["params"]["transaction_type"] for item in response.json()["items"]] == ["SELL", "BUY"]
    accepted = OrderTask.objects.order_by("pk")
    assert [task.idempotency_key for task in accepted] == ["basket:1", "basket:0"]
    again = trader.send("post", "/api/v1/batch/orders", body, key="basket")
    assert (again.status_code, OrderTask.objects.count()) == (200, 2)
    assert [item["id"] for item in again.json()["items"]] == [item["id"] for item in response.json()["items"]]


@pytest.mark.parametrize("other", [[BODY], [BODY, BODY | {"quantity": 150}, BODY | {"quantity": 225}]])
def test_a_batchs_key_with_an_item_more_or_less_is_another_command(trader: Trader, other: list[Any]) -> None:
    account = str(trader.account.public_id)
    items = [BODY, BODY | {"quantity": 150}]
    trader.send("post", "/api/v1/batch/orders", {"account": account, "items": items}, key="basket")
    response = trader.send("post", "/api/v1/batch/orders", {"account": account, "items": other}, key="basket")
    assert (response.status_code, error_of(response)["code"]) == (422, "idempotency_key_reused")
    assert OrderTask.objects.count() == 2


def test_one_bad_item_refuses_the_whole_batch_and_is_named(trader: Trader) -> None:
    items = [BODY, BODY | {"quantity": 80}]
    response = trader.send("post", "/api/v1/batch/orders", {"account": str(trader.account.public_id), "items": items})
    assert (response.status_code, error_of(response)["details"]["item"]) == (422, 1)
    assert not OrderTask.objects.exists()


def test_a_batch_says_how_long_its_budget_takes(trader: Trader) -> None:
    items = [BODY | {"quantity": 75 * n, "allow_duplicate": True} for n in range(1, 14)]
    response = trader.send("post", "/api/v1/batch/orders", {"account": str(trader.account.public_id), "items": items})
    assert response.json()["needs_seconds"] == pytest.approx(1.1)  # 7 a window of 1.1 s: two windows, one wait


def test_several_orders_are_cancelled_at_once(trader: Trader, account: TradingAccount) -> None:
    ids = [trader.place(quantity=75 * n).json()["id"] for n in (1, 2)]
    body = {"account": str(account.public_id), "ids": ids}
    response = trader.send("post", "/api/v1/batch/cancel", body)
    assert [item["words"] for item in response.json()["items"]] == ["Cancelled", "Cancelled"]
