"""Dead letters: what a person does with an order that the service could not end."""

import pytest

from accounts.audit_events import AuditEvent
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import ledger
from orders.execute import drain
from orders.models import OrderTask
from orders.sweep import sweep
from orders.tests.conftest import posts
from orders.tests.racing import right_after
from orders.tests.trading import BODY, Trader, error_of

pytestmark = pytest.mark.django_db


def dead_letter(trader: Trader) -> str:
    placed: str = trader.place().json()["id"]
    for _ in range(5):
        claim = ledger.claim(trader.account, "w")
        assert claim is not None
        ledger.retry(claim, "not_sent", "refused", after_seconds=-1, costs_an_attempt=True)
    sweep()
    assert OrderTask.objects.get().status == "dead_letter"
    return placed


def test_a_dead_letter_is_sent_again_by_a_person_after_a_look_into_the_book(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = dead_letter(trader)
    response = trader.send("post", f"/api/v1/orders/{placed}/requeue", {"reason": "the line is back"})
    assert (response.status_code, response.json()["status"]) == (200, "retrying")
    assert any(asked.path == "/orders" for asked in broker.asked)
    drain(trader.account)
    assert OrderTask.objects.get().status == "completed"
    assert AuditEvent.objects.get(kind="order.resolved").details["reason"] == "the line is back"


def test_of_two_who_send_a_dead_letter_again_at_once_the_second_is_told(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = dead_letter(trader)
    requeue = f"/api/v1/orders/{placed}/requeue"
    first = []
    with right_after('"orders_orderbook"', lambda: first.append(trader.send("post", requeue, {"reason": "mine"}))):
        second = trader.send("post", requeue, {"reason": "mine, too"})
    assert [answer.status_code for answer in (*first, second)] == [200, 409]
    assert error_of(second)["code"] == "not_resolvable"
    assert AuditEvent.objects.get(kind="order.resolved").details["reason"] == "mine"


def test_a_dead_letter_that_the_book_shows_is_completed_and_not_sent(
    trader: Trader, broker: ScriptedBroker, valkey: object
) -> None:
    placed = dead_letter(trader)
    tag = OrderTask.objects.get().tag
    broker.answer("GET /orders", Answer([BODY | {"order_id": "900", "status": "OPEN", "tag": tag, "price": 120.5}]))
    response = trader.send("post", f"/api/v1/orders/{placed}/requeue", {"reason": "try again"})
    assert (response.status_code, error_of(response)["code"]) == (409, "not_resolvable")
    assert OrderTask.objects.get().broker_order_id == "900"
    assert posts(broker) == 0


def test_a_person_says_how_a_dead_letter_ended(trader: Trader, valkey: object) -> None:
    placed = dead_letter(trader)
    unknown = {"outcome": "completed", "order_id": "901", "reason": "seen in Kite"}
    assert trader.send("post", f"/api/v1/orders/{placed}/resolve", unknown).status_code == 409
    response = trader.send("post", f"/api/v1/orders/{placed}/resolve", {"outcome": "failed", "reason": "not there"})
    assert (response.json()["status"], response.json()["error_message"]) == ("failed", "not there")
    assert trader.send("post", f"/api/v1/orders/{placed}/requeue", {"reason": "again"}).status_code == 409
