"""Encoding 1,000 option snapshots: from columns to bytes, against rows built as dicts and json.dumps.

Both sides begin with the same columns, as the stream has them: prices that came, and volatilities and Greeks as they
were calculated, with all their digits. The peer writes these, as typical services do. Ours rounds them to what a tick
can tell apart, and every other number comes out as it went in; both is checked before the timing. Binary is timed from
columns: filling the block, rounding, and cutting the line out of it. JSON is timed from the columns in that line, as a
web process makes it. Sizes are compared with the same rows.

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
from market.lines import MISSING_I4, MISSING_U4, Block, Column, Layout, Shape, as_json, decode, head_of, in_decimals
from market.pricing_terms import PricingTerms
from streaming.contracts import Instruments
from streaming.packet_fields import DEPTH_LEVELS, change_percent
from streaming.packets import decode_window
from streaming.pricing import Moment, PricingSettings, on_terms, price_options, price_parts
from streaming.snapshots import GAMMA_DECIMALS, OPTION_COLUMNS, PartEncoder, Stamp
from streaming.ticks import TickTable

SNAPSHOTS = 1_000
PAISE = 2
PEER = "rows-json"
Columns = dict[str, list[Any]]
_BOOK_COLUMNS = [
    Column(f"{side}_{what}_{level}", kind)
    for what, kind in (("price", "i4"), ("quantity", "u4"), ("orders", "u4"))
    for side in ("buy", "sell")
    for level in range(1, DEPTH_LEVELS + 1)
]


def run(rounds: int) -> Iterator[Result]:
    """Microseconds and bytes per snapshot: binary columns (what Redis carries) and columnar JSON (for clients)."""
    head, columns = _snapshots()
    yield from _contest("", head, columns, OPTION_COLUMNS, partial(_rows, columns), rounds)
    book = _book()
    described = (*OPTION_COLUMNS, *_BOOK_COLUMNS)
    yield from _contest("-depth", head, columns | book, described, partial(_rows_with_books, columns, book), rounds)


def _contest(
    suffix: str,
    head: bytes,
    columns: Columns,
    described: Sequence[Column],
    as_rows: Callable[[], list[dict[str, Any]]],
    rounds: int,
) -> Iterator[Result]:
    layout, shape = Layout(in_decimals(described, PAISE)), Shape(described)
    arrays = {column.name: _array(column, columns[column.name]) for column in described}
    # As the stream has what it passes on: one under the other.
    passed = {name: place for name, place in shape.fours.items() if place not in shape.rounded}
    passed_rows, passed_on = list(passed.values()), np.stack([arrays.pop(name).view(np.int32) for name in passed])
    decimals = {column.name: column.decimals for column in described if column.is_rounded} | {"gamma": GAMMA_DECIMALS}

    def binary() -> bytes:
        block = Block(shape, SNAPSHOTS)
        block.fours[passed_rows] = passed_on
        for name, values in arrays.items():
            block[name][:] = values if name != "gamma" else np.round(values, GAMMA_DECIMALS)
        if not block.seal().all():
            raise RuntimeError("not all numbers fit their scale: this is not a measurement")
        return layout.line(head, block, 0, SNAPSHOTS)

    def rows() -> bytes:
        return json.dumps(as_rows()).encode()

    line = binary()
    ours = {name: _rounded(values, decimals[name]) if name in decimals else values for name, values in columns.items()}
    if not (decode(line)["columns"] == json.loads(as_json(line))["columns"] == ours and _same(rows(), columns)):
        raise RuntimeError("the forms differ: this is not a measurement")
    for case, ours_in in (
        (f"binary-{SNAPSHOTS}{suffix}", binary),
        (f"json-{SNAPSHOTS}{suffix}", partial(as_json, line)),
    ):
        yield from _compared(case, ours_in, rows, rounds)


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
    """The head of a line, and the columns of the first 1,000 options of the market, not rounded."""
    source = market()
    instruments = Instruments(source.contracts)
    table = TickTable(instruments)
    window = decode_window(frames_of(source, range(len(source.contracts)), 100, volume=0))
    table.apply(window, received_at=1.0, market_time=MARKET_TIME)
    settings, moment = PricingSettings(PricingTerms(rate=RATE)), Moment(MARKET_TIME, 1.0)
    slots = np.flatnonzero(instruments.is_option)[:SNAPSHOTS]
    changed = instruments.parts_of(slots)
    encoded = PartEncoder(table, settings).encode_flush(
        changed, (), moment, Stamp("simulated", "live", 1, 1, MARKET_TIME)
    )
    lines = [line.data for line in encoded.values()]
    tables = [decode(line)["columns"] for line in lines]
    columns = {name: [value for one in tables for value in one[name]] for name in tables[0]}

    parts = [instruments.parts[name] for name in changed]
    pricings = price_parts(table, on_terms(instruments, parts, settings), moment)
    of_part = np.repeat(np.arange(len(parts)), [len(rows) for rows in changed.values()])
    slots = np.concatenate(list(changed.values()))
    priced = price_options(table, slots, of_part, pricings)
    found = priced.greeks._asdict() | {
        "implied_volatility": priced.implied_volatility,
        "change_percent": change_percent(table["last_price"][slots], table["close"][slots]),
    }
    return head_of(lines[0]), columns | {name: _listed(values) for name, values in found.items() if name in columns}


def _array(column: Column, values: list[Any]) -> NDArray[Any]:
    """The column as the stream holds it: whole numbers, codes of labels, or doubles; with what is for a missing one."""
    if column.labels is not None:
        return np.array([column.labels.index(value) for value in values], np.uint8)
    if column.is_rounded or column.kind == "f8":
        return np.array([np.nan if value is None else value for value in values])
    if column.kind == "i4":
        return np.array([MISSING_I4 if value is None else round(value * 10**PAISE) for value in values], np.int32)
    return np.array([MISSING_U4 if value is None else value for value in values], column.kind.replace("b1", "?"))


def _rounded(values: list[float | None], decimals: int | None) -> list[float | None]:
    return _listed(np.round(np.array(values, np.float64), decimals or 0))


def _listed(values: NDArray[Any]) -> list[float | None]:
    return [None if np.isnan(value) else value for value in values.tolist()]


def _same(rows: bytes, columns: Columns) -> bool:
    found = json.loads(rows)
    for row in found:
        for side, entries in row.pop("depth", {}).items():
            for level, entry in enumerate(entries, 1):
                row |= {f"{side}_{what}_{level}": value for what, value in entry.items()}
    return all([row[name] for row in found] == values for name, values in columns.items())
