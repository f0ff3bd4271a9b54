"""What the broker refuses before an order exists: HTTP 400, and no order in the book."""

import math
from dataclasses import dataclass

from simulator.refusals import Refused
from simulator.rules import Rules
from simulator.trading.hours import TradingHours
from simulator.trading.listings import Listing, Listings
from simulator.trading.terms import OrderType, Product, Side, Terms, Validity, Variety

MOST_MODIFICATIONS = 25
MOST_SLICES = 10
_LEGS = range(2, 51)
_LEAST_DISCLOSED_SHARE = 10  # per cent of the quantity
_SHARE_PRODUCTS = frozenset({Product.CNC, Product.MIS, Product.MTF})
_DERIVATIVE_PRODUCTS = frozenset({Product.NRML, Product.MIS})
_NO_SUCH_INSTRUMENT = "The instrument you are placing an order for has either expired or does not exist."
_NO_PROTECTION = (
    "Market orders without market protection are not allowed via API. "
    "Please set market protection or use a Limit order."
)


@dataclass(frozen=True, slots=True)
class Checks:
    """The broker's rules about orders that are switched on, and the hours they hold in."""

    rules: Rules
    hours: TradingHours

    def refuse_unfit(self, terms: Terms, listing: Listing | None, now: float, listings: Listings) -> Listing:
        """The instrument, when an order of these terms may be placed now. Raises Refused."""
        if listing is None:
            raise Refused.input(_NO_SUCH_INSTRUMENT)
        self.refuse_product(terms.product, listing)
        self._refuse_variety(terms, listing)
        self.refuse_terms(terms, listing, listings.last_price(listing))
        self._refuse_quantity(terms, listing)
        if self.rules.session_checks:
            self._refuse_hour(terms, listing, now)
        return listing

    def refuse_product(self, product: Product, listing: Listing) -> None:
        """Raises Refused."""
        if product not in (_DERIVATIVE_PRODUCTS if listing.is_derivative else _SHARE_PRODUCTS):
            raise Refused.input(f"Product {product} is not allowed for {listing.exchange}.")

    def refuse_terms(self, terms: Terms, listing: Listing, last_price: int) -> None:
        """What a new order and a modified one have in common. Raises Refused."""
        if terms.quantity % listing.lot_size:
            raise Refused.input(f"Quantity should be in multiples of the lot size {listing.lot_size}.")
        if terms.disclosed_quantity and (
            listing.is_derivative
            or terms.disclosed_quantity > terms.quantity
            or terms.disclosed_quantity * 100 < terms.quantity * _LEAST_DISCLOSED_SHARE
        ):
            raise Refused.input("Invalid `disclosed_quantity`.")
        if terms.validity is Validity.TTL and not terms.validity_ttl:
            raise Refused.input("Invalid `validity_ttl`.")
        if terms.order_type.has_price:
            _refuse_price("price", terms.price, listing)
        elif self.rules.market_protection and not terms.market_protection:
            raise Refused.input(_NO_PROTECTION)
        if terms.order_type.has_trigger:
            _refuse_price("trigger_price", terms.trigger_price, listing)
            _refuse_trigger(terms, last_price)

    def _refuse_variety(self, terms: Terms, listing: Listing) -> None:
        match terms.variety:
            case Variety.AUCTION:
                # The auction list is empty here: nobody failed to deliver.
                raise Refused.input("Invalid `auction_number`.")
            case Variety.CO:
                if terms.product is not Product.MIS or terms.order_type.has_trigger:
                    raise Refused.input("Cover orders are MIS, and MARKET or LIMIT.")
                _refuse_price("trigger_price", terms.trigger_price, listing)
            case Variety.ICEBERG:
                if terms.iceberg_legs not in _LEGS:
                    raise Refused.input("Invalid `iceberg_legs`.")
                if terms.iceberg_quantity != leg_quantity(terms, listing) or terms.validity is Validity.IOC:
                    raise Refused.input("Invalid `iceberg_quantity`.")
            case _:
                pass

    def _refuse_quantity(self, terms: Terms, listing: Listing) -> None:
        asked = terms.quantity
        if terms.variety is Variety.ICEBERG:
            asked = terms.iceberg_quantity
        elif terms.autoslice:
            if asked > MOST_SLICES * slice_quantity(listing):
                raise Refused.input(f"Order quantity {asked} needs more than {MOST_SLICES} slices.")
            return
        self.refuse_above_freeze(asked, listing)

    def refuse_above_freeze(self, asked: int, listing: Listing) -> None:
        """Raises Refused."""
        most, lot = listing.freeze_quantity, listing.lot_size
        if asked > most:
            raise Refused.input(
                f"The order quantity {asked} ({asked // lot} lots) is higher than the maximum quantity of "
                f"{most} ({most // lot} lots) allowed by the exchanges."
            )

    def _refuse_hour(self, terms: Terms, listing: Listing, now: float) -> None:
        if terms.variety is Variety.AMO:
            if not self.hours.takes_amo(listing.exchange, now):
                raise Refused.input("After market orders (AMO) are not allowed while the market is open.")
        elif not self.hours.is_open(listing.exchange, now):
            if terms.product is Product.MIS:
                raise Refused.input(
                    "MIS (intraday) are blocked as the markets are not open for trading today. "
                    "Try placing an AMO order."
                )
            raise Refused.input("Markets are not open for trading now. Try placing an AMO order.")


def slice_quantity(listing: Listing) -> int:
    """The largest quantity of whole lots that one order may have."""
    return listing.freeze_quantity // listing.lot_size * listing.lot_size


def leg_quantity(terms: Terms, listing: Listing) -> int:
    """The quantity of an iceberg's legs: its share, rounded up to a lot."""
    return math.ceil(terms.quantity / terms.iceberg_legs / listing.lot_size) * listing.lot_size


def _refuse_price(name: str, price: int, listing: Listing) -> None:
    if price <= 0:
        raise Refused.input(f"Missing or empty field `{name}`")
    if price % listing.tick:
        raise Refused.input(
            f"Tick size for this script is {listing.tick / 100:.2f}. "
            "Kindly enter price in the multiple of tick size for this script"
        )
    if price < listing.lower_circuit:
        limit = f"{listing.lower_circuit / 100:.2f}"
        raise Refused.input(f"Your order price is lower than the current lower circuit limit of {limit}.")
    if price > listing.upper_circuit:
        limit = f"{listing.upper_circuit / 100:.2f}"
        raise Refused.input(f"Your order price is higher than the current upper circuit limit of {limit}.")


def _refuse_trigger(terms: Terms, last_price: int) -> None:
    """Sources differ on whether the wrong side is a 400 or a rejected order; it is a 400 here."""
    is_buy, last = terms.transaction_type is Side.BUY, f"{last_price / 100:.2f}"
    if is_buy and terms.trigger_price <= last_price:
        raise Refused.input(
            f"Trigger price for stoploss buy orders should be higher than the last traded price ({last})."
        )
    if not is_buy and terms.trigger_price >= last_price:
        raise Refused.input(
            f"Trigger price for stoploss sell orders should be lower than the last traded price ({last})."
        )
    if terms.order_type is OrderType.SL:
        if is_buy and terms.price < terms.trigger_price:
            raise Refused.input("Trigger price for stoploss buy orders cannot be above the limit price.")
        if not is_buy and terms.price > terms.trigger_price:
            raise Refused.input("Trigger price for stoploss sell orders cannot be below the limit price.")
