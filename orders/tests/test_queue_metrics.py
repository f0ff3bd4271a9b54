"""What Prometheus is told of the tables."""

from datetime import timedelta
from typing import Any

import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from django.test import Client

from accounts.models import TradingAccount
from orders import ledger, queue_metrics
from orders.models import OrderTask
from orders.queue_metrics import ORDERS_REGISTRY
from orders.states import Operation, Status
from orders.tests.conftest import Submit


def value(name: str, **labels: str) -> float | None:
    return ORDERS_REGISTRY.get_sample_value(name, labels)


def test_requests_and_their_ends_are_counted_by_operation_and_account(submit: Submit, account: TradingAccount) -> None:
    other = TradingAccount.objects.create(kite_user_id="XY9999", label="", app=account.app, owner=account.owner)
    submit("k1")
    submit("k2", operation=Operation.EXIT)
    submit("k3", of=other)
    claim = ledger.claim(account, "w")  # the exit goes first
    assert claim is not None
    ledger.fail(claim, "InputException", "no", http_status=400)
    assert value("order_requests_total", operation="place", account_id="AB1234") == 1
    assert value("order_requests_total", operation="place", account_id="XY9999") == 1
    assert value("order_requests_completed_total", operation="exit", status="failed", account_id="AB1234") == 1
    assert value("order_requests_completed_total", operation="place", status="failed", account_id="AB1234") is None
    assert value("order_executor_tasks_total", status="failed") == 1
    assert value("order_executor_tasks_total", status="pending") == value("task_queue_depth", status="pending") == 2
    assert value("order_executor_tasks_total", status="completed") == 0
    assert value("task_queue_depth", status="failed") is None  # it is no queue


def test_a_late_arrival_has_ended_twice(submit: Submit, account: TradingAccount) -> None:
    task = submit()
    claim = ledger.claim(account, "w")
    assert claim is not None
    ledger.fail(claim, "absent_at_broker", "")
    task.refresh_from_db()
    ledger.settle(task, Status.COMPLETED, actor="t", reason="late_arrival", evidence={}, broker_order_id="151")
    labels = {"operation": "place", "account_id": "AB1234"}
    assert value("order_requests_completed_total", status="failed", **labels) == 1
    assert value("order_requests_completed_total", status="completed", **labels) == 1


def test_dead_letters_of_any_day_are_counted_until_a_person_has_ended_them(
    submit: Submit, account: TradingAccount
) -> None:
    assert value("order_executor_dead_letter_queue_size") == 0
    task = submit()
    claim = ledger.claim(account, "w")
    assert claim is not None
    ledger.retry(claim, "not_sent", "", after_seconds=0, costs_an_attempt=True)
    task.refresh_from_db()
    ledger.settle(task, Status.DEAD_LETTER, actor="t", reason="attempts_used_up", evidence={})
    assert value("order_executor_dead_letter_queue_size") == 1


@pytest.mark.parametrize(("seconds", "overdue"), [(5, 0), (15, 1)])
def test_what_waits_too_long_is_overdue(submit: Submit, seconds: int, overdue: int) -> None:
    task = submit()
    OrderTask.objects.filter(pk=task.pk).update(run_after=Now() - timedelta(seconds=seconds))
    assert value("order_tasks_overdue", state="runnable") == overdue
    oldest = value("order_tasks_oldest_seconds", state="runnable")
    assert oldest is not None
    assert oldest == pytest.approx(seconds, abs=2)


def test_what_is_to_be_tried_later_waits_for_nobody(submit: Submit) -> None:
    task = submit()
    OrderTask.objects.filter(pk=task.pk).update(run_after=Now() + timedelta(hours=1))
    assert value("order_tasks_oldest_seconds", state="runnable") == 0


def test_a_lost_worker_and_a_long_look_up_are_overdue(submit: Submit, account: TradingAccount) -> None:
    submit("k1")
    submit("k2")
    first, second = ledger.claim(account, "w"), ledger.claim(account, "w")
    assert first is not None
    assert second is not None
    assert value("order_tasks_overdue", state="running") == 0
    OrderTask.objects.filter(pk=first.task.pk).update(lease_until=Now() - timedelta(seconds=11))
    ledger.mark(second)
    ledger.leave_unknown(second, "outcome_unknown", "")
    OrderTask.objects.filter(pk=second.task.pk).update(unknown_since=Now() - timedelta(seconds=61))
    assert value("order_tasks_overdue", state="running") == 1
    assert value("order_tasks_overdue", state="unknown") == 1


def test_a_database_that_is_away_leaves_no_sample(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def away() -> Any:
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(queue_metrics, "_families", away)
    assert value("order_executor_dead_letter_queue_size") is None


def test_they_are_served_with_the_others(db: None) -> None:
    text = Client().get("/metrics", REMOTE_ADDR="127.0.0.1").content.decode()
    for name in ("order_executor_tasks_total", "order_executor_dead_letter_queue_size", "task_queue_depth"):
        assert f"\n# TYPE {name} gauge\n" in text
    assert text.count("# TYPE order_requests_total counter") == 1


def test_the_queue_is_counted_by_partial_indexes(submit: Submit) -> None:
    submit()
    with connection.cursor() as cursor:
        cursor.execute("set local enable_seqscan = off")
        cursor.execute("explain " + queue_metrics._QUEUED)
        plan = "\n".join(line for (line,) in cursor.fetchall())
    assert "Seq Scan" not in plan
