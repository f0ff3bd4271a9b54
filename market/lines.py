"""A part's line in its binary form: how the stream's lines travel in Redis. Bytes in, bytes or values out; no I/O.

A line is a head (JSON: the part, its place in time, its pricing) and columns, which stand as numpy holds them. Who
serves JSON turns a line into the JSON of `docs/schemas/ws/part-line.json` with `as_json`; who calculates takes
`decode`. Lines tell their own size, so that messages and blobs are lines one behind the other, and appending is
joining. `docs/lines.md` has the form byte for byte.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

VERSION: Final = 1
PREFIX: Final = struct.Struct("<B3xIIII4x")
"""Version, then in bytes the size of the whole line, of its head and of its layout; the number of rows."""
ALIGNMENT: Final = 8

MISSING_U4: Final = 0xFFFF_FFFF
MISSING_I4: Final = -(2**31)
MISSING_I8: Final = -(2**63)
"""What stands for an unknown whole or scaled number. An unknown float is nan; a byte is always known."""
_LARGEST_I4: Final = 2**31 - 1
_MISSING: Final = {"u4": MISSING_U4, "i4": MISSING_I4, "i8": MISSING_I8}

MOST_DECIMALS: Final = 9
_EXACT_IN_SINGLE: Final = 2**23
"""A smaller whole number with its decimals is the only one in reach of its single float, so that it is written with the
same digits, in two thirds of the time.
"""

_DTYPES: Final[dict[str, np.dtype[Any]]] = {
    "f8": np.dtype("<f8"),
    "i8": np.dtype("<i8"),
    "i4": np.dtype("<i4"),
    "u4": np.dtype("<u4"),
    "u1": np.dtype("u1"),
    "b1": np.dtype("?"),
}
_SIZES: Final = (8, 4, 1)
_INLINE: Final = "json"
_ROUNDED: Final = "rounded"
_PLANS_KEPT: Final = 1000
"""Of layouts: a stream writes a few of options, and one with names of each underlying's part."""


class BadLine(ValueError):
    """These bytes are not lines of a version that is known here."""


class Name(NamedTuple):
    """Which line it is: lines of a part are ordered by `(epoch, seq)`."""

    part: str
    epoch: int
    seq: int


@dataclass(frozen=True, slots=True)
class Column:
    """How one column stands in the bytes: `f8`, `i8`, `i4`, `u4`, `u1` or `b1`, little-endian.

    An `i4` holds numbers with so many `decimals` as whole ones. Whoever writes a block writes whole numbers, too, whose
    decimals a layout tells (`in_decimals`); where it `is_rounded` he writes doubles, which may have more.
    `labels` are what the values of a `u1` stand for.
    """

    name: str
    kind: str
    labels: Sequence[str | None] | None = None
    decimals: int | None = None
    is_rounded: bool = False

    def as_list(self) -> list[Any]:
        more = [list(self.labels)] if self.labels is not None else [self.decimals] if self.decimals is not None else []
        return [self.name, self.kind, *more]


def in_decimals(columns: Iterable[Column], decimals: int | None) -> tuple[Column, ...]:
    """The columns of a line whose whole numbers have so many decimals; None: of `Block.wide`, with doubles for them."""

    def told(column: Column) -> Column:
        if column.kind != "i4":
            return column
        return Column(column.name, "f8") if decimals is None else replace(column, decimals=column.decimals or decimals)

    return tuple(map(told, columns))


class Shape:
    """Which columns a block has, and where each of them stands: worked out once for many blocks."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = tuple(columns)
        of_size = {size: _of_size(columns, size) for size in _SIZES}
        self.counts = {size: len(found) for size, found in of_size.items()}
        self.places = {column.name: (column.kind, place) for of in of_size.values() for place, column in enumerate(of)}
        self.fours = {column.name: place for place, column in enumerate(of_size[4])}
        """Where each column of four bytes stands in `Block.fours`."""
        rounded = [column for column in of_size[4] if column.is_rounded]
        self.rounded = [self.fours[column.name] for column in rounded]
        self.scales = np.array([[10.0 ** (column.decimals or 0)] for column in rounded]).reshape(-1, 1)
        self.places |= {column.name: (_ROUNDED, row) for row, column in enumerate(rounded)}

    @cached_property
    def wide(self) -> "Shape":
        return Shape(in_decimals(self.columns, None))


class Block:
    """Columns of many rows in one piece of memory for each width, to be filled and then cut into lines.

    Columns of one width lie one under the other, so that the rows of a part are three slices, whatever the columns.
    Columns that are rounded are written as doubles, nan where there is none, and scaled together by `seal`. Every row
    of every column is to be written.
    """

    def __init__(self, shape: Shape, rows: int) -> None:
        self._shape = shape
        self._rows = rows
        self.widths = {size: np.empty((count, rows), f"V{size}") for size, count in shape.counts.items()}
        self._of_kind = {kind: self.widths[dtype.itemsize].view(dtype) for kind, dtype in _DTYPES.items()}
        self.fours: NDArray[np.int32] = self._of_kind["i4"]
        """All columns of four bytes, to write several at once."""
        self._of_kind[_ROUNDED] = self._doubles = np.empty((len(shape.rounded), rows))

    def __getitem__(self, name: str) -> NDArray[Any]:
        """The column, to be written to."""
        kind, place = self._shape.places[name]
        column: NDArray[Any] = self._of_kind[kind][place]
        return column

    def seal(self) -> NDArray[np.bool_]:
        """Scale what is rounded. Where a row is False, some number of it is too large."""
        fit: NDArray[np.bool_] = np.ones(self._rows, np.bool_)
        with np.errstate(over="ignore", invalid="ignore"):
            scaled = self._doubles * self._shape.scales
            np.rint(scaled, out=scaled)
            highest, lowest = np.fmax.reduce(scaled, axis=None, initial=0), np.fmin.reduce(scaled, axis=None, initial=0)
            if highest > _LARGEST_I4 or lowest < -_LARGEST_I4:
                fit = ~(np.abs(scaled) > _LARGEST_I4).any(axis=0)
                scaled[:, ~fit] = MISSING_I4
            np.copyto(scaled, MISSING_I4, where=np.isnan(scaled))
            self.fours[self._shape.rounded] = scaled
        return fit

    def wide(self, divisor: NDArray[np.float64] | float) -> "Block":
        """The same rows with doubles for scaled numbers; whole ones are divided by each row's `divisor`."""
        wide = Block(self._shape.wide, self._rows)
        for column in self._shape.columns:
            values = self[column.name]
            if column.is_rounded:
                values = np.round(values, column.decimals or 0)
            elif column.kind == "i4":
                values = np.where(values == MISSING_I4, np.nan, values / divisor)
            wide[column.name][:] = values
        return wide


class Layout:
    """The first so many columns of a block as what a line says about its columns."""

    def __init__(self, columns: Sequence[Column]) -> None:
        self.columns = columns
        self.encoded = orjson.dumps([column.as_list() for column in columns])
        self._counts = [(size, len(_of_size(columns, size))) for size in _SIZES]
        self._row = sum(size * count for size, count in self._counts)

    def line(self, head: bytes, block: Block, start: int, end: int, inline: Mapping[str, Sequence[Any]] = {}) -> bytes:
        """The line of the rows from `start` to `end`. `inline` are columns that have no numbers, such as names."""
        encoded = self.encoded
        if inline:
            encoded = encoded[:-1] + b"," + orjson.dumps([[k, _INLINE, v] for k, v in inline.items()])[1:]
        columns = [block.widths[size][:count, start:end].tobytes() for size, count in self._counts]
        rows = end - start
        return _joined(head, encoded, rows, columns, rows * self._row)


def encode(line: Mapping[str, Any]) -> bytes:
    """What `decode` takes apart, for lines of few rows or none: `columns` stand in the layout as they are in JSON."""
    columns: Mapping[str, Sequence[Any]] | None = line.get("columns")
    head = orjson.dumps({name: value for name, value in line.items() if name != "columns"})
    if columns is None:
        return _joined(head, b"", 0)
    rows = len(next(iter(columns.values()), ()))
    return _joined(head, orjson.dumps([[name, _INLINE, values] for name, values in columns.items()]), rows)


def _joined(head: bytes, layout: bytes, rows: int, columns: Sequence[bytes] = (), size: int = 0) -> bytes:
    """The pieces as a line; `size` is that of all columns, in bytes."""
    gap = -(len(head) + len(layout)) % ALIGNMENT  # the prefix is aligned itself
    inner = len(head) + len(layout) + gap + size
    end = -inner % ALIGNMENT
    prefix = PREFIX.pack(VERSION, PREFIX.size + inner + end, len(head), len(layout), rows)
    return b"".join((prefix, head, layout, bytes(gap), *columns, bytes(end)))


# --- reading ----------------------------------------------------------------------------------------------------------


def split(data: bytes) -> list[bytes]:
    """Lines that stand one behind the other (a message, a blob), each by itself.

    Raises
    ------
    BadLine
        If they do not fill the bytes, or one is of another version.
    """
    lines = []
    at = 0
    while at < len(data):
        size = _prefix(data, at)[0]
        lines.append(data[at : at + size])
        at += size
    return lines


def name_of(line: bytes) -> Name:
    """Which line this is. Raises BadLine."""
    head = _loads(head_of(line), dict)
    part, epoch, seq = head.get("part"), head.get("epoch"), head.get("seq")
    if not (isinstance(part, str) and type(epoch) is int and type(seq) is int):
        raise BadLine("the head of a line names no part, epoch and seq")
    return Name(part, epoch, seq)


def head_of(line: bytes) -> bytes:
    """The JSON of everything but the columns. Raises BadLine."""
    _, head, _, _ = _prefix(line, 0)
    return line[PREFIX.size : PREFIX.size + head]


def decode(line: bytes) -> dict[str, Any]:
    """The line as its JSON would be read: columns are lists, None where a value is missing. Raises BadLine."""
    decoded: dict[str, Any] = _loads(head_of(line), dict)
    columns = _columns(line)
    if columns is None:
        return decoded
    return decoded | {"columns": columns}


def as_json(line: bytes) -> bytes:
    """The line as JSON. Raises BadLine."""
    head = _loads(head_of(line), dict)
    if not head:
        raise BadLine("the head of a line is empty")
    columns = _columns(line, to_be_written=True)
    return orjson.dumps(head if columns is None else head | {"columns": columns}, option=orjson.OPT_SERIALIZE_NUMPY)


def _prefix(data: bytes, at: int) -> tuple[int, int, int, int]:
    """The sizes of the line that begins there (whole, head, layout) and its rows, all within the bytes."""
    if data[at] != VERSION:
        raise BadLine(f"a line of version {data[at]}; version {VERSION} is known here")
    if len(data) - at < PREFIX.size:
        raise BadLine("a line ends before its prefix does")
    _, size, head, layout, rows = PREFIX.unpack_from(data, at)
    if size % ALIGNMENT or PREFIX.size + head + layout > size or size > len(data) - at:
        raise BadLine(f"a line of {len(data) - at} bytes tells sizes of {size}, {head} and {layout}")
    return size, head, layout, rows


def _columns(line: bytes, *, to_be_written: bool = False) -> dict[str, NDArray[Any] | list[Any]] | None:
    """The columns as the layout tells them, in its order, as lists; None of a line that has no layout.

    Those `to_be_written` may be arrays, as orjson takes them, and their numbers of half the length where they come out
    the same in decimals.
    """
    size, head, length, rows = _prefix(line, 0)
    if not length:
        return None
    begin = PREFIX.size + head
    plan = _plan(line[begin : begin + length])
    at = begin + length + -(begin + length) % ALIGNMENT
    if at + plan.row * rows > size:
        raise BadLine(f"columns of {rows} rows go beyond the line's end")
    if any(len(values) != rows for values in plan.inline.values()):
        raise BadLine(f"a column that stands in the layout has not a value for each of the {rows} rows")
    found: dict[str, NDArray[Any] | list[Any]] = {name: values.copy() for name, values in plan.inline.items()}
    for width, count in plan.counts:
        words = np.ndarray((count, rows), f"V{width}", line, at)
        at += words.nbytes
        for kind in plan.kinds[width]:
            values = words.view(_DTYPES[kind.name])[kind.places]
            found |= zip(kind.names, _meant(kind, values, to_be_written), strict=True)
    return {name: found[name] for name in plan.names}


class _OfKind(NamedTuple):
    """All columns of one kind of a layout."""

    name: str
    columns: list[Column]
    names: list[str]
    places: NDArray[np.intp]
    """Among the columns of their width."""
    scales: NDArray[np.float64]
    """What scaled ones are to be divided by, shape (columns, 1)."""


class _Plan:
    """What a layout says of where its columns are, worked out once for all lines that have it."""

    def __init__(self, entries: Sequence["Column | _Inline"]) -> None:
        columns = [entry for entry in entries if isinstance(entry, Column)]
        of_size = {size: _of_size(columns, size) for size in _SIZES}
        self.names = [entry.name for entry in entries]
        self.inline = {entry.name: entry.values for entry in entries if isinstance(entry, _Inline)}
        self.counts = [(size, len(found)) for size, found in of_size.items()]
        self.row = sum(size * count for size, count in self.counts)
        self.kinds = {size: list(_by_kind(found)) for size, found in of_size.items()}


@lru_cache(maxsize=_PLANS_KEPT)
def _plan(layout: bytes) -> _Plan:
    return _Plan([_described(entry) for entry in _loads(layout, list)])


def _by_kind(columns: Sequence[Column]) -> Iterator[_OfKind]:
    for kind in {column.kind: None for column in columns}:
        places = [place for place, column in enumerate(columns) if column.kind == kind]
        of_kind = [columns[place] for place in places]
        scales = np.array([[10.0 ** (column.decimals or 0)] for column in of_kind])
        yield _OfKind(kind, of_kind, [column.name for column in of_kind], np.array(places), scales)


class _Inline(NamedTuple):
    name: str
    values: list[Any]


def _described(entry: Any) -> Column | _Inline:
    match entry:
        case [str() as name, "json", list() as values] if _are_plain(values):
            return _Inline(name, values)
        case [str() as name, "f8" | "i8" | "u4" | "u1" | "b1" as kind]:
            return Column(name, kind)
        case [str() as name, "i4", int() as decimals] if 0 < decimals <= MOST_DECIMALS:
            return Column(name, "i4", decimals=decimals)
        case [str() as name, "u1", list() as labels] if _are_plain(labels):
            return Column(name, "u1", labels)
    raise BadLine(f"a column that cannot be read: {str(entry)[:60]}")


def _are_plain(values: list[Any]) -> bool:
    """Whether nothing is nested in them: JSON can be read deeper than it can be written."""
    return not any(isinstance(value, list | dict) for value in values)


def _meant(kind: _OfKind, values: NDArray[Any], to_be_written: bool) -> Sequence[NDArray[Any] | list[Any]]:
    """What the values in the bytes stand for, a row for each column of the kind."""
    if kind.name in ("u1", "b1"):
        plain = list(values) if to_be_written else values.tolist()
        return [
            row if column.labels is None else _labelled(column, of_column)
            for column, row, of_column in zip(kind.columns, plain, values, strict=True)
        ]
    missing = ~np.isfinite(values) if kind.name == "f8" else values == _MISSING[kind.name]
    rows = list(values) if kind.name != "i4" else _unscaled(kind, values, missing, to_be_written)
    if to_be_written and kind.name in ("f8", "i4"):
        return rows  # orjson writes nan as null
    incomplete = missing.any(axis=1).tolist()
    return [
        row if to_be_written and not is_incomplete else _listed(row, of_row if is_incomplete else None)
        for row, of_row, is_incomplete in zip(rows, missing, incomplete, strict=True)
    ]


def _unscaled(
    kind: _OfKind, values: NDArray[np.int32], missing: NDArray[np.bool_], to_be_written: bool
) -> list[NDArray[Any]]:
    """Scaled numbers as floats, nan where they are missing."""
    # The missing one has no counterpart above zero: its absolute value stays below it.
    is_short = np.abs(values).max(axis=1, initial=0) < _EXACT_IN_SINGLE
    if to_be_written and is_short.all():
        return list(_divided(values, kind.scales, missing, np.float32))
    rows = list(_divided(values, kind.scales, missing, np.float64))
    if to_be_written:
        for place in np.flatnonzero(is_short).tolist():
            rows[place] = _divided(values[place], kind.scales[place], missing[place], np.float32)
    return rows


def _divided(
    values: NDArray[np.int32], scales: NDArray[np.float64], missing: NDArray[np.bool_], kind: type[np.floating[Any]]
) -> NDArray[Any]:
    # Divided, not multiplied by an inverse: so they are the floats nearest to the decimal numbers.
    found: NDArray[Any] = values.astype(kind)
    found /= scales.astype(kind)
    np.copyto(found, np.nan, where=missing)
    return found


def _labelled(column: Column, values: NDArray[Any]) -> list[Any]:
    assert column.labels is not None  # noqa: S101 - asked for those that have them
    try:
        if (values == values[:1]).all():  # as nearly always
            return [column.labels[code] for code in values[:1].tolist()] * len(values)
        labels = np.empty(len(column.labels), object)
        labels[:] = column.labels
        found: list[Any] = labels.take(values).tolist()
    except IndexError:
        raise BadLine(f"column {column.name} has values without a label") from None
    return found


def _listed(values: NDArray[Any], missing: NDArray[np.bool_] | None) -> list[Any]:
    found: list[Any] = values.tolist()
    if missing is not None:
        for place in np.flatnonzero(missing).tolist():
            found[place] = None
    return found


def _of_size(columns: Sequence[Column], size: int) -> list[Column]:
    return [column for column in columns if _DTYPES[column.kind].itemsize == size]


def _loads(data: bytes, kind: type) -> Any:
    try:
        found = orjson.loads(data)
    except ValueError as exc:
        raise BadLine(f"a line's head or layout is no JSON: {exc}") from None
    if not isinstance(found, kind):
        raise BadLine("a line's head or layout is not what it should be")
    return found
