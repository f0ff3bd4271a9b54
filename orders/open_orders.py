"""Taking back what of ours is still open at the broker: the option of a halt."""

from collections.abc import Collection, Iterator
from datetime import datetime, time
from typing import Any

from django.db.models import Q, QuerySet

from accounts import clock
from accounts.clock import IST
from orders.halts import Scope
from orders.models import BrokerOrder, OrderTask
from orders.states import OPEN, PLACING, REDUCING, TERMINAL, Status
from orders.submit import Submitted, cancel
from orders.targets import Target, target_of_broker_order, target_of_task

_ENTRIES = sorted(PLACING - REDUCING)
_MAY_BE_THERE = sorted(OPEN | {Status.COMPLETED})


def cancel_open(
    scope: Scope, principal: str, *, key: str, of: Collection[tuple[str, str]] | None = None
) -> list[Submitted]:
    """Take on a cancel for each entry of today that is open at the broker, or may be, or waits here.

    The same key cancels none twice.

    Exits stay: they take risk away. What was placed by hand stays too: it is not ours to judge.

    Parameters
    ----------
    key : a part of each cancel's idempotency key, of 80 characters at most
    of : exchange and tradingsymbol of those that are meant; None: all
    """
    return [
        cancel(principal, target, key=f"{key}:{target.serial_key}")
        for target in _open_in(scope)
        if of is None or (target.request().exchange, target.request().tradingsymbol) in of
    ]


def _open_in(scope: Scope) -> Iterator[Target]:
    day = clock.today()
    since = datetime.combine(day, time.min, IST)
    shown = BrokerOrder.objects.filter(task__operation__in=_ENTRIES).exclude(status__in=sorted(TERMINAL))
    shown = shown.filter(Q(order_timestamp=None) | Q(order_timestamp__gte=since))
    for order in _within(shown, scope, "task__params__strategy").select_related("account__app"):
        yield target_of_broker_order(order)
    sent = OrderTask.objects.filter(operation__in=_ENTRIES, status__in=_MAY_BE_THERE, trading_date=day)
    for task in _within(sent.filter(broker_orders=None), scope, "params__strategy").select_related("account__app"):
        target = target_of_task(task)
        if target.broker_order is None:
            yield target


def _within(rows: "QuerySet[Any]", scope: Scope, strategy: str) -> "QuerySet[Any]":
    if scope.account is not None:
        rows = rows.filter(account=scope.account)
    return rows.filter(**{strategy: scope.strategy}) if scope.strategy else rows
