"""Whole chains written out as one long table."""

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from hypothesis import given
from hypothesis import strategies as st

from market.chain_export import COLUMNS, lines_of, write_csv
from market.chain_models import OF_AN_OPTION, ChainSnapshot
from market.chain_snapshots import chain_snapshot, record
from market.pricing_rules import REASON_NAMES
from market.tests.test_chain_snapshots import AT, EXPIRY, PRICING, columns, snapshot


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(text)))


def exported(*arguments: str) -> tuple[str, str]:
    """What the command says on standard output and on standard error."""
    out, err = StringIO(), StringIO()
    asked = ["--expiry", "2026-12-01", "--from", "2026-11-24", "--to", "2026-11-24", "--source", "live"]
    call_command("export_chain", "nifty 50", *asked, *arguments, stdout=out, stderr=err)
    return out.getvalue(), err.getvalue()


@pytest.fixture
def kept(db: None) -> None:
    """Three minutes of the day, and what is to stay out: another day, another source."""
    record(snapshot(AT - timedelta(minutes=n), strikes=2) for n in range(3))
    record([snapshot(AT - timedelta(days=1)), snapshot(AT + timedelta(days=1))])
    other: dict[str, Any] = {"underlying": "NIFTY", "expiry": EXPIRY, "at": AT, "pricing": PRICING}
    record([chain_snapshot(**other, source="simulated", columns=columns(np.array([1.0])))])


def test_a_line_is_an_option_of_a_strike_of_a_minute(kept: None) -> None:
    out, err = exported()
    rows = read(out)
    assert tuple(rows[0]) == COLUMNS
    assert [(row["time"][11:16], float(row["strike"]), row["instrument_type"]) for row in rows] == [
        (minute, strike, kind)
        for minute in ("15:27", "15:28", "15:29")
        for strike in (24_450.0, 24_500.0)
        for kind in ("CE", "PE")
    ]
    assert {(row["underlying"], row["expiry"], row["source"]) for row in rows} == {("NIFTY", "2026-12-01", "live")}
    assert rows[0]["time"] == "2026-11-24T15:27:00+05:30"
    assert err == "12 lines of 3 minutes\n"


numbers = st.one_of(st.just(np.nan), st.integers(1, 10**6).map(lambda ticks: round(ticks * 0.05, 2)))


@given(st.lists(st.tuples(numbers, numbers, st.integers(0, 10)), min_size=1, max_size=4))
def test_what_is_read_back_is_what_was_kept(drawn: list[tuple[float, float, int]]) -> None:
    last, bid, reason = (np.repeat([one[n] for one in drawn], 2) for n in range(3))
    some = columns(24_000.0 + 50 * np.arange(len(drawn)), last_price=last, bid=bid, greeks_reason=reason)
    row = chain_snapshot(underlying="X", expiry=EXPIRY, at=AT, source="live", pricing=PRICING, columns=some)
    text: list[str] = []
    assert write_csv([row], text.append) == (1, 2 * len(drawn))
    rows = read("".join(text))
    for place, (strike, side, kind) in enumerate((k, *s) for k in row.strike for s in (("call", "CE"), ("put", "PE"))):
        assert (float(rows[place]["strike"]), rows[place]["instrument_type"]) == (strike, kind)
        for name in OF_AN_OPTION:
            kept = getattr(row, f"{side}_{name}")[row.strike.index(strike)]
            expected = REASON_NAMES[kept] if name == "greeks_reason" else kept
            assert rows[place][name] == ("" if expected is None else str(expected))


def test_an_option_that_does_not_exist_has_no_line() -> None:
    some = {name: values[:1] for name, values in columns(np.array([24_500.0])).items()}
    row = chain_snapshot(underlying="X", expiry=EXPIRY, at=AT, source="live", pricing=PRICING, columns=some)
    assert [line[4] for line in lines_of(row)] == ["CE"]


def test_minutes_are_written_as_they_are_read() -> None:
    """No more than one is held at a time, however many there are."""
    steps: list[str] = []

    def reading() -> Iterator[ChainSnapshot]:
        for n in range(3):
            steps.append("read")
            yield snapshot(AT + timedelta(minutes=n))

    write_csv(reading(), lambda _: steps.append("written"))
    assert steps[:6] == ["read", "written"] * 3


def test_a_file_appears_when_it_is_whole(kept: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = tmp_path / "nifty.csv"
    out, _ = exported("--output", str(output))
    assert out == ""
    assert output.read_text() == exported()[0]
    output.unlink()

    def fails(_: Any) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("market.chain_export.lines_of", fails)
    with pytest.raises(CommandError, match=r"nifty.csv cannot be written: No space left on device"):
        exported("--output", str(output))
    assert list(tmp_path.iterdir()) == []


def test_a_moment_may_be_given_in_place_of_a_date(kept: None) -> None:
    out, _ = exported("--from", "2026-11-24T15:28", "--to", "2026-11-24T09:58:00Z")
    assert {row["time"][11:16] for row in read(out)} == {"15:28"}


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--expiry", "soon"], "--expiry takes a date"),
        (["--expiry", "2026-02-30"], "--expiry takes a date"),
        (["--from", "yesterday"], "--from takes a date"),
        (["--to", "2026-11-24T25:00"], "--to takes a date"),
        (["--from", "2026-11-25"], "--from lies after --to"),
        (["--format", "parquet"], "parquet needs a file"),
        ([], "No live chain of NIFTY 2026-12-01 was kept between 2026-11-24 00:00 and 2026-11-24 23:59"),
    ],
)
def test_what_makes_no_sense_or_finds_nothing_is_said(arguments: list[str], says: str) -> None:
    with pytest.raises(CommandError, match=says):
        exported(*arguments)


def test_a_file_that_cannot_be_written_is_said(kept: None, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="cannot be written"):
        exported("--output", str(tmp_path / "nowhere" / "nifty.csv"))


def test_without_pyarrow_parquet_says_how_to_get_it(
    kept: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(CommandError, match="pip install pyarrow"):
        exported("--format", "parquet", "--output", str(tmp_path / "nifty.parquet"))
    assert list(tmp_path.iterdir()) == []


def test_parquet_holds_what_csv_holds_with_types(kept: None, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    output = tmp_path / "nifty.parquet"
    exported("--format", "parquet", "--output", str(output))
    table = parquet.read_table(output)
    rows = read(exported()[0])
    assert tuple(table.column_names) == COLUMNS
    columns = table.to_pydict()
    assert columns["time"][0] == datetime(2026, 11, 24, 9, 57, tzinfo=UTC)
    assert columns["expiry"] == [date(2026, 12, 1)] * len(rows)
    for name in ("strike", "last_price", "bid", "ask", "oi"):
        assert [str(value) for value in columns[name]] == [row[name] for row in rows]
    for name in ("delta", "implied_volatility"):
        assert columns[name] == pytest.approx([float(row[name]) for row in rows], rel=1e-6)
    assert columns["greeks_reason"] == [None] * len(rows)
