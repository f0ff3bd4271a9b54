"""How many orders a user may send, counted by the broker's own clock: calendar seconds, minutes and days."""

import math
from collections.abc import Callable

from simulator.refusals import Refused

A_SECOND, A_MINUTE, A_DAY = 10, 400, 5_000
COOL_DOWN_SECONDS = 10.0
_USED_UP = "Maximum allowed order requests exceeded."


class OrderLimits:
    """Requests of each user over all apps. A request that is refused counts, too.

    With `cools_down`, whom a second's limit has stopped is stopped for a while.
    """

    def __init__(self, system_clock: Callable[[], float], *, cools_down: bool = False) -> None:
        self._clock = system_clock
        self._cools_down = cools_down
        self._stopped_until: dict[str, float] = {}
        self._second = self._minute = -1
        self._in_second: dict[str, int] = {}
        self._in_minute: dict[str, int] = {}
        self._in_day: dict[str, int] = {}

    def new_day(self) -> None:
        self._stopped_until.clear()
        self._in_day.clear()

    def count_request(self, user_id: str) -> None:
        """Placing, modifying or cancelling. Raises Refused when the second or the minute is used up."""
        moment = self._clock()
        if moment < self._stopped_until.get(user_id, 0.0):
            raise Refused.too_many()
        now = math.floor(moment)
        if now != self._second:
            self._second, self._in_second = now, {}
        if now // 60 != self._minute:
            self._minute, self._in_minute = now // 60, {}
        in_second = self._in_second[user_id] = self._in_second.get(user_id, 0) + 1
        if in_second > A_SECOND:
            if self._cools_down:
                self._stopped_until[user_id] = moment + COOL_DOWN_SECONDS
            raise Refused.too_many()
        in_minute = self._in_minute[user_id] = self._in_minute.get(user_id, 0) + 1
        if in_minute > A_MINUTE:
            raise Refused.too_many(_USED_UP)

    def orders_today(self, user_id: str) -> int:
        return self._in_day.get(user_id, 0)

    def count_orders(self, user_id: str, orders: int = 1) -> None:
        """Orders of the day, of which each slice and each leg is one. Raises Refused."""
        in_day = self._in_day.get(user_id, 0) + orders
        if in_day > A_DAY:
            raise Refused.too_many(_USED_UP)
        self._in_day[user_id] = in_day
