"""One user's orders, trades, portfolio and money of the day. Money in paise."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from simulator.instruments import Kind
from simulator.trading.funds import Funds, Need, funds_of, is_paid_in_full, need_of_order
from simulator.trading.listings import Listing, Listings
from simulator.trading.orders import Order, Trade
from simulator.trading.portfolio import Holding, Portfolio, Position
from simulator.trading.terms import Product, Side


@dataclass(slots=True)
class Account:
    """`live` are the orders that may still trade; an order in `orders` alone has ended."""

    user_id: str
    cash: int
    portfolio: Portfolio = field(default_factory=Portfolio)
    orders: dict[str, Order] = field(default_factory=dict)
    live: dict[str, Order] = field(default_factory=dict)
    trades: list[Trade] = field(default_factory=list)
    _blocked: Need = field(default_factory=dict)

    @classmethod
    def opened(cls, user_id: str, cash: int, shares: Mapping[str, int], listings: Listings) -> "Account":
        """An account with these shares of NSE, bought a tenth below yesterday's price; unknown ones are left out."""
        account = cls(user_id, cash)
        for tradingsymbol, quantity in shares.items():
            if (listing := listings.find("NSE", tradingsymbol)) is not None and quantity > 0:
                price = listing.on_tick(listings.close_price(listing) * 0.9)
                account.portfolio.holdings["NSE", tradingsymbol] = Holding(listing, quantity, quantity * price)
        return account

    # --- funds ------------------------------------------------------------------------------------------------------

    def funds(self, listings: Listings) -> Funds:
        return funds_of(self.cash, self.portfolio.positions.values(), listings.last_price, dict(self._blocked))

    def need_of(self, order: Order, last_price: int) -> Need:
        """What the rest of an order takes of the funds."""
        terms = order.terms
        price = terms.price if terms.order_type.has_price else order.limit or terms.trigger_price or last_price
        held = self.portfolio.quantity_of(order.listing, terms.product)
        return need_of_order(order.listing, terms.product, terms.transaction_type, order.pending_quantity, price, held)

    def block(self, order: Order, wanted: Need) -> None:
        """Set what the order holds of the funds, instead of what it held."""
        for use, amount in order.blocked.items():
            self._blocked[use] = self._blocked.get(use, 0) - amount
        for use, amount in wanted.items():
            self._blocked[use] = self._blocked.get(use, 0) + amount
        order.blocked = wanted

    def unsold(self, listing: Listing, *, but: Order) -> int:
        """Shares that may be sold for delivery, less those that other orders are about to sell."""
        waiting = sum(
            order.pending_quantity
            for order in self.live.values()
            if order is not but
            and order.listing is listing
            and order.terms.product is Product.CNC
            and order.terms.transaction_type is Side.SELL
        )
        return self.portfolio.sellable(listing) - waiting

    # --- trades -----------------------------------------------------------------------------------------------------

    def enter(self, trade: Trade) -> None:
        """A part of an order has traded."""
        order = trade.order
        before = order.pending_quantity
        order.filled_quantity += trade.quantity
        order.filled_value += trade.quantity * trade.price
        position = self.portfolio.position(order.listing, order.terms.product)
        position.trade(order.terms.transaction_type, trade.quantity, trade.quantity * trade.price)
        self.trades.append(trade)
        self.block(order, {use: amount * order.pending_quantity // before for use, amount in order.blocked.items()})

    # --- days -------------------------------------------------------------------------------------------------------

    def carry_over(self, yesterday: Listings, today: Listings) -> None:
        """Settle the day that has ended: positions are carried, delivered or closed, and the book is emptied."""
        carried = Portfolio()
        for holding in self.portfolio.holdings.values():
            holding.realised_quantity, holding.t1_quantity = holding.quantity, 0
        for key, position in self.portfolio.positions.items():
            listing, quantity = position.listing, position.quantity
            if is_paid_in_full(listing, position.product):
                self.cash += position.day_value
            else:
                self.cash += position.realised
            if not quantity:
                continue
            if listing.kind is Kind.EQUITY and position.product is Product.CNC:
                self._deliver(position)
            elif position.product in {Product.NRML, Product.MTF} and today.find(key[0], key[1]) is not None:
                carried.positions[key] = Position(
                    listing, position.product, overnight_quantity=quantity, overnight_value=position.open_value
                )
            elif is_paid_in_full(listing, position.product):  # it has expired: its last price is what it is worth
                self.cash += quantity * yesterday.last_price(listing)
            else:
                self.cash += position.pnl(yesterday.last_price(listing)) - position.realised
        carried.holdings = {key: h for key, h in self.portfolio.holdings.items() if h.quantity > 0}
        self.portfolio = carried
        self._follow(today)
        self.trades.clear()
        self.orders = dict(self.live)

    def _deliver(self, position: Position) -> None:
        key = (position.listing.exchange, position.listing.tradingsymbol)
        held = self.portfolio.holdings.setdefault(key, Holding(position.listing, 0, 0))
        if position.quantity > 0:
            held.t1_quantity += position.quantity
            held.value += position.open_value
        else:
            left = max(held.quantity + position.quantity, 0)
            held.value = held.value * left // held.quantity if held.quantity else 0
            held.realised_quantity = left

    def _follow(self, listings: Listings) -> None:
        """The same instruments in a new day's market; a share or a contract keeps its name."""
        holders: list[Position | Holding | Order] = [
            *self.portfolio.positions.values(),
            *self.portfolio.holdings.values(),
            *self.live.values(),
        ]
        for holder in holders:
            found = listings.find(holder.listing.exchange, holder.listing.tradingsymbol)
            if found is not None:
                holder.listing = found
