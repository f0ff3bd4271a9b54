"""What a person does with an order that the service could not end by itself: try again, or say how it ended.

Both look into the broker's book first: what is found there is no longer a question.
"""

from datetime import UTC, datetime, timedelta

from django.db import transaction

from accounts import audit
from accounts.exceptions import BrokerError, CredentialError, Refused
from orders import ledger
from orders.book import read_book
from orders.models import BrokerOrder, OrderTask
from orders.states import PLACING, Operation, Status
from orders.tasks import ring

HTTP_CONFLICT = 409


class NotResolvable(Refused):
    """The order is in no state that a person may settle, or what they say of it is not so."""

    status_code = HTTP_CONFLICT
    code = "not_resolvable"
    default_message = "This order is not waiting for a person."


def requeue(task: OrderTask, principal: str, *, reason: str, valid_for: timedelta) -> OrderTask:
    """Let a dead letter be sent again, after the book was read and does not show it.

    Raises
    ------
    NotResolvable
        It is no dead letter, the book cannot be read or is old, or the order is in it (it is completed then).
    """
    _must_wait_for_a_person(task)
    _look_into_the_book(task)
    with transaction.atomic():
        moved = ledger.settle(
            task,
            Status.RETRYING,
            actor=principal,
            reason="requeued",
            evidence={"why": reason},
            attempts=0,
            run_after=ledger.NOW,
            send_started_at=None,
            unknown_since=None,
            finished_at=None,
            valid_until=datetime.now(UTC) + valid_for,
        )
        if not moved:
            raise NotResolvable("The order has changed meanwhile; look again.")
        _audit(task, principal, "requeued", reason)
        transaction.on_commit(lambda: ring(task.account_id), robust=True)
    task.refresh_from_db()
    return task


def resolve(task: OrderTask, principal: str, *, order_id: str = "", reason: str) -> OrderTask:
    """End a dead letter by a person's word: completed as `order_id`, or failed without one.

    Raises
    ------
    NotResolvable
        Also where the book shows another truth.
    """
    _must_wait_for_a_person(task)
    _look_into_the_book(task)
    if order_id and not BrokerOrder.objects.filter(account=task.account_id, order_id=order_id).exists():
        raise NotResolvable(f"The broker's book has no order {order_id}.")
    if order_id and OrderTask.objects.filter(account=task.account_id, broker_order_id=order_id).exclude(pk=task.pk):
        raise NotResolvable(f"Order {order_id} belongs to another task.")
    with transaction.atomic():
        if order_id:
            moved = ledger.adopt(task, order_id, actor=principal, reason="resolved", evidence={"why": reason})
        else:
            moved = ledger.settle(
                task,
                Status.FAILED,
                actor=principal,
                reason="resolved",
                evidence={"why": reason},
                error_code="resolved_as_failed",
                error_message=reason[:500],
            )
        if not moved:
            raise NotResolvable("The order has changed meanwhile; look again.")
        _audit(task, principal, "completed" if order_id else "failed", reason)
    task.refresh_from_db()
    return task


def _must_wait_for_a_person(task: OrderTask) -> None:
    if task.status != Status.DEAD_LETTER:
        raise NotResolvable(f"This order is {task.get_status_display()}, and does not wait for a person.")


def _look_into_the_book(task: OrderTask) -> None:
    """Reading adopts what is found, so afterwards the task itself says whether it was there."""
    try:
        book = read_book(task.account)
    except (BrokerError, CredentialError) as exc:
        raise NotResolvable(f"The broker's book cannot be read, so nothing is decided: {exc}") from exc
    task.refresh_from_db()
    if task.status == Status.COMPLETED:
        raise NotResolvable(f"The broker's book has it: order {task.broker_order_id}. It is completed.")
    _must_wait_for_a_person(task)  # somebody else may have been first
    if not book.proves_absence and Operation(task.operation) in PLACING:
        raise NotResolvable("The broker's book lacks orders that are known: it is old, so nothing is decided.")


def _audit(task: OrderTask, principal: str, outcome: str, reason: str) -> None:
    audit.record(
        audit.Kind.ORDER_RESOLVED,
        account=task.account.kite_user_id,
        task=str(task.public_id),
        outcome=outcome,
        reason=reason,
        principal=principal,
    )
