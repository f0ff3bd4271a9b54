"""What a line says after packets of each mode, beside what the official client makes of the same frames."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from kiteconnect import KiteTicker

from market.lines import as_json, split
from streaming.depth import book_of
from streaming.pricing import PricingSettings
from streaming.snapshots import PartEncoder
from streaming.tests import chain, frames
from streaming.tests.chain import FUTURE_TOKEN, INDEX_TOKEN, NOW, option_token, tick
from streaming.tests.test_snapshots import MOMENT, STAMP
from streaming.tests.ws_schemas import check

official = KiteTicker("key", "token")

CALL = option_token(25_000.0, "CE")
BOOK = [
    *((75 * level, 10_000 - 5 * level, level) for level in range(1, 6)),
    *((150 * level, 10_000 + 5 * level, level + 1) for level in range(1, 6)),
]
THIN_BOOK = [*BOOK[:2], *[(0, 0, 0)] * 3, *BOOK[5:6], *[(0, 0, 0)] * 4]
FULL: dict[str, Any] = {
    "volume": 900,
    "oi": 1_500,
    "last_trade_time": NOW - 2,
    "exchange_timestamp": NOW,
    "close": 9_900,
}

# What the official client calls it, by the line's columns.
NAMES = {
    "last_price": "last_price",
    "change_percent": "change",
    "average_traded_price": "average_traded_price",
    "volume_traded": "volume_traded",
    "oi": "oi",
    "last_trade_time": "last_trade_time",
    "exchange_timestamp": "exchange_timestamp",
}
CASES = [
    pytest.param(frames.ltp(CALL, 10_005), {"last_price"}, id="ltp"),
    pytest.param(
        frames.quote(CALL, 10_005, close=9_900, volume=900),
        {"last_price", "change_percent", "average_traded_price", "volume_traded", "open", "high", "low", "close"},
        id="quote",
    ),
    pytest.param(
        frames.full(CALL, 10_005, depth=BOOK, **FULL), {*NAMES, "open", "high", "low", "close", "depth"}, id="full"
    ),
    pytest.param(
        frames.full(FUTURE_TOKEN, 2_510_000, depth=THIN_BOOK, **FULL | {"close": 2_500_000}),
        {*NAMES, "open", "high", "low", "close", "depth"},
        id="full, a thin book",
    ),
    pytest.param(
        frames.index(INDEX_TOKEN, 2_500_000, close=2_490_000),
        {"last_price", "change_percent", "open", "high", "low", "close"},
        id="index, quote",
    ),
    pytest.param(
        frames.index(INDEX_TOKEN, 2_500_000, close=2_490_000, exchange_timestamp=NOW),
        {"last_price", "change_percent", "open", "high", "low", "close", "exchange_timestamp"},
        id="index, full",
    ),
]


def row_of(packet: bytes, *, depth_levels: int) -> dict[str, Any]:
    """The row that a line has after this packet alone, read from the line's JSON, which is checked."""
    table = chain.table()
    applied = tick(table, packet)
    assert applied.accepted == 1
    encoder = PartEncoder(table, PricingSettings(), depth_levels=depth_levels)
    changed = table.instruments.parts_of(applied.slots)
    [line] = encoder.encode_flush(changed, (), MOMENT, STAMP).values()
    [one] = split(line.data)
    read: dict[str, Any] = json.loads(as_json(one))
    check("part-line", read)
    return {name: values[0] for name, values in read["columns"].items()}


def told_by_official(packet: bytes) -> dict[str, Any]:
    """The official client's tick by our names; a level of depth that is empty is left out."""
    theirs: dict[str, Any]
    [theirs] = official._parse_binary(frames.frame(packet))
    told = {ours: theirs[name] for ours, name in NAMES.items() if name in theirs}
    for name in ("last_trade_time", "exchange_timestamp"):
        if name in told:
            told[name] = int(told[name].timestamp())
    return {**told, **theirs.get("ohlc", {}), "depth": theirs.get("depth", {})}


def levels_of(told: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for side, name in (("bid", "buy"), ("ask", "sell")):
        for number, level in enumerate(told["depth"].get(name, []), start=1):
            suffix = "" if number == 1 else f"_{number}"
            empty = level["price"] == 0
            yield f"{side}{suffix}", None if empty else level["price"]
            yield f"{side}_quantity{suffix}", None if empty else level["quantity"]
            yield f"{side}_orders{suffix}", None if empty else level["orders"]


@pytest.mark.parametrize(("packet", "known"), CASES)
def test_a_line_says_what_the_official_client_says_of_the_same_packet(packet: bytes, known: set[str]) -> None:
    row, told = row_of(packet, depth_levels=5), told_by_official(packet)
    for name in known - {"depth"}:
        assert row[name] == pytest.approx(told[name], abs=5e-5 if name == "change_percent" else 0), name
    if "depth" in known:
        book = dict(levels_of(told))
        assert len(book) == 30
        assert {name: row[name] for name in book} == book


@pytest.mark.parametrize(("packet", "known"), CASES)
def test_what_a_mode_does_not_send_is_null(packet: bytes, known: set[str]) -> None:
    row = row_of(packet, depth_levels=5)
    market = {*NAMES, "open", "high", "low", "close"}
    assert {name for name in market if row[name] is not None} == known - {"depth"}
    book = {"bid", "ask", "bid_quantity", "ask_quantity", *(column.name for column in book_of(5).further_columns)}
    assert all(row[name] is None for name in book) is ("depth" not in known)


@pytest.mark.parametrize("levels", range(1, 6))
def test_a_line_has_as_many_levels_as_the_stream_is_told_the_best_first(levels: int) -> None:
    row = row_of(frames.full(CALL, 10_005, depth=BOOK, **FULL), depth_levels=levels)
    bids = [row[name] for name in ("bid", "bid_2", "bid_3", "bid_4", "bid_5") if name in row]
    offers = [row[name] for name in ("ask", "ask_2", "ask_3", "ask_4", "ask_5") if name in row]
    assert bids == [99.95, 99.9, 99.85, 99.8, 99.75][:levels]
    assert offers == [100.05, 100.1, 100.15, 100.2, 100.25][:levels]
    assert ("bid_orders" in row) is (levels > 1)


@pytest.mark.parametrize("levels", [0, 6])
def test_more_levels_than_the_broker_sends_are_refused(levels: int) -> None:
    with pytest.raises(ValueError, match="sends 1 to 5 levels"):
        PartEncoder(chain.table(), PricingSettings(), depth_levels=levels)
