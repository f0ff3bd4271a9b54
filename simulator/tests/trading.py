"""A desk without a network: the market shows what a test wants, and time passes when it says so."""

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any

import numpy as np

from simulator.logins import Access
from simulator.market import Market
from simulator.options import DEMO_APP, DEMO_USER, DemoUser
from simulator.rules import Rules
from simulator.tests.running import OPEN, SetClock
from simulator.trading.account import Account
from simulator.trading.desk import Desk, Placed
from simulator.trading.lifecycle import Accepted
from simulator.trading.orders import Order
from simulator.trading.terms import read_change, read_terms, read_variety

INFY, NIFTY_CALL, NIFTY_FUTURE = "NSE:INFY", "NFO:NIFTY26D0126000CE", "NFO:NIFTY26DECFUT"
Depth = Sequence[tuple[float, int]]


@dataclass
class Schedule:
    """Runs what was put off, in the order of its time, when told how much of it has passed."""

    now: float = 0.0
    _due: list[tuple[float, int, Callable[[], None]]] = field(default_factory=list)
    _numbers: Any = field(default_factory=count)

    def later(self, seconds: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._due, (self.now + seconds, next(self._numbers), action))

    def run(self, seconds: float = 0.0) -> None:
        until = self.now + seconds
        while self._due and self._due[0][0] <= until:
            self.now, _, action = heapq.heappop(self._due)
            action()
        self.now = until


class TradingFloor:
    """One user at a desk, in a market that stands still unless it is moved."""

    def __init__(
        self, market: Market, *, rules: Rules | None = None, order_seconds: float = 0.0, user: DemoUser = DEMO_USER
    ) -> None:
        self.market = market
        self.clock = SetClock(OPEN)
        self.system_clock = SetClock(OPEN)
        self.schedule = Schedule()
        self.access = Access(user, DEMO_APP, "token", OPEN)
        self.desk = Desk(
            market,
            rules or Rules(rate_limits=False),
            [user],
            self.clock,
            self.system_clock,
            order_seconds=order_seconds,
            later=self.schedule.later,
        )
        self.events: list[tuple[str, str]] = []
        self.desk.lifecycle.on_event = lambda order, event: self.events.append((order.order_id, event))

    @property
    def account(self) -> Account:
        return self.desk.account_of(self.access)

    @property
    def accepted(self) -> list[Accepted]:
        return self.desk.lifecycle.accepted

    def show(self, key: str, *, bids: Depth = (), offers: Depth = (), last: float, last_quantity: int = 0) -> None:
        """Let the market show this book and last trade, and tell the desk; prices in rupees."""
        row = self.market.universe.row_of_symbol[key]
        packet = self.market.packets[row : row + 1]
        for side, levels in (("bids", bids), ("offers", offers)):
            packet[side] = 0
            for position, (price, quantity) in enumerate(levels):
                packet[side]["price"][0, position] = round(price * 100)
                packet[side]["quantity"][0, position] = quantity
        packet["last_price"] = round(last * 100)
        packet["last_quantity"] = last_quantity
        self.desk.market_moved(np.array([row]))

    def place(self, key: str, side: str, quantity: int, **more: Any) -> Placed:
        """Ask for a LIMIT order in MIS (a market order where no price is given); nothing is run."""
        exchange, tradingsymbol = key.split(":")
        form = {
            "exchange": exchange,
            "tradingsymbol": tradingsymbol,
            "transaction_type": side,
            "quantity": quantity,
            "product": "MIS",
            "order_type": "LIMIT" if "price" in more else "MARKET",
            "market_protection": -1,
        }
        variety = read_variety(more.pop("variety", "regular"))
        return self.desk.place(self.access, read_terms(variety, form | more), self.system_clock())

    def order(self, key: str, side: str, quantity: int, **more: Any) -> Order:
        """The same, and what became of it at once."""
        placed = self.place(key, side, quantity, **more)
        self.schedule.run()
        return self.account.orders[placed.order_id]

    def modify(self, order: Order, **change: Any) -> None:
        self.desk.modify(self.access, order.terms.variety, order.order_id, read_change(change))
        self.schedule.run()

    def cancel(self, order: Order, parent_order_id: str | None = None) -> None:
        self.desk.cancel(self.access, order.terms.variety, order.order_id, parent_order_id)
        self.schedule.run()


def states(order: Order) -> list[str]:
    """Every status the order has had."""
    return [row.data["status"] for row in order.history]


def trades_of(floor: TradingFloor, order: Order) -> list[tuple[float, int]]:
    """Price in rupees and quantity of each."""
    return [(trade.price / 100, trade.quantity) for trade in floor.account.trades if trade.order is order]
