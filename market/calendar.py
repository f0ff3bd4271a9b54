"""When is a market open? The one place that knows; nobody else holds a closing time.

`Calendar` is an immutable picture of the session table and does no I/O. The functions of the module ask the current
one, which a process keeps for `MAX_AGE_SECONDS`. Code on an event loop takes it with `await acurrent()` and asks it
directly, since reading the table would block the loop.

Sessions are half open: the moment of closing is closed. Days are dates in India; moments are aware. What nobody has
entered raises `CalendarMissing`: unknown is not closed.
"""

import threading
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Final, Protocol

from channels.db import database_sync_to_async
from django.conf import settings

from accounts.clock import IST
from market.exceptions import CalendarMissing
from market.hours import SATURDAY, RegularHours, SessionDay, hours_in_force, read_regular_hours
from market.models import TradingSession

MAX_AGE_SECONDS: Final = 300.0
# Longer than any run of closed days: a search that passes it has met a calendar with no session at all.
LONGEST_BREAK_DAYS: Final = 31

SEGMENTS: Final[dict[str, str]] = {
    "NSE": "equity",
    "BSE": "equity",
    "NFO": "derivatives",
    "BFO": "derivatives",
    "CDS": "currency",
    "BCD": "currency",
    "MCX": "commodity",
}


class Contract(Protocol):
    """Anything with an exchange and an expiry date; an `Instrument` is one."""

    @property
    def exchange(self) -> str: ...
    @property
    def expiry(self) -> date | None: ...


@dataclass(frozen=True, slots=True)
class Session:
    """One day's trading in one market, `[opens_at, closes_at)`, in UTC."""

    exchange: str
    segment: str
    day: date
    kind: str
    opens_at: datetime
    closes_at: datetime
    verified: bool

    def __contains__(self, at: datetime) -> bool:
        return self.opens_at <= at < self.closes_at


@dataclass(frozen=True, slots=True)
class CalendarDay:
    """What is known of one date in one market. `kind`: a session's, or `weekend`, or `unknown`, which is not closed."""

    exchange: str
    segment: str
    date: date
    kind: str
    opens_at: datetime | None = None  # UTC, as `closes_at`
    closes_at: datetime | None = None
    source: str = ""
    verified: bool = False


class Calendar:
    """The sessions of all markets as they were known at one moment."""

    def __init__(self, days: Iterable[SessionDay], regular: Iterable[RegularHours] = ()) -> None:
        self._days: dict[tuple[str, str], dict[date, SessionDay]] = {}
        for day in days:
            self._days.setdefault((day.exchange, day.segment), {})[day.date] = day
        self._years = {market: {day.year for day in known} for market, known in self._days.items()}
        self._regular = tuple(regular)

    def covers(self, exchange: str, segment: str, year: int) -> bool:
        """Whether anything is known about that market's year."""
        return year in self._years.get((exchange, segment), ())

    def session_of(self, exchange: str, segment: str, day: date) -> Session | None:
        """The session of one date in India; None if the market stays closed all day.

        Raises
        ------
        CalendarMissing
            If the year has no rows, or a weekday has none.
        """
        known = self._days.get((exchange, segment), {}).get(day)
        if known is None:
            if day.weekday() < SATURDAY or not self.covers(exchange, segment, day.year):
                raise CalendarMissing(exchange, segment, day)
            return None
        if known.opens_at is None or known.closes_at is None:
            return None
        return Session(
            exchange=exchange,
            segment=segment,
            day=day,
            kind=known.kind,
            opens_at=datetime.combine(day, known.opens_at, IST).astimezone(UTC),
            closes_at=datetime.combine(day, known.closes_at, IST).astimezone(UTC),
            verified=known.verified,
        )

    def day_of(self, exchange: str, segment: str, day: date) -> CalendarDay:
        """What is known of one date in India, for whoever shows it to people: it never raises."""
        try:
            session = self.session_of(exchange, segment, day)
        except CalendarMissing:
            return CalendarDay(exchange, segment, day, "unknown")
        known = self._days[exchange, segment].get(day)
        if known is None:
            return CalendarDay(exchange, segment, day, "weekend", verified=True)
        opens_at, closes_at = (session.opens_at, session.closes_at) if session else (None, None)
        return CalendarDay(exchange, segment, day, known.kind, opens_at, closes_at, known.source, known.verified)

    def is_open(self, exchange: str, segment: str, at: datetime) -> bool:
        """Whether the market trades at `at` (aware); false at the moment of closing."""
        session = self.session_of(exchange, segment, _day_in_india(at))
        return session is not None and at in session

    def next_session(self, exchange: str, segment: str, at: datetime) -> Session:
        """The session that is going on at `at`, or else the next one.

        Raises
        ------
        CalendarMissing
            If the calendar ends before such a session is found.
        """
        return next(session for session in self._sessions_from(exchange, segment, at) if at < session.closes_at)

    def next_open(self, exchange: str, segment: str, at: datetime) -> datetime:
        """The first moment, not before `at`, at which the market is open: `at` itself if it is open then. UTC."""
        return max(at.astimezone(UTC), self.next_session(exchange, segment, at).opens_at)

    def close_of(self, contract: Contract) -> datetime:
        """The moment, in UTC, at which a contract stops trading for good: the close of its expiry day.

        If the exchange turned that day into a holiday, the contract ends with the session before, as the exchanges'
        rules have it. An expiry in a year without rows closes at the regular hours in force: by listing the contract
        the exchange has said that it trades that day, so only the hour is left to know.

        Raises
        ------
        ValueError
            If the contract has no expiry.
        CalendarMissing
            If no hours are known for its market.
        """
        if contract.expiry is None:
            raise ValueError("an instrument without an expiry has no last close")
        segment = SEGMENTS.get(contract.exchange, "")
        day = contract.expiry
        if not self.covers(contract.exchange, segment, day.year):
            return self._regular_close(contract.exchange, segment, day)
        for days_before in range(LONGEST_BREAK_DAYS):
            session = self.session_of(contract.exchange, segment, day - timedelta(days=days_before))
            if session is not None:
                return session.closes_at
        raise CalendarMissing(contract.exchange, segment, day)

    def _regular_close(self, exchange: str, segment: str, day: date) -> datetime:
        hours = hours_in_force((h for h in self._regular if (h.exchange, h.segment) == (exchange, segment)), day)
        if hours is None or day.weekday() >= SATURDAY:
            raise CalendarMissing(exchange, segment, day)
        return datetime.combine(day, hours.closes_at, IST).astimezone(UTC)

    def _sessions_from(self, exchange: str, segment: str, at: datetime) -> Iterator[Session]:
        first = _day_in_india(at)
        for days_later in range(LONGEST_BREAK_DAYS):
            session = self.session_of(exchange, segment, first + timedelta(days=days_later))
            if session is not None:
                yield session
        raise CalendarMissing(exchange, segment, first)


def is_open(exchange: str, segment: str, at: datetime) -> bool:
    """`Calendar.is_open` of the current calendar."""
    return current().is_open(exchange, segment, at)


def session_of(exchange: str, segment: str, day: date) -> Session | None:
    """`Calendar.session_of` of the current calendar."""
    return current().session_of(exchange, segment, day)


def next_open(exchange: str, segment: str, at: datetime) -> datetime:
    """`Calendar.next_open` of the current calendar."""
    return current().next_open(exchange, segment, at)


def close_of(contract: Contract) -> datetime:
    """`Calendar.close_of` of the current calendar."""
    return current().close_of(contract)


_lock = threading.Lock()
_kept: tuple[float, Calendar] | None = None


def current() -> Calendar:
    """The calendar as the database has it, at most `MAX_AGE_SECONDS` old. Reads the database when older."""
    global _kept
    kept = _kept
    if kept is not None and time.monotonic() - kept[0] < MAX_AGE_SECONDS:
        return kept[1]
    with _lock:
        read_at = time.monotonic()
        calendar = read_calendar()
        _kept = (read_at, calendar)
    return calendar


async def acurrent() -> Calendar:
    """`current`, for code on an event loop."""
    calendar: Calendar = await database_sync_to_async(current)()
    return calendar


def forget(**_signal: object) -> None:
    """Read the table again at the next question: a row has changed. Also a receiver of Django's model signals."""
    global _kept
    _kept = None


def read_calendar() -> Calendar:
    """All rows of the session table, in one query."""
    fields = ("exchange", "segment", "date", "kind", "opens_at", "closes_at", "source", "verified")
    rows = TradingSession.objects.order_by().values_list(*fields).iterator(chunk_size=5000)
    return Calendar((SessionDay(*row) for row in rows), regular_hours())


def regular_hours() -> list[RegularHours]:
    """The hours in force, from the project's file."""
    return read_regular_hours(Path(settings.MARKET_DATA_DIR) / "regular_hours.csv")


def _day_in_india(at: datetime) -> date:
    if at.tzinfo is None:
        raise ValueError(f"{at} has no time zone")
    return at.astimezone(IST).date()
