"""The day as the accounts page draws it: the session, what changes next, when logins end. Only decisions."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from accounts.clock import IST
from dashboard import formats
from dashboard.board import Check
from market.calendar import Session

WIDTH = 400
MARGIN = timedelta(minutes=45)
KIND_WORDS = {"regular": "Regular session", "special": "Special hours", "evening_only": "Evening session only"}


@dataclass(frozen=True, slots=True)
class Strip:
    """The drawn day, in pixels of a picture `WIDTH` wide."""

    opens_x: int
    closes_x: int
    now_x: int
    opens: str
    closes: str
    now: str
    length: str

    @property
    def width(self) -> int:
        return self.closes_x - self.opens_x

    @property
    def middle_x(self) -> int:
        return (self.opens_x + self.closes_x) // 2

    @property
    def now_text_x(self) -> int:
        """Where the word for now begins or ends, so that it is not cut at an edge."""
        return min(max(self.now_x, 28), WIDTH - 28)


@dataclass(frozen=True, slots=True)
class Day:
    title: str
    strip: Strip | None
    lines: tuple[Check, ...]


def day_of(*, now: datetime, today: Session | None, coming: Session | None, problem: str, logins_end: datetime) -> Day:
    """
    Parameters
    ----------
    now : market time.
    today : the session of today, None on a day without one.
    coming : the session that goes on or comes next; None where the calendar does not know.
    problem : why the calendar does not know, else empty.
    logins_end : when the broker ends the logins of today.
    """
    local = now.astimezone(IST)
    lines = [Check("warn", "The calendar does not say", detail=problem)] if problem else []
    if today is not None:
        lines.append(_session_line(today, now))
    elif not problem:
        lines.append(Check("off", "No session today", detail="Holiday or weekend"))
    if coming is not None and (today is None or coming.day != today.day):
        opens = coming.opens_at.astimezone(IST)
        lines.append(
            Check("off", f"Opens {opens:%a} {opens.day} {opens:%b}", f"{opens:%H:%M}", _in(coming.opens_at, now))
        )
    end = Check("off", "Logins end", formats.moment(logins_end, now=now), "The broker ends all of them each morning")
    return Day(f"{local:%a} {local.day} {local:%b}", _strip(today, now) if today else None, (*lines, end))


def _session_line(session: Session, now: datetime) -> Check:
    hours = f"{session.opens_at.astimezone(IST):%H:%M} – {session.closes_at.astimezone(IST):%H:%M}"
    if now < session.opens_at:
        state = f"Opens {_in(session.opens_at, now)}"
    elif now < session.closes_at:
        state = f"Open, closes {_in(session.closes_at, now)}"
    else:
        state = "Closed for today"
    words = f"{KIND_WORDS.get(session.kind, session.kind)} of {session.exchange} {session.segment}"
    unverified = "" if session.verified else "; hours not yet checked with the exchange’s list"
    return Check("ok" if now in session else "off", state, hours, words + unverified)


def _in(then: datetime, now: datetime) -> str:
    return f"in {formats.duration((then - now).total_seconds())}"


def _strip(session: Session, now: datetime) -> Strip:
    first, last = session.opens_at - MARGIN, session.closes_at + MARGIN

    def x(at: datetime) -> int:
        return round(WIDTH * (min(max(at, first), last) - first) / (last - first))

    return Strip(
        opens_x=x(session.opens_at),
        closes_x=x(session.closes_at),
        now_x=x(now),
        opens=f"{session.opens_at.astimezone(IST):%H:%M}",
        closes=f"{session.closes_at.astimezone(IST):%H:%M}",
        now=f"now {now.astimezone(IST):%H:%M}",
        length=f"open {formats.duration((session.closes_at - session.opens_at).total_seconds())}",
    )
