"""Single values of the broker's rows, as they are kept: texts capped, prices as decimals, times in UTC.

All raise ValueError, TypeError or `decimal.InvalidOperation` where a value makes no sense; a row that has such a value
says nothing.
"""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from accounts.clock import IST


class Unreadable(ValueError):
    """A row lacks what every such row has; it says nothing."""


def text(value: Any, longest: int) -> str:
    return "" if value is None else str(value)[:longest]


def whole(value: Any) -> int:
    """A count of units: not negative; what is missing is 0."""
    number = signed(value)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number


def signed(value: Any) -> int:
    """A quantity that is negative where it was sold; what is missing is 0."""
    number = int(value or 0)
    if abs(number) >= 2**62:
        raise ValueError(f"{number} is no quantity")
    return number


def money(value: Any) -> Decimal:
    """By way of its text: the broker writes 120.05, and that is what was meant. What is missing is 0."""
    amount = Decimal(str(value or 0))
    if not amount.is_finite() or abs(amount) >= 10**14:
        raise ValueError(f"{amount} is no amount")
    return amount.quantize(Decimal("0.0001"))


def price(value: Any) -> Decimal:
    amount = money(value)
    if abs(amount) >= 10**10:
        raise ValueError(f"{amount} is no price")
    return amount


def moment(value: Any) -> datetime | None:
    """The broker's times are Indian, without a zone; the official client parses most of them. None for what is none."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=IST)).astimezone(UTC)
