"""What a change or a cancel is about: an order of ours, which may not be at the broker yet, or somebody else's."""

from dataclasses import dataclass
from typing import Any

from accounts.broker.words import OrderType, Variety
from accounts.models import TradingAccount
from orders.models import BrokerOrder, OrderTask
from orders.requests import HAS_PRICE, HAS_TRIGGER, OrderChanges, OrderRequest
from orders.states import PLACING, TERMINAL, Operation

_WHOLE = frozenset({Variety.REGULAR, Variety.AMO})
_TYPES = frozenset(map(str, OrderType))


@dataclass(frozen=True, slots=True)
class Target:
    """`task` is ours, `broker_order` what the broker shows; at least one of them is known."""

    account: TradingAccount
    task: OrderTask | None
    broker_order: BrokerOrder | None

    @property
    def serial_key(self) -> str:
        """Whatever is done to one order is done one after the other, the placing first."""
        return str(self.task.public_id) if self.task else f"order:{self._shown.order_id}"

    @property
    def is_over(self) -> bool:
        return self.broker_order is not None and self.broker_order.status in TERMINAL

    @property
    def variety(self) -> str:
        return str(self.task.params["variety"]) if self.task else self._shown.variety

    def params(self) -> dict[str, Any]:
        """How a task names it: by our task, whose order id may come later, or by the broker's id."""
        found: dict[str, Any] = {"variety": self.variety}
        if self.broker_order is not None and self.broker_order.parent_order_id:
            found["parent_order_id"] = self.broker_order.parent_order_id
        if self.task is None:
            return found | {"order_id": self._shown.order_id}
        strategy = self.task.params.get("strategy")
        return found | {"target": str(self.task.public_id)} | ({"strategy": strategy} if strategy else {})

    def request(self) -> OrderRequest:
        """The order as it stands, as far as it is known: as it was asked for, with what was changed at the broker."""
        if self.task is not None:
            asked = OrderRequest.of_params(self.task.params, is_exit=self.task.operation == Operation.EXIT)
            return asked.changed(_changes_shown(self.broker_order)) if self._is_one_order else asked
        shown = self._shown
        params = {
            "variety": shown.variety,
            "exchange": shown.exchange,
            "tradingsymbol": shown.tradingsymbol,
            "transaction_type": shown.transaction_type,
            "quantity": shown.quantity,
            "product": shown.product,
            "order_type": shown.order_type,
            "validity": shown.validity or "DAY",
        }
        prices = {"price": shown.price, "trigger_price": shown.trigger_price}
        return OrderRequest.of_params(params | {name: price for name, price in prices.items() if price})

    @property
    def _is_one_order(self) -> bool:
        """Whether the broker's row is the whole of it: a slice or a leg has a quantity of its own."""
        task = self.task
        return task is not None and task.operation != Operation.AUTOSLICE and self.variety in _WHOLE

    @property
    def _shown(self) -> BrokerOrder:
        assert self.broker_order is not None  # noqa: S101 - of an order that is not ours the broker's row is all there is
        return self.broker_order


def _changes_shown(order: BrokerOrder | None) -> OrderChanges:
    """The order's terms by the broker's latest word; nothing where there is none."""
    if order is None or order.order_type not in _TYPES:
        return OrderChanges()
    order_type = OrderType(order.order_type)
    return OrderChanges(
        quantity=order.quantity,
        order_type=order_type,
        # Of an order at the market the broker may show the price of its protection, which nobody asked for.
        price=(order.price or None) if order_type in HAS_PRICE else None,
        trigger_price=(order.trigger_price or None) if order_type in HAS_TRIGGER else None,
    )


def target_of_task(task: OrderTask) -> Target:
    """The order that a placing task made, or will make."""
    found = None
    if task.broker_order_id:
        found = BrokerOrder.objects.filter(account=task.account, order_id=task.broker_order_id).first()
    return Target(task.account, task, found)


def target_of_broker_order(order: BrokerOrder) -> Target:
    """The same order by the broker's id; ours if a task of ours made it."""
    task = OrderTask.objects.filter(
        account=order.account, broker_order_id=order.order_id, operation__in=sorted(PLACING)
    ).first()
    return Target(order.account, task, order)


def order_id_of(task: OrderTask) -> str:
    """The broker's id of the order that a change or a cancel is about; empty while there is none."""
    if order_id := task.params.get("order_id"):
        return str(order_id)
    found = OrderTask.objects.filter(account=task.account_id, public_id=task.params["target"]).first()
    return found.broker_order_id if found else ""


def target_of_change(task: OrderTask) -> Target | None:
    """The order that a change or a cancel is about; None if nothing is known of it."""
    if public_id := task.params.get("target"):
        placing = OrderTask.objects.select_related("account").filter(account=task.account_id, public_id=public_id)
        found = placing.first()
        return target_of_task(found) if found else None
    shown = BrokerOrder.objects.select_related("account").filter(account=task.account_id)
    order = shown.filter(order_id=str(task.params["order_id"])).first()
    return target_of_broker_order(order) if order else None
