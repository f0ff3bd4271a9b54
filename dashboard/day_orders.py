"""The day's orders as the orders page asks for them: ours, and those that were placed elsewhere, as rows."""

from collections.abc import Iterable, Sequence
from datetime import datetime, time
from typing import Any

from django.db.models import Case, CharField, Count, Exists, OuterRef, Q, QuerySet, Subquery, Value, When

from accounts import clock
from accounts.models import TradingAccount
from dashboard.blotter import GROUPS, Row, contract_words, row_of_external, row_of_task
from market.models import Instrument
from orders.models import BrokerOrder, OrderTask
from orders.states import OPEN, PLACING, TERMINAL, Operation, Status

PAGE = 100


def tasks_today(accounts: Sequence[TradingAccount]) -> "QuerySet[Any]":
    """The day's orders, and whatever of any day is not known or waits for a person; each with its group."""
    broker = BrokerOrder.objects.filter(account=OuterRef("account"), order_id=OuterRef("broker_order_id"))
    is_order = Q(operation__in=sorted(PLACING), trading_date=clock.today())
    tasks = OrderTask.objects.filter(account__in=accounts).filter(
        is_order | Q(status__in=[Status.UNKNOWN, Status.DEAD_LETTER])
    )
    return tasks.annotate(broker_status=Subquery(broker.values("status")[:1])).annotate(
        group=Case(
            When(status__in=[Status.UNKNOWN, Status.DEAD_LETTER], then=Value("need")),
            When(status__in=sorted(OPEN), then=Value("work")),
            When(status=Status.FAILED, error_code="cancelled_before_send", then=Value("done")),
            When(status=Status.FAILED, then=Value("bad")),
            When(broker_status="REJECTED", then=Value("bad")),
            When(broker_status__in=["COMPLETE", "CANCELLED"], then=Value("done")),
            default=Value("work"),
            output_field=CharField(),
        )
    )


def external_today(accounts: Sequence[TradingAccount]) -> "QuerySet[Any]":
    """Orders of the broker's book that are not ours, nor parts of one that is."""
    placed = OrderTask.objects.filter(account=OuterRef("account")).exclude(broker_order_id="")
    begins = datetime.combine(clock.today(), time.min, clock.IST)
    theirs = BrokerOrder.objects.filter(account__in=accounts, task=None, order_timestamp__gte=begins)
    theirs = theirs.exclude(Exists(placed.filter(broker_order_id=OuterRef("order_id"))))
    theirs = theirs.exclude(Exists(placed.filter(broker_order_id=OuterRef("parent_order_id"))))
    return theirs.annotate(
        group=Case(
            When(orphan_since__isnull=False, then=Value("need")),
            When(status="REJECTED", then=Value("bad")),
            When(status__in=sorted(TERMINAL), then=Value("done")),
            default=Value("work"),
            output_field=CharField(),
        )
    )


def counts_of(*found: "QuerySet[Any]") -> dict[str, int]:
    """How many orders each filter has, by its name; over querysets with a `group`."""
    counts = dict.fromkeys(GROUPS, 0)
    for rows in found:
        for name, count in rows.order_by().values_list("group").annotate(count=Count("pk")):
            counts[name] += count
            counts["all"] += count
    return counts


def page_of(ours: "QuerySet[Any]", theirs: "QuerySet[Any]", tradable: set[int], page: int) -> tuple[list[Row], bool]:
    """A page of rows of both, the newest first, and whether there are older ones."""
    most = page * PAGE + 1
    tasks = list(ours.select_related("account").order_by("-pk")[:most])
    orders = list(theirs.select_related("account").order_by("-order_timestamp", "-pk")[:most])
    rows = [*rows_of(tasks, tradable), *rows_of_externals(orders, tradable)]
    rows.sort(key=lambda row: row.at, reverse=True)
    return rows[most - 1 - PAGE : most - 1], len(rows) >= most


def rows_of(tasks: Sequence[OrderTask], tradable: set[int]) -> list[Row]:
    """Rows of tasks, in their order; four queries for all of them."""
    shown = {
        (order.account_id, order.order_id): order
        for order in BrokerOrder.objects.filter(
            account__in={task.account_id for task in tasks},
            order_id__in={task.broker_order_id for task in tasks} - {""},
        )
    }
    contracts = contracts_of((task.params.get("exchange"), task.params.get("tradingsymbol")) for task in tasks)
    under_way = _being_cancelled(str(task.public_id) for task in tasks)
    return [
        row_of_task(
            task,
            shown.get((task.account_id, task.broker_order_id)),
            contracts,
            may_trade=task.account_id in tradable,
            is_cancelling=str(task.public_id) in under_way,
        )
        for task in tasks
    ]


def rows_of_externals(orders: Sequence[BrokerOrder], tradable: set[int]) -> list[Row]:
    """The same for orders that were placed elsewhere."""
    contracts = contracts_of((order.exchange, order.tradingsymbol) for order in orders)
    under_way = _being_cancelled(f"order:{order.order_id}" for order in orders)
    return [
        row_of_external(
            order,
            contracts,
            may_trade=order.account_id in tradable,
            is_cancelling=f"order:{order.order_id}" in under_way,
        )
        for order in orders
    ]


def contracts_of(symbols: Iterable[tuple[Any, Any]]) -> dict[str, str]:
    """What people call instruments, by `exchange:tradingsymbol`."""
    wanted = {f"{exchange}:{tradingsymbol}" for exchange, tradingsymbol in symbols if tradingsymbol}
    today = clock.today()
    found = Instrument.objects.by_symbols(wanted)
    return {symbol: contract_words(one, today=today) for symbol, one in found.items()}


def _being_cancelled(serial_keys: Iterable[str]) -> set[str]:
    cancels = OrderTask.objects.open().filter(operation=Operation.CANCEL, serial_key__in=set(serial_keys))
    return set(cancels.values_list("serial_key", flat=True))


def strategies_of(accounts: Sequence[TradingAccount]) -> list[str]:
    """The day's strategy labels."""
    today = OrderTask.objects.filter(account__in=accounts, trading_date=clock.today()).order_by()
    found = today.exclude(params__strategy="").values_list("params__strategy", flat=True).distinct()
    return sorted(str(name) for name in found if name)
