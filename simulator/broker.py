"""The simulated broker: what its REST calls and its WebSocket share."""

import time
from collections.abc import Callable

from aiohttp import web

from simulator.clock import Clock, MarketClock, SessionCalendar
from simulator.logins import Access, Logins
from simulator.market import Market, trading_day
from simulator.options import SimulatorOptions
from simulator.refusals import Refused
from simulator.rules import RateLimiter
from simulator.trading.desk import Desk


class Broker:
    """State of one simulator. Not thread-safe: it belongs to its event loop."""

    def __init__(
        self,
        options: SimulatorOptions,
        clock: Clock | None = None,
        system_clock: Callable[[], float] = time.time,
    ) -> None:
        self.options = options
        self.calendar = SessionCalendar.from_folder(options.sessions_folder)
        self.clock: Clock = clock or MarketClock(
            self.calendar,
            options.market_clock,
            options.market_clock_speed,
            options.market_clock_anchor,
            system_clock,
        )
        self.logins = Logins(options.users, options.apps, options.rules, self.clock, system_clock)
        self.limiter = RateLimiter(system_clock)
        self.market = self.open_market()
        self.system_clock = system_clock
        self.desk = Desk(
            self.market,
            options.rules,
            options.users,
            self.clock,
            system_clock,
            order_seconds=options.order_ms / 1000,
        )

    def open_market(self) -> Market:
        """The market of the trading day that it is now. Takes about a second: not for the event loop."""
        options, now = self.options, self.clock.timestamp()
        day = trading_day(now, self.calendar)
        market = Market(day, self.calendar, seed=options.seed, rows=options.rows, activity=options.activity)
        market.advance(now)
        return market

    def is_new_day(self) -> bool:
        """Whether a trading day has begun that `market` does not show."""
        return trading_day(self.clock.timestamp(), self.calendar) > self.market.day

    def authenticate(self, header: str | None, *, bucket: str | None) -> Access:
        """The login behind an Authorization header, counted against its rate limit. Raises Refused.

        Without a bucket it is counted elsewhere: orders are, by user.
        """
        kind, _, pair = (header or "").partition(" ")
        api_key, colon, access_token = pair.strip().partition(":")
        if kind != "token" or not colon or not api_key or not access_token:
            raise Refused.input("Invalid `api_key` or `access_token`.")
        if bucket is not None and self.options.rules.rate_limits and not self.limiter.allow(bucket, api_key):
            raise Refused.too_many()
        access = self.logins.access(api_key, access_token)
        if access is None:
            raise Refused.token("Incorrect `api_key` or `access_token`.")
        return access


BROKER = web.AppKey("broker", Broker)
