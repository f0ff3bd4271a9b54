"""Which instruments' markets are open: by exchange, as arrays by slot. No Django, no clock, no I/O: whoever runs the
stream hands in the calendar (`streaming.sessions`).

While an exchange is open every tick of its instruments passes. While it is closed only those pass that bear a time
inside its last session: the last ones on their way at the close, and what the broker sends of an instrument when it is
subscribed in the evening. Everything else (the pre-open, the closing session, tests on a weekend) is `market_closed`.
What the calendar does not know counts as open.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, timezone
from typing import Final, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

LATE_SECONDS: Final = 5.0
"""So long after the close a trade of the session may still come in and count in its bar."""

_IST: Final = timezone(timedelta(hours=5, minutes=30))
_DAY: Final = timedelta(days=1)
_LONGEST_BREAK_DAYS: Final = 31


class Span(NamedTuple):
    """A session in Unix seconds, half open."""

    opens: float
    closes: float


class HoursUnknown(Exception):
    """Nobody has entered what an exchange does on that day."""


class Sessions(Protocol):
    """A calendar, as it is asked here. Two that are equal say the same."""

    def __call__(self, exchange: str, day: date) -> Span | None:
        """The session of a date in India; None if the exchange stays closed all day. Raises HoursUnknown."""


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

    def __init__(self, sessions: Sessions | None = None) -> None:
        self._calendar = sessions
        self._names: list[str] = []
        self._of_slot: NDArray[np.intp] = np.empty(0, np.intp)
        self._hours: dict[str, _Hours] = {}
        self._seen: dict[str, float] = {}
        self._closed: Closed | None = None

    def go_by(self, sessions: Sessions) -> None:
        """Take another calendar; which sessions were seen is remembered."""
        if sessions != self._calendar:
            self._calendar = sessions
            self._hours.clear()

    def follow(self, exchanges: Sequence[str]) -> None:
        """Make these the instruments: the exchange of each slot."""
        self._names = sorted(set(exchanges))
        number = {name: place for place, name in enumerate(self._names)}
        self._of_slot = np.array([number[name] for name in exchanges], np.intp)
        self._hours = {name: hours for name, hours in self._hours.items() if name in number}
        self._seen = {name: begun for name, begun in self._seen.items() if name in number}
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
        before = self._seen.get(name)
        if not hours.is_open:
            self._seen.setdefault(name, math.nan)
            return False
        if math.isnan(hours.session):  # the calendar does not know
            return False
        self._seen[name] = hours.session
        return before is not None and before != hours.session

    def _shut(self) -> Closed | None:
        found = [self._hours.get(name) for name in self._names]
        if all(hours is None or hours.is_open for hours in found):
            return None
        begins = np.array([hours.begins if hours else -math.inf for hours in found])
        ends = np.array([hours.ends if hours else math.inf for hours in found])
        return Closed(begins[self._of_slot], ends[self._of_slot])


def _hours_at(session_of: Sessions, exchange: str, market_time: float) -> _Hours:
    day = datetime.fromtimestamp(market_time, UTC).astimezone(_IST).date()
    midnight, next_midnight = _midnight(day), _midnight(day + _DAY)
    try:
        session = session_of(exchange, day)
    except HoursUnknown:
        return _Hours(True, -math.inf, math.inf, midnight, next_midnight)
    if session is not None and session.opens <= market_time < session.closes:
        return _Hours(True, -math.inf, math.inf, session.opens, session.closes, session=midnight)
    if session is not None and market_time >= session.closes:
        return _Hours(False, session.opens, session.closes, session.closes, next_midnight)
    last = _last_before(session_of, exchange, day)
    return _Hours(False, last.opens, last.closes, midnight, next_midnight if session is None else session.opens)


def _last_before(session_of: Sessions, exchange: str, day: date) -> Span:
    """The last session before a day; of a day of which nothing is known all of it."""
    for days_before in range(1, _LONGEST_BREAK_DAYS):
        before = day - timedelta(days=days_before)
        try:
            session = session_of(exchange, before)
        except HoursUnknown:
            return Span(_midnight(before), _midnight(before + _DAY))
        if session is not None:
            return session
    return Span(math.inf, math.inf)


def _midnight(day: date) -> float:
    return datetime.combine(day, time(), _IST).timestamp()
