"""The rows and what the database refuses: states out of order, two workers with one task, a key used twice."""

import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from itertools import product

import pytest
from django.db import IntegrityError, connection, transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts.models import TradingAccount
from orders import ledger
from orders.exceptions import KeyReused, LeaseLost, NotToBeSent, Postponed
from orders.models import OrderEvent, OrderTask, TradingState
from orders.states import TRANSITIONS, Operation, Status
from orders.tests.conftest import ORDER, Submit


def events_of(task: OrderTask) -> list[tuple[str, str, str]]:
    return list(task.events.values_list("from_status", "to_status", "reason"))


def claimed(account: TradingAccount) -> ledger.Claim:
    claim = ledger.claim(account, "worker-1")
    assert claim is not None
    return claim


def test_a_task_begins_as_pending_with_its_event_and_a_tag_of_its_own(submit: Submit) -> None:
    first, second = submit("k1"), submit("k2")
    assert events_of(first) == [("", "pending", "accepted")]
    assert first.tag != second.tag
    assert first.tag.isalnum()
    assert (len(first.tag), first.send_started_at) == (20, None)


def test_the_same_key_gives_the_same_task(submit: Submit) -> None:
    assert submit("k1") == submit("k1")
    assert OrderTask.objects.count() == 1


def test_the_same_key_with_another_order_is_refused_and_changes_nothing(submit: Submit) -> None:
    submit("k1")
    with pytest.raises(KeyReused):
        submit("k1", quantity=150)
    assert OrderTask.objects.get().params == ORDER


def test_the_same_key_on_another_account_is_another_order(submit: Submit, account: TradingAccount) -> None:
    """F22."""
    other = TradingAccount.objects.create(kite_user_id="CD5678", label="R", app=account.app, owner=account.owner)
    assert submit("k1") != submit("k1", of=other)


def test_a_claim_takes_cancels_and_exits_first_and_then_the_oldest(submit: Submit, account: TradingAccount) -> None:
    entries = [submit("k1"), submit("k2")]
    cancel = submit("k3", operation=Operation.CANCEL, order_id="1")
    assert [claimed(account).task.pk for _ in range(3)] == [cancel.pk, entries[0].pk, entries[1].pk]
    assert ledger.claim(account, "worker-1") is None


def test_a_claim_has_a_lease_a_larger_token_and_no_mark(submit: Submit, account: TradingAccount) -> None:
    submit()
    claim = claimed(account)
    task = OrderTask.objects.get()
    assert (task.status, task.lease_token, task.attempts, task.lease_owner) == ("running", 1, 1, "worker-1")
    assert task.lease_until is not None
    assert claim.token == 1
    assert events_of(task)[-1] == ("pending", "running", "claimed")


def test_what_is_not_due_too_late_or_of_another_account_is_not_claimed(submit: Submit, account: TradingAccount) -> None:
    other = TradingAccount.objects.create(kite_user_id="CD5678", label="R", app=account.app, owner=account.owner)
    submit("later")
    OrderTask.objects.update(run_after=Now() + timedelta(seconds=30))
    submit("over", valid_for=timedelta(seconds=-1))
    submit("theirs", of=other)
    assert ledger.claim(account, "worker-1") is None


def test_only_what_reduces_risk_is_claimed_while_only_the_reserve_is_left(
    submit: Submit, account: TradingAccount
) -> None:
    submit("k1")
    assert ledger.claim(account, "w", only_reducing=True) is None
    exit_task = submit("k2", operation=Operation.EXIT)
    claim = ledger.claim(account, "w", only_reducing=True)
    assert claim is not None
    assert claim.task.pk == exit_task.pk


def test_tasks_of_one_order_run_one_after_the_other(submit: Submit, account: TradingAccount) -> None:
    for number in range(3):
        submit(f"k{number}", operation=Operation.MODIFY, serial_key="1511", order_id="1511", quantity=75 * number)
    first = claimed(account)
    assert ledger.claim(account, "other") is None
    ledger.complete(first, "1511")
    second = claimed(account)
    assert second.task.params["quantity"] == 75
    ledger.retry(second, "not_sent", "", after_seconds=60, costs_an_attempt=True)
    assert ledger.claim(account, "other") is None, "the third waits for the second also while that one waits"


def test_a_worker_whose_lease_was_taken_over_writes_nothing(submit: Submit, account: TradingAccount) -> None:
    submit()
    late = claimed(account)
    OrderTask.objects.filter(pk=late.task.pk).update(lease_token=F("lease_token") + 1)
    writes: list[Callable[[], None]] = [
        partial(ledger.complete, late, "1"),
        partial(ledger.fail, late, "x", ""),
        partial(ledger.retry, late, "x", "", after_seconds=0, costs_an_attempt=True),
        partial(ledger.leave_unknown, late, "x", ""),
        partial(ledger.mark, late),
    ]
    for write in writes:
        with pytest.raises(LeaseLost):
            write()
    assert OrderTask.objects.get().status == Status.RUNNING


def test_a_mark_needs_a_lease_that_still_lasts(submit: Submit, account: TradingAccount) -> None:
    submit()
    claim = claimed(account)
    OrderTask.objects.update(lease_until=Now() - timedelta(seconds=1))
    with pytest.raises(LeaseLost):
        ledger.mark(claim)
    assert OrderTask.objects.get().send_started_at is None


@pytest.mark.parametrize("state", [TradingState.State.HALTED, TradingState.State.REDUCING])
@pytest.mark.parametrize("scope", ["everything", "account", "strategy"])
def test_a_halt_lets_no_mark_be_made_but_of_exits_and_cancels(
    submit: Submit, account: TradingAccount, state: str, scope: str
) -> None:
    submit("k1", strategy="straddle")
    claim = claimed(account)
    match scope:
        case "everything":
            TradingState.objects.filter(account=None).update(state=state)
        case "account":
            TradingState.objects.filter(account=account, strategy="").update(state=state)
        case _:
            TradingState.objects.create(account=account, strategy="straddle", state=state)
    with pytest.raises(NotToBeSent if state == TradingState.State.HALTED else Postponed):
        ledger.mark(claim)
    submit("k2", operation=Operation.CANCEL, order_id="1")
    ledger.mark(claimed(account))


@pytest.mark.parametrize("change", [{"state": "disabled"}, {"is_trading": False}], ids=str)
def test_a_disabled_account_sends_nothing(submit: Submit, account: TradingAccount, change: dict[str, object]) -> None:
    submit()
    claim = claimed(account)
    TradingAccount.objects.update(**change)
    with pytest.raises(NotToBeSent, match="may not send"):
        ledger.mark(claim)


def test_each_change_of_state_that_is_not_in_the_table_is_refused_by_the_database(
    submit: Submit, account: TradingAccount
) -> None:
    """Every pair of states: those of the table pass the guard, all others do not."""
    for number, (before, after) in enumerate(product(Status, Status)):
        if before == after:
            continue
        with transaction.atomic():
            task = submit(f"k{number}")
            _guards("disable")
            values = {"status": before, "lease_until": Now(), "unknown_since": Now(), "send_started_at": Now()}
            OrderTask.objects.filter(pk=task.pk).update(**values, broker_order_id=str(number))
            _guards("enable")
            with connection.cursor() as cursor:
                try:
                    with transaction.atomic():
                        cursor.execute(
                            "update orders_ordertask set status = %s, version = version + 1 where id = %s",
                            [after, task.pk],
                        )
                except IntegrityError:
                    went = False
                else:
                    went = True
            transaction.set_rollback(True)
        assert went is ((before, after) in TRANSITIONS), (before, after)


def _guards(how: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("set constraints all immediate")  # what is pending would not let the table be altered
        cursor.execute(f"alter table orders_ordertask {how} trigger user")
        cursor.execute("set constraints all deferred")


@pytest.mark.parametrize(
    "statement",
    [
        "update orders_ordertask set params = '{}'",
        "update orders_ordertask set account_id = account_id + 1",
        "update orders_ordertask set tag = 'TAAAAAAAAAAAAAAAAAAA'",
        "update orders_ordertask set fingerprint = ''",
        "update orders_ordertask set valid_until = valid_until + interval '1 hour'",
        "update orders_ordertask set lease_token = lease_token - 1 where lease_token > 0",
        "update orders_ordertask set version = version + 1",
        "delete from orders_ordertask",
        "update orders_orderevent set reason = 'x'",
        "delete from orders_orderevent",
    ],
)
def test_what_was_asked_for_and_what_happened_cannot_be_changed(
    submit: Submit, account: TradingAccount, statement: str
) -> None:
    submit()
    claimed(account)
    with pytest.raises(IntegrityError), transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(statement)


@pytest.mark.django_db(transaction=True)
def test_a_state_without_its_event_is_not_committed(submit: Submit) -> None:
    task = submit()
    with pytest.raises(IntegrityError, match="without an event"), transaction.atomic():
        OrderTask.objects.filter(pk=task.pk).update(status=Status.FAILED, version=2)
    assert OrderTask.objects.get().status == Status.PENDING


@pytest.mark.django_db(transaction=True)
def test_f21_fifty_at_once_with_one_key_make_one_task(submit: Submit) -> None:
    found: list[int] = []
    barrier = threading.Barrier(50)

    def one() -> None:
        try:
            barrier.wait(20)
            found.append(submit("k1").pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=one) for _ in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(found) == 50
    assert len(set(found)) == 1
    assert OrderEvent.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_many_workers_claim_each_task_once(submit: Submit, account: TradingAccount) -> None:
    tasks = {submit(f"k{number}").pk for number in range(40)}
    claimed_by: list[int] = []

    def worker(name: str) -> None:
        try:
            while (claim := ledger.claim(account, name)) is not None:
                claimed_by.append(claim.task.pk)
        finally:
            connection.close()

    threads = [threading.Thread(target=worker, args=(f"w{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(claimed_by) == len(tasks)
    assert set(claimed_by) == tasks
