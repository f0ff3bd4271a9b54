"""Whether an order at the broker is the one that a task asked for."""

from collections.abc import Mapping
from typing import Any

from orders.models import OrderTask
from orders.states import Operation

_COMPARED = ("exchange", "tradingsymbol", "transaction_type", "quantity", "product")
_COMPARED_OF_MODIFY = ("quantity", "price", "trigger_price", "order_type", "validity")


def differences(task: OrderTask, row: Mapping[str, Any]) -> list[str]:
    """Fields in which the broker's order is not the one that was asked for."""
    names: tuple[str, ...] = _COMPARED_OF_MODIFY if task.operation == Operation.MODIFY else _COMPARED
    if task.operation == Operation.AUTOSLICE:
        names = tuple(name for name in names if name != "quantity")  # each slice has a part of it
    return [name for name in names if name in task.params and not _same(task.params[name], row.get(name))]


def _same(asked: Any, shown: Any) -> bool:
    try:
        return float(asked) == float(shown)
    except (TypeError, ValueError):
        return str(asked) == str(shown)
