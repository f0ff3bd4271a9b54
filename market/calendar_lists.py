"""Take over an exchange's own list of holidays: the whole year of its market, in one transaction."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from django.db import transaction

from market import calendar
from market.exceptions import HolidayListInvalid
from market.holiday_lists import Holiday, read_list
from market.hours import RegularHours, SessionDay, hours_in_force, weekdays
from market.models import TradingSession


@dataclass(frozen=True, slots=True)
class ImportedList:
    """What an import did, in rows of all its markets."""

    year: int
    exchanges: Sequence[str]
    holidays: int
    written: int
    kept_by_hand: Sequence[str]  # days that a person entered, which say something else
    unknown: int  # weekdays without regular hours in force: they stay unknown

    def __str__(self) -> str:
        text = f"{self.year} for {', '.join(self.exchanges)}: {self.holidays} holidays, {self.written} days written"
        if self.kept_by_hand:
            text += f"; entered by hand and left alone: {', '.join(self.kept_by_hand)}"
        if self.unknown:
            text += f"; {self.unknown} days stay unknown, since nobody has said the regular hours"
        return text


def import_list(content: bytes, *, exchanges: Sequence[str], name: str) -> ImportedList:
    """Make the year of `exchanges` what the list says: its holidays, and ordinary sessions on all other weekdays.

    Days that a person entered stay as they are, so a Muhurat session or a closing at short notice survives a list that
    does not know of it. What the project's files say of that year no longer counts for these markets.

    Raises
    ------
    HolidayListInvalid
        If it is not the whole list of one year, or there is no exchange of that name. Nothing is changed then.
    """
    if not exchanges or not set(exchanges) <= calendar.SEGMENTS.keys():
        raise HolidayListInvalid(
            f"name one or more of {', '.join(calendar.SEGMENTS)}, not {', '.join(exchanges) or 'none'}"
        )
    lists = {exchange: read_list(content, exchange=exchange) for exchange in dict.fromkeys(exchanges)}
    year, *others = {holidays[0].date.year for holidays in lists.values()}
    if others:
        raise HolidayListInvalid("its markets are of different years: import them one by one")
    regular = calendar.regular_hours()
    planned = {
        (day.exchange, day.date): day
        for exchange, holidays in lists.items()
        for day in plan_year(exchange, year, holidays, regular, name)
    }
    unknown = sum(len([d for d in weekdays(year) if (exchange, d) not in planned]) for exchange in lists)
    with transaction.atomic():
        rows = TradingSession.objects.filter(exchange__in=lists, date__year=year).select_for_update()
        by_hand = {(row.exchange, row.date): row for row in rows if row.set_by_hand}
        TradingSession.objects.filter(exchange__in=lists, date__year=year, set_by_hand=False).delete()
        written = [_row(day, name) for key, day in planned.items() if key not in by_hand]
        TradingSession.objects.bulk_create(written, batch_size=2000)
        transaction.on_commit(calendar.forget)
    calendar.forget()  # also for this transaction, should it be part of a larger one
    return ImportedList(
        year=year,
        exchanges=list(lists),
        holidays=sum(map(len, lists.values())),
        written=len(written),
        kept_by_hand=_differing(by_hand, planned),
        unknown=unknown,
    )


def plan_year(
    exchange: str, year: int, holidays: Iterable[Holiday], regular: Sequence[RegularHours], name: str
) -> Iterator[SessionDay]:
    """Every day of the year of which the list and the regular hours say something. Pure.

    An evening that is traded lasts from `evening_opens_at` to the ordinary close of that day; where no hours say when,
    the day is left out, and so is unknown.
    """
    segment = calendar.SEGMENTS[exchange]
    hours_of_market = [hours for hours in regular if (hours.exchange, hours.segment) == (exchange, segment)]
    known = {holiday.date: holiday for holiday in holidays}
    for day in sorted({*weekdays(year), *known}):
        hours, holiday = hours_in_force(hours_of_market, day), known.get(day)
        if holiday is None:
            if hours is not None:
                yield SessionDay(
                    exchange, segment, day, "regular", hours.opens_at, hours.closes_at, name, verified=True
                )
            continue
        source = f"{holiday.name}; {name}"[:255]
        if not holiday.evening_open:
            yield SessionDay(exchange, segment, day, "holiday", None, None, source, verified=True)
        elif hours is not None and hours.evening_opens_at is not None:
            yield SessionDay(
                exchange, segment, day, "evening_only", hours.evening_opens_at, hours.closes_at, source, verified=True
            )


def _row(day: SessionDay, name: str) -> TradingSession:
    return TradingSession(
        exchange=day.exchange,
        segment=day.segment,
        date=day.date,
        kind=day.kind,
        opens_at=day.opens_at,
        closes_at=day.closes_at,
        source=day.source,
        verified=day.verified,
        from_list=name[:128],
    )


def _differing(
    by_hand: Mapping[tuple[str, date], TradingSession], planned: Mapping[tuple[str, date], SessionDay]
) -> list[str]:
    def says(row: TradingSession | SessionDay | None) -> object:
        return None if row is None else (row.kind, row.opens_at, row.closes_at)

    return [
        f"{exchange} {day}"
        for (exchange, day), row in sorted(by_hand.items())
        if says(row) != says(planned.get((exchange, day)))
    ]
