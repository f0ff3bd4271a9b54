"""Orders that come as a surprise: of tasks that were given up, and with a tag of ours that no task has."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import TradingAccount
from orders import ledger, trips
from orders.broker_orders import roots_with_our_tags
from orders.metrics import ORPHANS
from orders.models import BrokerOrder, OrderTask
from orders.states import PLACING, RUNNABLE, Operation, Status

logger = logging.getLogger(__name__)

ACTOR = "reconcile"
_GIVEN_UP: Final = (Status.FAILED, Status.DEAD_LETTER)


def look_through(account: TradingAccount, rows: Iterable[Mapping[str, Any]]) -> None:
    """Adopt late arrivals, tell of orphans, and have a task looked up at once that nobody knew the outcome of.

    `rows` are the broker's, and have been taken over before.
    """
    by_tag = roots_with_our_tags(rows)
    tasks = {task.tag: task for task in OrderTask.objects.filter(account=account, tag__in=by_tag)}
    for tag, roots in by_tag.items():
        task = tasks.get(tag)
        if task is None:
            for root, row in roots.items():
                # A part of an order that is known by itself is that one's; a slice may be all there is of its order.
                if root == str(row["order_id"]) or not BrokerOrder.objects.filter(account=account, order_id=root):
                    _tell_orphan(account, str(row["order_id"]))
        elif Operation(task.operation) not in PLACING:
            continue
        elif task.status in _GIVEN_UP or _is_taken_back(task):
            _adopt(task, min(roots))
        elif task.status == Status.UNKNOWN:
            due = OrderTask.objects.filter(pk=task.pk, status=Status.UNKNOWN, recon_after__gt=Now())
            due.update(recon_after=Now())


def _is_taken_back(task: OrderTask) -> bool:
    """End a task that waits to be sent though the broker has it: our rows are older than what happened."""
    return task.status in RUNNABLE and ledger.settle(
        task,
        Status.FAILED,
        actor=ACTOR,
        reason="at_broker_before_sent",
        evidence={"was": task.status},
        error_code="at_broker_before_sent",
        error_message="The broker has it already; our rows know of no sending.",
    )


def _adopt(task: OrderTask, order_id: str) -> None:
    task.refresh_from_db()
    if task.status not in _GIVEN_UP:
        return  # somebody else who reads the book was first
    was = {"was": task.status}
    if ledger.adopt(task, order_id, actor=ACTOR, reason="late_arrival", evidence=was, is_late_arrival=True):
        logger.critical("task %s had been given up, and the broker has it: %s", task.public_id, order_id)


def _tell_orphan(account: TradingAccount, order_id: str) -> None:
    """Once for each: the row remembers. What it stops is stopped with it, or neither."""
    unseen = BrokerOrder.objects.filter(account=account, order_id=order_id, task=None, orphan_since=None)
    with transaction.atomic():
        if not unseen.update(orphan_since=Now()):
            return
        has_tripped = trips.orphan_order(account, order_id)
    ORPHANS.inc()
    if not has_tripped:
        logger.critical("%s: order %s has a tag of ours and no task", account.kite_user_id, order_id)
