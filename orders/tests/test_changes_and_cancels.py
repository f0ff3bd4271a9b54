"""Changes and cancels over REST: of what waits here, of what the broker has, and of what is over."""

from typing import Any

import pytest

from accounts.models import TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import ledger
from orders.execute import drain
from orders.models import BrokerOrder, OrderBook, OrderTask
from orders.tests.conftest import ORDER_ID, posts
from orders.tests.trading import BODY, TODAY, Trader, failed_checks, quote

pytestmark = pytest.mark.django_db


def at_the_broker(trader: Trader, *, status: str = "OPEN", **changes: Any) -> str:
    """The id of a task whose order the broker has."""
    placed: str = trader.place(**changes).json()["id"]
    drain(trader.account)
    task = OrderTask.objects.get(public_id=placed)
    BrokerOrder.objects.create(
        account=trader.account,
        task=task,
        order_id=task.broker_order_id,
        tag=task.tag,
        status=status,
        variety="regular",
        exchange="NFO",
        tradingsymbol="NIFTY26DEC26000CE",
        transaction_type="BUY",
        order_type="LIMIT",
        product="NRML",
        quantity=75,
        price="120.5",
        source="book",
    )
    return placed


def test_f25_an_order_that_waits_is_cancelled_here(trader: Trader, broker: ScriptedBroker) -> None:
    placed = trader.place().json()["id"]
    response = trader.send("delete", f"/api/v1/orders/{placed}", key="c")
    assert response.status_code == 200
    assert (response.json()["id"], response.json()["words"]) == (placed, "Cancelled")
    assert trader.send("delete", f"/api/v1/orders/{placed}").status_code in {200, 202}
    assert posts(broker) == 0


def test_a_cancel_is_sent_with_the_brokers_id(trader: Trader, broker: ScriptedBroker, valkey: object) -> None:
    placed = at_the_broker(trader)
    broker.answer(f"DELETE /orders/regular/{ORDER_ID}", Answer({"order_id": ORDER_ID}))
    response = trader.send("delete", f"/api/v1/orders/{placed}", key="c")
    assert (response.status_code, response.json()["operation"]) == (202, "cancel")
    drain(trader.account)
    assert OrderTask.objects.get(operation="cancel").status == "completed"
    assert trader.send("delete", f"/api/v1/orders/{placed}", key="c").status_code == 200


def test_f25_a_cancel_waits_for_the_order_and_goes_out_after_it(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = trader.place().json()["id"]
    OrderBook.objects.create(account=trader.account, trading_date=TODAY, read_at="2026-11-25T06:00Z", orders=0)
    claim = ledger.claim(trader.account, "w")
    assert claim is not None
    assert trader.send("delete", f"/api/v1/orders/{placed}").status_code == 202
    assert ledger.claim(trader.account, "w2") is None  # the order is under way: its cancel waits
    broker.answer(f"DELETE /orders/regular/{ORDER_ID}", Answer({"order_id": ORDER_ID}))
    ledger.mark(claim)
    ledger.complete(claim, ORDER_ID)
    drain(trader.account)
    assert OrderTask.objects.get(operation="cancel").broker_order_id == ORDER_ID


def test_f25_a_cancel_of_an_order_that_is_over_sends_nothing(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = at_the_broker(trader, status="COMPLETE")
    trader.send("delete", f"/api/v1/orders/{placed}")
    drain(trader.account)
    cancel = OrderTask.objects.get(operation="cancel")
    assert (cancel.status, cancel.events.last().reason) == ("completed", "already_terminal")  # type: ignore[union-attr]
    assert not any(asked.method == "DELETE" for asked in broker.asked)


def test_a_cancel_of_an_order_that_was_refused_has_nothing_to_do(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = trader.place().json()["id"]
    claim = ledger.claim(trader.account, "w")
    assert claim is not None
    trader.send("delete", f"/api/v1/orders/{placed}")
    ledger.fail(claim, "InputException", "no")
    drain(trader.account)
    assert OrderTask.objects.get(operation="cancel").error_code == "order_not_at_broker"


def test_a_change_is_checked_like_an_order_and_sent(trader: Trader, broker: ScriptedBroker, valkey: object) -> None:
    placed = at_the_broker(trader)
    refused = trader.send("patch", f"/api/v1/orders/{placed}", {"quantity": 80})
    assert failed_checks(refused) == ["lot_size"]
    broker.answer(f"PUT /orders/regular/{ORDER_ID}", Answer({"order_id": ORDER_ID}))
    response = trader.send("patch", f"/api/v1/orders/{placed}", {"price": "121.00"})
    assert (response.status_code, response.json()["operation"]) == (202, "modify")
    drain(trader.account)
    sent = next(asked.form for asked in broker.asked if asked.method == "PUT")
    assert sent["price"] == "121"


def test_f26_the_twenty_sixth_change_of_an_order_is_refused_here(trader: Trader, valkey: object) -> None:
    placed = at_the_broker(trader)
    for number in range(25):
        changed = trader.send("patch", f"/api/v1/orders/{placed}", {"price": f"{121 + number}"})
        assert changed.status_code == 202
    refused = trader.send("patch", f"/api/v1/orders/{placed}", {"price": "99"})
    assert failed_checks(refused) == ["too_many_changes"]


def test_an_order_that_is_over_cannot_be_changed(trader: Trader, valkey: object) -> None:
    placed = at_the_broker(trader, status="COMPLETE")
    response = trader.send("patch", f"/api/v1/orders/{placed}", {"price": "121"})
    assert (response.status_code, failed_checks(response)) == (409, ["order_over"])


def test_a_limit_becomes_an_order_at_the_market_without_its_price(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = at_the_broker(trader)
    broker.answer(f"PUT /orders/regular/{ORDER_ID}", Answer({"order_id": ORDER_ID}))
    quote(120.5)
    response = trader.send("patch", f"/api/v1/orders/{placed}", {"order_type": "MARKET", "market_protection": "2"})
    assert response.status_code == 202, response.json()
    drain(trader.account)
    sent = next(asked.form for asked in broker.asked if asked.method == "PUT")
    assert (sent["order_type"], sent.get("price")) == ("MARKET", None)


def test_a_change_is_held_against_the_order_as_the_broker_shows_it(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    """Changed before, it is another order than the one that was placed."""
    placed = at_the_broker(trader)
    shown = {"order_type": "SL", "trigger_price": "130", "price": "131", "quantity": 150}
    BrokerOrder.objects.filter(order_id=ORDER_ID).update(**shown)
    assert trader.send("patch", f"/api/v1/orders/{placed}", {"trigger_price": "130.50"}).status_code == 202
    refused = trader.send("patch", f"/api/v1/orders/{placed}", {"price": "129.00"})
    assert failed_checks(refused) == ["stop_price"]


def test_the_quantity_cannot_fall_below_what_is_filled(trader: Trader, valkey: object) -> None:
    placed = at_the_broker(trader)
    BrokerOrder.objects.filter(order_id=ORDER_ID).update(quantity=225, filled_quantity=150)
    refused = trader.send("patch", f"/api/v1/orders/{placed}", {"quantity": 75})
    assert failed_checks(refused) == ["below_filled"]
    assert "150 of it are filled already" in str(refused.json())


def test_an_order_placed_elsewhere_is_changed_and_cancelled_by_the_brokers_id(
    trader: Trader, account: TradingAccount, broker: ScriptedBroker, valkey: object
) -> None:
    BrokerOrder.objects.create(
        account=account,
        order_id="777",
        status="OPEN",
        variety="regular",
        exchange="NSE",
        tradingsymbol="INFY",
        transaction_type="SELL",
        order_type="LIMIT",
        product="CNC",
        validity="DAY",
        quantity=10,
        price="1500",
        source="book",
    )
    path = f"/api/v1/trading-accounts/{account.public_id}/broker-orders"
    broker.answer("PUT /orders/regular/777", Answer({"order_id": "777"}))
    broker.answer("DELETE /orders/regular/777", Answer({"order_id": "777"}))
    assert trader.send("patch", f"{path}/777", {"price": "1490.00"}).status_code == 202
    assert trader.send("delete", f"{path}/777").status_code == 202
    assert trader.send("delete", f"{path}/778").status_code == 404
    drain(account)
    assert set(OrderTask.objects.values_list("status", flat=True)) == {"completed"}


def test_f94_a_path_in_place_of_an_order_id_reaches_no_other_route(trader: Trader, broker: ScriptedBroker) -> None:
    path = f"/api/v1/trading-accounts/{trader.account.public_id}/broker-orders"
    for order_id in ("..%2f..%2fsession%2ftoken", "%2e%2e", "7%3fx=1", "7%23", "7%00", "9" * 10_000, "7%2f8"):
        response = trader.send("delete", f"{path}/{order_id}")
        assert response.status_code in {400, 404}, order_id
    assert broker.asked == []


# --- the first generation's paths ---


def test_the_old_action_paths_do_the_same_and_say_what_replaces_them(trader: Trader, broker: ScriptedBroker) -> None:
    placed = trader.send("post", "/orders/place", {"account": str(trader.account.public_id)} | BODY, key="old")
    assert placed.status_code == 202
    assert placed["Deprecation"] == "true"
    assert placed["Link"] == '</api/v1/orders>; rel="successor-version"'
    assert trader.place(key="old").json()["id"] == placed.json()["id"]
    changed = trader.send("post", "/orders/modify", {"order": placed.json()["id"], "price": "121"})
    assert changed.json()["operation"] == "modify"
    cancelled = trader.send("post", "/orders/cancel", {"order": placed.json()["id"]})
    assert cancelled.json()["words"] == "Cancelled"
    assert trader.send("post", "/orders/modify", {"order": placed.json()["id"]}).status_code == 400
    assert posts(broker) == 0
