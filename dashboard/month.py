"""One month of one market, as the calendar page shows it: weeks of days, and the days that differ. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from accounts.clock import IST
from dashboard.board import Check
from market.calendar import CalendarDay
from streaming.health_words import Tone

FIRST_YEAR, LAST_YEAR = 2000, 2100
DAYS_OF_A_WEEK = 7
WORDS: dict[str, tuple[Tone, str]] = {
    "regular": ("ok", "Open"),
    "special": ("warn", "Special hours"),
    "evening_only": ("warn", "Evening only"),
    "holiday": ("off", "Closed"),
    "weekend": ("off", "Weekend"),
    "unknown": ("bad", "Not known"),
}
NOT_VERIFIED = "Not checked against the exchange’s own list."


@dataclass(frozen=True, slots=True)
class Cell:
    """One square of the month. `name` and `hours` are empty where there is nothing to say."""

    day: date
    kind: str
    word: str
    hours: str
    name: str
    is_today: bool


@dataclass(frozen=True, slots=True)
class Month:
    """`weeks` begin on Monday; None stands for days of other months. `differing`: all that is not ordinary."""

    first: date
    before: date | None
    after: date | None
    weeks: Sequence[Sequence[Cell | None]]
    differing: Sequence[Check]
    unknown: int

    @property
    def title(self) -> str:
        return f"{self.first:%B %Y}"


def month_named(text: str) -> date | None:
    """`2026-12` → its first day; None if that is no month that can be shown."""
    try:
        first = datetime.strptime(text, "%Y-%m").date()  # noqa: DTZ007  (a month has no time zone)
    except ValueError:
        return None
    return first if FIRST_YEAR <= first.year <= LAST_YEAR else None


def month_of(first: date, day_of: Callable[[date], CalendarDay], *, today: date) -> Month:
    """The month that begins on `first`; `day_of` says what is known of a date."""
    days = [day_of(day) for day in _days_of(first)]
    squares: list[Cell | None] = [None] * first.weekday()
    squares += [_cell(day, today) for day in days]
    squares += [None] * (-len(squares) % DAYS_OF_A_WEEK)
    before, after = first - timedelta(days=1), days[-1].date + timedelta(days=1)
    return Month(
        first=first,
        before=before.replace(day=1) if before.year >= FIRST_YEAR else None,
        after=after if after.year <= LAST_YEAR else None,
        weeks=[squares[start : start + DAYS_OF_A_WEEK] for start in range(0, len(squares), DAYS_OF_A_WEEK)],
        differing=[_line(day) for day in days if day.kind not in {"regular", "weekend", "unknown"}],
        unknown=sum(day.kind == "unknown" for day in days),
    )


def hours_of(day: CalendarDay) -> str:
    """`09:15 to 15:40` in India; empty where there is no session."""
    if day.opens_at is None or day.closes_at is None:
        return ""
    return f"{day.opens_at.astimezone(IST):%H:%M} to {day.closes_at.astimezone(IST):%H:%M}"


def occasion_of(day: CalendarDay) -> str:
    """The holiday's name, which stands before where it is known from."""
    return "" if day.kind == "regular" else day.source.partition(";")[0].strip()


def _days_of(first: date) -> Iterator[date]:
    day = first
    while day.month == first.month:
        yield day
        day += timedelta(days=1)


def _cell(day: CalendarDay, today: date) -> Cell:
    _, word = WORDS[day.kind]
    return Cell(day.date, day.kind, word, hours_of(day), occasion_of(day), is_today=day.date == today)


def _line(day: CalendarDay) -> Check:
    tone, word = WORDS[day.kind]
    note = hours_of(day) or word
    return Check(
        tone if day.verified else "warn",
        f"{day.date:%a} {day.date.day} {day.date:%b}, {occasion_of(day) or word}",
        note,
        day.source if day.verified else f"{day.source}. {NOT_VERIFIED}",
    )
