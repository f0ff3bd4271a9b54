"""Market protection: how far from the market an order without a price may trade."""

from simulator.trading.listings import Listing
from simulator.trading.terms import OrderType, Side, Terms

# The broker's own bands, by price in rupees: per cent (Zerodha's support pages).
_SHARE_BANDS = ((100, 2.0), (500, 1.0), (float("inf"), 0.5))
_OPTION_BANDS = ((10, 5.0), (100, 3.0), (500, 2.0), (float("inf"), 1.0))
AUTOMATIC = -1.0


def percent_of(terms: Terms, listing: Listing, reference: int) -> float:
    """The protection in per cent, the broker's own where the order leaves it to the broker."""
    if terms.market_protection != AUTOMATIC:
        return terms.market_protection
    bands = _OPTION_BANDS if listing.is_option else _SHARE_BANDS
    return next(percent for most, percent in bands if reference < most * 100)


def limit_of(terms: Terms, listing: Listing, last_price: int) -> int | None:
    """The worst price in paise that the order may trade at; None without any."""
    if terms.order_type.has_price:
        return terms.price
    if not terms.market_protection:
        return None
    reference = terms.trigger_price if terms.order_type is OrderType.SL_M else last_price
    share = percent_of(terms, listing, reference) / 100
    return listing.on_tick(reference * (1 + share if terms.transaction_type is Side.BUY else 1 - share))


def system_tags(terms: Terms, listing: Listing, last_price: int) -> tuple[str, ...]:
    """What the broker adds to the tags of an order with protection."""
    if terms.order_type.has_price or not terms.market_protection:
        return ()
    return "mktp", f"mktp:{percent_of(terms, listing, last_price):.2f}"
