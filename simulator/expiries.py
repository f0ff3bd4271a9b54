"""When contracts end: the exchanges' rules of 2026."""

from collections.abc import Iterator
from datetime import date, timedelta
from typing import NamedTuple

from simulator.clock import SessionCalendar

EXPIRY_WEEKDAY = {"NFO": 1, "BFO": 3}  # Tuesday, Thursday
SERIAL_MONTHS = 3
QUARTERLIES = 3  # March, June, September, December after the serial months; indices only
WEEKLIES = 5


class Expiry(NamedTuple):
    """A contract's last day. `nominal` is the weekday the rule names; `day` is earlier when that is a holiday."""

    nominal: date
    day: date
    is_monthly: bool


def expiries(
    exchange: str, today: date, calendar: SessionCalendar, *, weeklies: bool, quarterlies: bool
) -> list[Expiry]:
    """The listed expiries that have not passed on `today`, in order.

    Three serial months always; on request the next five weeks, and three quarters further on (for index options).
    The last weekly of a month is its monthly.
    """
    monthlies: list[Expiry] = []
    weekly: list[Expiry] = []
    for nominal in _weekdays_from(today - timedelta(days=7), EXPIRY_WEEKDAY[exchange]):
        day = calendar.last_trading_day(exchange, "derivatives", nominal)
        if day < today:
            continue
        is_monthly = (nominal + timedelta(days=7)).month != nominal.month
        expiry = Expiry(nominal, day, is_monthly)
        if weeklies and len(weekly) < WEEKLIES:
            weekly.append(expiry)
        is_serial, is_quarterly = len(monthlies) < SERIAL_MONTHS, quarterlies and nominal.month % 3 == 0
        if is_monthly and (is_serial or is_quarterly):
            monthlies.append(expiry)
        if len(monthlies) == SERIAL_MONTHS + QUARTERLIES * quarterlies:
            break
    return sorted({*weekly, *monthlies})


def _weekdays_from(day: date, weekday: int) -> Iterator[date]:
    day += timedelta(days=(weekday - day.weekday()) % 7)
    while True:
        yield day
        day += timedelta(days=7)
