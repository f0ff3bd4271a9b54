"""The broker's and the exchanges' rules about an order, held against what is known here, before anything is stored.

Pure: `Facts` are gathered by whoever asks. What cannot be told (no calendar, no price) refuses nothing: the broker
decides, and the check says so.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from decimal import Decimal

from accounts.broker.words import Exchange, OrderType, Product, Validity, Variety
from market.freeze_quantities import largest_order
from market.models import Instrument
from market.prices import MarketPrice
from orders.checks import Check
from orders.requests import AT_MARKET, HAS_PRICE, HAS_TRIGGER, OrderRequest

CASH = frozenset({Exchange.NSE, Exchange.BSE})
# There a quantity is a number of lots, not of units.
IN_LOTS = frozenset({Exchange.MCX, Exchange.CDS, Exchange.BCD, Exchange.NCO})
_CASH_PRODUCTS = frozenset({Product.CNC, Product.MIS, Product.MTF})
_DERIVATIVE_PRODUCTS = frozenset({Product.NRML, Product.MIS})
LEGS = range(2, 51)
LEAST_DISCLOSED_SHARE = 10  # per cent of the quantity
MOST_SLICES = 10
MOST_MODIFICATIONS = 25


@dataclass(frozen=True, slots=True)
class Hours:
    """Whether the instrument's market trades now. `is_open` is None where no calendar tells."""

    is_open: bool | None
    words: str = ""


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of the account, the instrument and the market at this moment."""

    is_enabled: bool
    is_trading: bool
    is_logged_in: bool
    kite_user_id: str
    instrument: Instrument | None
    freeze_quantity: int | None
    hours: Hours
    price: MarketPrice | None


def check(request: OrderRequest, facts: Facts) -> list[Check]:
    """Every rule that bears on the order, those that passed too. Without the instrument most cannot be asked."""
    checks = [*_account(facts), _instrument(request, facts)]
    if facts.instrument is None or facts.instrument.is_index:
        return checks
    instrument = facts.instrument
    return [
        *checks,
        *_words(request),
        *_quantity(request, facts, instrument),
        *_prices(request, instrument),
        *_trigger(request, facts.price),
        _hours(request, facts),
    ]


def _account(facts: Facts) -> Iterator[Check]:
    who = facts.kite_user_id
    yield Check(
        "account_disabled",
        facts.is_enabled and facts.is_trading,
        f"Account {who} may send orders."
        if facts.is_enabled and facts.is_trading
        else f"Account {who} may not send orders: switch it on, and its trading.",
    )
    yield Check(
        "account_logged_out",
        facts.is_logged_in,
        f"Account {who} is logged in to Kite."
        if facts.is_logged_in
        else f"Account {who} is not logged in to Kite: log in first.",
    )


def _instrument(request: OrderRequest, facts: Facts) -> Check:
    if facts.instrument is None:
        return Check("unknown_symbol", False, f"No instrument {request.symbol} is listed.", {"symbol": request.symbol})
    if facts.instrument.is_index:
        return Check("not_tradable", False, f"{request.symbol} is an index, which cannot be traded.")
    return Check("unknown_symbol", True, f"{request.symbol} is listed.")


def _words(request: OrderRequest) -> Iterator[Check]:
    """Words of the order that do not go together."""
    allowed = _CASH_PRODUCTS if request.exchange in CASH else _DERIVATIVE_PRODUCTS
    if request.variety is Variety.CO:
        allowed = frozenset({Product.MIS})
    names = ", ".join(sorted(allowed))
    yield Check(
        "product",
        request.product in allowed,
        f"Product {request.product} fits."
        if request.product in allowed
        else f"Product {request.product} is not possible here: {names}.",
        {"allowed": sorted(allowed)},
    )
    if problem := "; ".join(_misfits(request)):
        yield Check("form", False, f"The order's fields do not go together: {problem}.")


def _misfits(request: OrderRequest) -> Iterator[str]:
    if request.order_type in HAS_PRICE and not request.price:
        yield f"a {request.order_type} order needs a price"
    if request.order_type not in HAS_PRICE and request.price:
        yield f"a {request.order_type} order has no price"
    needs_trigger = request.order_type in HAS_TRIGGER or request.variety is Variety.CO
    if needs_trigger and not request.trigger_price:
        yield "it needs a trigger_price"
    if request.trigger_price and not needs_trigger:
        yield f"a {request.order_type} order has no trigger_price"
    if (request.validity is Validity.TTL) != bool(request.validity_ttl):
        yield "validity TTL and validity_ttl (minutes) belong together"
    if request.variety is Variety.ICEBERG:
        if request.iceberg_legs not in LEGS or not request.iceberg_quantity:
            yield f"an iceberg needs iceberg_legs from {LEGS.start} to {LEGS.stop - 1} and iceberg_quantity"
        if request.validity is Validity.IOC:
            yield "an iceberg is not IOC"
    elif request.iceberg_legs or request.iceberg_quantity:
        yield "iceberg_legs and iceberg_quantity are of variety iceberg"
    if (request.variety is Variety.AUCTION) != bool(request.auction_number):
        yield "variety auction and auction_number belong together"
    if request.autoslice and (request.is_exit or request.variety is not Variety.REGULAR):
        yield "autoslice is for regular orders that are no exits"
    if request.market_protection is not None and request.order_type not in AT_MARKET:
        yield f"a {request.order_type} order has no market_protection"


def _quantity(request: OrderRequest, facts: Facts, instrument: Instrument) -> Iterator[Check]:
    lot = 1 if request.exchange in IN_LOTS else max(instrument.lot_size, 1)
    over = request.quantity % lot
    yield Check(
        "lot_size",
        not over,
        f"{request.quantity} is {request.quantity // lot} × {lot}."
        if not over
        else f"{request.quantity} is no multiple of the lot of {lot}: "
        f"{request.quantity - over or lot} or {request.quantity - over + lot}.",
        {"quantity": request.quantity, "lot_size": lot},
    )
    yield from _freeze(request, facts.freeze_quantity, lot)
    disclosed = request.disclosed_quantity
    if disclosed:
        least = -(-request.quantity * LEAST_DISCLOSED_SHARE // 100)
        fits = request.exchange in CASH and least <= disclosed <= request.quantity
        yield Check(
            "disclosed_quantity",
            fits,
            f"{disclosed} of {request.quantity} are disclosed."
            if fits
            else f"disclosed_quantity is {disclosed}: of shares it is from {least} to {request.quantity}; else none.",
        )


def _freeze(request: OrderRequest, freeze: int | None, lot: int) -> Iterator[Check]:
    if freeze is None:
        return  # nobody has told: the broker decides
    largest = largest_order(freeze, lot)
    asked = (request.iceberg_quantity or 0) if request.variety is Variety.ICEBERG else request.quantity
    figures = {"quantity": asked, "freeze_quantity": freeze, "largest": largest}
    if request.autoslice:
        slices = -(-asked // largest)
        yield Check(
            "freeze_quantity",
            slices <= MOST_SLICES,
            f"{asked} goes out in {slices} slices of at most {largest}."
            if slices <= MOST_SLICES
            else f"{asked} would take {slices} slices of {largest}; {MOST_SLICES} are allowed: split it.",
            figures | {"slices": slices},
        )
        return
    yield Check(
        "freeze_quantity",
        asked <= freeze,
        f"{asked} is within the exchange's {freeze} an order."
        if asked <= freeze
        else f"{asked} is above the exchange's {freeze} an order: at most {largest}, or autoslice.",
        figures,
    )


def _prices(request: OrderRequest, instrument: Instrument) -> Iterator[Check]:
    tick = instrument.tick_size
    for name, price in (("price", request.price), ("trigger_price", request.trigger_price)):
        if not price or not tick:
            continue
        below = price // tick * tick
        yield Check(
            "tick_size",
            below == price,
            f"{_words_of(name)} {_plain(price)} is on the tick of {tick.normalize():f}."
            if below == price
            else f"{_words_of(name)} {_plain(price)} is not on the tick of {tick.normalize():f}: "
            f"{below.normalize():f} or {(below + tick).normalize():f}.",
            {"field": name, "price": str(price), "tick_size": f"{tick.normalize():f}"},
        )


def _trigger(request: OrderRequest, price: MarketPrice | None) -> Iterator[Check]:
    """A stop's trigger lies beyond the market, and its price beyond the trigger."""
    trigger = request.trigger_price
    if not trigger or request.order_type not in HAS_TRIGGER:
        return
    if request.order_type is OrderType.SL and request.price:
        fits = request.price >= trigger if request.is_buy else request.price <= trigger
        side = "at or above" if request.is_buy else "at or below"
        yield Check(
            "stop_price",
            fits,
            f"Price {_plain(request.price)} is {side} the trigger {_plain(trigger)}."
            if fits
            else f"Price {_plain(request.price)} must be {side} the trigger {_plain(trigger)}.",
        )
    last = price.last_price if price is not None and price.is_fresh else None
    if last is None:
        yield Check("trigger_side", None, "No current price tells on which side of the market the trigger is.")
        return
    fits = trigger > last if request.is_buy else trigger < last
    side = "above" if request.is_buy else "below"
    yield Check(
        "trigger_side",
        fits,
        f"Trigger {_plain(trigger)} is {side} the last price {_plain(last)}."
        if fits
        else f"Trigger {_plain(trigger)} must be {side} the last price {_plain(last)}.",
        {"trigger_price": str(trigger), "last_price": str(last)},
    )


def _hours(request: OrderRequest, facts: Facts) -> Check:
    hours = facts.hours
    if hours.is_open is None:
        return Check("market_hours", None, f"{hours.words} The broker decides.".strip())
    if request.variety is Variety.AMO:
        return Check(
            "market_hours",
            not hours.is_open,
            "An after-market order waits for the next session."
            if not hours.is_open
            else "After-market orders are for when the market is closed: send a regular one.",
        )
    return Check(
        "market_hours",
        hours.is_open,
        "The market is open." if hours.is_open else f"The market is closed{hours.words}. Variety amo waits for it.",
    )


def is_valid(checks: Iterable[Check]) -> bool:
    return all(check.passed is not False for check in checks)


def notional(request: OrderRequest, price: MarketPrice | None) -> Decimal | None:
    """What the order is worth in rupees at its own price, or at the last one where it has none; None if unknown.

    Of commodities and currencies it is not known here: no table tells the units of their lots.
    """
    if request.exchange in IN_LOTS:
        return None
    at = request.price or request.trigger_price or (price.last_price if price else None)
    return None if at is None else at * request.quantity


def _words_of(name: str) -> str:
    return "Trigger" if name == "trigger_price" else "Price"


def _plain(price: Decimal) -> str:
    """As people write prices: two decimals, more only where there are more."""
    text = f"{price.normalize():f}"
    return f"{price:.2f}" if len(text.partition(".")[2]) <= 2 else text
