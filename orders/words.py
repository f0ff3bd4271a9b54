"""The state of an order in the words that people see."""

from orders.models import BrokerOrder, OrderTask
from orders.states import Status

_TASK = {
    Status.PENDING: "Waiting",
    Status.RUNNING: "Sending",
    Status.RETRYING: "Trying again",
    Status.UNKNOWN: "Checking",
    Status.COMPLETED: "At the broker",
    Status.FAILED: "Refused here",
    Status.DEAD_LETTER: "Needs you",
}
_BROKER = {
    "COMPLETE": "Filled",
    "CANCELLED": "Cancelled",
    "REJECTED": "Rejected",
    "OPEN": "Open",
    "TRIGGER PENDING": "Trigger waiting",
    "AMO REQ RECEIVED": "Waits for the next session",
    "CANCEL PENDING": "Being cancelled",
}


def words_of(task: OrderTask, shown: BrokerOrder | None) -> str:
    """In a word or two; the broker's status once the broker has the order."""
    status = Status(task.status)
    if status is Status.COMPLETED and shown is not None:
        return broker_words(shown)
    if status is Status.FAILED:
        if task.error_code == "cancelled_before_send":
            return "Cancelled"
        return "Refused by the broker" if task.http_status else _TASK[status]
    return _TASK[status]


def broker_words(order: BrokerOrder) -> str:
    if order.status == "OPEN" and order.filled_quantity:
        return "Part filled"
    return _BROKER.get(order.status, "On its way")
