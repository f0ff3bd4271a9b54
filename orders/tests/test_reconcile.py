"""Outcomes nobody knows: found by tag, proven absent, or left to a person; never guessed."""

from datetime import date, timedelta
from typing import Any

import pytest
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries, Settings

from accounts import clock
from accounts.models import TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import ledger
from orders.arrivals import look_through
from orders.book import has_book_of_today, read_book
from orders.broker_orders import Unreadable, record_book, record_broker_update
from orders.execute import drain, may_send
from orders.models import BrokerOrder, OrderTask, TradingState
from orders.reconcile import reconcile
from orders.states import Operation, Status
from orders.sweep import sweep
from orders.tests.conftest import ORDER_ID, Submit, posts
from orders.tests.racing import right_after

TODAY = date(2026, 11, 25)


@pytest.fixture(autouse=True)
def quick(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ORDER_ABSENCE_SECONDS = 0.0
    monkeypatch.setattr(clock, "today", lambda: TODAY)


def row(task: OrderTask | None = None, **changes: Any) -> dict[str, Any]:
    """An order in the broker's book."""
    return {
        "order_id": "2511000000000009",
        "parent_order_id": None,
        "status": "OPEN",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "transaction_type": "BUY",
        "quantity": 75,
        "filled_quantity": 0,
        "product": "NRML",
        "order_type": "LIMIT",
        "price": 120.5,
        "tag": task.tag if task else None,
        "order_timestamp": "2026-11-25 10:42:07",
    } | changes


@pytest.fixture
def unknown(submit: Submit, account: TradingAccount, broker: ScriptedBroker) -> OrderTask:
    """A task whose outcome nobody knows."""
    good = broker.answers["POST /orders/regular"]
    broker.answer("POST /orders/regular", Answer(b"<html>", 502))
    submit("unknown")
    drain(account)
    broker.answer("POST /orders/regular", good)
    task = OrderTask.objects.get()
    assert task.status == Status.UNKNOWN
    return task


def look(account: TradingAccount) -> OrderTask:
    """Reconcile now, whatever the schedule says. The first task afterwards."""
    OrderTask.objects.filter(status="unknown").update(recon_after=Now() - timedelta(seconds=1))
    reconcile(account)
    return OrderTask.objects.order_by("pk").first()  # type: ignore[return-value]


def books(broker: ScriptedBroker, *rows: dict[str, Any]) -> None:
    broker.answer("GET /orders", Answer(list(rows)))


def later_order(submit: Submit, account: TradingAccount) -> dict[str, Any]:
    """An order that was sent after the unknown one, as the book shows it."""
    submit("later")
    drain(account)
    later = OrderTask.objects.get(idempotency_key="later")
    assert later.status == Status.COMPLETED
    return row(later, order_id=later.broker_order_id)


def test_f06_an_order_that_is_in_the_book_by_its_tag_is_completed(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker
) -> None:
    books(broker, row(order_id="1", tag="somebody"), row(unknown))
    task = look(account)
    assert (task.status, task.broker_order_id) == (Status.COMPLETED, "2511000000000009")
    assert posts(broker) == 1
    assert BrokerOrder.objects.get(order_id="2511000000000009").task == task
    assert BrokerOrder.objects.get(order_id="1").task is None  # F35: an order placed by hand stays foreign


def test_a_tag_among_the_brokers_own_is_found_too(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker
) -> None:
    books(broker, row(tag="mktp", tags=["mktp", "mktp:2.00", unknown.tag]))
    assert look(account).status == Status.COMPLETED


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>", 502),
        Answer({"status": "error", "message": "x", "error_type": "NetworkException"}, 503),
        Answer({"status": "error", "message": "x", "error_type": "TokenException"}, 403),
        Answer({"orders": []}),
        Answer(b"[", 200),
    ],
    ids=lambda answer: f"{answer.status} {str(answer.body)[:20]}",
)
def test_f12_a_book_that_cannot_be_read_proves_nothing(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker, answer: Answer
) -> None:
    broker.answer("GET /orders", answer)
    for _ in range(4):
        task = look(account)
    assert (task.status, task.absent_reads) == (Status.UNKNOWN, 0)


def test_f12_a_book_that_has_lost_a_known_order_proves_nothing(
    unknown: OrderTask, submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    later_order(submit, account)
    books(broker)  # empty, though one order is known
    for _ in range(4):
        task = look(account)
    assert (task.status, task.absent_reads) == (Status.UNKNOWN, 0)
    assert not has_book_of_today(account)


def test_absence_takes_three_whole_books_a_while_and_a_later_order(
    unknown: OrderTask, submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    books(broker, later_order(submit, account))
    statuses = [look(account).status for _ in range(3)]
    assert statuses == ["unknown", "unknown", "failed"]
    task = OrderTask.objects.order_by("pk")[0]
    assert (task.error_code, task.broker_order_id) == ("absent_at_broker", "")
    assert task.events.last().evidence["reads"] == 3  # type: ignore[union-attr]
    assert posts(broker) == 2, "it is not sent again"


def test_absence_is_not_proven_before_its_window_is_over(
    unknown: OrderTask, submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    settings.ORDER_ABSENCE_SECONDS = 120.0
    books(broker, later_order(submit, account))
    for _ in range(5):
        assert look(account).status == Status.UNKNOWN
    OrderTask.objects.filter(status="unknown").update(absent_since=Now() - timedelta(seconds=121))
    assert look(account).status == Status.FAILED


def test_f11_an_order_that_shows_late_is_found_and_not_failed(
    unknown: OrderTask, submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    settings.ORDER_ABSENCE_SECONDS = 120.0
    later = later_order(submit, account)
    books(broker, later)
    for _ in range(3):
        look(account)
    books(broker, later, row(unknown))
    assert look(account).status == Status.COMPLETED


def test_without_a_later_order_a_person_decides(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    books(broker)
    for _ in range(5):
        assert look(account).status == Status.UNKNOWN
    settings.ORDER_UNRESOLVED_SECONDS = 0.0
    task = look(account)
    assert (task.status, task.error_code) == (Status.DEAD_LETTER, "unresolved")
    assert "no later order" in task.error_message


def test_an_order_sent_before_is_no_proof_of_anything(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    earlier = later_order(submit, account)
    broker.answer("POST /orders/regular", Answer(b"<html>", 502))
    submit("unknown")
    drain(account)
    books(broker, earlier)
    for _ in range(5):
        look(account)
    assert OrderTask.objects.get(idempotency_key="unknown").status == Status.UNKNOWN


def test_a_book_of_another_day_proves_nothing(
    unknown: OrderTask, submit: Submit, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    books(broker, later_order(submit, account))
    monkeypatch.setattr(clock, "today", lambda: TODAY + timedelta(days=1))
    for _ in range(4):
        task = look(account)
    assert (task.status, task.absent_reads) == (Status.UNKNOWN, 0)


def test_a_late_arrival_is_adopted_and_said(
    unknown: OrderTask,
    submit: Submit,
    account: TradingAccount,
    broker: ScriptedBroker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    later = later_order(submit, account)
    books(broker, later)
    for _ in range(3):
        look(account)
    books(broker, later, row(unknown))
    read_book(account)
    task = OrderTask.objects.order_by("pk")[0]
    assert (task.status, task.is_late_arrival, task.broker_order_id) == ("completed", True, "2511000000000009")
    assert "had been given up, and the broker has it" in caplog.text


def test_of_two_who_read_a_late_arrival_at_once_one_adopts_it(
    unknown: OrderTask, submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    later = later_order(submit, account)
    books(broker, later)
    for _ in range(3):
        look(account)
    book = record_book(account, [later, row(unknown)])
    with right_after('"orders_ordertask"."tag" IN', lambda: look_through(account, book)):
        look_through(account, book)
    task = OrderTask.objects.order_by("pk")[0]
    assert (task.status, task.broker_order_id) == ("completed", "2511000000000009")
    assert [event.reason for event in task.events.order_by("number")][-2:] == ["absent_at_broker", "late_arrival"]


def test_an_order_with_a_tag_of_ours_that_no_task_has_is_told(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    books(broker, row(tag="T" + "Z" * 19))
    look(account)
    assert "has a tag of ours and no task" in caplog.text


def test_f34_an_order_that_differs_is_adopted_and_said(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker, caplog: pytest.LogCaptureFixture
) -> None:
    books(broker, row(unknown, quantity=7500, tradingsymbol="BANKNIFTY26DECFUT"))
    task = look(account)
    assert task.status == Status.COMPLETED
    assert "differs in ['tradingsymbol', 'quantity']" in caplog.text
    assert posts(broker) == 1


def test_two_orders_with_one_tag_let_the_account_only_reduce(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker
) -> None:
    books(broker, row(unknown), row(unknown, order_id="2511000000000010"))
    task = look(account)
    assert (task.status, task.broker_order_id) == (Status.COMPLETED, "2511000000000009")
    state = TradingState.objects.get(account=account)
    assert (state.state, state.epoch) == ("reducing", 1)
    assert "2 orders carry the tag" in state.reason


def test_parts_of_an_order_are_not_taken_for_a_second_one(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker
) -> None:
    root = "2511000000000009"
    parts = [row(unknown, order_id=str(number), parent_order_id=root) for number in range(3)]
    books(broker, *parts, row(unknown))
    assert look(account).broker_order_id == root
    assert TradingState.objects.get(account=account).state == "active"


@pytest.mark.parametrize("parent", ["2511000000000009", "2511000000000001"], ids=["the first slice", "in no book"])
def test_f27_slices_of_an_order_that_was_too_large_are_one_order(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker, parent: str
) -> None:
    tags = [unknown.tag, "autoslice", f"autoslice:{parent}"]
    books(broker, *(row(unknown, order_id=f"25110000000000{number}", tags=tags) for number in ("09", "10", "11")))
    assert look(account).broker_order_id == parent
    assert TradingState.objects.get(account=account).state == "active"


def test_legs_of_an_iceberg_that_follow_by_themselves_are_no_second_order(
    unknown: OrderTask, account: TradingAccount, broker: ScriptedBroker
) -> None:
    legs = [row(unknown, order_id=f"251{leg}", meta={"iceberg": {"leg": leg, "legs": 3}}) for leg in (1, 2, 3)]
    books(broker, *reversed(legs))
    assert look(account).broker_order_id == "2511"
    assert TradingState.objects.get(account=account).state == "active"


def test_a_sliced_order_whose_own_id_is_in_no_book_makes_no_book_old(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    task = submit(operation=Operation.AUTOSLICE, autoslice=True)
    broker.answer("POST /orders/regular", Answer({"order_id": "2511000000000001", "children": []}))
    drain(account)
    tags = [task.tag, "autoslice", "autoslice:2511000000000001"]
    books(broker, row(task, order_id="2511000000000002", quantity=50, tags=tags))
    assert read_book(account).proves_absence
    assert "2511000000000001" in read_book(account).ids


def change(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, operation: Operation, **fields: Any
) -> OrderTask:
    for method in ("PUT", "DELETE"):
        broker.answer(f"{method} /orders/regular/1511", Answer(b"<html>", 502))
    submit("change", operation=operation, params={"variety": "regular", "order_id": "1511"} | fields)
    drain(account)
    return OrderTask.objects.get()


def test_f25_a_cancel_of_unknown_outcome_is_settled_by_the_order_itself(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    change(submit, account, broker, Operation.CANCEL)
    books(broker, row(order_id="1511", status="COMPLETE", filled_quantity=75))
    task = look(account)
    assert (task.status, task.broker_order_id) == (Status.COMPLETED, "1511")
    assert task.events.last().reason == "already_terminal"  # type: ignore[union-attr]


def test_a_cancel_that_did_not_take_is_tried_again_and_given_up_in_the_end(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    settings.BREAKER_FAILURES = 100
    change(submit, account, broker, Operation.CANCEL)
    books(broker, row(order_id="1511"))
    statuses = []
    for _ in range(8):
        statuses.append(look(account).status)
        drain(account)
    assert "retrying" in statuses
    assert statuses[-1] == Status.FAILED
    assert OrderTask.objects.get().error_code == "not_cancelled"


@pytest.mark.parametrize(
    ("shown", "status"),
    [
        ({"price": 121.0}, Status.COMPLETED),
        ({"price": 120.5}, Status.RETRYING),
        ({"status": "COMPLETE"}, Status.FAILED),
    ],
    ids=str,
)
def test_a_modify_of_unknown_outcome_is_settled_by_what_the_order_shows(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, shown: dict[str, Any], status: Status
) -> None:
    change(submit, account, broker, Operation.MODIFY, price="121.00")
    books(broker, row(order_id="1511", **shown))
    assert look(account).status == status


def test_f01_f02_a_worker_that_died_before_the_mark_sent_nothing_and_after_it_nobody_knows(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    submit("before")
    submit("after")
    before, after = (ledger.claim(account, "dead") for _ in range(2))
    assert before is not None
    assert after is not None
    ledger.mark(after)
    sweep()
    assert set(OrderTask.objects.values_list("status", flat=True)) == {"running"}, "their leases still last"
    OrderTask.objects.update(lease_until=Now() - timedelta(seconds=1))
    sweep()
    first, second = OrderTask.objects.order_by("pk")
    assert (first.status, second.status) == (Status.RETRYING, Status.UNKNOWN)
    assert second.error_code == "worker_lost"
    assert broker.asked == []


def test_what_is_too_late_or_was_tried_too_often_is_ended(submit: Submit, account: TradingAccount) -> None:
    submit("late", valid_for=timedelta(seconds=-1))
    submit("tired")
    claim = ledger.claim(account, "w")
    assert claim is not None
    ledger.retry(claim, "not_sent", "no route", after_seconds=0, costs_an_attempt=True)
    OrderTask.objects.filter(idempotency_key="tired").update(attempts=F("max_attempts"))
    sweep()
    late, tired = OrderTask.objects.order_by("pk")
    assert (late.status, late.error_code) == (Status.FAILED, "expired")
    assert tired.status == Status.DEAD_LETTER


def test_nothing_is_sent_before_the_book_of_the_day_was_read_whole(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    broker.answer("GET /orders", Answer(b"<html>", 502))
    assert not may_send(account)
    books(broker)
    assert may_send(account)
    asked = len(broker.asked)
    assert may_send(account)
    assert len(broker.asked) == asked, "once a day is enough"


def test_a_book_that_has_not_changed_is_read_without_writing(
    submit: Submit,
    account: TradingAccount,
    broker: ScriptedBroker,
    django_assert_max_num_queries: DjangoAssertNumQueries,
) -> None:
    drain(account)
    tasks = [submit(f"k{number}") for number in range(30)]
    rows = [row(task, order_id=str(number)) for number, task in enumerate(tasks)]
    assert record_book(account, rows) == rows
    with django_assert_max_num_queries(1):
        record_book(account, rows)
    rows[7]["filled_quantity"] = 25
    record_book(account, rows)
    assert BrokerOrder.objects.get(order_id="7").filled_quantity == 25


def test_f37_news_of_an_order_never_go_back(account: TradingAccount) -> None:
    record_broker_update(account, row(status="OPEN", filled_quantity=40), source="socket")
    record_broker_update(account, row(status="OPEN", filled_quantity=20), source="postback")
    assert BrokerOrder.objects.get().filled_quantity == 40
    record_broker_update(account, row(status="COMPLETE", filled_quantity=75), source="book")
    record_broker_update(account, row(status="OPEN", filled_quantity=75), source="socket")
    order = BrokerOrder.objects.get()
    assert (order.status, order.filled_quantity, order.source) == ("COMPLETE", 75, "book")


def test_f36_the_same_news_a_hundred_times_change_nothing(account: TradingAccount) -> None:
    first = record_broker_update(account, row(), source="socket")
    for _ in range(100):
        again = record_broker_update(account, row(), source="postback")
    assert (again.pk, again.updated_at) == (first.pk, BrokerOrder.objects.get().updated_at)
    assert str(BrokerOrder.objects.get().price) == "120.5000"


@pytest.mark.parametrize(
    "changes", [{"order_id": None, "status": None}, {"quantity": "many"}, {"quantity": -1}, {"price": "NaN"}], ids=str
)
def test_a_row_that_makes_no_sense_is_refused(account: TradingAccount, changes: dict[str, Any]) -> None:
    bad = row(**changes)
    if bad["order_id"] is None:
        del bad["order_id"]
    with pytest.raises(Unreadable):
        record_broker_update(account, bad, source="socket")
    assert not BrokerOrder.objects.exists()


def test_a_known_order_keeps_its_id_for_its_task(submit: Submit, account: TradingAccount) -> None:
    submit()
    drain(account)
    assert OrderTask.objects.get().broker_order_id == ORDER_ID
