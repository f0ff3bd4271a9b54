"""System checks of the market's data. They read the database: `manage.py check --database default` runs them."""

from collections.abc import Sequence
from typing import Any

from django.core import checks
from django.db import DatabaseError

from accounts import clock
from market import calendar

# Exchanges publish next year's list in December.
NEXT_YEAR_EXPECTED_FROM = (12, 15)


@checks.register(checks.Tags.database)
def check_calendar(databases: Sequence[str] | None = None, **_: Any) -> list[checks.CheckMessage]:
    """This year's sessions are there for every market; from 15 December, next year's too."""
    if not databases:
        return []  # Django's custom: without a database named, none is asked
    try:
        known = calendar.read_calendar()
    except DatabaseError:
        return []  # no table yet: nothing is migrated, and that is reported elsewhere
    today = clock.today()
    messages: list[checks.CheckMessage] = []
    if missing := markets_without(known, today.year):
        messages.append(
            checks.Error(
                f"The market calendar has no sessions of {today.year} for {', '.join(missing)}.",
                hint="Run `manage.py load_calendar`; if the files lack the year, add the exchange's list to "
                "market/data/session_exceptions.csv first, or enter the days in the admin.",
                id="market.E001",
            )
        )
    if (today.month, today.day) >= NEXT_YEAR_EXPECTED_FROM and (missing := markets_without(known, today.year + 1)):
        messages.append(
            checks.Warning(
                f"The market calendar has no sessions of {today.year + 1} yet for {', '.join(missing)}.",
                hint="The exchanges publish next year's holidays in December: add them to "
                "market/data/session_exceptions.csv and run `manage.py load_calendar`, or enter them in the admin.",
                id="market.W001",
            )
        )
    return messages


def markets_without(known: calendar.Calendar, year: int) -> list[str]:
    """The markets of which nothing is known for `year`, as ``NFO derivatives``."""
    return [
        f"{exchange} {segment}"
        for exchange, segment in calendar.SEGMENTS.items()
        if not known.covers(exchange, segment, year)
    ]
