"""The sessions files: when each market trades by rule, and on which dates it does not. Pure: rows in, days out.

`regular_hours.csv` holds the daily hours with the dates between which they are in force, both included; an empty
`valid_to` means until further notice, and `evening_opens_at` is for markets whose holidays may have an evening.
`session_exceptions.csv` holds the dates that differ. Times are IST. A weekday without an exception is regular, a
weekend without a special session is closed. A market's year is known only if the exceptions have rows for it: hours in
force say nothing about holidays that nobody has entered.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, time, timedelta
from pathlib import Path
from typing import TypeVar

from market.exceptions import SessionsFileInvalid
from market.models import TradingSession

SATURDAY = 5
Parsed = TypeVar("Parsed")


@dataclass(frozen=True, slots=True)
class RegularHours:
    """The hours of an ordinary weekday, in force from `valid_from` to `valid_to`, both included."""

    exchange: str
    segment: str
    valid_from: date
    valid_to: date
    opens_at: time
    closes_at: time
    source: str
    evening_opens_at: time | None = None  # on a holiday whose evening is traded

    def in_force(self, day: date) -> bool:
        return self.valid_from <= day <= self.valid_to


@dataclass(frozen=True, slots=True)
class SessionDay:
    """What one market does on one date; no hours on a holiday."""

    exchange: str
    segment: str
    date: date
    kind: str
    opens_at: time | None
    closes_at: time | None
    source: str
    verified: bool


def read_regular_hours(path: Path) -> list[RegularHours]:
    """Read `regular_hours.csv`; raises SessionsFileInvalid naming the line."""

    def parse(row: dict[str, str]) -> RegularHours:
        hours = RegularHours(
            exchange=TradingSession.Exchange(row["exchange"]).value,
            segment=TradingSession.Segment(row["segment"]).value,
            valid_from=date.fromisoformat(row["valid_from"]),
            valid_to=date.fromisoformat(row["valid_to"]) if row["valid_to"] else date.max,
            opens_at=time.fromisoformat(row["opens_at"]),
            closes_at=time.fromisoformat(row["closes_at"]),
            source=row["source"],
            evening_opens_at=time.fromisoformat(row["evening_opens_at"]) if row.get("evening_opens_at") else None,
        )
        if hours.opens_at >= hours.closes_at:
            raise ValueError("it closes before it opens")
        return hours

    return list(_parsed(path, parse))


def read_exceptions(path: Path) -> list[SessionDay]:
    """Read `session_exceptions.csv`; raises SessionsFileInvalid naming the line."""

    def parse(row: dict[str, str]) -> SessionDay:
        day = SessionDay(
            exchange=TradingSession.Exchange(row["exchange"]).value,
            segment=TradingSession.Segment(row["segment"]).value,
            date=date.fromisoformat(row["date"]),
            kind=TradingSession.Kind(row["kind"]).value,
            opens_at=time.fromisoformat(row["opens_at"]) if row["opens_at"] else None,
            closes_at=time.fromisoformat(row["closes_at"]) if row["closes_at"] else None,
            source=row["source"],
            verified={"yes": True, "no": False}[row["verified"]],
        )
        if day.kind == TradingSession.Kind.HOLIDAY:
            if day.opens_at or day.closes_at:
                raise ValueError("a holiday has no hours")
        elif day.opens_at is None or day.closes_at is None or day.opens_at >= day.closes_at:
            raise ValueError("it needs hours, opening before it closes")
        return day

    return list(_parsed(path, parse))


def plan_days(regular: Sequence[RegularHours], exceptions: Iterable[SessionDay]) -> Iterator[SessionDay]:
    """Every date about which the files say something: the exceptions, and the regular weekdays of their years."""
    by_market: dict[tuple[str, str], dict[date, SessionDay]] = {}
    for day in exceptions:
        by_market.setdefault((day.exchange, day.segment), {})[day.date] = day
    for (exchange, segment), known in by_market.items():
        hours_of_market = [hours for hours in regular if (hours.exchange, hours.segment) == (exchange, segment)]
        yield from known.values()
        for year in sorted({day.year for day in known}):
            for weekday in weekdays(year):
                hours = hours_in_force(hours_of_market, weekday)
                if weekday not in known and hours is not None:
                    yield SessionDay(
                        exchange,
                        segment,
                        weekday,
                        "regular",
                        hours.opens_at,
                        hours.closes_at,
                        hours.source,
                        verified=True,
                    )


def hours_in_force(hours: Iterable[RegularHours], day: date) -> RegularHours | None:
    """The first of `hours` (all of one market) that is in force on `day`."""
    return next((each for each in hours if each.in_force(day)), None)


def weekdays(year: int) -> Iterator[date]:
    """Monday to Friday, all year."""
    day = date(year, 1, 1)
    while day.year == year:
        if day.weekday() < SATURDAY:
            yield day
        day += timedelta(days=1)


def _parsed(path: Path, parse: Callable[[dict[str, str]], Parsed]) -> Iterator[Parsed]:
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                try:
                    yield parse(row)
                except (ValueError, KeyError, TypeError) as exc:
                    raise SessionsFileInvalid(f"{path.name}, line {reader.line_num}: {exc}") from exc
    except OSError as exc:
        raise SessionsFileInvalid(f"cannot read {path}: {exc.strerror}") from exc
