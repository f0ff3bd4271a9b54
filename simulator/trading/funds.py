"""What orders and positions need, and what is left of an account's money. In paise.

The broker's risk model is not public; this one is simple and moves the right way. Shares for delivery and bought
options are paid in full and sold ones bring their price; everything else needs a share of its worth, and keeps its
profit and loss.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from simulator.instruments import Kind
from simulator.trading.forms import rupees
from simulator.trading.listings import Listing
from simulator.trading.portfolio import Position, Price
from simulator.trading.terms import Product, Side

# Per cent of the worth: (span, exposure). Shares: intraday at five times, margin funding at four times the money.
_SHARE_RATES = {Product.MIS: 20, Product.CO: 20, Product.MTF: 25}
_INDEX_RATES, _STOCK_RATES = (10, 2), (15, 4)


class Use(StrEnum):
    """What money is used for: names of `utilised` in the broker's answer."""

    DELIVERY = "delivery"
    OPTION_PREMIUM = "option_premium"
    SPAN = "span"
    EXPOSURE = "exposure"


Need = dict[Use, int]


def is_paid_in_full(listing: Listing, product: Product) -> bool:
    """Whether a position's price itself is paid and received, not a margin."""
    return listing.is_option or (listing.kind is Kind.EQUITY and product is Product.CNC)


def need(listing: Listing, product: Product, side: Side, quantity: int, price: int) -> Need:
    """What so many units opened at that price take of the funds."""
    if listing.kind is Kind.EQUITY:
        if product is Product.CNC:
            return {Use.DELIVERY: quantity * price if side is Side.BUY else 0}
        return {Use.SPAN: quantity * price * _SHARE_RATES.get(product, 100) // 100}
    if listing.is_option and side is Side.BUY:
        return {Use.OPTION_PREMIUM: quantity * price}
    worth = quantity * (listing.strike if listing.is_option else price)
    span, exposure = _INDEX_RATES if listing.is_on_index else _STOCK_RATES
    return {Use.SPAN: worth * span // 100, Use.EXPOSURE: worth * exposure // 100}


def need_of_order(listing: Listing, product: Product, side: Side, quantity: int, price: int, held: int) -> Need:
    """The same for an order, of which only what does not close the position of `held` units takes funds."""
    closing = min(max(-held * side.sign, 0), quantity)
    return need(listing, product, side, quantity - closing, price)


@dataclass(slots=True)
class Funds:
    """One segment's money. `m2m_…` are profits; losses that are not realised count, such profits do not."""

    cash: int
    delivery: int = 0
    option_premium: int = 0
    span: int = 0
    exposure: int = 0
    holding_sales: int = 0
    m2m_realised: int = 0
    m2m_unrealised: int = 0
    blocked: Need = field(default_factory=dict)  # by open orders

    @property
    def debits(self) -> int:
        used = self.delivery + self.option_premium + self.span + self.exposure + sum(self.blocked.values())
        return used - self.holding_sales - self.m2m_realised - min(self.m2m_unrealised, 0)

    @property
    def net(self) -> int:
        return self.cash - self.debits

    def as_json(self) -> dict[str, Any]:
        """The shape of one segment of `/user/margins`."""
        used = {use: getattr(self, use) + self.blocked.get(use, 0) for use in Use}
        return {
            "enabled": True,
            "net": rupees(self.net),
            "available": {
                "adhoc_margin": 0,
                "cash": rupees(self.cash),
                "opening_balance": rupees(self.cash),
                "live_balance": rupees(self.net),
                "collateral": 0,
                "intraday_payin": 0,
            },
            "utilised": {
                "debits": rupees(self.debits),
                "exposure": rupees(used[Use.EXPOSURE]),
                "m2m_realised": rupees(self.m2m_realised),
                "m2m_unrealised": rupees(self.m2m_unrealised),
                "option_premium": rupees(used[Use.OPTION_PREMIUM]),
                "payout": 0,
                "span": rupees(used[Use.SPAN]),
                "holding_sales": rupees(self.holding_sales),
                "turnover": 0,
                "liquid_collateral": 0,
                "stock_collateral": 0,
                "delivery": rupees(used[Use.DELIVERY]),
            },
        }


def funds_of(cash: int, positions: Iterable[Position], last: Price, blocked: Need) -> Funds:
    """What is used by these positions at these prices, and by open orders."""
    funds = Funds(cash, blocked=blocked)
    for position in positions:
        listing, quantity = position.listing, position.quantity
        if listing.is_option:
            funds.option_premium -= position.day_value
        elif is_paid_in_full(listing, position.product):
            funds.delivery += max(-position.day_value, 0)
            funds.holding_sales += max(position.day_value, 0)
        else:
            realised = position.realised
            funds.m2m_realised += realised
            funds.m2m_unrealised += position.pnl(last(listing)) - realised
        if quantity and not (is_paid_in_full(listing, position.product) and quantity > 0):
            side = Side.BUY if quantity > 0 else Side.SELL
            price = abs(position.open_value) // abs(quantity)
            for use, amount in need(listing, position.product, side, abs(quantity), price).items():
                setattr(funds, use, getattr(funds, use) + amount)
    return funds
