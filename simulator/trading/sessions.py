"""What the exchanges' day does to orders and accounts: it begins, ends, and closes what may not stay open."""

from collections.abc import Callable, Mapping

from simulator.clock import Clock
from simulator.instruments import EXCHANGES
from simulator.market import Market
from simulator.trading.account import Account
from simulator.trading.hours import INTRADAY, TradingHours
from simulator.trading.lifecycle import Lifecycle
from simulator.trading.listings import Listings
from simulator.trading.orders import AMO_STORED, Order, Status

_LOOK_SECONDS = 1.0
_EXPIRED = "The instrument has expired."


class Sessions:
    """Looks at the clock once a second of system time."""

    def __init__(
        self,
        lifecycle: Lifecycle,
        accounts: Mapping[str, Account],
        listings: Listings,
        hours: TradingHours,
        clock: Clock,
        system_clock: Callable[[], float],
    ) -> None:
        self._lifecycle = lifecycle
        self._accounts = accounts
        self._listings = listings
        self._hours = hours
        self._clock = clock
        self._system_clock = system_clock
        self._next_look = 0.0
        self._closed: set[str] = set()  # exchanges whose session of today is over
        self._squared_off: set[str] = set()

    def tick(self) -> None:
        if self._system_clock() >= self._next_look:
            self._next_look = self._system_clock() + _LOOK_SECONDS
            now = self._clock.timestamp()
            for exchange in EXCHANGES:
                self._look(exchange, now)

    def _look(self, exchange: str, now: float) -> None:
        if self._hours.is_open(exchange, now):
            for order in self._live(exchange):
                if order.status in AMO_STORED:
                    self._lifecycle.send_to_exchange(order)
        if self._hours.squares_off(exchange, now) and exchange not in self._squared_off:
            self._squared_off.add(exchange)
            self._square_off(exchange)
        if self._hours.has_closed(exchange, now) and exchange not in self._closed:
            self._closed.add(exchange)
            for order in self._live(exchange):
                if order.status not in AMO_STORED and order.status is not Status.RECEIVED:
                    self._lifecycle.end(order, Status.CANCELLED)

    def _live(self, exchange: str) -> list[Order]:
        return [o for a in self._accounts.values() for o in a.live.values() if o.terms.exchange == exchange]

    def _square_off(self, exchange: str) -> None:
        """Intraday positions are closed by the broker, with orders that nobody placed."""
        for order in self._live(exchange):
            if order.terms.product in INTRADAY and order.status.may_change:
                self._lifecycle.end(order, Status.CANCELLED)
        for account in self._accounts.values():
            for position in list(account.portfolio.positions.values()):
                if position.product in INTRADAY and position.listing.exchange == exchange and position.quantity:
                    closing = self._lifecycle.making.closing(
                        account.user_id, position.listing, position.product, position.quantity
                    )
                    self._lifecycle.take(closing, sent=False)

    def follow(self, market: Market) -> None:
        """A new trading day: yesterday is settled, orders for today are still there, the books are empty."""
        for account in self._accounts.values():
            for order in list(account.live.values()):
                if order.status not in AMO_STORED:
                    self._lifecycle.end(order, Status.CANCELLED)
        yesterday = Listings(self._listings.market)
        self._listings.follow(market)
        self._lifecycle.floor.follow(market)
        self._lifecycle.limits.new_day()
        self._closed.clear()
        self._squared_off.clear()
        for order in [order for account in self._accounts.values() for order in account.live.values()]:
            if self._listings.find(order.terms.exchange, order.terms.tradingsymbol) is None:
                self._lifecycle.reject(order, _EXPIRED, f"RMS:{_EXPIRED}")
        for account in self._accounts.values():
            account.carry_over(yesterday, self._listings)
