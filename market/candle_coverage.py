"""For which days an instrument's candles are stored. The sets of days are added up and subtracted by the database."""

from datetime import date, datetime, timedelta
from typing import Final

from django.db import connection

from market.candle_models import CandleCoverage

Days = tuple[date, date]
"""First and last, both included."""
Kind = CandleCoverage.Series

_MISSING: Final = """
    SELECT lower(span), upper(span) - 1
    FROM unnest(datemultirange(daterange(%s, %s, '[]')) - coalesce(
        (SELECT days FROM market_candlecoverage WHERE instrument_id = %s AND series = %s), '{}'::datemultirange
    )) span ORDER BY 1"""
_ADD: Final = """
    INSERT INTO market_candlecoverage AS c (instrument_id, series, days, today_until, asked_at)
    VALUES (%s, %s, %s::datemultirange, %s, now())
    ON CONFLICT (instrument_id, series) DO UPDATE
    SET days = c.days + excluded.days, today_until = coalesce(excluded.today_until, c.today_until), asked_at = now()"""


def missing_days(instrument_id: int, series: Kind, first: date, last: date) -> list[Days]:
    """The stretches of days, in order, that are not stored."""
    with connection.cursor() as cursor:
        cursor.execute(_MISSING, [first, last, instrument_id, series])
        return list(cursor)


def add_days(instrument_id: int, series: Kind, stretch: Days | None, *, today_until: datetime | None = None) -> None:
    """This stretch is stored now. `today_until`: how far the day that is going on, which is in no stretch, is."""
    days = "{}" if stretch is None else f"{{[{stretch[0]},{stretch[1]}]}}"
    with connection.cursor() as cursor:
        cursor.execute(_ADD, [instrument_id, series, days, today_until])


def windows(stretches: list[Days], most_days: int) -> list[Days]:
    """The stretches cut so that none is longer than the broker answers at once."""
    cut = []
    for first, last in stretches:
        while first <= last:
            end = min(last, first + timedelta(days=most_days - 1))
            cut.append((first, end))
            first = end + timedelta(days=1)
    return cut
