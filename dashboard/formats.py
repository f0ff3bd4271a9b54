"""Numbers as people are shown them. The same rules as static/dashboard/js/format.js; a test compares the two.

A missing number is an en dash, never 0. Minus is U+2212, and every change carries its sign.
"""

import math
from datetime import date, datetime
from decimal import ROUND_HALF_UP, Decimal

from accounts.clock import IST
from orders.rupees import in_lakhs

DASH = "–"
MINUS = "−"


def _rounded(value: float, decimals: int) -> Decimal:
    """Round as browsers do: ties away from zero, on the binary value itself."""
    return Decimal(value).quantize(Decimal(1).scaleb(-decimals), ROUND_HALF_UP)


def _text(value: float, decimals: int) -> str:
    rounded = _rounded(value, decimals)
    return f"{MINUS if rounded < 0 else ''}{abs(rounded)}"


def _sign(value: float) -> str:
    return "+" if value > 0 else MINUS if value < 0 else ""


def price(value: float | None) -> str:
    """Two decimals, no separators: `184.65`."""
    return DASH if value is None else _text(value, 2)


def fixed(value: float | None, decimals: int) -> str:
    """`decimals` places; with fewer than two of them, none from 100 up, so that a column keeps its width."""
    if value is None:
        return DASH
    return _text(value, 0 if decimals < 2 and abs(value) >= 99.95 else decimals)


def percent(fraction: float | None) -> str:
    """A fraction as a percentage: 0.118 → `11.8`."""
    return DASH if fraction is None else fixed(fraction * 100, 1)


def change(value: float | None) -> str:
    """A signed change in percent: `+0.4`, `−52.8`, `+112`."""
    if value is None:
        return DASH
    size = _rounded(abs(value), 0 if abs(value) >= 99.95 else 1)
    return f"{_sign(value) if size else ''}{size}"


def compact(value: float | None) -> str:
    """A count in thousands and lakh: `65`, `7.6k`, `33.0L`, `219L`."""
    if value is None:
        return DASH
    size = abs(value)
    if size < 1000:
        text = f"{_rounded(size, 0)}"
    elif size < 99_950:
        text = f"{_rounded(size / 1e3, 1)}k"
    else:
        text = f"{_rounded(size / 1e5, 1 if size < 9_995_000 else 0)}L"
    return (MINUS if value < 0 else "") + text


def compact_change(value: float | None) -> str:
    """`compact` with its sign: `+19.6L`."""
    return DASH if value is None else _sign(value) + compact(abs(value))


def grouped(value: float | None, decimals: int = 0) -> str:
    """Indian grouping: `18,42,310`, `24,612.35`."""
    if value is None:
        return DASH
    rounded = _rounded(abs(value), decimals)
    whole, _, fraction = str(rounded).partition(".")
    return f"{MINUS if value < 0 else ''}{in_lakhs(whole)}{'.' + fraction if fraction else ''}"


def signed_grouped(value: float | None, decimals: int = 2) -> str:
    """`grouped` with its sign: `+112.40`."""
    return DASH if value is None else _sign(value) + grouped(abs(value), decimals)


def strike(value: float) -> str:
    """A strike as it is written: whole ones without decimals."""
    return grouped(value, 0 if value == int(value) else 2)


def short_date(day: date, *, today: date) -> str:
    """`1 Dec`; with the year when it is not this one's next twelve months: `30 Mar 2028`."""
    months_ahead = (day.year - today.year) * 12 + day.month - today.month
    return f"{day.day} {day:%b}" + (f" {day.year}" if months_ahead >= 12 else "")


def clock_time(at: datetime) -> str:
    """`10:42:07`, in India."""
    return at.astimezone(IST).strftime("%H:%M:%S")


def moment(at: datetime, *, now: datetime) -> str:
    """A time near `now` in India: `15:40` today, `06:00 Thu` within the week, `06:00, 24 Nov` beyond."""
    local, day = at.astimezone(IST), now.astimezone(IST).date()
    days = (local.date() - day).days
    if days == 0:
        return f"{local:%H:%M}"
    return f"{local:%H:%M %a}" if abs(days) < 7 else f"{local:%H:%M}, {short_date(local.date(), today=day)}"


def age(seconds: float | None) -> str:
    """How long ago: `0.1 s`, `14 s`, `3 m`, `2.5 h`."""
    if seconds is None:
        return DASH
    if seconds < 9.95:
        return f"{_rounded(seconds, 1)} s"
    if seconds < 99.5:
        return f"{_rounded(seconds, 0)} s"
    return f"{_rounded(seconds / 60, 0)} m" if seconds < 5400 else f"{_rounded(seconds / 3600, 1)} h"


def duration(seconds: float) -> str:
    """`12 m`, `4 h 58 m`, `2 d 3 h`; a part of a minute counts as one."""
    minutes = max(0, math.ceil(seconds / 60))
    if minutes < 60:
        return f"{minutes} m"
    hours = minutes // 60
    return f"{hours} h {minutes % 60} m" if hours < 24 else f"{hours // 24} d {hours % 24} h"
