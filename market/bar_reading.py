"""Reading minute bars: PostgreSQL's binary COPY form becomes arrays as it comes, no number is made a Python object."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

import numpy as np
from django.db import connection
from numpy.typing import NDArray
from psycopg import sql

from market.candle_models import MINUTE_BARS
from market.candle_series import Series

_HEADER_BYTES: Final = 19
_TRAILER_BYTES: Final = 2
_MINUTES: Final = sql.SQL(
    "COPY (SELECT extract(epoch FROM minute)::bigint, open, high, low, close, volume, coalesce(oi, -1) FROM {} "
    "WHERE instrument_id = {} AND minute BETWEEN {} AND {} ORDER BY minute) TO STDOUT (FORMAT BINARY)"
)
# An instrument's minutes come in one piece: row by row, a month of a chain would be half a million of them.
_CLOSES: Final = """
    SELECT instrument_id, string_agg(int8send(extract(epoch FROM minute)::bigint) || float8send(close), ''::bytea)
    FROM market_minutebar WHERE instrument_id = ANY(%s) AND minute BETWEEN %s AND %s GROUP BY instrument_id"""
_PIECE: Final = np.dtype([("start", ">i8"), ("close", ">f8")])

Closes = tuple[NDArray[np.int64], NDArray[np.float64]]
"""Times in Unix seconds, and closes."""


def read_minutes(instrument_id: int, start: datetime, end: datetime) -> Series:
    """The stored minutes of one instrument between two moments (aware), both included."""
    query = _MINUTES.format(
        sql.Identifier(MINUTE_BARS), sql.Literal(instrument_id), sql.Literal(start), sql.Literal(end)
    )
    return Series(*_columns(query, ("i8", "f8", "f8", "f8", "f8", "i8", "i8")))


def read_closes(instrument_ids: Sequence[int], start: datetime, end: datetime) -> dict[int, Closes]:
    """Of each of these instruments that has any: the stored minutes between two moments, both included, in any order,
    in Unix seconds, and their closes.
    """
    with connection.cursor() as cursor:
        cursor.execute(_CLOSES, [list(instrument_ids), start, end])
        found = {key: np.frombuffer(piece, _PIECE) for key, piece in cursor}
    return {key: (rows["start"].astype(np.int64), rows["close"].astype(np.float64)) for key, rows in found.items()}


def _columns(query: sql.Composed, kinds: Sequence[str]) -> list[NDArray[Any]]:
    """The columns of a query's rows, each of eight bytes and never null."""
    layout = np.dtype(
        [("columns", ">i2")]
        + [entry for n, kind in enumerate(kinds) for entry in ((f"size{n}", ">i4"), (f"{n}", f">{kind}"))]
    )
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(query) as copy:
        data = b"".join(copy)
    count = (len(data) - _HEADER_BYTES - _TRAILER_BYTES) // layout.itemsize
    rows = np.frombuffer(data, layout, count, _HEADER_BYTES)
    return [rows[f"{n}"].astype(kind) for n, kind in enumerate(kinds)]
