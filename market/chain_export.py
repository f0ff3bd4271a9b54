"""Whole chains as one long table, a line per minute, strike and side: CSV, or Parquet where pyarrow is installed.

Rows are read and written as they come: a year takes no more memory than an hour.
"""

import csv
from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime
from io import StringIO
from itertools import islice
from pathlib import Path
from typing import Any, Final, NamedTuple

from accounts.clock import IST
from market.chain_models import GREEKS, OF_AN_OPTION, PRICES, SIDES, ChainSnapshot
from market.exceptions import ParquetUnavailable
from market.pricing_rules import REASON_NAMES

_OF_A_MINUTE: Final = ("underlying_price", "underlying_source", "spot", "time_to_expiry", "source")
COLUMNS: Final = ("time", "underlying", "expiry", "strike", "instrument_type", *OF_AN_OPTION, *_OF_A_MINUTE)
_READ_AT_ONCE: Final = 100  # a megabyte
_ROW_GROUP: Final = 400  # minutes: some sixty thousand lines

Line = tuple[Any, ...]


class Written(NamedTuple):
    """How much an export holds."""

    minutes: int
    lines: int


def snapshots(underlying: str, expiry: date, *, source: str, start: datetime, end: datetime) -> Iterator[ChainSnapshot]:
    """The chains of one expiry that were kept between two moments (aware), both included, in order of time."""
    rows = ChainSnapshot.objects.filter(
        underlying=underlying, expiry=expiry, source=source, minute__gte=start, minute__lte=end
    )
    return rows.order_by("minute").iterator(chunk_size=_READ_AT_ONCE)


def lines_of(snapshot: ChainSnapshot) -> Iterator[Line]:
    """One minute as lines in the order of `COLUMNS`: by strike, the call before the put. None where not known."""
    head = snapshot.minute.astimezone(IST), snapshot.underlying, snapshot.expiry
    tail = tuple(getattr(snapshot, name) for name in _OF_A_MINUTE)
    sides = [
        (kind, zip(*(getattr(snapshot, f"{side}_{name}") for name in OF_AN_OPTION), strict=True))
        for kind, side in SIDES.items()
    ]
    for strike in snapshot.strike:
        for kind, options in sides:
            *values, reason = next(options)
            if reason is not None:  # there is such an option
                yield *head, strike, kind, *values, REASON_NAMES[reason], *tail


def write_csv(rows: Iterable[ChainSnapshot], write: Callable[[str], object]) -> Written:
    """The rows as CSV with a line of names first, minute by minute; what is not known is an empty field."""
    minutes = lines = 0
    text = StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    for row in rows:
        for line in lines_of(row):
            writer.writerow((line[0].isoformat(), *line[1:]))
            lines += 1
        minutes += 1
        write(text.getvalue())
        text.seek(0)
        text.truncate()
    write(text.getvalue())  # the names alone, where there was no row
    return Written(minutes, lines)


def write_parquet(rows: Iterable[ChainSnapshot], path: Path) -> Written:
    """The rows as a Parquet file of the same columns, with their types.

    Raises
    ------
    ParquetUnavailable
        If pyarrow is not installed.
    OSError
        If the file cannot be written.
    """
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as exc:
        raise ParquetUnavailable(
            "Parquet is written by pyarrow, which is not installed here: `.venv/bin/pip install pyarrow`, or take csv"
        ) from exc
    words = pyarrow.dictionary(pyarrow.int32(), pyarrow.string())
    kinds = (
        {"time": pyarrow.timestamp("s", tz="Asia/Kolkata"), "expiry": pyarrow.date32(), "oi": pyarrow.int64()}
        | dict.fromkeys(("strike", *PRICES, "underlying_price", "spot", "time_to_expiry"), pyarrow.float64())
        | dict.fromkeys(GREEKS, pyarrow.float32())
    )
    schema = pyarrow.schema([(name, kinds.get(name, words)) for name in COLUMNS])
    minutes = lines = 0
    remaining = iter(rows)
    with pyarrow.parquet.ParquetWriter(path, schema) as writer:
        while group := list(islice(remaining, _ROW_GROUP)):
            table = [line for row in group for line in lines_of(row)]
            columns = zip(*table, strict=True) if table else ([] for _ in COLUMNS)
            arrays = [pyarrow.array(column, field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pyarrow.Table.from_arrays(arrays, schema=schema))
            minutes += len(group)
            lines += len(table)
    return Written(minutes, lines)
