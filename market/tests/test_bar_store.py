"""Minute bars in the database: what is written, what takes whose place, and the months they lie in."""

import time
from datetime import UTC, date, datetime
from itertools import permutations
from threading import Thread
from typing import Any

import numpy as np
import pytest
from django.db import IntegrityError, connection, transaction
from pytest_django import Settings

from accounts import clock
from market import bar_partitions
from market.bar_store import UNKNOWN, Bars, Spans, months_of, store
from market.candle_models import MinuteBar
from market.models import Instrument
from market.tasks import keep_bar_months

pytestmark = pytest.mark.django_db

MINUTE = int(datetime(2026, 11, 27, 4, 0, tzinfo=UTC).timestamp())
LIVE, HISTORY, REPAIRED = MinuteBar.Origin.LIVE, MinuteBar.Origin.HISTORY, MinuteBar.Origin.REPAIRED


@pytest.fixture
def infy() -> Instrument:
    return Instrument.objects.create(
        exchange="NSE",
        tradingsymbol="INFY",
        instrument_token=408065,
        instrument_type="EQ",
        segment="NSE",
        first_seen=date(2026, 1, 1),
        last_seen=date(2026, 11, 27),
    )


def bars(instrument: Instrument, minutes: list[int], **columns: Any) -> Bars:
    """Bars of 100, 102, 99, 101 unless told otherwise; a scalar is every bar's."""
    spans = columns.pop("spans", None)
    values = {"open": 100.0, "high": 102.0, "low": 99.0, "close": 101.0, "volume": 50, "oi": UNKNOWN, "vwap": np.nan}
    size = len(minutes)
    filled = {name: np.broadcast_to(value, size) for name, value in (values | columns).items()}
    whole: dict[str, Any] = {"volume": np.int64, "oi": np.int64}
    arrays: dict[str, Any] = {name: np.asarray(value, whole.get(name, np.float64)) for name, value in filled.items()}
    return Bars(
        instrument=np.full(size, instrument.pk, np.int64),
        minute=np.array(minutes, np.int64),
        spans=spans,
        **arrays,
    )


def span(first: int, last: int, volume_from: int = UNKNOWN, volume_until: int = UNKNOWN) -> Spans:
    return Spans(*(np.array([value], np.int64) for value in (first, last, volume_from, volume_until)))


def stored() -> list[tuple[Any, ...]]:
    return list(MinuteBar.objects.values_list("open", "high", "low", "close", "volume", "oi", "vwap", "origin"))


def test_a_bar_comes_back_as_it_went_in(infy: Instrument) -> None:
    minutes = [MINUTE, MINUTE + 60, MINUTE + 120, MINUTE + 180]
    oi, vwap = np.array([7, UNKNOWN, 0, UNKNOWN]), np.array([100.35, 100.4, np.nan, np.nan])
    assert store(bars(infy, minutes, close=[99.05, 101, 102, 99], oi=oi, vwap=vwap), LIVE) == 4
    rows = MinuteBar.objects.values_list("minute", "close", "oi", "vwap")
    assert [row[1:] for row in rows] == [(99.05, 7, 100.35), (101, None, 100.4), (102, 0, None), (99, None, None)]
    assert rows[0][0] == datetime.fromtimestamp(MINUTE, UTC)
    assert stored()[0] == (100.0, 102.0, 99.0, 99.05, 50, 7, 100.35, "live")


def test_writing_twice_is_as_good_as_once(infy: Instrument) -> None:
    for _ in range(2):
        store(bars(infy, [MINUTE, MINUTE + 60]), LIVE)
    assert stored() == [(100.0, 102.0, 99.0, 101.0, 50, None, None, "live")] * 2


def test_the_second_half_of_a_minute_widens_the_first(infy: Instrument) -> None:
    store(bars(infy, [MINUTE], oi=5, vwap=100.5), LIVE)
    store(bars(infy, [MINUTE], open=103, high=104, low=98, close=103, volume=20, oi=6, vwap=103.0), LIVE)
    assert stored() == [(100.0, 104.0, 98.0, 103.0, 50, 6, 100.5, "live")]


PARTS: list[dict[str, Any]] = [
    {"open": 100, "high": 105, "low": 99, "close": 104, "volume": 40, "oi": 1, "spans": span(2, 19, 10, 50)},
    {"open": 105, "high": 107, "low": 105, "close": 106, "volume": 30, "oi": 2, "spans": span(21, 40, 50, 80)},
    {"open": 103, "high": 103, "low": 97, "close": 98, "volume": 15, "oi": 3, "spans": span(40, 58, 85, 100)},
]


@pytest.mark.parametrize("order", permutations(range(3)))
def test_the_parts_of_a_minute_join_alike_in_whatever_order_they_come(infy: Instrument, order: tuple[int, ...]) -> None:
    for part in order:
        store(bars(infy, [MINUTE], **PARTS[part]), LIVE)
    for part in order:
        store(bars(infy, [MINUTE], **PARTS[part]), LIVE)
    assert stored() == [(100.0, 107.0, 97.0, 98.0, 90, 3, None, "live")]


def test_two_processes_that_both_saw_a_while_do_not_count_it_twice(infy: Instrument) -> None:
    for volume_from, volume_until, vwap in ((0, 60, 100.0), (40, 100, 110.0)):
        part = span(volume_from // 2, volume_until // 2, volume_from, volume_until)
        store(bars(infy, [MINUTE], volume=60, vwap=vwap, low=90, high=120, spans=part), LIVE)
    [(_, _, _, _, volume, _, vwap, _)] = stored()
    assert (volume, vwap) == (100, pytest.approx(104.0))


@pytest.mark.parametrize("part_comes_first", [True, False])
def test_a_bar_of_the_whole_minute_counts_beside_a_part_of_it(infy: Instrument, part_comes_first: bool) -> None:
    part = bars(infy, [MINUTE], open=103, high=109, low=103, close=103, volume=9, spans=span(0, 1, 0, 9))
    whole = bars(infy, [MINUTE], volume=70, oi=4)
    for one in (part, whole) if part_comes_first else (whole, part):
        store(one, LIVE)
    assert stored() == [(100.0, 109.0, 99.0, 101.0, 70, 4, None, "live")]
    assert list(MinuteBar.objects.values_list("first_second", "volume_until")) == [(None, None)]


def test_the_parts_of_an_index_join_by_time(infy: Instrument) -> None:
    late = bars(infy, [MINUTE], open=7, high=9, low=6, close=8, volume=0, spans=span(30, 59))
    early = bars(infy, [MINUTE], open=5, high=7, low=4, close=6, volume=0, spans=span(0, 29))
    for part in (late, early):
        store(part, LIVE)
    assert stored() == [(5.0, 9.0, 4.0, 8.0, 0, None, None, "live")]


def test_the_brokers_candle_is_of_the_whole_minute(infy: Instrument) -> None:
    store(bars(infy, [MINUTE], **PARTS[0]), LIVE)
    store(bars(infy, [MINUTE], volume=900), HISTORY)
    assert list(MinuteBar.objects.values_list("first_second", "volume_from", "volume")) == [(None, None, 900)]


@pytest.mark.parametrize("wrong", [span(-2, 5), span(9, 5), span(0, 60), span(3, UNKNOWN), span(UNKNOWN, 1)])
def test_a_span_that_makes_no_sense_is_refused(infy: Instrument, wrong: Spans) -> None:
    with pytest.raises(IntegrityError):
        store(bars(infy, [MINUTE], spans=wrong), LIVE)


@pytest.mark.parametrize("origin", [HISTORY, REPAIRED])
def test_the_brokers_candle_takes_the_place_of_a_live_bar_and_keeps_it(
    infy: Instrument, origin: MinuteBar.Origin
) -> None:
    store(bars(infy, [MINUTE], vwap=100.5), LIVE)
    store(bars(infy, [MINUTE, MINUTE + 60], high=110, volume=900), origin)
    store(bars(infy, [MINUTE], high=500, volume=9_000), LIVE)
    assert stored()[0] == (100.0, 110.0, 99.0, 101.0, 900, None, 100.5, origin.value)
    assert len(stored()) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        {"low": 101.5},
        {"high": 100.5},
        {"high": np.inf},
        {"open": np.nan},
        {"low": np.nan},
        {"volume": -1},
        {"oi": -2},
    ],
)
def test_bars_that_make_no_sense_are_refused_whole(infy: Instrument, wrong: dict[str, float]) -> None:
    with pytest.raises(IntegrityError):
        store(bars(infy, [MINUTE, MINUTE + 60], **{name: [value] * 2 for name, value in wrong.items()}), HISTORY)
    assert stored() == []


def test_a_bar_begins_with_its_minute_and_belongs_to_an_instrument(infy: Instrument) -> None:
    with pytest.raises(IntegrityError):
        store(bars(infy, [MINUTE + 1]), LIVE)
    infy.pk += 1
    with pytest.raises(IntegrityError):
        store(bars(infy, [MINUTE]), LIVE)


def tables_with_rows() -> dict[str, int]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tableoid::regclass::text, count(*) FROM market_minutebar GROUP BY 1")
        return dict(cursor.fetchall())


def test_each_month_has_a_table_of_its_own_made_when_it_is_needed(infy: Instrument) -> None:
    december = int(datetime(2026, 12, 1, tzinfo=UTC).timestamp())
    store(bars(infy, [december - 60, december]), HISTORY)
    assert tables_with_rows() == {"market_minutebar_2026_11": 1, "market_minutebar_2026_12": 1}
    assert {date(2026, 11, 1), date(2026, 12, 1)} <= set(bar_partitions.existing())


def test_what_lay_in_the_table_of_the_rest_moves_into_its_month(infy: Instrument) -> None:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO market_minutebar VALUES (%s, '2031-05-05 04:00+00', 1, 1, 1, 1, 1, NULL, NULL, 'live')",
            [infy.pk],
        )
    assert tables_with_rows() == {"market_minutebar_rest": 1}
    assert date(2031, 5, 1) in bar_partitions.ensure_ahead()
    assert tables_with_rows() == {"market_minutebar_2031_05": 1}
    assert bar_partitions.ensure([date(2031, 5, 1)]) == []


def test_months_are_made_ahead_and_dropped_when_they_are_old(infy: Instrument, settings: Settings) -> None:
    settings.MINUTE_BARS_DAYS = 100
    now = clock.now()
    ancient, recent = int(now.timestamp()) // 60 * 60 - 140 * 86_400, int(now.timestamp()) // 60 * 60 - 60
    store(bars(infy, [ancient, recent]), HISTORY)
    keep_bar_months()
    assert [minute.timestamp() for minute in MinuteBar.objects.values_list("minute", flat=True)] == [recent]
    months = bar_partitions.existing()
    this_month = bar_partitions.month_of(now.date())
    assert months[-1] >= bar_partitions.next_month(bar_partitions.next_month(this_month))
    assert months_of(np.array([ancient]))[0] not in months
    keep_bar_months()
    assert bar_partitions.existing() == months


@pytest.mark.django_db(transaction=True)
def test_of_two_who_need_a_month_at_once_one_makes_it() -> None:
    month, made_by_other = date(2021, 3, 1), []

    def need_it() -> None:
        try:
            made_by_other.append(bar_partitions.ensure([month]))
        finally:
            connection.close()

    other = Thread(target=need_it)
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            assert bar_partitions.ensure([month]) == [month]
            other.start()
            for _ in range(500):
                cursor.execute("SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
                if cursor.fetchone() or not other.is_alive():
                    break
                time.sleep(0.02)
        other.join(10)
        assert made_by_other == [[]]
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"DROP TABLE {bar_partitions.table_of(month)}")


def test_nothing_to_write_is_nothing_written(infy: Instrument) -> None:
    assert store(bars(infy, []), LIVE) == 0
