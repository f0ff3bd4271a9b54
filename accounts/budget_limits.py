"""What an account and an API key may ask of the broker, from the settings, below ceilings that no setting passes.

The broker's own limits: Kite Connect v3 documentation, "Exceptions and errors", "API rate limit". It counts calendar
seconds of its own clock. A rolling window holds in each of them, if it is longer than a second by as much as the way
to the broker varies: a busy account sends a burst as soon as the one before has left the window, and with windows of
exactly a second a few milliseconds on the way would bring both into one.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from django.conf import settings


class RouteClass(StrEnum):
    """What the broker counts apart: orders per account, the others per API key."""

    ORDERS = "orders"
    QUOTE = "quote"
    HISTORICAL = "historical"
    OTHER = "other"


DATA_CLASSES = (RouteClass.QUOTE, RouteClass.HISTORICAL, RouteClass.OTHER)


class OrderKind(StrEnum):
    """What an order call does: it decides whether the reserve is open to it, and whether the day counts it."""

    ENTRY = "entry"
    EXIT = "exit"
    MODIFY = "modify"
    CANCEL = "cancel"

    @property
    def may_use_reserve(self) -> bool:
        return self in (OrderKind.EXIT, OrderKind.CANCEL)

    @property
    def counts_in_day(self) -> bool:
        """The broker's daily cap counts orders, not their changes."""
        return self in (OrderKind.ENTRY, OrderKind.EXIT)


@dataclass(frozen=True, slots=True)
class Window:
    """At most `limit` calls in any `seconds`; `reserve` of them for cancels and exits only."""

    name: str
    seconds: float
    limit: int
    reserve: int = 0

    def allows(self, *, with_reserve: bool) -> int:
        return self.limit if with_reserve else self.limit - self.reserve


@dataclass(frozen=True, slots=True)
class Limits:
    """All windows of one class, and what an Indian day allows (None: the broker counts no day)."""

    windows: tuple[Window, ...]
    per_day: int | None = None
    day_reserve: int = 0

    def of_day(self, *, with_reserve: bool) -> int:
        """What the day allows, -1 if it is not counted."""
        if self.per_day is None:
            return -1
        return self.per_day if with_reserve else self.per_day - self.day_reserve


# setting -> the most it may say: the broker's own limits
CEILINGS = {
    "ORDER_BUDGET_PER_SECOND": 10,
    "ORDER_BUDGET_PER_MINUTE": 400,
    "ORDER_BUDGET_PER_DAY": 5000,
    "DATA_BUDGET_QUOTE": 1,
    "DATA_BUDGET_HISTORICAL": 3,
    "DATA_BUDGET_OTHER": 10,
}
RESERVES = {
    "ORDER_BUDGET_RESERVE_PER_SECOND": "ORDER_BUDGET_PER_SECOND",
    "ORDER_BUDGET_RESERVE_PER_MINUTE": "ORDER_BUDGET_PER_MINUTE",
    "ORDER_BUDGET_RESERVE_PER_DAY": "ORDER_BUDGET_PER_DAY",
}
SHORTEST_WINDOW_SECONDS = 1.0


def limits_of(route_class: RouteClass) -> Limits:
    """The limits in force: the settings', or the ceiling where a setting passes it."""
    if route_class is RouteClass.ORDERS:
        return Limits(
            (
                _window(
                    "second",
                    max(settings.ORDER_BUDGET_WINDOW_SECONDS, SHORTEST_WINDOW_SECONDS),
                    "ORDER_BUDGET_PER_SECOND",
                    "ORDER_BUDGET_RESERVE_PER_SECOND",
                ),
                _window("minute", 60.0, "ORDER_BUDGET_PER_MINUTE", "ORDER_BUDGET_RESERVE_PER_MINUTE"),
            ),
            per_day=_limit("ORDER_BUDGET_PER_DAY"),
            day_reserve=settings.ORDER_BUDGET_RESERVE_PER_DAY,
        )
    seconds = max(settings.DATA_BUDGET_WINDOW_SECONDS, SHORTEST_WINDOW_SECONDS)
    return Limits((Window("second", seconds, _limit(f"DATA_BUDGET_{route_class.name}")),))


def limit_problems(of: Any) -> Iterator[str]:
    """Each budget setting of the settings `of` that cannot be meant, as a sentence that begins with its name."""
    for name, ceiling in CEILINGS.items():
        value = getattr(of, name)
        if not 1 <= value <= ceiling:
            yield f"{name} is {value}: the broker allows {ceiling}, so it is a number from 1 to {ceiling}"
    for name, whole in RESERVES.items():
        value = getattr(of, name)
        if not 0 <= value < getattr(of, whole):
            yield f"{name} is {value}: it is a part of {whole}, which must leave something to entries"
    for name in ("ORDER_BUDGET_WINDOW_SECONDS", "DATA_BUDGET_WINDOW_SECONDS"):
        if getattr(of, name) < SHORTEST_WINDOW_SECONDS:
            yield f"{name} is {getattr(of, name)}: the broker counts whole seconds"


def _window(name: str, seconds: float, limit: str, reserve: str) -> Window:
    return Window(name, seconds, _limit(limit), getattr(settings, reserve))


def _limit(name: str) -> int:
    return int(min(getattr(settings, name), CEILINGS[name]))
