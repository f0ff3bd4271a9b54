"""Numbers as people are shown them."""

from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dashboard import formats

numbers = st.floats(min_value=-1e9, max_value=1e9)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (formats.price(184.65), "184.65"),
        (formats.price(-0.5), "−0.50"),
        (formats.fixed(-12.25, 1), "−12.3"),
        (formats.fixed(-120.4, 1), "−120"),
        (formats.fixed(0.00104, 4), "0.0010"),
        (formats.percent(0.118), "11.8"),
        (formats.change(-52.84), "−52.8"),
        (formats.change(112.4), "+112"),
        (formats.change(0.04), "0.0"),
        (formats.compact(65), "65"),
        (formats.compact(7_600), "7.6k"),
        (formats.compact(3_300_000), "33.0L"),
        (formats.compact(21_900_000), "219L"),
        (formats.compact_change(-2_130), "−2.1k"),
        (formats.grouped(1_842_310), "18,42,310"),
        (formats.grouped(24_612.35, 2), "24,612.35"),
        (formats.grouped(812), "812"),
        (formats.signed_grouped(112.4), "+112.40"),
        (formats.strike(24_600.0), "24,600"),
        (formats.strike(152.5), "152.50"),
        (formats.short_date(date(2026, 12, 1), today=date(2026, 11, 25)), "1 Dec"),
        (formats.short_date(date(2028, 3, 30), today=date(2026, 11, 25)), "30 Mar 2028"),
    ],
)
def test_numbers_are_written_as_a_trader_reads_them(written: str, expected: str) -> None:
    assert written == expected


@pytest.mark.parametrize(
    "write",
    [formats.price, formats.percent, formats.change, formats.compact, formats.compact_change, formats.grouped],
)
def test_a_missing_number_is_an_en_dash(write: object) -> None:
    assert write(None) == "–"  # type: ignore[operator]


@given(numbers)
def test_a_count_never_outgrows_its_column(value: float) -> None:
    assert len(formats.compact(min(abs(value), 9e7))) <= 5


@given(numbers)
def test_grouping_only_adds_commas(value: float) -> None:
    text = formats.grouped(value, 2)

    assert float(text.replace(",", "").replace("−", "-")) == pytest.approx(round(value, 2), abs=0.0101)
    assert "-" not in text
