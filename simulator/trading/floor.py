"""The exchange's side: whose orders wait at which instrument, and what the market's depth still has for them."""

from collections import defaultdict
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from simulator.market import Market
from simulator.trading.matching import Fill, Level
from simulator.trading.orders import Order
from simulator.trading.terms import Side


class Floor:
    """Resting orders by row, and what was taken from each row's depth since it last changed.

    The market's own packets stay as they are: what it shows depends on the seed and the time, not on who traded.
    """

    def __init__(self, market: Market) -> None:
        self.market = market
        self._resting: defaultdict[int, dict[str, Order]] = defaultdict(dict)
        self._taken: defaultdict[tuple[int, Side], dict[int, int]] = defaultdict(dict)
        self._joined: dict[int, int] = {}  # units of the last trade that were ours

    def levels(self, row: int, side: Side) -> list[Level]:
        """What an order of that side finds, best first."""
        depth = self.market.packets["offers" if side is Side.BUY else "bids"][row]
        taken = self._taken.get((row, side), {})
        pairs = zip(depth["price"].tolist(), depth["quantity"].tolist(), strict=True)
        return [Level(price, quantity - taken.get(price, 0)) for price, quantity in pairs if price > 0]

    def take(self, row: int, side: Side, fills: Sequence[Fill]) -> None:
        """What was swept is gone until the row's depth changes."""
        taken = self._taken[row, side]
        for fill in fills:
            taken[fill.price] = taken.get(fill.price, 0) + fill.quantity

    def last_trade(self, row: int) -> tuple[int, int]:
        """Its price, and how much of it no order of ours has had."""
        packet = self.market.packets[row]
        return int(packet["last_price"]), int(packet["last_quantity"]) - self._joined.get(row, 0)

    def join_trade(self, row: int, fills: Sequence[Fill]) -> None:
        """A waiting order was the other side of so much of the last trade."""
        self._joined[row] = self._joined.get(row, 0) + sum(fill.quantity for fill in fills)

    def add(self, order: Order) -> None:
        self._resting[order.listing.row][order.order_id] = order

    def remove(self, order: Order) -> None:
        row = order.listing.row
        if row in self._resting:
            self._resting[row].pop(order.order_id, None)
            if not self._resting[row]:
                del self._resting[row]

    def moved(self, rows: NDArray[np.int64]) -> Iterator[Order]:
        """The market has traded in these rows: their depth is fresh, and these orders meet it, the oldest first."""
        if not self._resting and not self._taken and not self._joined:
            return
        changed = set(rows.tolist())
        for row in self._joined.keys() & changed:
            del self._joined[row]
        for key in [key for key in self._taken if key[0] in changed]:
            del self._taken[key]
        for row in sorted(changed & self._resting.keys()):
            yield from list(self._resting.get(row, {}).values())

    def follow(self, market: Market) -> None:
        """A new day: nothing rests."""
        self.market = market
        self._resting.clear()
        self._taken.clear()
        self._joined.clear()
