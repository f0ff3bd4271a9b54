"""The broker's own limits, each with a switch."""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

# Requests a second (Kite Connect v3 documentation). Orders are counted for the user, everything else for the api key.
REQUESTS_PER_SECOND: Mapping[str, int] = MappingProxyType({"quote": 1, "historical": 3, "other": 10})


@dataclass(frozen=True, slots=True)
class Rules:
    """Which of the broker's rules hold here. All of them by default: code that passes should pass at the broker too.

    `session_checks`, `market_protection`, `funds_refused_at_once` and `order_cool_down` are about orders.
    """

    rate_limits: bool = True
    candle_windows: bool = True
    token_flush: bool = True
    session_checks: bool = True
    market_protection: bool = True
    # An order without the means for it is usually taken and then rejected; since 2026 users also report a refusal (400)
    # and the rejected order in the book.
    funds_refused_at_once: bool = False
    # Users also report that one order too many in a second is followed by ten seconds of refusals.
    order_cool_down: bool = False
    # Users report both for a second login on one day; "replaces" is the stricter of the two.
    second_login_replaces: bool = True
    # The broker does not promise to cut open sockets when their token ends; a service has to bear either.
    dead_token_closes_feed: bool = True


class RateLimiter:
    """Counts requests in calendar seconds of the system clock, as the broker does: not in a sliding window."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._second = -1
        self._counts: dict[tuple[str, str], int] = {}

    def allow(self, bucket: str, owner: str) -> bool:
        """Count one request of `owner` (an api key); False when its second is already used up."""
        second = math.floor(self._clock())
        if second != self._second:
            self._second, self._counts = second, {}
        used = self._counts.get((bucket, owner), 0) + 1
        self._counts[bucket, owner] = used
        return used <= REQUESTS_PER_SECOND[bucket]
