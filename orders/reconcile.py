"""Settling orders of unknown outcome by the broker's book. A failed read, or a book that lacks what is known, is no
evidence; absence is proven only by several whole books over a while, one of which shows an order sent later.
"""

import logging
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from accounts import clock
from accounts.exceptions import BrokerError, CredentialError
from accounts.models import TradingAccount
from orders import ledger, resend, trips
from orders.arrivals import ACTOR
from orders.book import Book, Row, read_book
from orders.broker_orders import roots_with_our_tags
from orders.comparison import differences
from orders.models import OrderTask
from orders.states import PLACING, TERMINAL, Operation, Status
from orders.targets import order_id_of

logger = logging.getLogger(__name__)

SCHEDULE_SECONDS = (0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
LEAST_ABSENT_READS = 3
MOST_MODIFIES, MOST_CANCELS = 3, 6  # attempts: the first one included


def reconcile(account: TradingAccount) -> int:
    """Read the account's book once and settle what it settles. How many tasks left `unknown`.

    A book that cannot be read settles nothing, and is read again later.
    """
    # A book shows its own day only: `orders.sweep` ends what is older.
    today = OrderTask.objects.unknown().filter(account=account, trading_date=clock.today())
    due = list(today.filter(recon_after__lte=Now()).order_by("pk"))
    if not due:
        return 0
    try:
        book = read_book(account)
    except (BrokerError, CredentialError) as exc:
        logger.warning("%s: the order book cannot be read: %s", account.kite_user_id, exc)
        for task in due:
            _look_again(task)
        return 0
    settled = 0
    for task in due:
        task.account = account
        settled += settle_by(book, task)
    return settled


def settle_by(book: Book, task: OrderTask) -> bool:
    """What the book says of one unknown task. Whether it is settled."""
    match Operation(task.operation):
        case Operation.MODIFY:
            return _settle_modify(book, task)
        case Operation.CANCEL:
            return _settle_cancel(book, task)
    roots = roots_with_our_tags(book.rows).get(task.tag)
    if roots:
        return _found(task, roots)
    return _absent(book, task)


def _found(task: OrderTask, roots: Mapping[str, Row]) -> bool:
    order_id = min(roots)
    first = roots[order_id]
    if len(roots) > 1:
        trips.duplicate_detected(task.account, f"{len(roots)} orders carry the tag of task {task.public_id}")
    evidence = {
        "orders": sorted(roots),
        "status": str(first.get("status")),
        "differs": differences(task, first),
    }
    if evidence["differs"]:
        logger.critical("task %s: the broker's order differs in %s", task.public_id, evidence["differs"])
    return ledger.adopt(task, order_id, actor=ACTOR, reason="found_in_book", evidence=evidence)


def _absent(book: Book, task: OrderTask) -> bool:
    """One more book without it; the verdict after several of them over a while, the last one with a later order."""
    if not book.proves_absence or task.trading_date != clock.today():
        return _end_if_unresolved(task, "the broker's book proves nothing: it is old, or of another day")
    OrderTask.objects.filter(pk=task.pk, status=Status.UNKNOWN, version=task.version).update(
        absent_reads=F("absent_reads") + 1, absent_since=_first_of(task)
    )
    task.refresh_from_db(fields=["absent_reads", "absent_since"])
    canary = _later_order(book, task)
    spans = _seconds_since(task, "absent_since") >= settings.ORDER_ABSENCE_SECONDS
    if task.absent_reads < LEAST_ABSENT_READS or not spans:
        return _look_again(task)
    if canary is None:
        return _end_if_unresolved(task, "no later order is in the broker's book, so that its silence proves nothing")
    evidence = {"reads": task.absent_reads, "since": str(task.absent_since), "later_order": canary}
    if resend.may_be_sent_again(task):
        logger.warning("task %s: the broker never had it, and its sender is gone: it is sent again", task.public_id)
        return resend.send_again(task, actor=ACTOR, evidence=evidence)
    return ledger.settle(
        task,
        Status.FAILED,
        actor=ACTOR,
        reason="absent_at_broker",
        evidence=evidence,
        error_code="absent_at_broker",
        error_message="The broker never had it: several whole order books do not show it, but a later order.",
    )


def _settle_modify(book: Book, task: OrderTask) -> bool:
    row = _row_of(book, order_id_of(task))
    if row is None:
        return _end_if_unresolved(task, "the order to be changed is not in the broker's book")
    if not differences(task, row):
        return _is_as_asked(task, row, "found_changed")
    if str(row.get("status")) in TERMINAL or task.attempts >= MOST_MODIFIES:
        return _give_up(task, "not_changed", "the broker's order is as it was before", row)
    return _try_again(task, "not_changed", row)


def _settle_cancel(book: Book, task: OrderTask) -> bool:
    row = _row_of(book, order_id_of(task))
    if row is None:
        return _end_if_unresolved(task, "the order to be cancelled is not in the broker's book")
    if str(row.get("status")) in TERMINAL:
        reason = "cancelled" if row.get("status") == "CANCELLED" else "already_terminal"
        return _is_as_asked(task, row, reason)
    if task.attempts >= MOST_CANCELS:
        return _give_up(task, "not_cancelled", "the order is still open after several tries", row)
    return _try_again(task, "not_cancelled", row)


def _is_as_asked(task: OrderTask, row: Row, reason: str) -> bool:
    evidence = {"status": str(row.get("status"))}
    return ledger.adopt(task, str(row["order_id"]), actor=ACTOR, reason=reason, evidence=evidence)


def _try_again(task: OrderTask, code: str, row: Row) -> bool:
    return ledger.settle(
        task,
        Status.RETRYING,
        actor=ACTOR,
        reason=code,
        evidence={"status": str(row.get("status"))},
        send_started_at=None,
        unknown_since=None,
        run_after=ledger.NOW,
    )


def _give_up(task: OrderTask, code: str, message: str, row: Row) -> bool:
    return ledger.settle(
        task,
        Status.FAILED,
        actor=ACTOR,
        reason=code,
        evidence={"status": str(row.get("status"))},
        error_code=code,
        error_message=message,
    )


def _end_if_unresolved(task: OrderTask, why: str) -> bool:
    """A person decides once nothing was proven for a while."""
    if _seconds_since(task, "unknown_since") < settings.ORDER_UNRESOLVED_SECONDS:
        return _look_again(task)
    logger.critical("task %s needs a person: %s", task.public_id, why)
    return ledger.settle(
        task,
        Status.DEAD_LETTER,
        actor=ACTOR,
        reason="unresolved",
        evidence={"why": why, "absent_reads": task.absent_reads},
        error_code="unresolved",
        error_message=why[:500],
    )


def _look_again(task: OrderTask) -> bool:
    elapsed = _seconds_since(task, "unknown_since")
    wait = next((at - elapsed for at in SCHEDULE_SECONDS if at > elapsed), SCHEDULE_SECONDS[-1])
    wait = min(wait, settings.ORDER_ABSENCE_SECONDS / LEAST_ABSENT_READS)
    OrderTask.objects.filter(pk=task.pk, status=Status.UNKNOWN, version=task.version).update(
        recon_after=Now() + timedelta(seconds=wait)
    )
    return False


def _later_order(book: Book, task: OrderTask) -> str | None:
    """An order that was sent after this one and is in the book: the book is not older than this one, then."""
    return (
        OrderTask.objects.filter(
            account=task.account,
            status=Status.COMPLETED,
            operation__in=sorted(PLACING),
            send_started_at__gt=task.send_started_at,
            broker_order_id__in=book.ids,
        )
        .values_list("broker_order_id", flat=True)
        .first()
    )


def _row_of(book: Book, order_id: str) -> Row | None:
    return next((row for row in book.rows if str(row["order_id"]) == str(order_id)), None)


def _first_of(task: OrderTask) -> Any:
    return task.absent_since if task.absent_since is not None else Now()


def _seconds_since(task: OrderTask, field: str) -> float:
    """By the database's clock."""
    since: datetime | None = getattr(task, field)
    if since is None:
        return 0.0
    with connection.cursor() as cursor:
        cursor.execute("select extract(epoch from statement_timestamp() - %s)", [since])
        (seconds,) = cursor.fetchone()
    return float(seconds)
