"""The book as one reader is shown it: true, or less than that when a test wants it so."""

from dataclasses import dataclass, replace

from aiohttp import web

from simulator.trading.account import Account
from simulator.trading.orders import Row, Trade
from simulator.trading.portfolio import Portfolio


@dataclass(frozen=True, slots=True)
class BookView:
    """`as_of`: how things were at that moment of system time, None for now. `without`: the oldest orders left out."""

    as_of: float | None = None
    without: int = 0
    is_empty: bool = False

    def book(self, account: Account) -> list[Row]:
        """Each order's last row, the oldest order first."""
        if self.is_empty:
            return []
        orders = [order for order in account.orders.values() if not order.is_hidden]
        if self.as_of is None:
            rows = [order.history[-1] for order in orders]
        else:
            rows = [row for order in orders if (row := order.row_at(self.as_of)) is not None]
        return rows[self.without :]

    def trades(self, account: Account) -> list[Trade]:
        if self.is_empty:
            return []
        return [t for t in account.trades if self.as_of is None or t.recorded_at <= self.as_of][self.without :]

    def portfolio(self, account: Account) -> Portfolio:
        """Positions and holdings: none, or without what has been traded since. A conversion has no time."""
        if self.is_empty:
            return Portfolio()
        if self.as_of is None:
            return account.portfolio
        positions = {key: replace(position) for key, position in account.portfolio.positions.items()}
        for trade in account.trades:
            terms = trade.order.terms
            position = positions.get((terms.exchange, terms.tradingsymbol, terms.product))
            if trade.recorded_at > self.as_of and position is not None:
                position.untrade(terms.transaction_type, trade.quantity, trade.quantity * trade.price)
        return Portfolio(positions, account.portfolio.holdings)


VIEW = web.RequestKey("book_view", BookView)
_TRUE = BookView()


def view_of(request: web.Request) -> BookView:
    return request.get(VIEW) or _TRUE
