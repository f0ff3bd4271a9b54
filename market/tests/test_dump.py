"""Reading the broker's dump: what is kept, what is reported, what is refused."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from market.dump import COLUMNS, join, read_dump
from market.exceptions import InstrumentsRefused
from market.tests.dumps import HEADER, Row, dump, index, option, stock

GOOD = [index(), stock(), option()]


def symbols(content: bytes) -> list[str]:
    return [line.split("\t")[COLUMNS.index("tradingsymbol")] for line in read_dump(content).lines]


@pytest.mark.parametrize(
    ("broken", "reason"),
    [
        ("", "it has 1 columns, not 12"),
        ("408065,1594,INFY", "it has 3 columns, not 12"),
        (f"{stock('TCS')},surplus", "it has 13 columns, not 12"),
        (Row("TCS", "abc"), "instrument_token is 'abc'"),
        (Row("TCS", "-5"), "instrument_token is '-5'"),
        (Row("TCS", 0), "instrument_token is '0'"),
        (Row("TCS", 2**32), "instrument_token is '4294967296'"),
        (Row("TCS", "٣"), "instrument_token is '٣'"),
        (Row("TCS", 5, lot_size="1.5"), "lot_size is '1.5'"),
        (Row("TCS", 5, strike="nan"), "strike is 'nan'"),
        (Row("TCS", 5, strike="1e5"), "strike is '1e5'"),
        (Row("TCS", 5, tick_size=""), "tick_size is ''"),
        (Row("TCS", 5, tick_size="0.00001"), "tick_size is '0.00001'"),
        (Row("TCS", 5, expiry="2026-02-30"), "expiry is '2026-02-30'"),
        (Row("TCS", 5, expiry="tomorrow"), "expiry is 'tomorrow'"),
        (Row("", 5), "is empty"),
        (Row("TCS", 5, exchange=""), "is empty"),
        (Row("T" * 65, 5), "tradingsymbol is longer than 64"),
        (Row("TCS\x00", 5), "control character"),
        (Row("TCS", 5, name='"unclosed'), "quotes do not match"),
        (Row("X", 5, kind="CE", expiry="2026-12-01"), "an option without a strike"),
        (Row("X", 5, kind="PE", strike=100.0), "an option without an expiry"),
        (stock("INFY"), "NSE:INFY was listed before"),
    ],
)
def test_a_broken_row_is_reported_with_its_line_and_the_others_are_kept(broken: Row | str, reason: str) -> None:
    result = read_dump(dump([*GOOD, broken, stock("SBIN", 779521)]))

    assert len(result.lines) == 4
    assert [problem.line for problem in result.problems] == [5]
    assert reason in result.problems[0].reason


def test_a_row_that_is_not_utf8_is_reported() -> None:
    content = dump([*GOOD]) + str(stock("TCS", 5)).encode().replace(b"TCS", b"TC\xff") + b"\r\n"
    assert str(read_dump(content).problems[0]) == "line 5: it is not UTF-8"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (dump([]), "a header and no rows"),
        (dump(GOOD)[:-1], None),  # even a lost "\n" alone
        (dump(GOOD)[:-20], "cut off"),
        (b'{"status":"error"}\n', "not a dump's header"),
        (dump(GOOD).replace(b"strike", b"price"), "lacks strike"),
        (dump(["x", "y", stock()]), "2 of 3 rows cannot be read"),
    ],
)
def test_a_dump_that_cannot_be_believed_is_refused(content: bytes, reason: str | None) -> None:
    with pytest.raises(InstrumentsRefused, match=reason or "cut off"):
        read_dump(content)


def test_a_download_without_end_is_refused() -> None:
    endless = (b"x" * 2**20 for _ in range(10**6))
    with pytest.raises(InstrumentsRefused, match="larger than 128 MiB"):
        join(endless)


def test_columns_are_found_by_name() -> None:
    rows = list(csv.reader(io.StringIO(dump(GOOD).decode())))
    turned = "".join(",".join(["new", *reversed(row)]) + "\n" for row in rows).encode()

    assert read_dump(turned).lines == read_dump(dump(GOOD)).lines


def test_a_byte_order_mark_and_bare_line_ends_do_no_harm() -> None:
    assert symbols(b"\xef\xbb\xbf" + dump(GOOD).replace(b"\r\n", b"\n")) == ["NIFTY 50", "INFY", "NIFTY26120124500CE"]


def test_a_quoted_name_may_hold_a_comma() -> None:
    assert symbols(dump([Row("M&M", 519937, '"MAHINDRA, AND ""M"""')])) == ["M&M"]


def test_who_stands_in_a_broken_row_is_remembered() -> None:
    result = read_dump(dump([*GOOD, Row("TCS", 5, strike="?"), "2953217,11536,TCS"]))
    assert result.broken_symbols == {("NSE", "TCS")}
    assert result.broken_tokens == {2953217}


good_lines = st.integers(0, 99).map(lambda n: str(stock(f"S{n}", n + 1)).encode())


@given(st.lists(st.binary(max_size=60) | good_lines))
def test_no_line_breaks_the_reader_and_each_is_kept_or_reported(lines: list[bytes]) -> None:
    lines = [line.replace(b"\n", b"") for line in lines]
    content = HEADER.encode() + b"\n" + b"".join(line + b"\n" for line in lines)
    try:
        result = read_dump(content)
    except InstrumentsRefused:
        return
    assert len(result.lines) + len(result.problems) == len(lines)


@given(st.integers(0, 400))
def test_a_dump_cut_anywhere_is_refused_or_lists_only_whole_rows(end: int) -> None:
    whole = dump(GOOD)
    try:
        result = read_dump(whole[:end])
    except InstrumentsRefused:
        return
    assert result.problems == []
    assert result.lines == read_dump(whole).lines[: len(result.lines)]
