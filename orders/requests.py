"""What a caller asks for, in the one form in which it is compared, kept and sent. Pure: no database, no clock."""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any, Self

from accounts.broker.words import Exchange, OrderType, Product, TransactionType, Validity, Variety
from orders.states import Operation

HAS_PRICE = frozenset({OrderType.LIMIT, OrderType.SL})
HAS_TRIGGER = frozenset({OrderType.SL, OrderType.SL_M})
AT_MARKET = frozenset({OrderType.MARKET, OrderType.SL_M})

_WORDS: Mapping[str, Callable[[Any], Any]] = {
    "variety": Variety,
    "exchange": Exchange,
    "transaction_type": TransactionType,
    "product": Product,
    "order_type": OrderType,
    "validity": Validity,
    "price": Decimal,
    "trigger_price": Decimal,
    "market_protection": Decimal,
}
# What an order is kept with beside what the broker is sent.
_OURS = frozenset({"is_exit", "autoslice", "allow_duplicate"})


@dataclass(frozen=True, slots=True)
class OrderRequest:
    """A new order. Quantities in the broker's units (MCX: lots), prices in rupees; 0 and None: not given."""

    variety: Variety
    exchange: Exchange
    tradingsymbol: str
    transaction_type: TransactionType
    quantity: int
    product: Product
    order_type: OrderType
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    validity: Validity = Validity.DAY
    validity_ttl: int | None = None
    disclosed_quantity: int | None = None
    market_protection: Decimal | None = None
    iceberg_legs: int | None = None
    iceberg_quantity: int | None = None
    auction_number: str | None = None
    algo_id: str | None = None
    strategy: str = ""
    is_exit: bool = False
    autoslice: bool = False
    allow_duplicate: bool = False

    @property
    def operation(self) -> Operation:
        if self.is_exit:
            return Operation.EXIT
        return Operation.AUTOSLICE if self.autoslice else Operation.PLACE

    @property
    def symbol(self) -> str:
        return f"{self.exchange}:{self.tradingsymbol}"

    @property
    def is_buy(self) -> bool:
        return self.transaction_type is TransactionType.BUY

    def params(self) -> dict[str, Any]:
        """What the task keeps and the broker is sent, as JSON: prices as text, what was not given left out."""
        kept = {each.name: getattr(self, each.name) for each in fields(self) if each.name not in _OURS}
        return {name: _plain(value) for name, value in kept.items() if value is not None and value != ""}

    @classmethod
    def of_params(cls, params: Mapping[str, Any], *, is_exit: bool = False, autoslice: bool = False) -> Self:
        """The request that `params` was made of."""
        known = {each.name for each in fields(cls)}
        values = {name: _WORDS.get(name, _as_is)(value) for name, value in params.items() if name in known}
        return cls(**values, is_exit=is_exit, autoslice=autoslice)

    def with_options(self, *, autoslice: bool, allow_duplicate: bool) -> Self:
        return replace(self, autoslice=autoslice, allow_duplicate=allow_duplicate)

    def changed(self, changes: "OrderChanges") -> Self:
        """The order as it would be after `changes`. With another type goes what an order of that type has not."""
        given = changes.given()
        order_type = changes.order_type or self.order_type
        if order_type is not self.order_type:
            given = _gone_with_the_type(order_type) | given
        return replace(self, **given)


@dataclass(frozen=True, slots=True)
class OrderChanges:
    """What a modification changes; None: stays as it is. `quantity` is the new total."""

    quantity: int | None = None
    order_type: OrderType | None = None
    price: Decimal | None = None
    trigger_price: Decimal | None = None
    validity: Validity | None = None
    disclosed_quantity: int | None = None
    market_protection: Decimal | None = None

    def given(self) -> dict[str, Any]:
        return {each.name: value for each in fields(self) if (value := getattr(self, each.name)) is not None}

    def params(self) -> dict[str, Any]:
        return {name: _plain(value) for name, value in self.given().items()}

    @classmethod
    def of_params(cls, params: Mapping[str, Any]) -> Self:
        """The changes that `params` names, among whatever else it holds."""
        known = {each.name for each in fields(cls)}
        return cls(**{name: _WORDS.get(name, _as_is)(value) for name, value in params.items() if name in known})


def fingerprint(operation: Operation, account: str, params: Mapping[str, Any]) -> str:
    """SHA-256 in hexadecimal of what is asked for: the same for every way of writing it down.

    Parameters
    ----------
    account : the account's public id
    params : as `OrderRequest.params` and `OrderChanges.params` have them
    """
    asked = {"operation": str(operation), "account": account, "params": dict(params)}
    return hashlib.sha256(json.dumps(asked, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _gone_with_the_type(order_type: OrderType) -> dict[str, None]:
    has = {"price": HAS_PRICE, "trigger_price": HAS_TRIGGER, "market_protection": AT_MARKET}
    return {name: None for name, types in has.items() if order_type not in types}


def _plain(value: Any) -> Any:
    if isinstance(value, Decimal):
        return f"{value.normalize():f}"
    return str(value) if isinstance(value, str) else value


def _as_is(value: Any) -> Any:
    return value
