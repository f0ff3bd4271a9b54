"""Market time: what the calendar, expiries, token lifetimes and tick dates go by.

Market time is real time unless settings say otherwise. `MARKET_CLOCK` is

- ``real``: the real time;
- an ISO moment: that moment, moving on from the anchor at `MARKET_CLOCK_SPEED`;
- ``open``: time passes only while the derivatives market (NFO) is open; closed hours are skipped.

Leases, budgets, timeouts and ages measure *system* time and have no business here. The simulator follows the same rule
with code of its own, so that one slip cannot hide in both.
"""

import csv
import threading
import time
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta, timezone
from datetime import time as time_of_day
from functools import lru_cache
from pathlib import Path
from typing import TypeVar

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

# India has had no daylight saving since 1945: a fixed offset is exact, and needs no time zone files on the machine.
IST = timezone(timedelta(hours=5, minutes=30), "IST")

REFERENCE_MARKET = ("NFO", "derivatives")
LONGEST_BREAK_DAYS = 31  # the exchange has never been closed for nearly as long
_process_start = time.time()

Row = TypeVar("Row")


def now() -> datetime:
    """Market time, as an aware UTC datetime."""
    return _clock()(time.time())


def at(moment: datetime) -> datetime:
    """The market time at a moment of system time, as a row of ours bears it; for showing, not for deciding."""
    return _clock()(moment.timestamp())


def today() -> date:
    """The date in India, in market time."""
    return now().astimezone(IST).date()


@dataclass(frozen=True)
class Interval:
    """A session, half open: `opens` belongs to it, `closes` does not. Unix seconds."""

    opens: float
    closes: float


@dataclass(frozen=True)
class RegularHours:
    valid_from: date
    valid_to: date
    opens_at: time_of_day
    closes_at: time_of_day


@dataclass(frozen=True)
class ReferenceSessions:
    """When the reference market is open, from the two sessions files.

    A weekday without an exception is regular, a weekend without a special session is closed.
    """

    regular: tuple[RegularHours, ...]
    exceptions: Mapping[date, tuple[tuple[time_of_day, time_of_day], ...]]

    def on(self, day: date) -> tuple[Interval, ...]:
        """The sessions of one date in India, in order of time."""
        hours = self.exceptions.get(day)
        if hours is None:
            hours = self._regular_on(day)
        return tuple(Interval(_unix(day, opens), _unix(day, closes)) for opens, closes in sorted(hours))

    def _regular_on(self, day: date) -> tuple[tuple[time_of_day, time_of_day], ...]:
        if day.weekday() >= 5:
            return ()
        return tuple((r.opens_at, r.closes_at) for r in self.regular if r.valid_from <= day <= r.valid_to)

    def ending_after(self, moment: float) -> Interval:
        """The first session that ends after `moment` (unix seconds): the running one, else the next."""
        first_day = datetime.fromtimestamp(moment, IST).date()
        for day in (first_day + timedelta(days=n) for n in range(LONGEST_BREAK_DAYS)):
            for session in self.on(day):
                if session.closes > moment:
                    return session
        raise ImproperlyConfigured(
            f"no session of {'/'.join(REFERENCE_MARKET)} in the {LONGEST_BREAK_DAYS} days from {first_day}, so "
            "MARKET_CLOCK=open cannot tell the time: regular_hours.csv does not cover them"
        )


class OpenHoursClock:
    """Maps real time to market time that passes only while the reference market is open."""

    def __init__(self, sessions: ReferenceSessions, anchor: float, speed: float) -> None:
        self.anchor = anchor
        self.speed = speed
        self._sessions = sessions
        first = sessions.ending_after(anchor)
        # Sessions reached so far: when each starts in market time, and how much open time had passed by then.
        self._starts = [max(first.opens, anchor)]
        self._ends = [first.closes]
        self._elapsed = [0.0]
        self._extending = threading.Lock()

    def __call__(self, real: float) -> datetime:
        open_seconds = max(0.0, (real - self.anchor) * self.speed)
        if open_seconds >= self._reaches():
            with self._extending:
                while open_seconds >= self._reaches():
                    self._extend()
        reached = bisect_right(self._elapsed, open_seconds) - 1
        return _utc(self._starts[reached] + open_seconds - self._elapsed[reached])

    def _reaches(self) -> float:
        """Open seconds up to the end of the last session reached; `_elapsed`, appended last, says which that is."""
        last = len(self._elapsed) - 1
        return self._elapsed[last] + self._ends[last] - self._starts[last]

    def _extend(self) -> None:
        elapsed = self._reaches()
        session = self._sessions.ending_after(self._ends[-1])
        self._starts.append(session.opens)
        self._ends.append(session.closes)
        self._elapsed.append(elapsed)


def make_clock(
    mode: str, *, speed: float, anchor: float, sessions: Callable[[], ReferenceSessions]
) -> Callable[[float], datetime]:
    """The function from real unix seconds to market time that `mode` asks for.

    Raises
    ------
    ImproperlyConfigured
        If `mode` is not ``real``, ``open`` or an ISO moment with an offset, or the speed is not positive.
    """
    if mode == "real":
        return _utc
    if not speed > 0:
        raise ImproperlyConfigured(f"MARKET_CLOCK_SPEED is {speed}; it must be greater than 0")
    if mode == "open":
        return OpenHoursClock(sessions(), anchor, speed)
    try:
        moment = datetime.fromisoformat(mode)
    except ValueError:
        raise ImproperlyConfigured(
            f"MARKET_CLOCK is {mode!r}; expected 'real', 'open' or a moment like 2026-11-25T10:00:00+05:30"
        ) from None
    if moment.tzinfo is None:
        raise ImproperlyConfigured(f"MARKET_CLOCK is {mode!r}, which has no offset; write {mode}+05:30 for Indian time")
    start = moment.timestamp()
    return lambda real: _utc(start + (real - anchor) * speed)


def load_reference_sessions(folder: Path) -> ReferenceSessions:
    """Read `regular_hours.csv` and `session_exceptions.csv`, keeping the reference market.

    Raises
    ------
    ImproperlyConfigured
        If a file is missing or a row cannot be read; the message names the file and line.
    """
    regular = tuple(_read(folder / "regular_hours.csv", _regular_hours))
    exceptions: defaultdict[date, list[tuple[time_of_day, time_of_day]]] = defaultdict(list)
    for day, hours in _read(folder / "session_exceptions.csv", _exception):
        exceptions[day].extend(hours)
    return ReferenceSessions(regular, {day: tuple(hours) for day, hours in exceptions.items()})


def _regular_hours(row: Mapping[str, str]) -> RegularHours:
    return RegularHours(
        valid_from=date.fromisoformat(row["valid_from"]) if row["valid_from"] else date.min,
        valid_to=date.fromisoformat(row["valid_to"]) if row["valid_to"] else date.max,
        opens_at=time_of_day.fromisoformat(row["opens_at"]),
        closes_at=time_of_day.fromisoformat(row["closes_at"]),
    )


def _exception(row: Mapping[str, str]) -> tuple[date, list[tuple[time_of_day, time_of_day]]]:
    day = date.fromisoformat(row["date"])
    if row["kind"] == "holiday":  # a special session on a holiday has a row of its own
        return day, []
    return day, [(time_of_day.fromisoformat(row["opens_at"]), time_of_day.fromisoformat(row["closes_at"]))]


def _read(path: Path, parse: Callable[[Mapping[str, str]], Row]) -> Iterator[Row]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                try:
                    if (row["exchange"], row["segment"]) == REFERENCE_MARKET:
                        yield parse(row)
                except (KeyError, TypeError, ValueError) as exc:
                    raise ImproperlyConfigured(f"{path}, line {reader.line_num}: {exc!r}") from exc
    except OSError as exc:
        raise ImproperlyConfigured(f"cannot read the market's sessions: {exc}") from exc


def _clock() -> Callable[[float], datetime]:
    return _clock_for(
        settings.MARKET_CLOCK, settings.MARKET_CLOCK_SPEED, settings.MARKET_CLOCK_ANCHOR, Path(settings.MARKET_DATA_DIR)
    )


@lru_cache(maxsize=8)
def _clock_for(mode: str, speed: float, anchor: float, folder: Path) -> Callable[[float], datetime]:
    return make_clock(
        mode, speed=speed, anchor=anchor or _process_start, sessions=lambda: load_reference_sessions(folder)
    )


def _unix(day: date, at: time_of_day) -> float:
    return datetime.combine(day, at, IST).timestamp()


def _utc(unix_seconds: float) -> datetime:
    return datetime.fromtimestamp(unix_seconds, UTC)
