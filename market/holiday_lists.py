"""An exchange's own list of holidays: text in, dates out. Pure.

Exchanges publish their lists as tables, of which people make CSV files; the National Stock Exchange has JSON as well.
Both are read here. A CSV needs a column of dates (`Date`, `Trading Date`, …) and may have the occasion (`Description`,
`Holiday`, …) and, as the commodity exchange has it, what the morning and the evening session do (`Open` or `Closed`).
A list of one year says of all other weekdays of that year that they are ordinary.
"""

import csv
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any, Final

from market.exceptions import HolidayListInvalid

MOST_BYTES: Final = 1 << 20
FEWEST_HOLIDAYS: Final = 5  # no exchange's year has fewer: a shorter list is a part of one
# The words of the NSE's JSON for the segments that this service knows.
NSE_SEGMENTS: Final = {"NSE": "CM", "NFO": "FO", "CDS": "CD"}
_DATE_FORMS: Final = ("%Y-%m-%d", "%d-%b-%Y", "%d-%B-%Y", "%d/%m/%Y", "%d-%m-%Y", "%d %b %Y", "%d %B %Y", "%B %d, %Y")
_DATES: Final = ("date", "tradingdate", "holidaydate", "day and date")
_NAMES: Final = ("description", "holiday", "holidays", "occasion", "holidayname", "name")
_MORNING: Final = ("morningsession", "morning")
_EVENING: Final = ("eveningsession", "evening")


@dataclass(frozen=True, slots=True)
class Holiday:
    """One line of a list. `evening_open`: the morning is a holiday, the evening is traded."""

    date: date
    name: str
    evening_open: bool = False


def read_list(content: bytes, *, exchange: str) -> list[Holiday]:
    """The holidays of one year, in order of date.

    Raises
    ------
    HolidayListInvalid
        If it is no such list, is of more than one year, or is too short to be a whole year's.
    """
    if len(content) > MOST_BYTES:
        raise HolidayListInvalid(f"it is larger than {MOST_BYTES >> 10:,} KiB: this is something else")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise HolidayListInvalid(f"it is not text in UTF-8: {exc}") from exc
    rows = _json_rows(text, exchange) if text.lstrip().startswith("{") else _csv_rows(text)
    holidays = sorted({holiday.date: holiday for holiday in _read(rows)}.values(), key=lambda one: one.date)
    years = sorted({holiday.date.year for holiday in holidays})
    if len(years) > 1:
        raise HolidayListInvalid(f"it is of more than one year: {', '.join(map(str, years))}. Import them one by one")
    if len(holidays) < FEWEST_HOLIDAYS:
        raise HolidayListInvalid(
            f"it names {len(holidays)} holidays, and no exchange has fewer than {FEWEST_HOLIDAYS} in a year: "
            "a part of a list would call the other holidays open"
        )
    return holidays


def _json_rows(text: str, exchange: str) -> list[tuple[str, Mapping[str, Any]]]:
    segment = NSE_SEGMENTS.get(exchange)
    try:
        data = json.loads(text)
    except ValueError as exc:
        raise HolidayListInvalid(f"it is no JSON: {exc}") from exc
    rows = data.get(segment) if segment and isinstance(data, dict) else None
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise HolidayListInvalid(f"it has no list of {exchange} ({segment or 'which the NSE has none of'})")
    return [(f"{segment}, entry {number}", _named(row)) for number, row in enumerate(rows, start=1)]


def _csv_rows(text: str) -> list[tuple[str, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text), restkey="")
    try:
        return [(f"line {reader.line_num}", _named(row)) for row in reader if any(map(_is_text, row.values()))]
    except csv.Error as exc:
        raise HolidayListInvalid(f"line {reader.line_num}: {exc}") from exc


def _read(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterable[Holiday]:
    for where, row in rows:
        written = _first(row, _DATES)
        if written is None:
            raise HolidayListInvalid(f"{where}: there is no date; the columns are {', '.join(row) or 'none'}")
        morning, evening = (_is_open(where, _first(row, names)) for names in (_MORNING, _EVENING))
        if morning:
            raise HolidayListInvalid(
                f"{where}: the morning of {written} is traded. Such days are entered in the admin, with their hours"
            )
        yield Holiday(_date(where, written), (_first(row, _NAMES) or "")[:100], evening_open=bool(evening))


def _named(row: Mapping[str | None, Any]) -> dict[str, str]:
    return {
        re.sub(r"[^a-z]", "", str(name).lower()): " ".join(str(value).split())
        for name, value in row.items()
        if name and _is_text(value)
    }


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip(" \t*-–"))


def _first(row: Mapping[str, str], names: Iterable[str]) -> str | None:
    return next((row[key] for name in names if (key := re.sub(r"[^a-z]", "", name)) in row), None)


def _is_open(where: str, word: str | None) -> bool | None:
    if word is None:
        return None
    if word.lower() not in {"open", "closed"}:
        raise HolidayListInvalid(f"{where}: a session is Open or Closed, not {word[:20]!r}")
    return word.lower() == "open"


def _date(where: str, written: str) -> date:
    plain = re.sub(r"^[A-Za-z]+day,?\s+", "", written)  # the day of the week may stand before it
    for form in _DATE_FORMS:
        try:
            return datetime.strptime(plain, form).date()  # noqa: DTZ007  (a date has no time zone)
        except ValueError:
            continue
    raise HolidayListInvalid(f"{where}: {written[:40]!r} is no date like 26-Jan-2027 or 2027-01-26")
