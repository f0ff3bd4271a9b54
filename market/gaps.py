"""Keeping the ledger of the feed's outages: what the stream writes down, and what an outage is.

Only what falls into market hours counts. A day that nobody has entered into the calendar is no part of any outage: what
was guessed would be asked of the broker every night.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.utils import timezone

from accounts.clock import IST
from market.calendar import SEGMENTS, Calendar
from market.exceptions import CalendarMissing
from market.gap_models import FeedGap, GapLedger
from market.models import Instrument

MOST_DAYS_BACK: Final = 7
"""What is missing of older days is asked of the broker whole, once somebody wants it."""

Cause = FeedGap.Cause
Status = FeedGap.Status
Span = tuple[datetime, datetime]
"""From and to, aware."""


@dataclass(frozen=True, slots=True)
class Outage:
    """What the stream knows of one, known by its socket and beginning; `ended_at` is None while it goes on."""

    feed: str
    cause: Cause
    started_at: datetime
    tokens: frozenset[int]
    ended_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Kept:
    """What a stream finds when it starts: until when the ledger was kept (None: never), and what was left open."""

    until: datetime | None
    left_open: Sequence[Outage]


def open_spans(calendar: Calendar, exchanges: Iterable[str], start: datetime, end: datetime) -> list[Span]:
    """When one of the exchanges was open between two moments, in order and joined; at most `MOST_DAYS_BACK` days back.

    Empty where none was, or where the calendar does not say.
    """
    start = max(start, end - timedelta(days=MOST_DAYS_BACK))
    if start >= end:
        return []
    first, last = start.astimezone(IST).date(), end.astimezone(IST).date()
    found: list[Span] = []
    for exchange in set(exchanges):
        for n in range((last - first).days + 1):
            try:
                session = calendar.session_of(exchange, SEGMENTS.get(exchange, ""), first + timedelta(days=n))
            except CalendarMissing:
                continue
            if session is not None and session.opens_at < end and session.closes_at > start:
                found.append((max(session.opens_at, start), min(session.closes_at, end)))
    joined: list[Span] = []
    for opens, closes in sorted(found):
        if joined and opens <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], closes))
        else:
            joined.append((opens, closes))
    return joined


def take_over() -> Kept:
    """The ledger as the stream before this one left it. The outages come without their instruments, which are kept."""
    until = GapLedger.objects.values_list("kept_until", flat=True).first()
    rows = FeedGap.objects.filter(status=Status.OPEN).order_by("started_at").values_list("feed", "cause", "started_at")
    return Kept(until, [Outage(feed, Cause(cause), started_at, frozenset()) for feed, cause, started_at in rows])


def keep(outages: Sequence[Outage], kept_until: datetime) -> None:
    """Write outages down as they are now, and that nothing else happened until `kept_until`. Twice is as good as once.

    Tokens that nobody bears any more are left out. One that is repaired is not opened again.
    """
    tokens = {token for outage in outages for token in outage.tokens}
    rows = Instrument.objects.active().filter(instrument_token__in=tokens).order_by("first_seen", "pk")
    # Their ids alone: thousands of rows would keep the stream's own thread from running.
    bearers = dict(rows.values_list("instrument_token", "pk")) if tokens else {}
    with transaction.atomic():
        for outage in outages:
            _keep(outage, {bearers[token] for token in outage.tokens if token in bearers})
        GapLedger.objects.update_or_create(pk=1, defaults={"kept_until": kept_until})


def _keep(outage: Outage, instruments: set[int]) -> None:
    rows = FeedGap.objects.filter(feed=outage.feed, started_at=outage.started_at)
    row = rows.select_for_update().first()
    if row is None:
        row = FeedGap(feed=outage.feed, started_at=outage.started_at, status=Status.OPEN, instruments=[])
    elif row.status != Status.OPEN:
        return
    row.cause = outage.cause
    row.instruments = row.remaining = sorted({*row.instruments, *instruments})
    if outage.ended_at is not None:
        now = timezone.now()
        # Simulated time may begin anew: then it is over at least.
        row.ended_at = max(outage.ended_at, outage.started_at)
        row.status, row.closed_at, row.due_at = Status.CLOSED, now, now
    row.save()


def forget_older_than(cut: datetime) -> int:
    """Delete what ended before a moment of market time, repaired or not; how many rows went."""
    return FeedGap.objects.filter(ended_at__lt=cut).delete()[0]
