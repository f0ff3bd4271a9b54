"""The orders that the broker has really taken: what a client's own account of them is held against."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

from simulator.trading.lifecycle import Accepted


def accepted_orders(accepted: Iterable[Accepted]) -> list[dict[str, Any]]:
    """One object an order, in the order in which they were taken.

    `times` is how many requests of this user have brought its tag, 1 for an order without; slices of one order and legs
    of one iceberg have one `root`. `sent` is false for what the broker or a rule has added. `parameters` are as they
    arrived, whatever became of them.
    """
    orders = list(accepted)
    roots = {(one.order.user_id, one.order.asked.tag, one.order.root_id) for one in orders}
    times = Counter((user_id, tag) for user_id, tag, _ in roots)
    return [_as_json(one, times[one.order.user_id, one.order.asked.tag]) for one in orders]


def _as_json(one: Accepted, times: int) -> dict[str, Any]:
    order, asked = one.order, one.order.asked
    return {
        "order_id": order.order_id,
        "root": order.root_id,
        "user_id": order.user_id,
        "api_key": order.api_key,
        "tag": asked.tag,
        "times": times if asked.tag else 1,
        "arrived_at": one.arrived_at,
        "sent": one.sent,
        "status": order.status.value,
        "filled_quantity": order.filled_quantity,
        "modifications": order.modifications,
        "parameters": {
            "variety": asked.variety.value,
            "exchange": asked.exchange,
            "tradingsymbol": asked.tradingsymbol,
            "transaction_type": asked.transaction_type.value,
            "quantity": asked.quantity,
            "product": asked.product.value,
            "order_type": asked.order_type.value,
            "price": asked.price / 100,
            "trigger_price": asked.trigger_price / 100,
            "validity": asked.validity.value,
        },
    }
