"""Which instruments' markets are open: from the calendar, by exchange, as arrays by slot. No clock, no I/O.

While an exchange is open every tick of its instruments passes. While it is closed only those pass that bear a time
inside its last session: the last ones on their way at the close, and what the broker sends of an instrument when it is
subscribed in the evening. Everything else (the pre-open, the closing session, tests on a weekend) is `market_closed`.
What the calendar does not know counts as open.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

import numpy as np
from numpy.typing import NDArray

from accounts.clock import IST
from market.calendar import LONGEST_BREAK_DAYS, SEGMENTS, Calendar, Session
from market.exceptions import CalendarMissing

LATE_SECONDS: Final = 5.0
"""So long after the close a trade of the session may still come in and count in its bar."""

_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Closed:
    """By slot, between which times (Unix seconds, half open) a tick passes: without bounds where the market is open."""

    begins: NDArray[np.float64]
    ends: NDArray[np.float64]

    def shuts_out(self, slots: NDArray[np.intp], times: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which ticks are of no session; `times` are the exchange's or, where a packet has none, the market's."""
        return (times < self.begins[slots]) | (times >= self.ends[slots])

    def is_over(self, slots: NDArray[np.intp], times: NDArray[np.int64], market_time: float) -> NDArray[np.bool_]:
        """Which ticks that passed are of a session that ended a while ago: a price to show, and no trade of now."""
        return np.isfinite(self.ends[slots]) & (times < market_time - LATE_SECONDS)


@dataclass(frozen=True, slots=True)
class Look:
    """How things stand at one moment."""

    closed: Closed | None
    """None while every market is open, which costs nothing."""
    opened: NDArray[np.intp]
    """The slots whose exchange began a session since the look before."""


@dataclass(frozen=True, slots=True)
class _Hours:
    """One exchange from `since` until `until`. `session` tells one from another: its day's midnight, nan for none."""

    is_open: bool
    begins: float
    ends: float
    since: float
    until: float
    session: float = math.nan


class MarketHours:
    """The hours of the instruments of one process. Without a calendar everything is open."""

    def __init__(self, calendar: Calendar | None = None) -> None:
        self._calendar = calendar
        self._names: list[str] = []
        self._of_slot: NDArray[np.intp] = np.empty(0, np.intp)
        self._hours: dict[str, _Hours] = {}
        self._sessions: dict[str, float] = {}
        self._closed: Closed | None = None

    def go_by(self, calendar: Calendar) -> None:
        """Take another calendar; which sessions were seen is remembered."""
        if calendar is not self._calendar:
            self._calendar = calendar
            self._hours.clear()

    def follow(self, exchanges: Sequence[str]) -> None:
        """Make these the instruments: the exchange of each slot."""
        self._names = sorted(set(exchanges))
        number = {name: place for place, name in enumerate(self._names)}
        self._of_slot = np.array([number[name] for name in exchanges], np.intp)
        self._hours = {name: hours for name, hours in self._hours.items() if name in number}
        self._sessions = {name: begun for name, begun in self._sessions.items() if name in number}
        self._closed = self._shut()

    def look(self, market_time: float) -> Look:
        """How things stand at a moment of market time (Unix seconds). Cheap: hours change a few times a day."""
        if self._calendar is None:
            return Look(None, np.empty(0, np.intp))
        opened: list[int] = []
        changed = False
        for place, name in enumerate(self._names):
            hours = self._hours.get(name)
            if hours is not None and hours.since <= market_time < hours.until:
                continue
            changed = True
            self._hours[name] = hours = _hours_at(self._calendar, name, market_time)
            if self._has_begun(name, hours):
                opened.append(place)
        if changed:
            self._closed = self._shut()
        slots = np.flatnonzero(np.isin(self._of_slot, opened)) if opened else np.empty(0, np.intp)
        return Look(self._closed, slots)

    def _has_begun(self, name: str, hours: _Hours) -> bool:
        """Whether this is another session than the last one seen. The first look at an exchange begins nothing, unless
        it was closed then."""
        before = self._sessions.get(name)
        if not hours.is_open:
            self._sessions.setdefault(name, math.nan)
            return False
        if math.isnan(hours.session):  # the calendar does not know
            return False
        self._sessions[name] = hours.session
        return before is not None and before != hours.session

    def _shut(self) -> Closed | None:
        found = [self._hours.get(name) for name in self._names]
        if all(hours is None or hours.is_open for hours in found):
            return None
        begins = np.array([hours.begins if hours else -math.inf for hours in found])
        ends = np.array([hours.ends if hours else math.inf for hours in found])
        return Closed(begins[self._of_slot], ends[self._of_slot])


def _hours_at(calendar: Calendar, exchange: str, market_time: float) -> _Hours:
    at = datetime.fromtimestamp(market_time, UTC)
    day = at.astimezone(IST).date()
    midnight, next_midnight = _midnight(day), _midnight(day + _DAY)
    try:
        session = _session_of(calendar, exchange, day)
    except CalendarMissing:
        return _Hours(True, -math.inf, math.inf, midnight, next_midnight)
    if session is not None and at in session:
        opens, closes = session.opens_at.timestamp(), session.closes_at.timestamp()
        return _Hours(True, -math.inf, math.inf, opens, closes, session=midnight)
    if session is not None and at >= session.closes_at:
        begins, ends = session.opens_at.timestamp(), session.closes_at.timestamp()
        return _Hours(False, begins, ends, ends, next_midnight)
    begins, ends = _last_before(calendar, exchange, day)
    until = next_midnight if session is None else session.opens_at.timestamp()
    return _Hours(False, begins, ends, midnight, until)


def _last_before(calendar: Calendar, exchange: str, day: date) -> tuple[float, float]:
    """The last session before a day; of a day that the calendar does not know all of it."""
    for days_before in range(1, LONGEST_BREAK_DAYS):
        before = day - timedelta(days=days_before)
        try:
            session = _session_of(calendar, exchange, before)
        except CalendarMissing:
            return _midnight(before), _midnight(before + _DAY)
        if session is not None:
            return session.opens_at.timestamp(), session.closes_at.timestamp()
    return math.inf, math.inf


def _session_of(calendar: Calendar, exchange: str, day: date) -> Session | None:
    return calendar.session_of(exchange, SEGMENTS.get(exchange, ""), day)


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), IST).timestamp()
