"""Writing minute bars: arrays become PostgreSQL's binary COPY form, a month's table takes them in.

A bar that is there already is never doubled. The broker's candle takes the place of whatever stood there; a live bar
widens a live one (a stream that was restarted saw the rest of the minute) and never touches the broker's. So writing
twice is as good as once.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
from django.db import IntegrityError, OperationalError, connection, transaction
from numpy.typing import NDArray
from psycopg import errors

from market import bar_partitions
from market.candle_models import MINUTE_BARS, MinuteBar

UNKNOWN: Final = -1
"""In `oi`; an unknown `vwap` is nan."""
Origin = MinuteBar.Origin

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + struct.pack(">ii", 0, 0)
_TRAILER: Final = b"\xff\xff"
_EPOCH: Final = 946_684_800  # PostgreSQL counts from 2000-01-01
_COLUMNS: Final = ("instrument_id", "minute", "open", "high", "low", "close", "volume", "oi", "vwap", "origin")
_KINDS: Final = (">i8", ">i8", ">f8", ">f8", ">f8", ">f8", ">i8", ">i8", ">f8")
_COPY: Final = "COPY {} (" + ", ".join(_COLUMNS) + ") FROM STDIN (FORMAT BINARY)"
_NEW: Final = "market_minutebar_new"
_TAKE_PLACE: Final = """
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    volume = excluded.volume, oi = coalesce(excluded.oi, b.oi), vwap = coalesce(excluded.vwap, b.vwap),
    -- That the stream missed a minute stays true, however often the broker is asked for it.
    origin = CASE WHEN b.origin = 'repaired' THEN b.origin ELSE excluded.origin END"""
# Of the two halves of a minute nobody knows whether they overlap: the greater volume is what is certain.
_WIDEN: Final = """
    high = greatest(b.high, excluded.high), low = least(b.low, excluded.low), close = excluded.close,
    vwap = CASE WHEN excluded.volume > b.volume THEN excluded.vwap ELSE b.vwap END,
    volume = greatest(b.volume, excluded.volume), oi = coalesce(excluded.oi, b.oi)
    WHERE b.origin = 'live'"""

_MERGE: Final = """
    INSERT INTO market_minutebar AS b (instrument_id, minute, open, high, low, close, volume, oi, vwap, origin)
    SELECT instrument_id, minute, open, high, low, close, volume, oi, vwap, origin FROM market_minutebar_new
    ON CONFLICT (instrument_id, minute) DO UPDATE SET {taken}"""


@dataclass(frozen=True, slots=True)
class Bars:
    """Bars as columns of one length. An instrument's minute occurs once.

    `instrument` is `Instrument.pk`; `minute` the beginning in Unix seconds; prices in rupees; `oi` may be `UNKNOWN` and
    `vwap` nan, nothing else may.
    """

    instrument: NDArray[np.int64]
    minute: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.int64]
    oi: NDArray[np.int64]
    vwap: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.minute)

    def columns(self) -> tuple[NDArray[Any], ...]:
        return (
            self.instrument,
            self.minute,
            self.open,
            self.high,
            self.low,
            self.close,
            self.volume,
            self.oi,
            self.vwap,
        )


def store(bars: Bars, origin: Origin) -> int:
    """Write the bars in one transaction, making the months they need; how many there were.

    Raises
    ------
    django.db.Error
        If the database does not take them: nothing was written. `IntegrityError` where a bar makes no sense (a low
        above the close, an instrument that does not exist).
    """
    if not len(bars):
        return 0
    data = encoded(bars, origin)
    with transaction.atomic():
        _make_months(months_of(bars.minute))
        try:
            with transaction.atomic():
                _copy(MINUTE_BARS, data)
        except IntegrityError as exc:
            if not isinstance(exc.__cause__, errors.UniqueViolation):
                raise
            _merge(data, origin)
    return len(bars)


def encoded(bars: Bars, origin: Origin) -> bytes:
    """The bars in PostgreSQL's binary COPY form."""
    return b"".join((_HEADER, *_pieces(bars, origin), _TRAILER))


def months_of(minutes: NDArray[np.int64]) -> list[date]:
    """The months (UTC) in which these Unix seconds lie."""
    months = np.unique(minutes.astype("datetime64[s]").astype("datetime64[M]"))
    return [month.astype("datetime64[D]").item() for month in months]


def _make_months(months: list[date]) -> None:
    """Where somebody is writing instruments, a month cannot be made at once: then the table of the rest takes its bars,
    and the nightly job moves them."""
    try:
        with transaction.atomic():
            bar_partitions.ensure(months)
    except OperationalError as exc:
        if not isinstance(exc.__cause__, errors.LockNotAvailable):
            raise


def _pieces(bars: Bars, origin: Origin) -> Iterator[bytes]:
    """Rows that lack the same columns have one length: four structured arrays at most, whatever the order."""
    has_oi, has_vwap = bars.oi != UNKNOWN, ~np.isnan(bars.vwap)
    for with_oi in (True, False):
        for with_vwap in (True, False):
            rows = np.flatnonzero((has_oi == with_oi) & (has_vwap == with_vwap))
            if rows.size:
                yield _packed(bars, rows, origin.value.encode(), with_oi=with_oi, with_vwap=with_vwap)


def _packed(bars: Bars, rows: NDArray[np.intp], origin: bytes, *, with_oi: bool, with_vwap: bool) -> bytes:
    lacks = {"oi": not with_oi, "vwap": not with_vwap}
    layout: list[tuple[str, str]] = [("columns", ">i2")]
    for name, kind in zip(_COLUMNS, (*_KINDS, f"S{len(origin)}"), strict=True):
        layout.append((f"{name}_size", ">i4"))
        if not lacks.get(name):
            layout.append((name, kind))
    packed = np.empty(len(rows), np.dtype(layout))
    packed["columns"] = len(_COLUMNS)
    for name, values in zip(_COLUMNS, bars.columns(), strict=False):
        if lacks.get(name):
            packed[f"{name}_size"] = -1
        else:
            packed[f"{name}_size"] = 8
            packed[name] = values[rows]
    packed["minute"] = (bars.minute[rows] - _EPOCH) * 1_000_000
    packed["origin_size"] = len(origin)
    packed["origin"] = origin
    return packed.tobytes()


def _copy(table: str, data: bytes) -> None:
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(_COPY.format(table)) as copy:
        copy.write(data)


def _merge(data: bytes, origin: Origin) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {_NEW} (LIKE {MINUTE_BARS}) ON COMMIT DROP")
        cursor.execute(f"TRUNCATE {_NEW}")
        _copy(_NEW, data)
        cursor.execute(_MERGE.format(taken=_WIDEN if origin is Origin.LIVE else _TAKE_PLACE))
