"""Encoding 1,000 option snapshots: from the tick table's columns to bytes, against rows built as dicts and json.dumps.

What is encoded is the same on both sides, checked before the timing: every column of a line of options, at the numbers
that clients see. Binary is timed from columns that are gathered, priced and rounded, as the stream has them: filling
the block, scaling it, and cutting the line out of it. JSON is timed from the columns in that line, as a web process
makes it. Sizes are compared with the same rows.

`depth` is the same with five levels of the book on each side, as the broker's own client has them in its ticks and
typical services send them on: thirty columns more here, ten dicts a row there. Lines of the stream have the best level
only.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Result, compare
from benchmarks.market import MARKET_TIME, RATE, frames_of, market
from market.lines import MISSING_U4, Block, Column, Layout, Shape, as_json, decode, head_of
from market.pricing_terms import PricingTerms
from streaming.contracts import Instruments
from streaming.packets import DEPTH_LEVELS, decode_window
from streaming.pricing import Moment, PricingSettings
from streaming.snapshots import OPTION_LAYOUT, PartEncoder, Stamp
from streaming.ticks import TickTable

SNAPSHOTS = 1_000
PEER = "rows-json"
Columns = dict[str, list[Any]]
_BOOK_COLUMNS = [
    Column(f"{side}_{what}_{level}", kind, decimals=2 if what == "price" else None)
    for what, kind in (("price", "i4"), ("quantity", "u4"), ("orders", "u4"))
    for side in ("buy", "sell")
    for level in range(1, DEPTH_LEVELS + 1)
]


def run(rounds: int) -> Iterator[Result]:
    """Microseconds and bytes per snapshot: binary columns (what Redis carries) and columnar JSON (for clients)."""
    head, columns = _snapshots()
    yield from _contest("", head, columns, OPTION_LAYOUT, partial(_rows, columns), rounds)
    book = _book()
    layout = Layout((*OPTION_LAYOUT.columns, *_BOOK_COLUMNS))
    yield from _contest("-depth", head, columns | book, layout, partial(_rows_with_books, columns, book), rounds)


def _contest(
    suffix: str,
    head: bytes,
    columns: Columns,
    layout: Layout,
    as_rows: Callable[[], list[dict[str, Any]]],
    rounds: int,
) -> Iterator[Result]:
    labelled = {column.name: column.labels for column in layout.columns if column.labels is not None}
    codes = {name: _codes(labels, columns[name]) for name, labels in labelled.items()}
    shape = Shape(layout.columns)
    arrays = {name: _array(values) for name, values in columns.items() if name not in codes}

    def binary() -> bytes:
        block = Block(shape, SNAPSHOTS)
        for name, values in (arrays | codes).items():
            block[name][:] = values
        if not block.seal().all():
            raise RuntimeError("not all numbers fit their scale: this is not a measurement")
        return layout.line(head, block, 0, SNAPSHOTS)

    def rows() -> bytes:
        return json.dumps(as_rows()).encode()

    line = binary()
    if not (decode(line)["columns"] == json.loads(as_json(line))["columns"] == columns and _same(rows(), columns)):
        raise RuntimeError("the forms differ: this is not a measurement")
    for case, ours in ((f"binary-{SNAPSHOTS}{suffix}", binary), (f"json-{SNAPSHOTS}{suffix}", partial(as_json, line))):
        yield from _compared(case, ours, rows, rounds)


def _rows(columns: Columns) -> list[dict[str, Any]]:
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _rows_with_books(columns: Columns, book: Columns) -> list[dict[str, Any]]:
    """As the broker's client has them: each side a list of five levels."""
    found = _rows(columns)
    for row, levels in zip(found, zip(*book.values(), strict=True), strict=True):
        entries = [
            {"quantity": quantity, "price": price, "orders": orders}
            for price, quantity, orders in zip(levels[:10], levels[10:20], levels[20:], strict=True)
        ]
        row["depth"] = {"buy": entries[:DEPTH_LEVELS], "sell": entries[DEPTH_LEVELS:]}
    return found


def _book() -> Columns:
    """Five levels of both sides of each snapshot's book."""
    rng = np.random.default_rng(3)
    bid = np.round(rng.uniform(20, 900, SNAPSHOTS) * 20) / 20
    columns: Columns = {}
    for column in _BOOK_COLUMNS:
        side, what, level = column.name.split("_")
        if what == "price":
            away = 0.05 * int(level) * (-1 if side == "buy" else 1)
            columns[column.name] = np.round(bid + away, 2).tolist()
        else:
            columns[column.name] = rng.integers(1, 300 if what == "orders" else 90_000, SNAPSHOTS).tolist()
    return columns


def _compared(case: str, ours: Callable[[], bytes], peer: Callable[[], bytes], rounds: int) -> Iterator[Result]:
    timing = compare(ours, peer, rounds=rounds)
    micro = 1e6 / SNAPSHOTS
    yield Result("serialize", case, timing.ours * micro, "us/snapshot", PEER, timing.peer * micro, timing.ratio)
    size, peer_size = len(ours()) / SNAPSHOTS, len(peer()) / SNAPSHOTS
    yield Result("serialize", f"{case}-size", size, "bytes/snapshot", PEER, peer_size, peer_size / size)


def _snapshots() -> tuple[bytes, Columns]:
    """The head of a line, and the columns of the first 1,000 options of the market as its JSON has them."""
    source = market()
    instruments = Instruments(source.contracts)
    table = TickTable(instruments)
    window = decode_window(frames_of(source, range(len(source.contracts)), 100, volume=0))
    table.apply(window, received_at=1.0, market_time=MARKET_TIME)
    slots = np.flatnonzero(instruments.is_option)[:SNAPSHOTS]
    encoder = PartEncoder(table, PricingSettings(PricingTerms(rate=RATE)))
    stamp = Stamp("simulated", "live", 1, 1, MARKET_TIME)
    encoded = encoder.encode_flush(instruments.parts_of(slots), (), Moment(MARKET_TIME, 1.0), stamp)
    lines = [line.data for line in encoded.values()]
    tables = [decode(line)["columns"] for line in lines]
    return head_of(lines[0]), {name: [value for one in tables for value in one[name]] for name in tables[0]}


def _array(values: list[Any]) -> NDArray[Any]:
    """The column as the stream holds it: booleans, whole numbers, or doubles; with what stands for a missing one."""
    kind = type(next(value for value in values if value is not None))
    missing = MISSING_U4 if kind is int else np.nan
    return np.array([missing if value is None else value for value in values], np.int64 if kind is int else kind)


def _listed(values: NDArray[Any]) -> list[Any]:
    missing = np.isnan(values) if values.dtype.kind == "f" else values == MISSING_U4
    return [None if m else v for v, m in zip(values.tolist(), missing.tolist(), strict=True)]


def _same(rows: bytes, columns: Columns) -> bool:
    found = json.loads(rows)
    for row in found:
        for side, entries in row.pop("depth", {}).items():
            for level, entry in enumerate(entries, 1):
                row |= {f"{side}_{what}_{level}": value for what, value in entry.items()}
    return all([row[name] for row in found] == values for name, values in columns.items())


def _codes(labels: Sequence[str | None], values: list[Any]) -> NDArray[np.uint8]:
    return np.array([labels.index(value) for value in values], np.uint8)
