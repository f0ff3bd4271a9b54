"""One order and its history. Money in paise, moments in Unix seconds of market time; rupees and IST in the rows."""

import hashlib
import json
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import Any

from simulator.trading.forms import ist, rupees
from simulator.trading.funds import Need
from simulator.trading.listings import Listing
from simulator.trading.terms import OrderType, Terms


class Status(StrEnum):
    RECEIVED = "PUT ORDER REQ RECEIVED"
    VALIDATION_PENDING = "VALIDATION PENDING"
    OPEN_PENDING = "OPEN PENDING"
    OPEN = "OPEN"
    TRIGGER_PENDING = "TRIGGER PENDING"
    MODIFY_VALIDATION_PENDING = "MODIFY VALIDATION PENDING"
    MODIFY_PENDING = "MODIFY PENDING"
    MODIFIED = "MODIFIED"
    CANCEL_PENDING = "CANCEL PENDING"
    AMO_RECEIVED = "AMO REQ RECEIVED"
    AMO_MODIFIED = "MODIFY AMO REQ RECEIVED"
    COMPLETE = "COMPLETE"
    CANCELLED = "CANCELLED"
    REJECTED = "REJECTED"

    @property
    def is_final(self) -> bool:
        return self in _FINAL

    @property
    def may_change(self) -> bool:
        """Whether the user may modify or cancel it now."""
        return self in _CHANGEABLE


_FINAL = frozenset({Status.COMPLETE, Status.CANCELLED, Status.REJECTED})
_CHANGEABLE = frozenset({Status.OPEN, Status.TRIGGER_PENDING, Status.AMO_RECEIVED, Status.AMO_MODIFIED})
AMO_STORED = frozenset({Status.AMO_RECEIVED, Status.AMO_MODIFIED})


@dataclass(frozen=True)
class Row:
    """An order as it was from `at` on (system time), in the broker's words."""

    at: float
    data: dict[str, Any]

    @cached_property
    def encoded(self) -> bytes:
        """As JSON: a book is read far more often than it changes."""
        return json.dumps(self.data, ensure_ascii=False, separators=(",", ":")).encode()


@dataclass(slots=True)
class Order:
    """`terms` are what holds now; a modification replaces them. `asked` are the first ones, which nobody changes.

    `root_id` is common to all that one request has brought: slices, legs, a stop; its own id where it is alone.
    `limit` is the worst price that it may trade at, None for any. `blocked` is what it holds of the account's funds.
    """

    order_id: str
    user_id: str
    api_key: str
    terms: Terms
    listing: Listing
    placed_at: float
    limit: int | None = None
    tags: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)
    parent_order_id: str | None = None
    status: Status = Status.RECEIVED
    status_message: str | None = None
    status_message_raw: str | None = None
    requested_at: float = 0.0
    exchange_order_id: str | None = None
    exchange_at: float | None = None
    exchange_updated_at: float | None = None
    filled_quantity: int = 0
    filled_value: int = 0
    cancelled_quantity: int = 0
    modifications: int = 0
    blocked: Need = field(default_factory=dict)
    is_triggered: bool = False
    is_hidden: bool = False
    root_id: str = ""
    asked: Terms = field(init=False)
    history: list[Row] = field(default_factory=list, repr=False)

    def __post_init__(self) -> None:
        self.asked = self.terms
        self.requested_at = self.placed_at
        self.root_id = self.root_id or self.order_id

    @property
    def pending_quantity(self) -> int:
        """What has not traded. As in recorded books, it stays when the order is cancelled."""
        return self.terms.quantity - self.filled_quantity

    @property
    def average_price(self) -> float:
        """Rupees."""
        return round(self.filled_value / self.filled_quantity / 100, 6) if self.filled_quantity else 0

    @property
    def shown_type(self) -> OrderType:
        """A market order with protection goes to the exchange, and into the books, as a limit order."""
        is_protected = (
            self.terms.order_type is OrderType.MARKET and self.limit is not None and self.terms.market_protection
        )
        return OrderType.LIMIT if is_protected else self.terms.order_type

    def entered(self, status: Status, at: float) -> None:
        """Move to a status and remember it; `at` is system time."""
        self.status = status
        self.history.append(Row(at, self._as_row()))

    def row_at(self, moment: float) -> Row | None:
        """The order as it was at that moment of system time, None where it was not there yet."""
        return next((row for row in reversed(self.history) if row.at <= moment), None)

    def _as_row(self) -> dict[str, Any]:
        terms = self.terms
        shown = self.shown_type
        price = self.limit if shown is OrderType.LIMIT and terms.order_type is OrderType.MARKET else terms.price
        row: dict[str, Any] = {
            "account_id": self.user_id,
            "placed_by": self.user_id,
            "order_id": self.order_id,
            "exchange_order_id": self.exchange_order_id,
            "parent_order_id": self.parent_order_id,
            "status": self.status.value,
            "status_message": self.status_message,
            "status_message_raw": self.status_message_raw,
            "order_timestamp": ist(self.requested_at),
            "exchange_update_timestamp": ist(self.exchange_updated_at),
            "exchange_timestamp": ist(self.exchange_at),
            "variety": terms.variety.value,
            "modified": False,  # also in the recorded history of an order that was
            "exchange": terms.exchange,
            "tradingsymbol": terms.tradingsymbol,
            "instrument_token": self.listing.token,
            "order_type": shown.value,
            "transaction_type": terms.transaction_type.value,
            "validity": terms.validity.value,
            "validity_ttl": terms.validity_ttl,
            "product": terms.product.value,
            "quantity": terms.quantity,
            "disclosed_quantity": terms.disclosed_quantity,
            "price": rupees(price or 0),
            "trigger_price": rupees(terms.trigger_price),
            "average_price": self.average_price,
            "filled_quantity": self.filled_quantity,
            "pending_quantity": 0 if self.status is Status.REJECTED else self.pending_quantity,
            "cancelled_quantity": self.cancelled_quantity,
            "market_protection": terms.market_protection,
            "auction_number": terms.auction_number,
            "meta": self.meta,
            "tag": terms.tag,
            "guid": hashlib.blake2s(self.order_id.encode(), digest_size=8).hexdigest(),
        }
        if self.tags:
            row["tags"] = list(self.tags)
        return row


@dataclass(frozen=True, slots=True)
class Trade:
    """A part of an order that found the other side. `price` in paise."""

    trade_id: str
    order: Order
    price: int
    quantity: int
    at: float
    recorded_at: float  # system time

    def as_json(self) -> dict[str, Any]:
        terms = self.order.terms
        return {
            "trade_id": self.trade_id,
            "order_id": self.order.order_id,
            "exchange": terms.exchange,
            "tradingsymbol": terms.tradingsymbol,
            "instrument_token": self.order.listing.token,
            "product": terms.product.value,
            "average_price": rupees(self.price),
            "quantity": self.quantity,
            "exchange_order_id": self.order.exchange_order_id,
            "transaction_type": terms.transaction_type.value,
            "fill_timestamp": ist(self.at),
            "order_timestamp": (ist(self.at) or "")[11:],  # the time alone, as recorded
            "exchange_timestamp": ist(self.at),
        }
