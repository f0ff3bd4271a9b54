"""New orders: those that users ask for, and those that the broker makes of them."""

from dataclasses import replace

from simulator.clock import Clock
from simulator.trading import protection
from simulator.trading.checks import leg_quantity
from simulator.trading.identifiers import Identifiers
from simulator.trading.listings import Listing, Listings
from simulator.trading.orders import Order
from simulator.trading.terms import OrderType, Product, Side, Terms, Variety


class OrderMaker:
    """Gives each order its id, its tags and the worst price that it may trade at."""

    def __init__(self, listings: Listings, ids: Identifiers, clock: Clock) -> None:
        self._listings = listings
        self._ids = ids
        self._clock = clock

    def parent_id(self) -> str:
        """An id for a sliced order, which is in no book itself."""
        return self._ids.order(self._clock.timestamp())

    def child(self, parent_id: str, user_id: str, api_key: str, terms: Terms, listing: Listing) -> Order:
        """One slice."""
        order = self.order(user_id, api_key, terms, listing, "autoslice", f"autoslice:{parent_id}")
        order.root_id = parent_id
        return order

    def order(self, user_id: str, api_key: str, terms: Terms, listing: Listing, *more_tags: str) -> Order:
        now, last_price = self._clock.timestamp(), self._listings.last_price(listing)
        if terms.variety is Variety.CO:
            terms = replace(terms, product=Product.CO)
        own = (terms.tag,) if terms.tag else ()
        tags = (*own, *protection.system_tags(terms, listing, last_price), *more_tags)
        limit = protection.limit_of(terms, listing, last_price)
        return Order(self._ids.order(now), user_id, api_key, terms, listing, now, limit, tags)

    def leg(self, user_id: str, api_key: str, terms: Terms, listing: Listing, number: int) -> Order:
        """One leg of an iceberg; `terms` are the whole order's."""
        size = leg_quantity(terms, listing)
        left = max(terms.quantity - number * size, 0)
        quantity = terms.quantity - left - (number - 1) * size
        order = self.order(user_id, api_key, replace(terms, quantity=quantity), listing)
        order.meta = {
            "iceberg": {
                "leg": number,
                "legs": terms.iceberg_legs,
                "leg_quantity": size,
                "total_quantity": terms.quantity,
                "remaining_quantity": left,
            }
        }
        return order

    def follower(self, order: Order) -> Order | None:
        """What comes after an order that has ended: the next leg of an iceberg, the stop of a cover order."""
        if (follower := self._follower(order)) is not None:
            follower.root_id = order.root_id
        return follower

    def _follower(self, order: Order) -> Order | None:
        iceberg = order.meta.get("iceberg")
        if iceberg and not order.pending_quantity and iceberg["remaining_quantity"]:
            whole = replace(order.terms, quantity=iceberg["total_quantity"])
            return self.leg(order.user_id, order.api_key, whole, order.listing, iceberg["leg"] + 1)
        if order.terms.variety is Variety.CO and not order.parent_order_id and order.filled_quantity:
            return self._stop(order)
        return None

    def _stop(self, first: Order) -> Order:
        """The second leg of a cover order."""
        terms = replace(
            first.terms,
            transaction_type=first.terms.transaction_type.other,
            order_type=OrderType.SL_M,
            quantity=first.filled_quantity,
            price=0,
            market_protection=first.terms.market_protection or protection.AUTOMATIC,
        )
        stop = self.order(first.user_id, first.api_key, terms, first.listing)
        stop.parent_order_id = first.order_id
        return stop

    def closing(self, user_id: str, listing: Listing, product: Product, quantity: int) -> Order:
        """The broker's own order to close a position of so many units, below 0 for a short."""
        terms = Terms(
            variety=Variety.REGULAR,
            exchange=listing.exchange,
            tradingsymbol=listing.tradingsymbol,
            transaction_type=Side.SELL if quantity > 0 else Side.BUY,
            product=product,
            order_type=OrderType.MARKET,
            quantity=abs(quantity),
        )
        return self.order(user_id, "", terms, listing)
