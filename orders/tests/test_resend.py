"""Sent again only where the account's owner wants it, the broker provably never had it, and its sender is gone."""

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db.models import F
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import AuditEvent, TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from accounts.trading_accounts import change_account
from orders import execute, senders
from orders.execute import drain, may_send
from orders.ledger import claim, mark
from orders.models import OrderTask, SenderProcess
from orders.reconcile import reconcile
from orders.states import Operation, Status
from orders.sweep import sweep
from orders.tests.conftest import Submit, posts

DEAD = "host:4711:0a1b2c3d"


@pytest.fixture(autouse=True)
def quick(settings: Settings) -> None:
    settings.ORDER_ABSENCE_SECONDS = 0.0


@pytest.fixture
def lost(submit: Submit, account: TradingAccount, broker: ScriptedBroker) -> OrderTask:
    """An order whose worker died between mark and sending; a later one is in the broker's book."""
    return lose(submit, account, broker)


def lose(submit: Submit, account: TradingAccount, broker: ScriptedBroker, **changes: Any) -> OrderTask:
    SenderProcess.objects.create(name=DEAD)
    submit("lost", **changes)
    held = claim(account, f"{DEAD}/thread-1")
    assert held is not None
    mark(held)
    OrderTask.objects.update(lease_until=Now() - timedelta(seconds=1))
    sweep()
    submit("later")
    drain(account)
    later = OrderTask.objects.get(idempotency_key="later")
    shown = {
        "order_id": later.broker_order_id,
        "status": "OPEN",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "transaction_type": "BUY",
        "quantity": 75,
        "product": "NRML",
        "tag": later.tag,
    }
    broker.answer("GET /orders", Answer([shown]))
    return OrderTask.objects.get(idempotency_key="lost")


def after_the_verdict(account: TradingAccount) -> OrderTask:
    for _ in range(3):
        OrderTask.objects.filter(status="unknown").update(recon_after=Now() - timedelta(seconds=1))
        reconcile(account)
    return OrderTask.objects.get(idempotency_key="lost")


def opt_in(account: TradingAccount) -> None:
    change_account(account, {"may_resend": True})


def test_an_order_that_was_lost_with_its_worker_is_sent_again_under_its_tag_where_that_was_asked_for(
    lost: OrderTask, account: TradingAccount, broker: ScriptedBroker
) -> None:
    """F02, opted in: one sending, and the same tag, so that a second order would show."""
    opt_in(account)
    senders.note_end(DEAD, "itself")
    task = after_the_verdict(account)
    assert (task.status, task.send_started_at, task.absent_reads) == (Status.RETRYING, None, 0)
    event = task.events.last()
    assert event is not None
    assert (event.reason, event.evidence["sender"], event.evidence["reads"]) == ("absent_and_sent_again", DEAD, 3)
    drain(account)
    task.refresh_from_db()
    assert (task.status, task.attempts, posts(broker)) == (Status.COMPLETED, 2, 2)
    assert [asked.form["tag"] for asked in broker.asked if asked.method == "POST"][-1] == lost.tag


def test_without_being_asked_nothing_is_sent_again(
    lost: OrderTask, account: TradingAccount, broker: ScriptedBroker
) -> None:
    senders.note_end(DEAD, "itself")
    task = after_the_verdict(account)
    assert (task.status, task.error_code) == (Status.FAILED, "absent_at_broker")


def test_while_its_sender_may_be_alive_nothing_is_sent_again(lost: OrderTask, account: TradingAccount) -> None:
    opt_in(account)
    assert after_the_verdict(account).status == Status.FAILED


@pytest.mark.parametrize("limit", ["time", "attempts", "sliced"])
def test_what_is_too_late_was_tried_too_often_or_may_be_there_in_part_is_not_sent_again(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, limit: str
) -> None:
    operation = Operation.AUTOSLICE if limit == "sliced" else Operation.PLACE
    valid_for = timedelta(seconds=1) if limit == "time" else timedelta(minutes=5)
    lose(submit, account, broker, operation=operation, valid_for=valid_for)
    opt_in(account)
    senders.note_end(DEAD, "itself")
    if limit == "attempts":
        OrderTask.objects.filter(idempotency_key="lost").update(attempts=F("max_attempts"))
    if limit == "time":
        after(1.1)
    assert after_the_verdict(account).status == Status.FAILED


def after(seconds: float) -> None:
    import time

    time.sleep(seconds)


def test_a_pid_that_is_used_again_proves_nothing(lost: OrderTask, account: TradingAccount) -> None:
    SenderProcess.objects.create(name="host:4711:ffffffff", ended_at=Now())
    assert not senders.has_ended(lost.lease_owner)


def test_a_process_says_that_it_has_ended_only_when_none_of_its_threads_sends(
    account: TradingAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(senders, "_pid", 0)
    name = senders.this_process()
    assert senders.process_of(senders.worker_name()) == name
    with senders.sending():
        senders.end_this_process()
        assert not senders.has_ended(name)
    senders.end_this_process()
    assert senders.has_ended(name)


def test_a_person_says_that_a_process_has_ended_and_only_of_one_that_is_known(account: TradingAccount) -> None:
    SenderProcess.objects.create(name=DEAD)
    call_command("senders", "ended", DEAD)
    process = SenderProcess.objects.get(name=DEAD)
    assert process.ended_at is not None
    assert process.ended_by.startswith("command:")
    for name in (DEAD, "host:1:00000000"):
        with pytest.raises(CommandError, match="no process"):
            call_command("senders", "ended", name)


def test_who_opts_in_is_in_the_audit(account: TradingAccount) -> None:
    opt_in(account)
    event = AuditEvent.objects.filter(kind="account.changed").last()
    assert event is not None
    assert event.details["changed"] == {"may_resend": True}


# --- a process that begins --------------------------------------------------------------------------------------------


@pytest.fixture
def fresh_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a start: this process has looked at no book yet."""
    monkeypatch.setattr(execute, "_looked_at", {})


def test_a_fresh_process_reads_the_book_itself_before_it_sends(
    account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execute, "_looked_at", {})
    assert may_send(account)
    monkeypatch.setattr(execute, "_looked_at", {})
    broker.answer("GET /orders", Answer(b"<html>", 502))
    assert not may_send(account), "that another one has read it today is not enough"
    broker.answer("GET /orders", Answer([]))
    assert may_send(account)


@pytest.mark.parametrize("had_begun", [False, True], ids=["it waited", "a worker had it"])
def test_f93_orders_that_a_restored_backup_takes_for_unsent_are_adopted_and_not_sent_again(
    submit: Submit,
    account: TradingAccount,
    broker: ScriptedBroker,
    fresh_process: None,
    caplog: pytest.LogCaptureFixture,
    had_begun: bool,
) -> None:
    """F93: the rows are of an hour ago; since then the order went out, and another one that no row knows of."""
    task = submit()
    if had_begun:
        assert claim(account, f"{DEAD}/thread-1") is not None
        OrderTask.objects.update(lease_until=Now() - timedelta(seconds=1))
    common = {
        "status": "COMPLETE",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "transaction_type": "BUY",
        "quantity": 75,
        "filled_quantity": 75,
        "product": "NRML",
    }
    orphan = common | {"order_id": "2", "tag": "T" + "Z" * 19}
    broker.answer("GET /orders", Answer([common | {"order_id": "1", "tag": task.tag}, orphan]))
    assert may_send(account)
    drain(account)
    task.refresh_from_db()
    assert (task.status, task.broker_order_id, task.is_late_arrival) == (Status.COMPLETED, "1", True)
    assert posts(broker) == 0
    assert "order 2 has a tag of ours and no task" in caplog.text
