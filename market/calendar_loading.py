"""Bring the session table in line with the sessions files."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from datetime import date
from pathlib import Path

from django.db import transaction
from django.db.models import Q

from market import calendar
from market.hours import SessionDay, plan_days, read_exceptions, read_regular_hours
from market.models import TradingSession

FIELDS = ("exchange", "segment", "date", "kind", "opens_at", "closes_at", "source", "verified")
KEY = ("exchange", "segment", "date")


@dataclass(frozen=True, slots=True)
class LoadedCalendar:
    """What loading did, in rows."""

    years: Sequence[int]
    created: int
    updated: int
    removed: int
    kept_by_hand: int
    unverified: Sequence[date]

    def __str__(self) -> str:
        return (
            f"{', '.join(map(str, self.years))}: {self.created} created, {self.updated} updated, "
            f"{self.removed} removed, {self.kept_by_hand} set by hand or by an exchange's list and left alone"
        )


def load_calendar(folder: Path) -> LoadedCalendar:
    """Make the table say what the files in `folder` say, for the years they cover. Doing it again changes nothing.

    Rows set by hand or taken from an exchange's own list stay as they are, and so do years the files do not mention.

    Raises
    ------
    SessionsFileInvalid
        If a file cannot be read; nothing is changed then.
    """
    exceptions = read_exceptions(folder / "session_exceptions.csv")
    planned = {
        (day.exchange, day.segment, day.date): day
        for day in plan_days(read_regular_hours(folder / "regular_hours.csv"), exceptions)
    }
    covered = {(exchange, segment, day.year) for exchange, segment, day in planned}

    with transaction.atomic():
        existing = {
            (row.exchange, row.segment, row.date): row
            for row in TradingSession.objects.filter(_of_years(covered)).select_for_update()
        }
        by_hand = {key for key, row in existing.items() if row.set_by_hand or row.from_list}
        new = [_row(day) for key, day in planned.items() if key not in existing]
        stale = [
            _row(day, pk=existing[key].pk)
            for key, day in planned.items()
            if key in existing and key not in by_hand and _values(existing[key]) != astuple(day)
        ]
        gone = [row.pk for key, row in existing.items() if key not in planned and key not in by_hand]
        TradingSession.objects.bulk_create(new, batch_size=2000)
        TradingSession.objects.bulk_update(stale, [name for name in FIELDS if name not in KEY], batch_size=500)
        TradingSession.objects.filter(pk__in=gone).delete()
        transaction.on_commit(calendar.forget)
    calendar.forget()  # also for this transaction, should it be part of a larger one

    return LoadedCalendar(
        years=sorted({year for _, _, year in covered}),
        created=len(new),
        updated=len(stale),
        removed=len(gone),
        kept_by_hand=len(by_hand),
        unverified=sorted({day.date for day in exceptions if not day.verified}),
    )


def _of_years(covered: set[tuple[str, str, int]]) -> Q:
    question = Q(pk__in=[])
    for exchange, segment, year in sorted(covered):
        question |= Q(exchange=exchange, segment=segment, date__year=year)
    return question


def _row(day: SessionDay, *, pk: int | None = None) -> TradingSession:
    return TradingSession(pk=pk, **{name: getattr(day, name) for name in FIELDS})


def _values(row: TradingSession) -> tuple[object, ...]:
    return tuple(getattr(row, name) for name in FIELDS)
