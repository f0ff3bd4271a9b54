"""Where our orders, the broker's book, its trades and the positions do not say the same. In words; no repairs."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, time
from typing import Any

from accounts import clock
from accounts.models import TradingAccount
from orders.broker_orders import is_our_tag
from orders.models import BrokerOrder, OrderBook, OrderTask, PortfolioReading, Position, Trade
from orders.states import PLACING, Status

_MOST_TRADES = 100_000


@dataclass(frozen=True, slots=True)
class Difference:
    """One of them. `kind` is for programs: `not_in_book`, `orphan`, `trades`, `position`, or `external`, which is no
    fault: somebody placed an order elsewhere.
    """

    kind: str
    words: str
    order_id: str = ""
    task: str = ""
    exchange: str = ""
    tradingsymbol: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)


def drift(account: TradingAccount) -> list[Difference]:
    """Today's differences, from what was last read. Nothing is asked of the broker."""
    today = clock.today()
    begins = datetime.combine(today, time.min, clock.IST)
    orders = list(BrokerOrder.objects.filter(account=account, order_timestamp__gte=begins).order_by("pk"))
    tasks = OrderTask.objects.filter(
        account=account, trading_date=today, status=Status.COMPLETED, operation__in=sorted(PLACING)
    ).exclude(broker_order_id="")
    trades = list(Trade.objects.filter(account=account, trading_date=today)[:_MOST_TRADES])
    positions = list(Position.objects.filter(account=account))
    book = OrderBook.objects.filter(account=account, trading_date=today).first()
    reading = PortfolioReading.objects.filter(account=account, trading_date=today).first()
    found = [*_not_in_book(tasks.order_by("pk"), orders, book), *_strangers(orders)]
    if reading is not None and reading.read_at is not None:
        settled = [order for order in orders if order.updated_at <= reading.read_at]
        found += [*_by_order(settled, trades), *_by_position(positions, trades)]
    return found


def _not_in_book(
    tasks: Iterable[OrderTask], orders: Iterable[BrokerOrder], book: OrderBook | None
) -> Iterable[Difference]:
    """Orders that the broker took, and whose book does not have them. Without a book of today nothing can be said."""
    if book is None:
        return
    shown = {order.order_id for order in orders} - set(book.lacks)
    for task in tasks:
        if task.broker_order_id in shown or (task.finished_at is not None and task.finished_at > book.read_at):
            continue
        yield Difference(
            "not_in_book",
            f"The broker took order {task.broker_order_id}, and its order book does not show it.",
            order_id=task.broker_order_id,
            task=str(task.public_id),
            exchange=str(task.params.get("exchange", "")),
            tradingsymbol=str(task.params.get("tradingsymbol", "")),
        )


def _strangers(orders: Iterable[BrokerOrder]) -> Iterable[Difference]:
    tasks = {order.order_id for order in orders if order.task_id is not None}
    for order in orders:
        if order.task_id is not None or order.parent_order_id in tasks:
            continue
        is_orphan = is_our_tag(order.tag)
        yield Difference(
            "orphan" if is_orphan else "external",
            f"Order {order.order_id} carries a tag of ours, and no order here has it."
            if is_orphan
            else f"Order {order.order_id} was placed elsewhere, by hand or by another program.",
            order_id=order.order_id,
            exchange=order.exchange,
            tradingsymbol=order.tradingsymbol,
            figures={"status": order.status, "quantity": order.quantity, "filled_quantity": order.filled_quantity},
        )


def _by_order(orders: Iterable[BrokerOrder], trades: Iterable[Trade]) -> Iterable[Difference]:
    traded: defaultdict[str, int] = defaultdict(int)
    for trade in trades:
        traded[trade.order_id] += trade.quantity
    for order in orders:
        if order.filled_quantity != traded[order.order_id]:
            yield Difference(
                "trades",
                f"Order {order.order_id} is filled {order.filled_quantity}, and its trades add up to"
                f" {traded[order.order_id]}.",
                order_id=order.order_id,
                exchange=order.exchange,
                tradingsymbol=order.tradingsymbol,
                figures={"filled_quantity": order.filled_quantity, "traded": traded[order.order_id]},
            )


def _by_position(positions: Sequence[Position], trades: Iterable[Trade]) -> Iterable[Difference]:
    traded: defaultdict[tuple[str, str, str], int] = defaultdict(int)
    for trade in trades:
        signed = trade.quantity if trade.transaction_type == "BUY" else -trade.quantity
        traded[trade.exchange, trade.tradingsymbol, trade.product] += signed
    shown = {position.key: position.day_quantity for position in positions}
    for key in sorted(shown.keys() | traded.keys()):
        if shown.get(key, 0) != traded.get(key, 0):
            exchange, tradingsymbol, product = key
            yield Difference(
                "position",
                f"{exchange}:{tradingsymbol} {product} has changed by {shown.get(key, 0):+d} today, and the trades"
                f" add up to {traded.get(key, 0):+d}. A conversion to another product looks like this, too.",
                exchange=exchange,
                tradingsymbol=tradingsymbol,
                figures={"product": product, "position": shown.get(key, 0), "traded": traded.get(key, 0)},
            )
