"""Writing minute bars: arrays become PostgreSQL's binary COPY form, a month's table takes them in.

A bar that is there already is never doubled. The broker's candle takes the place of whatever stood there; a live bar
joins a live one and never touches the broker's. So writing twice is as good as once.

Of one minute several live bars come where a stream was restarted, or an instrument went from one stream process to
another: each saw a part, and says which (`Spans`). Joined, the bar opens with the earliest part and closes with the
latest, and its volume is the day's after the last trade less the day's before the first: what was traded while the
instrument changed hands is in it, and what both saw is in it once. The order in which the parts come does not matter.
A bar of the whole minute needs none of this; beside it a part only widens high and low.
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
_KINDS: Final = {
    "instrument_id": ">i8",
    "minute": ">i8",
    "open": ">f8",
    "high": ">f8",
    "low": ">f8",
    "close": ">f8",
    "volume": ">i8",
    "oi": ">i8",
    "vwap": ">f8",
}
_SPAN_KINDS: Final = {"first_second": ">i2", "last_second": ">i2", "volume_from": ">i8", "volume_until": ">i8"}
_ALL_COLUMNS: Final = ", ".join((*_KINDS, "origin", *_SPAN_KINDS))
_COPY: Final = "COPY {table} ({columns}) FROM STDIN (FORMAT BINARY)"
_NEW: Final = "market_minutebar_new"
_TAKE_PLACE: Final = """
    open = excluded.open, high = excluded.high, low = excluded.low, close = excluded.close,
    volume = excluded.volume, oi = coalesce(excluded.oi, b.oi), vwap = coalesce(excluded.vwap, b.vwap),
    -- That the stream missed a minute stays true, however often the broker is asked for it.
    origin = CASE WHEN b.origin = 'repaired' THEN b.origin ELSE excluded.origin END,
    first_second = NULL, last_second = NULL, volume_from = NULL, volume_until = NULL"""

_OPENS: Final = """b.first_second IS NOT NULL AND (excluded.first_second IS NULL OR
    (excluded.first_second, coalesce(excluded.volume_from, 0)) < (b.first_second, coalesce(b.volume_from, 0)))"""
_CLOSES: Final = """excluded.first_second IS NULL OR b.first_second IS NOT NULL AND
    (excluded.last_second, coalesce(excluded.volume_until, 0)) >= (b.last_second, coalesce(b.volume_until, 0))"""
# Null where one of the two is of the whole minute, or an index, which has no volume.
_TOGETHER: Final = """CASE WHEN b.volume_from + excluded.volume_from IS NOT NULL
    THEN greatest(b.volume_until, excluded.volume_until) - least(b.volume_from, excluded.volume_from) END"""
_BOTH_PARTS: Final = "b.first_second IS NOT NULL AND excluded.first_second IS NOT NULL"
_JOIN: Final = f"""
    open = CASE WHEN {_OPENS} THEN excluded.open ELSE b.open END,
    high = greatest(b.high, excluded.high), low = least(b.low, excluded.low),
    close = CASE WHEN {_CLOSES} THEN excluded.close ELSE b.close END,
    oi = CASE WHEN {_CLOSES} THEN coalesce(excluded.oi, b.oi) ELSE coalesce(b.oi, excluded.oi) END,
    -- What the other part saw too is counted at the stored part's prices.
    vwap = CASE WHEN excluded.vwap IS NULL THEN b.vwap WHEN b.vwap IS NULL THEN excluded.vwap
        WHEN {_TOGETHER} > b.volume
            THEN b.vwap + (excluded.vwap - b.vwap) * (({_TOGETHER}) - b.volume) / ({_TOGETHER})
        WHEN NOT ({_BOTH_PARTS}) AND excluded.volume > b.volume THEN excluded.vwap ELSE b.vwap END,
    volume = greatest(b.volume, excluded.volume, {_TOGETHER}),
    first_second = CASE WHEN {_BOTH_PARTS} THEN least(b.first_second, excluded.first_second) END,
    last_second = CASE WHEN {_BOTH_PARTS} THEN greatest(b.last_second, excluded.last_second) END,
    volume_from = CASE WHEN {_BOTH_PARTS} THEN least(b.volume_from, excluded.volume_from) END,
    volume_until = CASE WHEN {_BOTH_PARTS} THEN greatest(b.volume_until, excluded.volume_until) END
    WHERE b.origin = 'live'"""

_MERGE: Final = f"""
    INSERT INTO market_minutebar AS b ({_ALL_COLUMNS}) SELECT {_ALL_COLUMNS} FROM market_minutebar_new
    ON CONFLICT (instrument_id, minute) DO UPDATE SET """  # noqa: S608  (names of our own)


@dataclass(frozen=True, slots=True)
class Spans:
    """What part of each minute its bar is made of: the seconds (0 to 59) of its first and last trade, and the day's
    volume before and after them. All `UNKNOWN` where the bar is of the whole minute, the volumes also of an index.
    """

    first_second: NDArray[np.int64]
    last_second: NDArray[np.int64]
    volume_from: NDArray[np.int64]
    volume_until: NDArray[np.int64]


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
    spans: Spans | None = None
    """None if all are of whole minutes."""

    def __len__(self) -> int:
        return len(self.minute)

    def columns(self) -> dict[str, NDArray[Any]]:
        """By the table's names, without the spans."""
        names = ("instrument", "minute", "open", "high", "low", "close", "volume", "oi", "vwap")
        return dict(zip(_KINDS, (getattr(self, name) for name in names), strict=True))


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
                _copy(MINUTE_BARS, data, with_spans=bars.spans is not None)
        except IntegrityError as exc:
            if not isinstance(exc.__cause__, errors.UniqueViolation):
                raise
            _merge(data, origin, with_spans=bars.spans is not None)
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
    """Rows that lack the same columns have one length: a structured array for each such set, whatever the order."""
    columns = bars.columns()
    lacking = {"oi": bars.oi == UNKNOWN, "vwap": np.isnan(bars.vwap)}
    if bars.spans is not None:
        spans = {name: getattr(bars.spans, name) for name in _SPAN_KINDS}
        columns |= spans
        lacking |= {name: values == UNKNOWN for name, values in spans.items()}
    sets = sum(missing.astype(np.int64) << place for place, missing in enumerate(lacking.values()))
    for one in np.unique(sets).tolist():
        lacks = {name for place, name in enumerate(lacking) if one >> place & 1}
        yield _packed(columns, np.flatnonzero(sets == one), origin.value.encode(), lacks)


def _packed(columns: dict[str, NDArray[Any]], rows: NDArray[np.intp], origin: bytes, lacks: set[str]) -> bytes:
    kinds = _KINDS | {"origin": f"S{len(origin)}"} | (_SPAN_KINDS if "first_second" in columns else {})
    layout: list[tuple[str, str]] = [("columns", ">i2")]
    for name, kind in kinds.items():
        layout += [(f"{name}_size", ">i4")] if name in lacks else [(f"{name}_size", ">i4"), (name, kind)]
    packed = np.empty(len(rows), np.dtype(layout))
    packed["columns"] = len(kinds)
    packed["origin_size"], packed["origin"] = len(origin), origin
    for name, values in columns.items():
        if name in lacks:
            packed[f"{name}_size"] = -1
        else:
            packed[f"{name}_size"] = np.dtype(kinds[name]).itemsize
            packed[name] = values[rows]
    packed["minute"] = (columns["minute"][rows] - _EPOCH) * 1_000_000
    return packed.tobytes()


def _copy(table: str, data: bytes, *, with_spans: bool) -> None:
    columns = _ALL_COLUMNS if with_spans else ", ".join((*_KINDS, "origin"))
    copy_in = _COPY.format(table=table, columns=columns)
    with connection.cursor() as cursor, connection.wrap_database_errors, cursor.copy(copy_in) as copy:
        copy.write(data)


def _merge(data: bytes, origin: Origin, *, with_spans: bool) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE TEMPORARY TABLE IF NOT EXISTS {_NEW} (LIKE {MINUTE_BARS}) ON COMMIT DROP")
        cursor.execute(f"TRUNCATE {_NEW}")
        _copy(_NEW, data, with_spans=with_spans)
        cursor.execute(_MERGE + (_JOIN if origin is Origin.LIVE else _TAKE_PLACE))
