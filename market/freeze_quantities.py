"""The largest quantity that an exchange takes in one order. No interface tells it: it comes from the project's file.

The exchanges review the figures monthly. Where the file says nothing (shares, contracts on shares), nothing is known
here and the broker decides.
"""

import csv
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from pathlib import Path

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from market.models import Instrument

FILE = "freeze_quantities.csv"
Rows = Mapping[tuple[str, str], list[tuple[date, int]]]


def freeze_quantity(instrument: Instrument, day: date) -> int | None:
    """In units, as it is in force on `day`; None if nobody has told.

    Raises
    ------
    ImproperlyConfigured
        The file cannot be read; the message names the line.
    """
    known = _read(Path(settings.MARKET_DATA_DIR) / FILE).get((instrument.exchange, instrument.name), [])
    return next((quantity for since, quantity in reversed(known) if since <= day), None)


def largest_order(freeze: int, lot_size: int) -> int:
    """The largest quantity of whole lots that passes."""
    return freeze // max(lot_size, 1) * max(lot_size, 1)


@lru_cache(maxsize=4)
def _read(path: Path) -> Rows:
    found: dict[tuple[str, str], list[tuple[date, int]]] = {}
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            for row in reader:
                try:
                    since, quantity = date.fromisoformat(row["valid_from"]), int(row["freeze_quantity"])
                    if quantity <= 0:
                        raise ValueError(f"{quantity} is no quantity")
                    found.setdefault((row["exchange"], row["name"]), []).append((since, quantity))
                except (KeyError, TypeError, ValueError) as exc:
                    raise ImproperlyConfigured(f"{path}, line {reader.line_num}: {exc!r}") from exc
    except OSError as exc:
        raise ImproperlyConfigured(f"cannot read the exchanges' freeze quantities: {exc}") from exc
    return {market: sorted(rows) for market, rows in found.items()}
