"""Encoding 1,000 option snapshots: from the tick table's columns to bytes, against rows built as dicts and json.dumps.

What is encoded is the same on both sides, checked before the timing: every column of a line of options, at the numbers
that clients see. Binary is timed from columns that are gathered, priced and rounded, as the stream has them: filling
the block, scaling it, and cutting the line out of it. JSON is timed from the columns in that line, as a web process
makes it. Sizes are compared with the same rows.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.harness import Result, compare
from benchmarks.market import MARKET_TIME, RATE, frames_of, market
from market.lines import MISSING_U4, Block, as_json, decode, head_of
from market.pricing_terms import PricingTerms
from streaming.contracts import Instruments
from streaming.packets import decode_window
from streaming.pricing import Moment, PricingSettings
from streaming.snapshots import OPTION_LAYOUT, PartEncoder, Stamp
from streaming.ticks import TickTable

SNAPSHOTS = 1_000
PEER = "rows-json"


def run(rounds: int) -> Iterator[Result]:
    """Microseconds and bytes per snapshot: binary columns (what Redis carries) and columnar JSON (for clients)."""
    head, columns = _snapshots()
    labelled = {column.name: column.labels for column in OPTION_LAYOUT.columns if column.labels is not None}
    codes = {name: _codes(labels, columns[name]) for name, labels in labelled.items()}
    arrays = {name: _array(values) for name, values in columns.items() if name not in codes}

    def binary() -> bytes:
        block = Block(OPTION_LAYOUT.columns, SNAPSHOTS)
        for name, values in (arrays | codes).items():
            block[name][:] = values
        if not block.seal().all():
            raise RuntimeError("not all numbers fit their scale: this is not a measurement")
        return OPTION_LAYOUT.line(head, block, 0, SNAPSHOTS)

    def rows() -> bytes:
        return json.dumps(
            [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        ).encode()

    line = binary()
    if not (decode(line)["columns"] == json.loads(as_json(line))["columns"] == columns and _same(rows(), columns)):
        raise RuntimeError("the forms differ: this is not a measurement")
    for case, ours in (("binary", binary), ("json", partial(as_json, line))):
        yield from _compared(case, ours, rows, rounds)


def _compared(case: str, ours: Callable[[], bytes], peer: Callable[[], bytes], rounds: int) -> Iterator[Result]:
    timing = compare(ours, peer, rounds=rounds)
    micro = 1e6 / SNAPSHOTS
    name = f"{case}-{SNAPSHOTS}"
    yield Result("serialize", name, timing.ours * micro, "us/snapshot", PEER, timing.peer * micro, timing.ratio)
    size, peer_size = len(ours()) / SNAPSHOTS, len(peer()) / SNAPSHOTS
    yield Result("serialize", f"{name}-size", size, "bytes/snapshot", PEER, peer_size, peer_size / size)


def _snapshots() -> tuple[bytes, dict[str, list[Any]]]:
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


def _same(rows: bytes, columns: dict[str, list[Any]]) -> bool:
    found = json.loads(rows)
    return all([row[name] for row in found] == values for name, values in columns.items())


def _codes(labels: Sequence[str | None], values: list[Any]) -> NDArray[np.uint8]:
    return np.array([labels.index(value) for value in values], np.uint8)
