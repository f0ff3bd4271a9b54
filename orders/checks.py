"""One rule about an order, and what came of it, in words. Nothing here asks anybody: whoever checks hands it in."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from accounts.exceptions import Refused

# What another moment may change is no fault of the order's: 409, or 429 where it only has to wait.
_STATUS = {
    "trading_halted": HTTPStatus.CONFLICT,
    "account_disabled": HTTPStatus.CONFLICT,
    "account_logged_out": HTTPStatus.CONFLICT,
    "duplicate": HTTPStatus.CONFLICT,
    "order_over": HTTPStatus.CONFLICT,
    "market_price": HTTPStatus.CONFLICT,
    "exit_of_position": HTTPStatus.CONFLICT,
    "max_open_notional": HTTPStatus.CONFLICT,
    "max_day_loss": HTTPStatus.CONFLICT,
    "max_net_delta": HTTPStatus.CONFLICT,
    "over_budget": HTTPStatus.TOO_MANY_REQUESTS,
    "orders_per_minute": HTTPStatus.TOO_MANY_REQUESTS,
}


@dataclass(frozen=True, slots=True)
class Check:
    """`passed` is None where the rule cannot be told now: that refuses nothing, and its message says why.

    `message` says what was found, what is allowed and what to do; `figures` the same for programs, with Decimals as
    text.
    """

    code: str
    passed: bool | None
    message: str
    figures: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        return {"code": self.code, "passed": self.passed, "message": self.message, "figures": dict(self.figures)}


class OrderRefused(Refused):
    """An order that breaks a rule: nothing was stored, and its Idempotency-Key is free."""

    default_message = "The order was refused."

    def __init__(self, failed: Iterable[Check], *, item: int | None = None) -> None:
        self.failed = tuple(failed)
        first = self.failed[0]
        where = "" if item is None else f"Item {item}: "
        details: dict[str, Any] = {"checks": [check.as_json() for check in self.failed]}
        if item is not None:
            details["item"] = item
        super().__init__(where + " ".join(check.message for check in self.failed), details=details)
        self.code = first.code
        self.status_code = _STATUS.get(first.code, HTTPStatus.UNPROCESSABLE_ENTITY)


def refuse_failed(checks: Iterable[Check], *, item: int | None = None) -> None:
    """Raises OrderRefused if a check did not pass."""
    failed = [check for check in checks if check.passed is False]
    if failed:
        raise OrderRefused(failed, item=item)
