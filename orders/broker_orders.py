"""What the broker says of an order, from wherever it comes: one function, idempotent, never backwards."""

import contextlib
import logging
import re
from collections.abc import Iterable, Mapping
from decimal import InvalidOperation
from typing import Any

from django.db import transaction
from django.db.models.functions import Now

from accounts.models import TradingAccount
from orders.broker_rows import PortfolioReading
from orders.broker_values import Unreadable as Unreadable
from orders.broker_values import moment, price, text, whole
from orders.ledger import TAG_PREFIX
from orders.metrics import NEWS_REFUSED
from orders.models import BrokerOrder, OrderTask
from orders.states import TERMINAL

logger = logging.getLogger(__name__)

UPDATE = "UPDATE"
"""The status of news that say "a part has traded" or "it was modified". No order is ever in it."""
_AS_NEW = "OPEN"  # what an order is of which the first news is such an update: only what rests can be updated

_OUR_TAG = re.compile(rf"{TAG_PREFIX}[A-Z0-9]{{19}}")


def our_tag(row: Mapping[str, Any]) -> str:
    """The tag of ours that an order carries; empty if it is somebody else's order."""
    tags = row.get("tags")
    for tag in (row.get("tag"), *(tags if isinstance(tags, list) else ())):
        if is_our_tag(tag):
            return str(tag)
    return ""


def is_our_tag(tag: object) -> bool:
    return isinstance(tag, str) and _OUR_TAG.fullmatch(tag) is not None


def root_of(row: Mapping[str, Any]) -> str:
    """The id of the order that one request has made, of which this row may be a part only.

    A leg of a cover order names it as its parent. A slice of an order that was too large names it in a tag of the
    broker's, and nowhere else; it may be in no book itself. Whatever is alone is its own root.
    """
    if parent := row.get("parent_order_id"):
        return str(parent)
    tags = row.get("tags")
    for tag in tags if isinstance(tags, list) else ():
        if isinstance(tag, str) and tag.startswith("autoslice:"):
            return tag.removeprefix("autoslice:")
    return str(row.get("order_id"))


def roots_with_our_tags(rows: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Orders with a tag of ours, by tag and by root: the root's own row, or its first part where it has none.

    More than one root with a tag means that something was sent twice.
    """
    found: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in rows:
        if (tag := our_tag(row)) and not _is_later_leg(row):
            roots, root = found.setdefault(tag, {}), root_of(row)
            if root not in roots or str(row.get("order_id")) == root:
                roots[root] = row
    return found


def _is_later_leg(row: Mapping[str, Any]) -> bool:
    """Whether it is a leg of an iceberg that followed the first one by itself, under the same tag."""
    meta = row.get("meta")
    iceberg = meta.get("iceberg") if isinstance(meta, dict) else None
    leg = iceberg.get("leg") if isinstance(iceberg, dict) else None
    return isinstance(leg, int) and leg > 1


def record_book(account: TradingAccount, rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Take over a whole order book, and give back the rows that could be read.

    A book of a busy day has thousands of rows, and since the last reading a few have changed: only those are written.
    """
    shown = list(rows)
    known = _known(account, shown)
    if _record_first_news(account, shown, known):
        known = _known(account, shown)
    readable = []
    for row in shown:
        try:
            order = known.get(str(row.get("order_id")))
            if order is None or (order.task_id is None and our_tag(row)) or _differs(order, _told(row)):
                record_broker_update(account, row, source="book")
        except Unreadable as exc:
            logger.error("%s: the order book has a row that cannot be read: %s", account.kite_user_id, exc)
        else:
            readable.append(row)
    return readable


def _known(account: TradingAccount, rows: Iterable[Mapping[str, Any]]) -> dict[str, BrokerOrder]:
    ids = [str(row.get("order_id")) for row in rows]
    return {order.order_id: order for order in BrokerOrder.objects.filter(account=account, order_id__in=ids)}


def _record_first_news(
    account: TradingAccount, rows: Iterable[Mapping[str, Any]], known: Mapping[str, BrokerOrder]
) -> bool:
    """Orders never heard of, all at once: the first book after a restart may have thousands. Whether there were any.

    What another way tells of meanwhile is left as it is, and what cannot be read to whoever looks at each row.
    """
    new: dict[str, Mapping[str, Any]] = {}
    for row in rows:
        with contextlib.suppress(Unreadable):
            told = _told(row)
            if told["order_id"] not in known and told["status"] != UPDATE:
                new[told["order_id"]] = told
    if not new:
        return False
    tags = {told["tag"] for told in new.values() if is_our_tag(told["tag"])}
    tasks = {task.tag: task for task in OrderTask.objects.filter(account=account, tag__in=tags)}
    orders = [
        BrokerOrder(account=account, source="book", task=tasks.get(told["tag"]), **told)
        for _, told in sorted(new.items())  # in one order, whoever reads the book at the same time
    ]
    with transaction.atomic():
        BrokerOrder.objects.bulk_create(orders, ignore_conflicts=True, batch_size=500)
        if any(order.filled_quantity for order in orders):
            PortfolioReading.want(account)
    return True


def record_broker_update(
    account: TradingAccount, row: Mapping[str, Any], *, source: str, modifications: int | None = None
) -> BrokerOrder:
    """Take over one order as the broker shows it, and give back what is known of it now.

    An order never goes back: not from a terminal status to another, not to fewer filled; such news are logged. Nor is
    it changed by news that are older than what is known, which is ordinary: they come by several ways.

    Parameters
    ----------
    source : "book", "history", "socket"
    modifications : how often the order was modified, where its history was read

    Raises
    ------
    Unreadable
    """
    told = _told(row)
    with transaction.atomic():
        known, is_new = BrokerOrder.objects.select_for_update().get_or_create(
            account=account,
            order_id=told["order_id"],
            defaults=told
            | {
                "status": _AS_NEW if told["status"] == UPDATE else told["status"],
                "source": source,
                "task": _task_of(account, row),
                "modifications": modifications,
            },
        )
        if is_new:
            if known.filled_quantity:
                PortfolioReading.want(account)
            return known
        known.account = account
        changes = _changes(known, told, source)
        if known.task_id is None and (task := _task_of(account, row)) is not None:
            changes["task"] = task
        if modifications is not None and modifications > (known.modifications or -1):
            changes["modifications"] = modifications
        if not changes:
            return known
        if changes.get("filled_quantity", known.filled_quantity) != known.filled_quantity:
            PortfolioReading.want(account)  # what was held a moment ago is not what is held now
        for name, value in changes.items():
            setattr(known, name, value)
        known.source, known.updated_at = source, Now()
        known.save(update_fields=[*changes, "source", "updated_at"])
    return known


def _changes(known: BrokerOrder, told: Mapping[str, Any], source: str) -> dict[str, Any]:
    """What the news change; nothing if they are old."""
    if told["status"] == UPDATE:
        told = {**told, "status": known.status}
    if _goes_back(known, told):
        NEWS_REFUSED.labels("backwards").inc()
        logger.warning(
            "%s: %s of order %s goes back from %s, %s filled to %s, %s: kept as it is",
            known.account.kite_user_id,
            source,
            known.order_id,
            known.status,
            known.filled_quantity,
            told["status"],
            told["filled_quantity"],
        )
        return {}
    if _is_old(known, told):
        NEWS_REFUSED.labels("old").inc()
        return {}
    return {name: told[name] for name in _differs(known, told)}


def _differs(known: BrokerOrder, told: Mapping[str, Any]) -> list[str]:
    """The fields in which the news differ from what is known. A moment that the news lack is no difference."""
    return [
        name
        for name, value in told.items()
        if getattr(known, name) != value and not (value is None or (value == "" and name in _MAY_BE_LACKING))
    ]


def _goes_back(known: BrokerOrder, told: Mapping[str, Any]) -> bool:
    if told["filled_quantity"] < known.filled_quantity:
        return True
    return known.status in TERMINAL and told["status"] != known.status


def _is_old(known: BrokerOrder, told: Mapping[str, Any]) -> bool:
    """Whether the exchange or the broker said this before what is known. An end, or more filled, is never old."""
    if told["filled_quantity"] > known.filled_quantity or told["status"] in TERMINAL:
        return False
    pairs = ((getattr(known, name), told[name]) for name in ("exchange_update_timestamp", "order_timestamp"))
    before, now = next(((a, b) for a, b in pairs if a is not None and b is not None and a != b), (None, None))
    return before is not None and now is not None and now < before


def _task_of(account: TradingAccount, row: Mapping[str, Any]) -> OrderTask | None:
    tag = our_tag(row)
    return OrderTask.objects.filter(account=account, tag=tag).first() if tag else None


# Some ways tell less of an order than others do, which takes nothing away.
_MAY_BE_LACKING = frozenset({"tag", "parent_order_id", "exchange_order_id", "placed_by"})


def _told(row: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return {
            "order_id": text(row["order_id"], 20),
            "parent_order_id": text(row.get("parent_order_id"), 20),
            "exchange_order_id": text(row.get("exchange_order_id"), 40),
            "placed_by": text(row.get("placed_by"), 20),
            "tag": our_tag(row) or text(row.get("tag"), 50),
            "status": text(row["status"], 40),
            "status_message": text(row.get("status_message"), 500),
            "variety": text(row.get("variety"), 20),
            "exchange": text(row["exchange"], 10),
            "tradingsymbol": text(row["tradingsymbol"], 64),
            "transaction_type": text(row["transaction_type"], 4),
            "order_type": text(row.get("order_type"), 10),
            "product": text(row.get("product"), 10),
            "validity": text(row.get("validity"), 10),
            "quantity": whole(row["quantity"]),
            "disclosed_quantity": whole(row.get("disclosed_quantity")),
            "filled_quantity": whole(row.get("filled_quantity")),
            "cancelled_quantity": whole(row.get("cancelled_quantity")),
            "price": price(row.get("price")),
            "trigger_price": price(row.get("trigger_price")),
            "average_price": price(row.get("average_price")),
            "order_timestamp": moment(row.get("order_timestamp")),
            "exchange_timestamp": moment(row.get("exchange_timestamp")),
            "exchange_update_timestamp": moment(row.get("exchange_update_timestamp")),
        }
    except (KeyError, TypeError, ValueError, InvalidOperation) as exc:
        raise Unreadable(f"no order: {type(exc).__name__} {exc}") from exc
