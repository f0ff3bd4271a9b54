"""What comes through the account's own socket: taken over as it is, or a reason to read the book."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now

from accounts import clock
from accounts.models import TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import ledger
from orders.incoming import take_updates
from orders.models import BrokerOrder, OrderTask, PortfolioReading
from orders.states import Status
from orders.tests.conftest import Submit
from orders.trade_sync import sync


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "today", lambda: date(2026, 11, 25))


def update(**changes: Any) -> dict[str, Any]:
    return {
        "user_id": "AB1234",
        "order_id": "2511000000000009",
        "status": "OPEN",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "transaction_type": "BUY",
        "quantity": 75,
        "filled_quantity": 0,
        "product": "NRML",
        "checksum": "",
        "tag": None,
    } | changes


def is_wanted() -> bool:
    return PortfolioReading.objects.exclude(wanted_at=None).exists()


def marked(submit: Submit, account: TradingAccount) -> ledger.Claim:
    submit()
    claim = ledger.claim(account, "w")
    assert claim is not None
    ledger.mark(claim)
    return claim


def test_updates_are_taken_over_in_their_order(account: TradingAccount) -> None:
    take_updates(account.pk, [update(), update(filled_quantity=25), update(status="COMPLETE", filled_quantity=75)])
    order = BrokerOrder.objects.get()
    assert (order.status, order.filled_quantity, order.source) == ("COMPLETE", 75, "socket")


@pytest.mark.parametrize("odd", [None, 7, "x", [], {}, {"order_id": "1"}, update(quantity="many")], ids=str)
def test_what_cannot_be_read_changes_nothing_and_has_the_book_read(account: TradingAccount, odd: Any) -> None:
    take_updates(account.pk, [odd, update(order_id="2")])
    assert [order.order_id for order in BrokerOrder.objects.all()] == ["2"]
    assert is_wanted()


def test_an_order_of_somebody_else_is_not_taken_for_the_accounts(
    account: TradingAccount, caplog: pytest.LogCaptureFixture
) -> None:
    take_updates(account.pk, [update(user_id="CD5678")])
    assert not BrokerOrder.objects.exists()
    assert is_wanted()
    assert "CD5678" in caplog.text


def test_an_order_placed_elsewhere_is_kept_and_raises_no_question(account: TradingAccount) -> None:
    take_updates(account.pk, [update(tag="somebody")])
    assert BrokerOrder.objects.get().task is None
    assert not is_wanted()


def test_a_tag_of_ours_that_no_task_has_is_a_question_that_the_book_answers(
    account: TradingAccount, broker: ScriptedBroker
) -> None:
    orphan = update(tag="T" + "X" * 19)
    take_updates(account.pk, [orphan])
    assert is_wanted()
    assert BrokerOrder.objects.get().orphan_since is None, "it may be a part of an order"
    broker.answer("GET /orders", Answer([orphan]))
    broker.answer("GET /trades", Answer([]))
    broker.answer("GET /portfolio/positions", Answer({"net": [], "day": []}))
    sync(account)
    assert BrokerOrder.objects.get().orphan_since is not None


def test_a_late_arrival_is_adopted_by_the_book_and_not_by_one_frame(
    account: TradingAccount, submit: Submit, broker: ScriptedBroker
) -> None:
    claim = marked(submit, account)
    ledger.fail(claim, "absent_at_broker", "not there")
    late = update(tag=claim.task.tag)
    take_updates(account.pk, [late])
    assert OrderTask.objects.get().status == Status.FAILED
    assert is_wanted()
    broker.answer("GET /orders", Answer([late]))
    broker.answer("GET /trades", Answer([]))
    broker.answer("GET /portfolio/positions", Answer({"net": [], "day": []}))
    sync(account)
    task = OrderTask.objects.get()
    assert (task.status, task.is_late_arrival, task.broker_order_id) == (Status.COMPLETED, True, late["order_id"])


def test_a_task_of_unknown_outcome_is_looked_up_at_once(account: TradingAccount, submit: Submit) -> None:
    claim = marked(submit, account)
    ledger.leave_unknown(claim, "timeout", "no answer in 7 s")
    OrderTask.objects.update(recon_after=Now() + timedelta(hours=1))
    take_updates(account.pk, [update(tag=claim.task.tag)])
    task = OrderTask.objects.get()
    assert task.status == Status.UNKNOWN, "the book decides, and nothing else"
    assert OrderTask.objects.filter(recon_after__lte=Now()).exists()
