"""What can befall an order that the broker takes."""

from enum import StrEnum
from typing import Any

from simulator.faults.call_kinds import LONGEST_SECONDS
from simulator.faults.fields import Fields, choose
from simulator.refusals import Refused
from simulator.trading.mishaps import Alter, End, FillOnCancel, Hide, Mishap, Nothing, Refuse, Stick, Twin
from simulator.trading.orders import Status
from simulator.trading.terms import MOST_UNITS, Product, Side

_PASSING = (Status.VALIDATION_PENDING, Status.OPEN_PENDING, Status.MODIFY_PENDING)
_NO_REASON = "The order was rejected by the exchange."


class OrderKind(StrEnum):
    PASS = "pass"
    REFUSE = "refuse"
    LATE = "late"
    ALTER = "alter"
    TWIN = "twin"
    REJECT = "reject"
    CANCEL = "cancel"
    FILL_ON_CANCEL = "fill_on_cancel"
    STICK = "stick"


def read_mishap(kind: OrderKind, fields: Fields) -> Mishap:
    """What the members describe. Raises Refused."""
    match kind:
        case OrderKind.PASS:
            return Nothing()
        case OrderKind.REFUSE:
            status = fields.whole("status", 400, least=400, most=599) or 400
            error_type = fields.text("error_type", "OrderException") or ""
            return Refuse(status, error_type, fields.text("message", _NO_REASON) or "")
        case OrderKind.LATE:
            return Hide(_seconds(fields, 8.0))
        case OrderKind.ALTER:
            if not (changes := _changes(fields)):
                raise Refused.input("`alter` needs something to alter.")
            return Alter(changes)
        case OrderKind.TWIN:
            copies = fields.whole("copies", 1, least=1, most=100) or 1
            return Twin(copies, _seconds(fields, 0.0), _changes(fields))
        case OrderKind.REJECT:
            return _end(Status.REJECTED, fields, _NO_REASON)
        case OrderKind.CANCEL:
            return _end(Status.CANCELLED, fields, "")
        case OrderKind.FILL_ON_CANCEL:
            return FillOnCancel(fields.whole("quantity", None, least=1, most=MOST_UNITS))
        case OrderKind.STICK:
            status_text = fields.text("status", Status.OPEN_PENDING)
            return Stick(choose(Status, status_text, "status", _PASSING), _seconds(fields, LONGEST_SECONDS))


def _seconds(fields: Fields, default: float) -> float:
    return fields.number("seconds", default, least=0, most=LONGEST_SECONDS)


def _end(status: Status, fields: Fields, message: str) -> End:
    filled_quantity = fields.whole("filled_quantity", 0, least=0, most=MOST_UNITS) or 0
    return End(status, _seconds(fields, 0.0), fields.text("message", message) or "", filled_quantity)


def _changes(fields: Fields) -> dict[str, Any]:
    """Terms of an order that shall be others than were asked for."""
    side, product = fields.text("transaction_type"), fields.text("product")
    changes = {
        "tradingsymbol": fields.text("tradingsymbol", longest=100),
        "quantity": fields.whole("quantity", None, least=1, most=MOST_UNITS),
        "transaction_type": None if side is None else choose(Side, side, "transaction_type"),
        "product": None if product is None else choose(Product, product, "product"),
        "price": fields.whole("price_paise", None, least=0, most=1_000_000_000),
    }
    return {name: value for name, value in changes.items() if value is not None}
