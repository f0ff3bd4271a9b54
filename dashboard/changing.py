"""What the ticket has to know of an order that is to be changed, and what the server says of a change. Only decisions.

`change_views` fetches. What may not be changed is shown and fixed: contract, side, product and account.
"""

from collections.abc import Sequence
from decimal import Decimal
from typing import Any

from accounts.broker.words import Validity, Variety
from orders.checks import Check
from orders.models import OrderTask
from orders.requests import OrderRequest
from orders.states import PLACING, RUNNABLE, Operation, Status
from orders.submit import Examined
from orders.targets import Target
from orders.validation import MOST_MODIFICATIONS, is_valid, notional

CHANGED_HERE = frozenset({Variety.REGULAR, Variety.AMO})
"""Of the others only some terms may be changed, each in a way of its own: programs do it."""
_ALIVE = frozenset({*RUNNABLE, Status.RUNNING, Status.COMPLETED})
_VALIDITIES = (Validity.DAY, Validity.IOC)


def may_be_changed(task: OrderTask) -> bool:
    """Whether a ticket is offered for a task's order, as far as the task knows: not while its fate is unknown."""
    operation = Operation(task.operation)
    is_one = operation in PLACING and operation is not Operation.AUTOSLICE
    return is_one and task.params.get("variety") in CHANGED_HERE and task.status in _ALIVE


def why_not(target: Target) -> str:
    """Why no ticket can change the order, in words; empty where one can."""
    task = target.task
    if target.is_over:
        status = target.broker_order.status if target.broker_order else ""
        return f"The order is over ({status.lower()}): nothing of it can be changed."
    if task is not None and task.status == Status.UNKNOWN:
        return "The broker has not answered for this order yet. It can be changed when it is known to be there."
    if task is not None and task.status not in _ALIVE:
        return "The order never reached the broker: there is nothing to change."
    if (task is not None and not may_be_changed(task)) or target.variety not in CHANGED_HERE:
        return "An order of this kind cannot be changed from here: cancel it, or change it by the API."
    return ""


def terms_of(target: Target, request: OrderRequest, changes: int) -> dict[str, Any]:
    """The order as it stands, for the ticket. Prices as decimal text, None where the order has none.

    Parameters
    ----------
    request : the order as it stands
    changes : how often it was changed
    """
    shown = target.broker_order
    return {
        "account": str(target.account.public_id),
        "side": str(request.transaction_type),
        "product": str(request.product),
        "is_exit": request.is_exit,
        "quantity": request.quantity,
        "filled": shown.filled_quantity if shown is not None else 0,
        "type": str(request.order_type),
        "price": _text(request.price),
        "trigger": _text(request.trigger_price),
        "validity": str(request.validity),
        "validities": [str(word) for word in _VALIDITIES] if request.validity in _VALIDITIES else [],
        "is_elsewhere": target.task is None,
        "changes": changes,
        "changes_left": max(MOST_MODIFICATIONS - changes, 0),
        "most_changes": MOST_MODIFICATIONS,
    }


def verdict_of(examined: Examined) -> dict[str, Any]:
    """What the rules say of the order as it would be, in the form of a preview; no margin, which the broker reckons
    for new orders only."""
    worth = notional(examined.request, examined.facts.price)
    return {
        "would_be_accepted": is_valid(examined.checks),
        "checks": [check.as_json() for check in _told_first(examined.checks)],
        "notional": None if worth is None else f"{worth.quantize(Decimal('0.01')):f}",
    }


def _told_first(checks: Sequence[Check]) -> list[Check]:
    return sorted(checks, key=lambda check: check.passed is not False)


def _text(price: Decimal | None) -> str | None:
    return None if price is None else f"{price.normalize():f}"
