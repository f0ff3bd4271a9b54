"""Ids of orders and trades, in the forms the broker and the exchanges give them."""

from collections import defaultdict
from collections.abc import Callable

# Order ids count milliseconds since this moment in their upper bits, then who gave them, then a sequence: recorded ones
# of 2025 do, and so they have 19 digits.
_EPOCH_MS = 1_288_834_974_657
_MACHINE_BITS, _SEQUENCE_BITS = 10, 12
_EXCHANGE_PREFIX = {"NSE": 13, "BSE": 17, "NFO": 15, "BFO": 18}


class Identifiers:
    """Each id once, also where market time stands still.

    `system_clock` (Unix seconds) is read once, so that a restart at the same market time gives other ids.
    """

    def __init__(self, system_clock: Callable[[], float]) -> None:
        self._machine = int(system_clock()) % (1 << _MACHINE_BITS) << _SEQUENCE_BITS
        self._last = 0
        self._exchange_orders: defaultdict[str, int] = defaultdict(int)
        self._trades: defaultdict[str, int] = defaultdict(int)

    def state(self) -> tuple[dict[str, int], dict[str, int]]:
        """The counters; order ids need none, since each start gives others."""
        return dict(self._exchange_orders), dict(self._trades)

    def go_on(self, state: tuple[dict[str, int], dict[str, int]]) -> None:
        exchange_orders, trades = state
        self._exchange_orders.update(exchange_orders)
        self._trades.update(trades)

    def order(self, now: float) -> str:
        """`now` is market time."""
        first = (int(now * 1000) - _EPOCH_MS << _MACHINE_BITS + _SEQUENCE_BITS) + self._machine
        self._last = max(self._last + 1, first)
        return str(self._last)

    def exchange_order(self, exchange: str) -> str:
        self._exchange_orders[exchange] += 1
        return f"{_EXCHANGE_PREFIX[exchange]}{self._exchange_orders[exchange]:014d}"

    def trade(self, exchange: str) -> str:
        self._trades[exchange] += 1
        return str(10_000_000 + self._trades[exchange])
