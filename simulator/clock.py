"""Market time: when the exchanges are open, and what time it is there.

The service has the same rule in its own code. They share the settings and the two session files, not this module:
shared code would hide a shared mistake.
"""

import csv
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from pathlib import Path
from typing import NamedTuple, Protocol, TypeVar

from simulator.options import InvalidOptions

IST = timezone(timedelta(hours=5, minutes=30), "IST")
REFERENCE = ("NFO", "derivatives")  # the session that "open" follows
T = TypeVar("T")
LONGEST_CLOSURE_DAYS = 30  # more closed days than this in a row mean that the session files are wrong


class Session(NamedTuple):
    """Trading from `opens` up to but not including `closes`; both aware UTC."""

    opens: datetime
    closes: datetime


class _RegularHours(NamedTuple):
    valid_from: date
    valid_to: date
    opens_at: time_of_day
    closes_at: time_of_day


Hours = tuple[time_of_day, time_of_day]


class SessionCalendar:
    """The sessions of each exchange segment, from the two session files."""

    def __init__(
        self,
        regular: dict[tuple[str, str], list[_RegularHours]],
        exceptions: dict[tuple[str, str, date], Hours | None],
    ) -> None:
        self._regular = regular
        self._exceptions = exceptions  # None: closed all day

    @classmethod
    def from_folder(cls, folder: Path) -> "SessionCalendar":
        """Read `regular_hours.csv` and `session_exceptions.csv`. Raises InvalidOptions naming the file and line."""
        regular: dict[tuple[str, str], list[_RegularHours]] = {}
        for row in _read(folder / "regular_hours.csv", _regular_hours):
            regular.setdefault(row[0], []).append(row[1])
        exceptions: dict[tuple[str, str, date], Hours | None] = {}
        for key, hours in _read(folder / "session_exceptions.csv", _exception):
            # A Muhurat day is listed twice, as a holiday and as a special session: the session wins.
            exceptions[key] = hours or exceptions.get(key)
        for rows in regular.values():
            # Candles reach back further than the file does: its first hours stand for the years before.
            rows.sort()
            rows[0] = rows[0]._replace(valid_from=date.min)
        if REFERENCE not in regular:
            raise InvalidOptions(f"{folder / 'regular_hours.csv'} has no row for NFO derivatives")
        return cls(regular, exceptions)

    def session_of(self, exchange: str, segment: str, day: date) -> Session | None:
        """The session of that IST day, or None when the segment stays closed."""
        hours = self._hours_of(exchange, segment, day)
        if hours is None:
            return None
        opens, closes = (datetime.combine(day, at, IST).astimezone(UTC) for at in hours)
        return Session(opens, closes)

    def _hours_of(self, exchange: str, segment: str, day: date) -> Hours | None:
        key = (exchange, segment, day)
        if key in self._exceptions:
            return self._exceptions[key]
        if day.weekday() >= 5:
            return None
        for row in self._regular.get((exchange, segment), ()):
            if row.valid_from <= day <= row.valid_to:
                return row.opens_at, row.closes_at
        return None

    def trades_on(self, exchange: str, segment: str, day: date) -> bool:
        return self._hours_of(exchange, segment, day) is not None

    def last_trading_day(self, exchange: str, segment: str, day: date) -> date:
        """`day` itself when the segment trades then, else the nearest earlier day on which it does."""
        for back in range(LONGEST_CLOSURE_DAYS):
            if self.trades_on(exchange, segment, earlier := day - timedelta(days=back)):
                return earlier
        raise _no_session(exchange, segment, day)

    def sessions_from(self, exchange: str, segment: str, day: date) -> Iterator[Session]:
        """The sessions of `day` and of the days after it, without end."""
        closed_days = 0
        while closed_days < LONGEST_CLOSURE_DAYS:
            if session := self.session_of(exchange, segment, day):
                yield session
            closed_days = 0 if session else closed_days + 1
            day += timedelta(days=1)
        raise _no_session(exchange, segment, day)


def _no_session(exchange: str, segment: str, day: date) -> InvalidOptions:
    return InvalidOptions(
        f"the session files have no {exchange} {segment} session in the {LONGEST_CLOSURE_DAYS} days up to {day}"
    )


def _regular_hours(row: dict[str, str]) -> tuple[tuple[str, str], _RegularHours]:
    hours = _RegularHours(
        date.fromisoformat(row["valid_from"]) if row["valid_from"] else date.min,
        date.fromisoformat(row["valid_to"]) if row["valid_to"] else date.max,
        time_of_day.fromisoformat(row["opens_at"]),
        time_of_day.fromisoformat(row["closes_at"]),
    )
    return (row["exchange"], row["segment"]), hours


def _exception(row: dict[str, str]) -> tuple[tuple[str, str, date], Hours | None]:
    key = (row["exchange"], row["segment"], date.fromisoformat(row["date"]))
    # A special session without known hours is no session here: prices need an opening and a closing moment.
    if row["kind"] == "holiday" or not row["opens_at"] or not row["closes_at"]:
        return key, None
    return key, (time_of_day.fromisoformat(row["opens_at"]), time_of_day.fromisoformat(row["closes_at"]))


def _read(path: Path, parse: Callable[[dict[str, str]], T]) -> Iterator[T]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                try:
                    yield parse(row)
                except (KeyError, TypeError, ValueError) as exc:
                    raise InvalidOptions(f"{path} line {reader.line_num}: {exc!r}") from exc
    except OSError as exc:
        raise InvalidOptions(f"the session file cannot be read: {exc}") from exc


class Clock(Protocol):
    """Anything that tells market time in Unix seconds."""

    def timestamp(self) -> float: ...


class MarketClock:
    """The rule of MARKET_CLOCK: "real", "open" (closed hours are skipped), or an ISO moment to start from.

    `anchor` is the real moment (Unix seconds) at which the clock started, 0 for now. Service and simulator agree on the
    time because they are given the same three values. Raises InvalidOptions for a mode that is none of the three.
    """

    def __init__(
        self,
        calendar: SessionCalendar,
        mode: str = "real",
        speed: float = 1.0,
        anchor: float = 0.0,
        system_clock: Callable[[], float] = time.time,
    ) -> None:
        self._system_clock = system_clock
        self._speed = speed
        self._anchor = anchor or system_clock()
        self._moment = _moment(mode) if mode not in {"real", "open"} else None
        self._open_hours = OpenHours(calendar, self._anchor) if mode == "open" else None

    def timestamp(self) -> float:
        """Market time now, in Unix seconds."""
        real = self._system_clock()
        elapsed = (real - self._anchor) * self._speed
        if self._open_hours is not None:
            return self._open_hours.after(elapsed)
        return real if self._moment is None else self._moment + elapsed


class OpenHours:
    """Time that exists only while the reference session is open."""

    def __init__(self, calendar: SessionCalendar, anchor: float) -> None:
        day = datetime.fromtimestamp(anchor, IST).date()
        self._upcoming = calendar.sessions_from(*REFERENCE, day)
        self._anchor = anchor
        self._starts: list[float] = []  # Unix seconds at which a session's open time begins …
        self._elapsed: list[float] = [0.0]  # … and how much open time lies before it

    def after(self, elapsed: float) -> float:
        """The moment at which `elapsed` seconds of open time have passed since the anchor."""
        elapsed = max(elapsed, 0.0)  # this machine's clock may have been set back a moment since the anchor
        while elapsed >= self._elapsed[-1]:
            session = next(self._upcoming)
            start, end = max(session.opens.timestamp(), self._anchor), session.closes.timestamp()
            if start < end:
                self._starts.append(start)
                self._elapsed.append(self._elapsed[-1] + end - start)
        index = max(bisect_right(self._elapsed, elapsed) - 1, 0)
        return self._starts[index] + elapsed - self._elapsed[index]


def _moment(text: str) -> float:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidOptions(
            f'MARKET_CLOCK is {text!r}; use "real", "open" or a moment like 2026-11-25T10:00:00+05:30'
        ) from None
    if moment.tzinfo is None:
        raise InvalidOptions(f"MARKET_CLOCK {text!r} has no time zone; write it like 2026-11-25T10:00:00+05:30")
    return moment.timestamp()
