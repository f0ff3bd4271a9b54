"""What an account holds: positions of the day and from before, and shares in the demat account. Money in paise."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from simulator.refusals import Refused
from simulator.trading.forms import rupees
from simulator.trading.listings import Listing
from simulator.trading.terms import Product, Side

Key = tuple[str, str, Product]
Price = Callable[[Listing], int]


@dataclass(slots=True)
class Position:
    """One instrument in one product. `overnight_value` is what the carried part cost; below 0 for a short."""

    listing: Listing
    product: Product
    overnight_quantity: int = 0
    overnight_value: int = 0
    day_buy_quantity: int = 0
    day_buy_value: int = 0
    day_sell_quantity: int = 0
    day_sell_value: int = 0

    @property
    def quantity(self) -> int:
        return self.overnight_quantity + self.day_buy_quantity - self.day_sell_quantity

    @property
    def buy_quantity(self) -> int:
        return self.day_buy_quantity + max(self.overnight_quantity, 0)

    @property
    def buy_value(self) -> int:
        return self.day_buy_value + max(self.overnight_value, 0)

    @property
    def sell_quantity(self) -> int:
        return self.day_sell_quantity + max(-self.overnight_quantity, 0)

    @property
    def sell_value(self) -> int:
        return self.day_sell_value + max(-self.overnight_value, 0)

    @property
    def value(self) -> int:
        return self.sell_value - self.buy_value

    @property
    def day_value(self) -> int:
        """What today's trades brought; below 0 where they cost."""
        return self.day_sell_value - self.day_buy_value

    @property
    def realised(self) -> int:
        """Profit of what was both bought and sold, at average prices."""
        closed = min(self.buy_quantity, self.sell_quantity)
        if not closed:
            return 0
        return closed * self.sell_value // self.sell_quantity - closed * self.buy_value // self.buy_quantity

    @property
    def open_value(self) -> int:
        """What the open quantity cost at average prices; below 0 for a short."""
        return -self.value + self.realised

    def pnl(self, last_price: int) -> int:
        return self.value + self.quantity * last_price

    def trade(self, side: Side, quantity: int, value: int) -> None:
        if side is Side.BUY:
            self.day_buy_quantity += quantity
            self.day_buy_value += value
        else:
            self.day_sell_quantity += quantity
            self.day_sell_value += value

    def untrade(self, side: Side, quantity: int, value: int) -> None:
        """Take a trade of today back, unless it has been converted away."""
        traded = self.day_buy_quantity if side is Side.BUY else self.day_sell_quantity
        if traded >= quantity:
            self.trade(side, -quantity, -value)

    def of_today(self) -> "Position":
        """Today's trades alone."""
        return Position(
            self.listing,
            self.product,
            day_buy_quantity=self.day_buy_quantity,
            day_buy_value=self.day_buy_value,
            day_sell_quantity=self.day_sell_quantity,
            day_sell_value=self.day_sell_value,
        )

    def as_json(self, last_price: int, close_price: int) -> dict[str, Any]:
        close = close_price if self.overnight_quantity else 0
        buy_m2m = self.day_buy_value + max(self.overnight_quantity, 0) * close
        sell_m2m = self.day_sell_value + max(-self.overnight_quantity, 0) * close
        pnl = self.pnl(last_price)
        buy_price, sell_price = (
            _average(self.buy_value, self.buy_quantity),
            _average(self.sell_value, self.sell_quantity),
        )
        return {
            "tradingsymbol": self.listing.tradingsymbol,
            "exchange": self.listing.exchange,
            "instrument_token": self.listing.token,
            "product": self.product.value,
            "quantity": self.quantity,
            "overnight_quantity": self.overnight_quantity,
            "multiplier": 1,
            "average_price": 0 if not self.quantity else buy_price if self.quantity > 0 else sell_price,
            "close_price": rupees(close),
            "last_price": rupees(last_price),
            "value": rupees(self.value),
            "pnl": rupees(pnl),
            "m2m": rupees(sell_m2m - buy_m2m + self.quantity * last_price),
            "unrealised": rupees(pnl),
            "realised": 0,  # recorded bodies leave it at 0, for closed rows too
            "buy_quantity": self.buy_quantity,
            "buy_price": buy_price,
            "buy_value": rupees(self.buy_value),
            "buy_m2m": rupees(buy_m2m),
            "sell_quantity": self.sell_quantity,
            "sell_price": sell_price,
            "sell_value": rupees(self.sell_value),
            "sell_m2m": rupees(sell_m2m),
            "day_buy_quantity": self.day_buy_quantity,
            "day_buy_price": _average(self.day_buy_value, self.day_buy_quantity),
            "day_buy_value": rupees(self.day_buy_value),
            "day_sell_quantity": self.day_sell_quantity,
            "day_sell_price": _average(self.day_sell_value, self.day_sell_quantity),
            "day_sell_value": rupees(self.day_sell_value),
        }


@dataclass(slots=True)
class Holding:
    """Shares in the demat account, and those bought the day before that are on their way to it (T1)."""

    listing: Listing
    realised_quantity: int
    value: int  # what all of it cost
    t1_quantity: int = 0

    @property
    def quantity(self) -> int:
        return self.realised_quantity + self.t1_quantity

    def as_json(self, used_quantity: int, last_price: int, close_price: int, day: str) -> dict[str, Any]:
        left = self.quantity - used_quantity
        average_price = _average(self.value, self.quantity)
        change = last_price - close_price
        return {
            "tradingsymbol": self.listing.tradingsymbol,
            "exchange": self.listing.exchange,
            "instrument_token": self.listing.token,
            # Of the right length and form; the true ones are not known here.
            "isin": f"INE{self.listing.token % 1_000_000:06d}010",
            "product": Product.CNC.value,
            "price": 0,
            "quantity": max(self.realised_quantity - used_quantity, 0),
            "used_quantity": used_quantity,
            "t1_quantity": min(self.t1_quantity, left),
            "realised_quantity": self.realised_quantity,
            "authorised_quantity": 0,
            "authorised_date": f"{day} 00:00:00",
            "authorisation": {},
            "opening_quantity": self.quantity,
            "short_quantity": 0,
            "collateral_quantity": 0,
            "collateral_type": "",
            "discrepancy": False,
            "average_price": average_price,
            "last_price": rupees(last_price),
            "close_price": rupees(close_price),
            "pnl": round(left * (last_price / 100 - average_price), 2),
            "day_change": rupees(change),
            "day_change_percentage": change / close_price * 100 if close_price else 0,
            "mtf": {"quantity": 0, "used_quantity": 0, "average_price": 0, "value": 0, "initial_margin": 0},
        }


@dataclass(slots=True)
class Portfolio:
    """Positions and holdings of one account."""

    positions: dict[Key, Position] = field(default_factory=dict)
    holdings: dict[tuple[str, str], Holding] = field(default_factory=dict)

    def position(self, listing: Listing, product: Product) -> Position:
        """The row of that instrument and product, made when there is none."""
        key = (listing.exchange, listing.tradingsymbol, product)
        if (found := self.positions.get(key)) is None:
            found = self.positions[key] = Position(listing, product)
        return found

    def quantity_of(self, listing: Listing, product: Product) -> int:
        found = self.positions.get((listing.exchange, listing.tradingsymbol, product))
        return found.quantity if found else 0

    def used_quantity(self, holding: Holding) -> int:
        """How much of a holding was sold today."""
        return max(-self.quantity_of(holding.listing, Product.CNC), 0)

    def sellable(self, listing: Listing) -> int:
        """Shares that may still be sold for delivery: held, or bought for delivery today; orders not counted."""
        holding = self.holdings.get((listing.exchange, listing.tradingsymbol))
        return (holding.quantity if holding else 0) + self.quantity_of(listing, Product.CNC)

    def convert(self, position: Position, side: Side, quantity: int, product: Product, *, overnight: bool) -> None:
        """Move so much of a position to another product, at its average price. Raises Refused."""
        if position.quantity * side.sign < quantity:
            raise Refused.input("The position has less than that quantity to convert.")
        target = self.position(position.listing, product)
        if overnight:
            if position.overnight_quantity * side.sign < quantity:
                raise Refused.input("The position has less than that quantity to convert.")
            moved = position.overnight_value * quantity // abs(position.overnight_quantity)
            position.overnight_quantity -= quantity * side.sign
            position.overnight_value -= moved
            target.overnight_quantity += quantity * side.sign
            target.overnight_value += moved
            return
        traded, value = (
            (position.day_buy_quantity, position.day_buy_value)
            if side is Side.BUY
            else (position.day_sell_quantity, position.day_sell_value)
        )
        if traded < quantity:
            raise Refused.input("The position has less than that quantity to convert.")
        moved = value * quantity // traded
        position.trade(side, -quantity, -moved)
        target.trade(side, quantity, moved)

    def rows(self, last: Price, close: Price) -> dict[str, list[dict[str, Any]]]:
        """`net` and `day`, as the broker shows them."""
        seen = [p for p in self.positions.values() if _has_anything(p)]
        today = [p.of_today() for p in seen if p.day_buy_quantity or p.day_sell_quantity]
        return {
            name: [p.as_json(last(p.listing), close(p.listing)) for p in positions]
            for name, positions in (("net", seen), ("day", today))
        }

    def holding_rows(self, last: Price, close: Price, day: str) -> Iterator[dict[str, Any]]:
        for holding in self.holdings.values():
            used = min(self.used_quantity(holding), holding.quantity)
            yield holding.as_json(used, last(holding.listing), close(holding.listing), day)


def _has_anything(position: Position) -> bool:
    return bool(position.overnight_quantity or position.day_buy_quantity or position.day_sell_quantity)


def _average(value: int, quantity: int) -> float:
    """Rupees a unit, of a value in paise; 0 of nothing."""
    if not quantity:
        return 0
    return rupees(value // quantity) if value % quantity == 0 else round(value / quantity / 100, 6)
