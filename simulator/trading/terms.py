"""What an order asks for, read from the form that carried it. Prices in paise."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, TypeVar

from simulator.refusals import Refused

MOST_UNITS = 1_000_000_000
_MOST_RUPEES = Decimal(10_000_000)
_LONGEST_TTL_MINUTES = 24 * 60
_LONGEST_TAG = 20
_PAISE = Decimal(100)
_FLOAT_NOISE = Decimal("0.000001")  # 1573.1500000001 is a price; 1573.153 is none

E = TypeVar("E", bound=StrEnum)


class Variety(StrEnum):
    REGULAR = "regular"
    AMO = "amo"
    CO = "co"
    ICEBERG = "iceberg"
    AUCTION = "auction"


class Side(StrEnum):
    BUY = "BUY"
    SELL = "SELL"

    @property
    def sign(self) -> int:
        return 1 if self is Side.BUY else -1

    @property
    def other(self) -> "Side":
        return Side.SELL if self is Side.BUY else Side.BUY


class Product(StrEnum):
    CNC = "CNC"
    NRML = "NRML"
    MIS = "MIS"
    MTF = "MTF"
    CO = "CO"  # how the books show a cover order; nobody may ask for it


class OrderType(StrEnum):
    MARKET = "MARKET"
    LIMIT = "LIMIT"
    SL = "SL"
    SL_M = "SL-M"

    @property
    def has_price(self) -> bool:
        return self in {OrderType.LIMIT, OrderType.SL}

    @property
    def has_trigger(self) -> bool:
        return self in {OrderType.SL, OrderType.SL_M}

    @property
    def once_triggered(self) -> "OrderType":
        """What a stop is from its trigger on."""
        return {OrderType.SL: OrderType.LIMIT, OrderType.SL_M: OrderType.MARKET}.get(self, self)


class Validity(StrEnum):
    DAY = "DAY"
    IOC = "IOC"
    TTL = "TTL"


ASKABLE_PRODUCTS = (Product.CNC, Product.NRML, Product.MIS, Product.MTF)


@dataclass(frozen=True, slots=True)
class Terms:
    """One order as it was asked for. A protection of 0 is none; -1 leaves the band to the broker."""

    variety: Variety
    exchange: str
    tradingsymbol: str
    transaction_type: Side
    product: Product
    order_type: OrderType
    quantity: int
    price: int = 0
    trigger_price: int = 0
    validity: Validity = Validity.DAY
    validity_ttl: int = 0
    disclosed_quantity: int = 0
    market_protection: float = 0.0
    iceberg_legs: int = 0
    iceberg_quantity: int = 0
    auction_number: str | None = None
    autoslice: bool = False
    tag: str | None = None


@dataclass(frozen=True, slots=True)
class Change:
    """What a modification asks for; None stays as it is."""

    order_type: OrderType | None = None
    quantity: int | None = None
    price: int | None = None
    trigger_price: int | None = None
    disclosed_quantity: int | None = None
    validity: Validity | None = None
    validity_ttl: int | None = None
    market_protection: float | None = None


def read_variety(text: str) -> Variety:
    """Raises Refused."""
    return _chosen("variety", text, Variety)


def read_terms(variety: Variety, form: Mapping[str, Any]) -> Terms:
    """The order that a form describes. Raises Refused, naming the first member that makes no sense.

    What does not depend on the instrument is checked here, the rest by `simulator.trading.checks`.
    """
    fields = _Form(form)
    return Terms(
        variety=variety,
        exchange=fields.required("exchange"),
        tradingsymbol=fields.required("tradingsymbol"),
        transaction_type=_chosen("transaction_type", fields.required("transaction_type"), Side),
        quantity=fields.whole("quantity", least=1, needed=True) or 0,
        product=_chosen("product", fields.required("product"), Product, ASKABLE_PRODUCTS),
        order_type=_chosen("order_type", fields.required("order_type"), OrderType),
        price=fields.paise("price") or 0,
        trigger_price=fields.paise("trigger_price") or 0,
        validity=_chosen("validity", fields.text("validity") or Validity.DAY, Validity),
        validity_ttl=fields.whole("validity_ttl", most=_LONGEST_TTL_MINUTES) or 0,
        disclosed_quantity=fields.whole("disclosed_quantity") or 0,
        market_protection=fields.protection() or 0.0,
        iceberg_legs=fields.whole("iceberg_legs") or 0,
        iceberg_quantity=fields.whole("iceberg_quantity") or 0,
        auction_number=fields.text("auction_number") or None,
        autoslice=fields.text("autoslice").lower() == "true",
        tag=_tag(fields.text("tag")),
    )


def read_change(form: Mapping[str, Any]) -> Change:
    """The modification that a form describes. Raises Refused."""
    fields = _Form(form)
    order_type, validity = fields.text("order_type"), fields.text("validity")
    return Change(
        order_type=_chosen("order_type", order_type, OrderType) if order_type else None,
        quantity=fields.whole("quantity", least=1),
        price=fields.paise("price"),
        trigger_price=fields.paise("trigger_price"),
        disclosed_quantity=fields.whole("disclosed_quantity"),
        validity=_chosen("validity", validity, Validity) if validity else None,
        validity_ttl=fields.whole("validity_ttl", most=_LONGEST_TTL_MINUTES),
        market_protection=fields.protection(),
    )


class _Form:
    """The members of a form, as texts. Every method raises Refused."""

    def __init__(self, form: Mapping[str, Any]) -> None:
        self._form = form

    def text(self, name: str) -> str:
        return str(self._form.get(name, "")).strip()

    def required(self, name: str) -> str:
        if not (text := self.text(name)):
            raise Refused.input(f"Missing or empty field `{name}`")
        return text

    def whole(self, name: str, *, least: int = 0, most: int = MOST_UNITS, needed: bool = False) -> int | None:
        text = self.required(name) if needed else self.text(name)
        if not text:
            return None
        if not (text.isascii() and text.isdigit() and len(text) <= 10 and least <= int(text) <= most):
            raise Refused.input(f"Invalid `{name}`.")
        return int(text)

    def paise(self, name: str) -> int | None:
        amount = self._decimal(name)
        if amount is None:
            return None
        if not 0 <= amount <= _MOST_RUPEES:
            raise Refused.input(f"Invalid `{name}`.")
        paise = round(amount * _PAISE)
        if abs(amount * _PAISE - paise) > _FLOAT_NOISE * _PAISE:
            raise Refused.input(f"Invalid `{name}`.")
        return paise

    def protection(self) -> float | None:
        """Percent, or -1."""
        percent = self._decimal("market_protection")
        if percent is None:
            return None
        if percent != -1 and not 0 <= percent <= 100:
            raise Refused.input("Invalid `market_protection`.")
        return float(percent)

    def _decimal(self, name: str) -> Decimal | None:
        text = self.text(name)
        if not text:
            return None
        try:
            amount = Decimal(text)
        except InvalidOperation:
            raise Refused.input(f"Invalid `{name}`.") from None
        if not amount.is_finite():
            raise Refused.input(f"Invalid `{name}`.")
        return amount


def _chosen(name: str, text: str, kind: type[E], among: Collection[E] | None = None) -> E:
    for member in kind if among is None else among:
        if member.value == text:
            return member
    raise Refused.input(f"Invalid `{name}`.")


def _tag(text: str) -> str | None:
    """Recorded books hold tags with blanks, so these are taken; the message is the broker's, whose figure is stale."""
    if len(text) > _LONGEST_TAG:
        raise Refused.input("`tag` should be max 8 characters")
    if text and not (text.isascii() and text.replace(" ", "").isalnum()):
        raise Refused.input("Invalid `tag`.")
    return text or None
