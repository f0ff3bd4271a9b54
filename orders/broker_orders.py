"""What the broker says of an order, from wherever it comes: one function, idempotent, never backwards."""

import logging
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from accounts.clock import IST
from accounts.models import TradingAccount
from orders.ledger import TAG_PREFIX
from orders.models import BrokerOrder, OrderTask
from orders.states import TERMINAL

logger = logging.getLogger(__name__)

_OUR_TAG = re.compile(rf"{TAG_PREFIX}[A-Z0-9]{{19}}")


class Unreadable(ValueError):
    """A row lacks what every order has; it says nothing."""


def our_tag(row: Mapping[str, Any]) -> str:
    """The tag of ours that an order carries; empty if it is somebody else's order."""
    tags = row.get("tags")
    for tag in (row.get("tag"), *(tags if isinstance(tags, list) else ())):
        if isinstance(tag, str) and _OUR_TAG.fullmatch(tag):
            return tag
    return ""


def is_part(row: Mapping[str, Any]) -> bool:
    """Whether the order came of another one: a leg of a cover order, or a slice of one that was too large.

    A slice names the first of them in a tag of the broker's, and nowhere else.
    """
    if row.get("parent_order_id"):
        return True
    tags = row.get("tags")
    of = [tag.removeprefix("autoslice:") for tag in tags or () if isinstance(tag, str) and tag.startswith("autoslice:")]
    return bool(of) and str(row.get("order_id")) not in of


def record_book(account: TradingAccount, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Take over a whole order book, and give back the rows that could be read.

    A book of a busy day has thousands of rows, and since the last reading a few have changed: only those are written.
    """
    known = {order.order_id: order for order in BrokerOrder.objects.filter(account=account)}
    readable = []
    for row in rows:
        try:
            order = known.get(str(row.get("order_id")))
            if order is None or order.task_id is None or _differs(order, _told(row)):
                record_broker_update(account, row, source="book")
        except Unreadable as exc:
            logger.error("%s: the order book has a row that cannot be read: %s", account.kite_user_id, exc)
        else:
            readable.append(row)
    return readable


def record_broker_update(account: TradingAccount, row: Mapping[str, Any], *, source: str) -> BrokerOrder:
    """Take over one order as the broker shows it, and give back what is known of it now.

    An order never goes back: not from a terminal status to another, not to fewer filled. Such news are logged.

    Raises
    ------
    Unreadable
    """
    told = _told(row)
    with transaction.atomic():
        known, is_new = BrokerOrder.objects.select_for_update().get_or_create(
            account=account,
            order_id=told["order_id"],
            defaults=told | {"source": source, "task": _task_of(account, row)},
        )
        if is_new:
            return known
        if _goes_back(known, told):
            logger.warning(
                "%s: %s of order %s goes back from %s, %s filled to %s, %s: kept as it is",
                account.kite_user_id,
                source,
                known.order_id,
                known.status,
                known.filled_quantity,
                told["status"],
                told["filled_quantity"],
            )
            return known
        changed = _differs(known, told)
        if known.task_id is None and (task := _task_of(account, row)) is not None:
            known.task = task
            changed.append("task")
        if changed:
            for name in changed:
                if name != "task":
                    setattr(known, name, told[name])
            known.source, known.updated_at = source, Now()
            known.save(update_fields=[*changed, "source", "updated_at"])
    return known


def _differs(known: BrokerOrder, told: Mapping[str, Any]) -> list[str]:
    """The fields in which the news differ from what is known."""
    return [name for name, value in told.items() if getattr(known, name) != value]


def _goes_back(known: BrokerOrder, told: Mapping[str, Any]) -> bool:
    if told["filled_quantity"] < known.filled_quantity:
        return True
    return known.status in TERMINAL and told["status"] != known.status


def _task_of(account: TradingAccount, row: Mapping[str, Any]) -> OrderTask | None:
    tag = our_tag(row)
    return OrderTask.objects.filter(account=account, tag=tag).first() if tag else None


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {
            "order_id": _text(row["order_id"], 20),
            "parent_order_id": _text(row.get("parent_order_id"), 20),
            "exchange_order_id": _text(row.get("exchange_order_id"), 40),
            "tag": our_tag(row) or _text(row.get("tag"), 50),
            "status": _text(row["status"], 40),
            "status_message": _text(row.get("status_message"), 500),
            "variety": _text(row.get("variety"), 20),
            "exchange": _text(row["exchange"], 10),
            "tradingsymbol": _text(row["tradingsymbol"], 64),
            "transaction_type": _text(row["transaction_type"], 4),
            "order_type": _text(row.get("order_type"), 10),
            "product": _text(row.get("product"), 10),
            "validity": _text(row.get("validity"), 10),
            "quantity": _whole(row["quantity"]),
            "filled_quantity": _whole(row.get("filled_quantity")),
            "cancelled_quantity": _whole(row.get("cancelled_quantity")),
            "price": _price(row.get("price")),
            "trigger_price": _price(row.get("trigger_price")),
            "average_price": _price(row.get("average_price")),
            "order_timestamp": _moment(row.get("order_timestamp")),
        }
    except (KeyError, TypeError, ValueError, InvalidOperation) as exc:
        raise Unreadable(f"no order: {type(exc).__name__} {exc}") from exc


def _text(value: Any, longest: int) -> str:
    return "" if value is None else str(value)[:longest]


def _whole(value: Any) -> int:
    number = int(value or 0)
    if number < 0:
        raise ValueError(f"{number} is negative")
    return number


def _price(value: Any) -> Decimal:
    # By way of its text: the broker writes 120.05, and that is what was meant.
    price = Decimal(str(value or 0))
    if not price.is_finite():
        raise ValueError(f"{price} is no price")
    return price.quantize(Decimal("0.0001"))


def _moment(value: Any) -> datetime | None:
    """The broker's times are Indian, without a zone; the official client parses most of them."""
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return (value if value.tzinfo else value.replace(tzinfo=IST)).astimezone(UTC)
