"""The binary form of lines: what goes in comes out, in JSON too, and no bytes do harm."""

import json
import math
import random
import struct
from decimal import Decimal
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.lines import (
    MISSING_I4,
    MISSING_I8,
    MISSING_U4,
    BadLine,
    Block,
    Column,
    Layout,
    Shape,
    _joined,
    as_json,
    decode,
    encode,
    in_decimals,
    name_of,
    split,
)

HEAD = b'{"part":"nifty:2026-12-01","epoch":7,"seq":12,"kind":"update"}'
LABELS = [None, "stale", "crossed"]
COLUMNS = [
    Column("token", "u4"),
    Column("price", "f8"),
    Column("is_call", "b1"),
    Column("change", "i8"),
    Column("reason", "u1", LABELS),
    Column("flags", "u1"),
    Column("strike", "i4", decimals=2),
]
MOST_I4 = 2**31 - 1

u4 = st.none() | st.integers(0, MISSING_U4 - 1)
i8 = st.none() | st.integers(MISSING_I8 + 1, 2**63 - 1)
price = st.none() | st.floats(allow_nan=False, allow_infinity=False)
strike = st.none() | st.integers(MISSING_I4 + 1, 2**31 - 1).map(lambda paise: paise / 100)
text = st.none() | st.text()
row = st.tuples(u4, price, st.booleans(), i8, st.sampled_from(LABELS), st.integers(0, 255), strike, text)
MISSING: dict[str, Any] = {"token": MISSING_U4, "price": math.nan, "change": MISSING_I8, "strike": MISSING_I4}


def block_of(rows: list[tuple[Any, ...]]) -> Block:
    block = Block(Shape(COLUMNS), len(rows))
    for column, values in zip(COLUMNS, zip(*rows, strict=True), strict=False):
        if column.labels is not None:
            block[column.name][:] = [LABELS.index(value) for value in values]
        else:
            known = [round(value * 100) if column.kind == "i4" and value is not None else value for value in values]
            block[column.name][:] = [MISSING[column.name] if value is None else value for value in known]
    assert block.seal().all()
    return block


def columns_of(rows: list[tuple[Any, ...]]) -> dict[str, list[Any]]:
    names = [*(column.name for column in COLUMNS), "symbol"]
    return {name: [one[place] for one in rows] for place, name in enumerate(names)}


def line_of(rows: list[tuple[Any, ...]], start: int, end: int) -> bytes:
    inline = {"symbol": [one[-1] for one in rows[start:end]]}
    return Layout(COLUMNS).line(HEAD, block_of(rows), start, end, inline)


@given(st.lists(row, min_size=1, max_size=20), st.data())
def test_any_rows_come_out_as_they_went_in(rows: list[tuple[Any, ...]], data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(rows)))
    end = data.draw(st.integers(start, len(rows)))
    line = line_of(rows, start, end)
    expected = json.loads(HEAD) | {"columns": columns_of(rows[start:end])}
    assert decode(line) == expected
    assert json.loads(as_json(line)) == expected
    assert list(json.loads(as_json(line))["columns"]) == list(expected["columns"])


@given(
    st.lists(st.none() | st.integers(-MOST_I4, MOST_I4), min_size=1, max_size=8),
    st.sampled_from([2, 4, 7, 9]),
    st.data(),
)
def test_whole_numbers_come_out_with_the_decimals_that_the_layout_tells(
    numbers: list[int | None], decimals: int, data: st.DataObject
) -> None:
    columns = [Column("price", "i4"), Column("token", "u4")]
    block = Block(Shape(columns), len(numbers))
    block["price"][:] = [MISSING_I4 if number is None else number for number in numbers]
    block["token"][:] = 7
    expected = [None if number is None else number / 10**decimals for number in numbers]
    line = Layout(in_decimals(columns, decimals)).line(HEAD, block, 0, len(numbers))
    assert (
        decode(line)["columns"]
        == json.loads(as_json(line))["columns"]
        == {"price": expected, "token": [7] * len(numbers)}
    )
    # Doubles where the rows have divisors of their own.
    divisors = data.draw(st.lists(st.sampled_from([100.0, 1e4, 1e7]), min_size=len(numbers), max_size=len(numbers)))
    wide = decode(Layout(in_decimals(columns, None)).line(HEAD, block.wide(np.array(divisors)), 0, len(numbers)))
    each = zip(numbers, divisors, strict=True)
    assert wide["columns"]["price"] == [None if number is None else number / divisor for number, divisor in each]


@given(st.integers(1, 9), st.lists(st.integers(0, 2**23 - 1), min_size=1, max_size=50), st.booleans())
def test_a_short_number_is_written_in_json_with_its_own_digits(
    decimals: int, numbers: list[int], is_near_the_end: bool
) -> None:
    values = np.array([2**23 - 1 - number if is_near_the_end else number for number in numbers])
    block = Block(Shape([Column("price", "i4", decimals=decimals)]), len(values))
    block["price"][:] = values
    text = as_json(Layout([Column("price", "i4", decimals=decimals)]).line(b'{"a":1}', block, 0, len(values)))
    assert json.loads(text)["columns"]["price"] == (values / 10.0**decimals).tolist()
    written = text.decode().split("[")[1].split("]")[0].split(",")
    assert [Decimal(one) for one in written] == [Decimal(int(one)).scaleb(-decimals) for one in values]


@pytest.mark.parametrize(
    ("number", "fits"),
    [(21_474_836.47, True), (-21_474_836.47, True), (21_474_836.48, False), (-21_474_836.48, False), (math.inf, False)],
)
def test_a_rounded_number_has_thirty_one_bits(number: float, fits: bool) -> None:
    columns = [Column("theta", "i4", decimals=2, is_rounded=True)]
    block = Block(Shape(columns), 1)
    block["theta"][:] = number
    assert block.seal().tolist() == [fits]
    assert decode(Layout(columns).line(HEAD, block, 0, 1))["columns"]["theta"] == [number if fits else None]


@given(st.lists(st.tuples(st.floats(-3000, 3000), st.integers(-(10**6), 10**6)), min_size=1, max_size=8))
def test_a_rounded_number_may_have_more_decimals_than_are_kept(numbers: list[tuple[float, int]]) -> None:
    columns = [
        Column("strike", "i4"),
        Column("token", "u4"),
        Column("delta", "i4", decimals=6, is_rounded=True),
        Column("theta", "i4", decimals=4, is_rounded=True),
        Column("price", "i4"),
    ]
    block = Block(Shape(columns), len(numbers))
    greeks, paise = zip(*numbers, strict=True)
    block["token"][:] = range(len(numbers))
    block["delta"][:] = greeks
    block["theta"][:] = greeks
    block["strike"][:] = block["price"][:] = paise
    is_in_reach = [abs(np.rint(one * 1e6)) < 2**31 for one in greeks]
    assert block.seal().tolist() == is_in_reach
    expected = {
        "strike": [one / 100 for one in paise],
        "token": list(range(len(numbers))),
        "delta": np.round(greeks, 6).tolist(),
        "theta": np.round(greeks, 4).tolist(),
        "price": [one / 100 for one in paise],
    }
    wide = decode(Layout(in_decimals(columns, None)).line(HEAD, block.wide(100.0), 0, len(numbers)))
    assert wide["columns"] == expected
    if all(is_in_reach):
        assert decode(Layout(in_decimals(columns, 2)).line(HEAD, block, 0, len(numbers)))["columns"] == expected


@given(st.lists(st.dictionaries(st.text(), st.integers(-(2**53), 2**53) | st.text()), max_size=4))
def test_lines_one_behind_the_other_are_told_apart(heads: list[dict[str, Any]]) -> None:
    lines = [encode({"part": "x"} | head | {"columns": {"a": [number]}}) for number, head in enumerate(heads)]
    assert split(b"".join(lines)) == lines
    assert [decode(line)["columns"]["a"] for line in lines] == [[number] for number in range(len(lines))]
    assert all(len(line) % 8 == 0 for line in lines)


def test_every_column_stands_where_the_documentation_says() -> None:
    rows = [(3, 1.5, True, -2, "stale", 4, -0.05, None), (MISSING_U4 - 1, None, False, None, None, 0, None, "B")]
    line = line_of(rows, 0, 2)
    version, size, head, layout, count = struct.unpack_from("<B3xIIII4x", line)
    assert (version, size, head, count) == (1, len(line), len(HEAD), 2)
    assert line[24 : 24 + head] == HEAD
    entries = json.loads(line[24 + head : 24 + head + layout])
    assert entries[0] == ["token", "u4"]
    assert entries[4:6] == [["reason", "u1", LABELS], ["flags", "u1"]]
    assert entries[6:] == [["strike", "i4", 2], ["symbol", "json", [None, "B"]]]
    at = -(-(24 + head + layout) // 8) * 8
    price, nan, change, gap, first, second = struct.unpack_from("<ddqqII", line, at)
    assert (price, math.isnan(nan), change, gap, first, second) == (1.5, True, -2, MISSING_I8, 3, MISSING_U4 - 1)
    assert struct.unpack_from("<ii", line, at + 40) == (-5, MISSING_I4)
    assert line[at + 48 : at + 54] == bytes([1, 0, 1, 0, 4, 0])  # is_call, reason, flags


def test_a_line_without_columns_is_its_head() -> None:
    line = encode({"part": "nifty:2026-12-01:analytics", "epoch": 7, "seq": 12, "analytics": {"max_pain": None}})
    assert name_of(line) == ("nifty:2026-12-01:analytics", 7, 12)
    assert decode(line) == json.loads(as_json(line))
    assert "columns" not in decode(line)


def test_another_version_is_named() -> None:
    line = encode({"part": "x", "epoch": 1, "seq": 1})
    with pytest.raises(BadLine, match="a line of version 2; version 1 is known here"):
        split(line + b"\x02" + line[1:])
    with pytest.raises(BadLine, match="version 123"):  # the JSON of before begins with a brace
        split(b'{"part":"x"}')


@pytest.mark.parametrize(
    "line",
    [
        encode({"columns": {"a": [1, 2], "b": [1]}}),
        encode({"columns": {"a": [1]}})[:-8],
        encode({"part": "x"})[:20],
        b"\x01" + bytes(23),
        Layout([Column("reason", "u1", ["only"])]).line(
            b"{}", block_of([(1, 1.0, True, 1, "crossed", 0, 1.0, None)]), 0, 1
        ),
        _joined(b"{}", b'[["a","i4",10]]', 0),
        _joined(b"{}", b'[["a","json",[' + b"[" * 500 + b"]" * 500 + b"]]]", 1),
        _joined(b"{}", b'[["a","u1",[{"b":1}]]]', 1, [bytes(8)], 8),
    ],
)
def test_what_does_not_fit_is_refused(line: bytes) -> None:
    with pytest.raises(BadLine):
        as_json(line)


def read_all(data: bytes) -> None:
    """Everything that readers do; only a `BadLine` may come of it."""
    try:
        lines = split(data)
    except BadLine:
        return
    for line in lines:
        for read in (name_of, decode, as_json):
            try:
                found = read(line)
            except BadLine:
                continue
            if isinstance(found, bytes):
                json.loads(found)


@given(st.binary(max_size=200))
def test_no_bytes_do_harm(data: bytes) -> None:
    read_all(data)
    read_all(b"\x01" + data)


def test_no_damaged_line_does_harm() -> None:
    dice = random.Random(20261128)
    good = line_of([(3, 1.5, True, -2, "stale", 4, 0.05, "A"), (4, 2.5, False, 2, None, 0, 7.0, "B")], 0, 2)
    for _ in range(5_000):
        bad = bytearray(good)
        for _ in range(dice.randrange(1, 5)):
            bad[dice.randrange(len(bad))] = dice.choice((0, 1, 34, 44, 91, 93, 125, 255, dice.randrange(256)))
        del bad[len(bad) - dice.choice((0, 0, 0, 8, dice.randrange(len(bad)))) :]
        read_all(bytes(bad))


def test_numpy_reads_a_column_where_it_is() -> None:
    line = line_of([(3, 1.5, True, -2, "stale", 4, 0.05, "A"), (4, 2.5, False, 2, None, 0, 7.0, "B")], 0, 2)
    _, _, head, layout, count = struct.unpack_from("<B3xIIII4x", line)
    prices = np.frombuffer(line, "<f8", count, -(-(24 + head + layout) // 8) * 8)
    assert prices.tolist() == [1.5, 2.5]
