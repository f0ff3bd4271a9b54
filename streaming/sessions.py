"""The calendar's sessions in the form in which the ticks' hours are judged (`streaming.hours`)."""

from dataclasses import dataclass
from datetime import date

from market.calendar import SEGMENTS, Calendar
from market.exceptions import CalendarMissing
from streaming.hours import HoursUnknown, Span


@dataclass(frozen=True, slots=True)
class CalendarSessions:
    """The sessions of one calendar."""

    calendar: Calendar

    def __call__(self, exchange: str, day: date) -> Span | None:
        try:
            session = self.calendar.session_of(exchange, SEGMENTS.get(exchange, ""), day)
        except CalendarMissing as exc:
            raise HoursUnknown from exc
        return None if session is None else Span(session.opens_at.timestamp(), session.closes_at.timestamp())
