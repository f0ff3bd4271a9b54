"""Whether an account has what an order needs: the broker says so after the order exists, by rejecting it."""

from dataclasses import dataclass

from simulator.trading.account import Account
from simulator.trading.listings import Listings
from simulator.trading.orders import Order
from simulator.trading.terms import Product, Side


@dataclass(frozen=True, slots=True)
class Lack:
    """Why an account cannot have an order: the broker's words, and its order system's."""

    error_type: str
    message: str
    raw: str


def lack_of(account: Account, order: Order, listings: Listings) -> Lack | None:
    """What the account does not have for the rest of this order; None when it has all."""
    terms = order.terms
    if terms.product is Product.CNC and terms.transaction_type is Side.SELL:
        held = max(account.unsold(order.listing, but=order), 0)
        return _no_holdings(order, held) if order.pending_quantity > held else None
    needed = sum(account.need_of(order, listings.last_price(order.listing)).values())
    if not needed:
        return None
    available = account.funds(listings).net
    return _no_funds(order, needed, available) if needed > available else None


def _no_funds(order: Order, needed: int, available: int) -> Lack:
    needs, has = f"{needed / 100:.2f}", f"{available / 100:.2f}"
    return Lack(
        "MarginException",
        f"Insufficient funds. Required margin is {needs} but available margin is {has}. "
        "Check the orderbook for open orders.",
        f"RMS:Margin Exceeds,Required:{needs}, Available:{has} for entity account-{order.user_id} "
        "across exchange across segment across product ",
    )


def _no_holdings(order: Order, held: int) -> Lack:
    return Lack(
        "HoldingException",
        f"Insufficient holdings. Quantity to sell is {order.pending_quantity} but {held} are available.",
        f"RMS:Rule: Check holdings including short for entity account-{order.user_id} "
        "across exchange across segment across product ",
    )
