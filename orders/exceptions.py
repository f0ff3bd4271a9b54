"""Why an order is not taken, or not sent."""

from http import HTTPStatus

from accounts.exceptions import Refused


class OrdersError(Exception):
    """Base of what can go wrong inside."""


class LeaseLost(OrdersError):
    """Another worker has the task by now: whoever held it before writes nothing more."""


class NotToBeSent(OrdersError):
    """Between claim and mark it turned out that the task must not go out. `code` is kept on the row."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Postponed(OrdersError):
    """Between claim and mark it turned out that the task has to wait."""


class KeyReused(Refused):
    """The idempotency key came with another order before. Nothing was changed."""

    status_code = HTTPStatus.UNPROCESSABLE_ENTITY
    code = "idempotency_key_reused"
    default_message = "This Idempotency-Key was used for another order: send a new one with each new order."


class KeyMissing(Refused):
    """An order without its Idempotency-Key could be sent twice by whoever tries again."""

    code = "idempotency_key_required"
    default_message = (
        "Send an Idempotency-Key header with each order: 1 to 128 of A-Z a-z 0-9 . _ : -, new with each new order, "
        "the same when you try again."
    )
