"""Candles: fetched once, in the broker's windows, stored, and read from there; over HTTP too."""

import json
import threading
from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connections
from django.test import AsyncClient
from hypothesis import given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from accounts import clock
from accounts.clock import IST
from accounts.exceptions import BudgetExhausted, NotSent, OutcomeUnknown
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from market import candles
from market.bar_store import UNKNOWN, store
from market.calendar_loading import load_calendar
from market.candle_coverage import Kind, add_days, missing_days, windows
from market.candle_models import DayBar, MinuteBar
from market.candle_series import CandleInterval, Series, as_rows, longer
from market.candles import Row, Wanted, prepare, read, read_months
from market.models import Instrument
from market.tests.test_bar_store import bars

OPENS = datetime(2026, 11, 24, 9, 15, tzinfo=IST)
TODAY = datetime(2026, 11, 27, 11, 0, tzinfo=IST)


@pytest.fixture(autouse=True)
def at_eleven(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: TODAY.astimezone(UTC))


def make_infy(**changes: Any) -> Instrument:
    terms: dict[str, Any] = {
        "exchange": "NSE",
        "tradingsymbol": "INFY",
        "instrument_token": 408065,
        "instrument_type": "EQ",
        "segment": "NSE",
        "first_seen": date(2026, 1, 1),
        "last_seen": date(2026, 11, 27),
    }
    return Instrument.objects.create(**terms | changes)


@pytest.fixture
def infy(db: None) -> Instrument:
    return make_infy()


class FakeBroker:
    """Two minutes (or one day) of candles for every weekday, and a list of what was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[date, date]] = []
        self.failures: list[Exception] = []

    def __call__(self, instrument: Instrument, start: datetime, end: datetime, kind: Kind) -> Sequence[Row]:
        self.asked.append((start.date(), end.date()))
        if self.failures:
            raise self.failures.pop(0)
        rows = []
        for n in range((end - start).days + 1):
            day = start + timedelta(days=n)
            if day.weekday() < 5:
                opens = day.replace(hour=9, minute=15)
                times = [opens, opens + timedelta(minutes=1)] if kind is Kind.MINUTE else [day]
                price = {"open": 100.0 + n, "high": 103.0 + n, "low": 99.0 + n, "close": 101.5 + n, "volume": 10}
                rows += [{"date": at, **price, "oi": 5} for at in times]
        return rows


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    fake = FakeBroker()
    monkeypatch.setattr(candles, "ask_broker", fake)
    return fake


def wanted(instrument: Instrument, days: int = 3, *, interval: str = "minute", end: datetime | None = None) -> Wanted:
    last = end or datetime(2026, 11, 26, 23, 59, tzinfo=IST)
    return Wanted(instrument, last - timedelta(days=days - 1, hours=23), last, CandleInterval(interval))


# --- pure -------------------------------------------------------------------------------------------------------------


def series(rows: Sequence[tuple[int, float, float, float, float, int, int]]) -> Series:
    start, *prices, volume, oi = zip(*rows, strict=True) if rows else ([],) * 7
    o, h, low, c = (np.array(values, np.float64) for values in prices)
    return Series(np.array(start, np.int64), o, h, low, c, np.array(volume, np.int64), np.array(oi, np.int64))


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 200), st.integers(1, 9), st.integers(0, 9), st.integers(-1, 5)), max_size=40),
    st.sampled_from([3, 5, 15, 60]),
)
def test_longer_candles_are_what_a_plain_loop_makes_of_the_minutes(
    drawn: list[tuple[int, int, int, int]], step: int
) -> None:
    opens = int(OPENS.timestamp())
    by_minute = {opens + 60 * minute: (price, volume, oi) for minute, price, volume, oi in drawn}
    rows = [(at, p, p + 2.0, p - 1.0, p + 1.0, volume, oi) for at, (p, volume, oi) in sorted(by_minute.items())]
    found = longer(series(rows), step, np.full(len(rows), opens))
    plain: dict[int, list[tuple[int, float, float, float, float, int, int]]] = {}
    for row in rows:
        plain.setdefault(row[0] - (row[0] - opens) % (60 * step), []).append(row)
    expected = [
        (
            start,
            group[0][1],
            max(row[2] for row in group),
            min(row[3] for row in group),
            group[-1][4],
            sum(row[5] for row in group),
            next((row[6] for row in reversed(group) if row[6] != UNKNOWN), UNKNOWN),
        )
        for start, group in plain.items()
    ]
    columns = [getattr(found, name).tolist() for name in Series.__dataclass_fields__]
    assert list(zip(*columns, strict=True)) == expected


def test_rows_are_written_as_the_broker_writes_them() -> None:
    some = series(
        [(int(OPENS.timestamp()), 100.05, 101, 99, 100.1, 7, 3), (int(OPENS.timestamp()) + 60, 1, 1, 1, 1, 0, -1)]
    )
    assert json.loads(b"[" + as_rows(some, oi=True) + b"]") == [
        ["2026-11-24T09:15:00+0530", 100.05, 101, 99, 100.1, 7, 3],
        ["2026-11-24T09:16:00+0530", 1, 1, 1, 1, 0, None],
    ]
    assert as_rows(series([]), oi=False) == b""


def test_stretches_are_cut_into_the_brokers_windows() -> None:
    first = date(2026, 1, 1)
    cut = windows([(first, first + timedelta(days=124)), (date(2026, 8, 1), date(2026, 8, 1))], 60)
    assert [(end - start).days + 1 for start, end in cut] == [60, 60, 5, 1]
    assert all(after[0] == before[1] + timedelta(days=1) for before, after in pairwise(cut[:3]))


# --- stored -----------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_days_that_are_stored_are_added_up(infy: Instrument) -> None:
    def day(n: int) -> date:
        return date(2026, 11, n)

    for stretch in ((day(3), day(5)), (day(6), day(7)), (day(10), day(12)), (day(11), day(11))):
        add_days(infy.pk, Kind.MINUTE, stretch)
    add_days(infy.pk, Kind.MINUTE, None, today_until=TODAY)
    assert missing_days(infy.pk, Kind.MINUTE, day(1), day(15)) == [
        (day(1), day(2)),
        (day(8), day(9)),
        (day(13), day(15)),
    ]
    assert missing_days(infy.pk, Kind.MINUTE, day(3), day(7)) == []
    assert missing_days(infy.pk, Kind.DAY, day(3), day(3)) == [(day(3), day(3))]


def test_what_was_fetched_is_never_fetched_again(infy: Instrument, broker: FakeBroker) -> None:
    assert prepare(wanted(infy)).missing == []
    assert prepare(wanted(infy)).missing == []
    assert broker.asked == [(date(2026, 11, 24), date(2026, 11, 26))]
    prepare(wanted(infy, 5))  # from Sunday on
    assert broker.asked[1:] == [(date(2026, 11, 22), date(2026, 11, 23))]
    assert MinuteBar.objects.filter(instrument=infy, origin="history").count() == 8


def test_larger_candles_count_from_the_opening_of_their_day(infy: Instrument, broker: FakeBroker) -> None:
    asked = wanted(infy, interval="15minute")
    prepare(asked)
    [piece] = read_months(asked)
    found = read(asked, *piece)
    assert [datetime.fromtimestamp(at, IST).hour for at in found.start.tolist()] == [9, 9, 9]
    assert found.volume.tolist() == [20, 20, 20]
    assert found.oi.tolist() == [UNKNOWN] * 3  # a share has none, whatever the broker says


def test_days_are_stored_apart(infy: Instrument, broker: FakeBroker) -> None:
    asked = wanted(infy, 5, interval="day")
    prepare(asked)
    prepare(asked)
    assert len(broker.asked) == 1
    assert list(DayBar.objects.values_list("day", flat=True)) == [date(2026, 11, n) for n in (23, 24, 25, 26)]
    [piece] = read_months(asked)
    assert len(read(asked, *piece)) == 4


def test_a_days_candles_are_asked_for_once_a_minute_until_it_is_over(
    infy: Instrument, broker: FakeBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for minutes, times in ((0, 1), (0, 1), (2, 2)):
        now = TODAY + timedelta(minutes=minutes)
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        prepare(Wanted(infy, TODAY.replace(hour=0), now, CandleInterval.MINUTE))
        assert broker.asked == [(date(2026, 11, 27), date(2026, 11, 27))] * times


def test_the_streams_bars_are_the_tail_of_today(infy: Instrument, broker: FakeBroker) -> None:
    asked = Wanted(infy, TODAY.replace(hour=0), TODAY, CandleInterval.MINUTE)
    add_days(infy.pk, Kind.MINUTE, None, today_until=TODAY - timedelta(minutes=10))
    seconds = int(TODAY.timestamp())
    store(bars(infy, [seconds - 60 * n for n in range(10, 0, -1)]), MinuteBar.Origin.LIVE)
    load_calendar(Path(django_settings.MARKET_DATA_DIR))
    prepare(asked)
    assert broker.asked == []


def test_a_spent_budget_is_waited_for(infy: Instrument, broker: FakeBroker) -> None:
    broker.failures = [BudgetExhausted("used up", retry_after_seconds=0.01)]
    assert prepare(wanted(infy)).missing == []
    assert len(broker.asked) == 2


def test_what_cannot_be_fetched_is_named_and_fetched_next_time(infy: Instrument, broker: FakeBroker) -> None:
    broker.failures = [NotSent("no route to the broker")]
    days = date(2026, 11, 24), date(2026, 11, 26)
    assert prepare(wanted(infy)).missing == [(days, "no route to the broker")]
    assert prepare(wanted(infy)).missing == []


@pytest.mark.parametrize(
    "row", [{}, {"date": "x"}, {"date": OPENS, "open": 1, "high": 1, "low": 1, "close": None, "volume": "many"}]
)
def test_an_answer_that_is_no_candle_is_a_fault_of_the_broker(row: dict[str, Any]) -> None:
    with pytest.raises(OutcomeUnknown):
        candles._series([row], has_oi=True)


def test_candles_that_contradict_themselves_are_left_out_and_a_time_occurs_once() -> None:
    good = {"date": OPENS, "open": 2.0, "high": 3.0, "low": 1.0, "close": 2.5, "volume": 7}
    rows = [good, good | {"date": OPENS + timedelta(minutes=1), "low": 2.2}, good | {"volume": 8}]
    found = candles._series(rows, has_oi=True)
    assert (found.start.tolist(), found.volume.tolist()) == ([int(OPENS.timestamp())], [8])


# --- over HTTP --------------------------------------------------------------------------------------------------------

over_http = pytest.mark.django_db(transaction=True)


@pytest.fixture
def listed(transactional_db: None, async_client: AsyncClient) -> AsyncClient:
    """Somebody who may read, where two instruments are listed."""
    owner = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    TradingAccount.objects.create(kite_user_id="AB1234", label="Asha Rao", app=app, owner=owner)
    make_infy()
    make_infy(exchange="NFO", tradingsymbol="INFY26DECFUT", instrument_type="FUT", expiry=date(2026, 12, 29))
    async_client.force_login(owner)
    return async_client


@pytest.fixture
async def reader(listed: AsyncClient) -> AsyncIterator[AsyncClient]:
    """The same; the thread that reads the database leaves no connection behind."""
    yield listed
    await sync_to_async(connections.close_all)()


async def body_of(answer: Any) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(b"".join([part async for part in answer.streaming_content]))
    return found


async def test_a_range_is_fetched_then_served_as_rows(reader: AsyncClient, broker: FakeBroker) -> None:
    path = "/api/v1/candles?instrument=NSE:INFY&from=2026-09-01&to=2026-11-26T23:59&oi=true"
    for _ in range(2):
        answer = await reader.get(path)
        assert answer.status_code == 200, answer.content
        found = await body_of(answer)
        assert (found["interval"], found["missing"], len(found["candles"])) == ("minute", [], 2 * 63)
        assert found["columns"] == ["time", "open", "high", "low", "close", "volume", "oi"]
        assert found["candles"][0] == ["2026-09-01T09:15:00+0530", 100.0, 103.0, 99.0, 101.5, 10, None]
        assert found["candles"] == sorted(found["candles"])
        assert 0 <= found["age_seconds"] < 60
    assert sorted(broker.asked) == [
        (date(2026, 9, 1), date(2026, 10, 30)),
        (date(2026, 10, 31), date(2026, 11, 26)),
    ]


async def test_without_the_broker_what_is_stored_is_served_and_the_rest_is_named(
    reader: AsyncClient, broker: FakeBroker
) -> None:
    await body_of(await reader.get("/api/v1/candles?instrument=NSE:INFY&from=2026-11-25&to=2026-11-25T23:59"))
    broker.failures = [NotSent("no route"), NotSent("no route")]
    found = await body_of(await reader.get("/api/v1/candles?instrument=NSE:INFY&from=2026-11-24&to=2026-11-25T23:59"))
    assert found["missing"] == [{"from": "2026-11-24", "to": "2026-11-24", "reason": "no route"}]
    assert len(found["candles"]) == 2
    answer = await reader.get("/api/v1/candles?instrument=NSE:INFY&from=2026-10-01&to=2026-10-02")
    assert answer.status_code == 503
    assert answer.json()["error"]["code"] == "candles_unavailable"
    assert answer.json()["error"]["details"]["missing"][0]["from"] == "2026-10-01"


async def test_a_date_alone_is_all_of_its_day(reader: AsyncClient, broker: FakeBroker) -> None:
    found = await body_of(await reader.get("/api/v1/candles?instrument=NSE:INFY&from=2026-11-25&to=2026-11-25"))
    assert [candle[0][:10] for candle in found["candles"]] == ["2026-11-25"] * 2
    assert broker.asked == [(date(2026, 11, 25), date(2026, 11, 25))]


async def test_a_range_without_a_candle_is_empty(reader: AsyncClient, broker: FakeBroker) -> None:
    found = await body_of(await reader.get("/api/v1/candles?instrument=NSE:INFY&from=2026-11-22&to=2026-11-22T23:59"))
    assert (found["candles"], found["missing"]) == ([], [])


@pytest.mark.parametrize(
    ("query", "field", "says"),
    [
        ("instrument=NSE:NOSUCH&from=2026-11-01", "instrument", "no such"),
        ("instrument=INFY&from=2026-11-01", "instrument", ""),
        ("instrument=NSE:INFY", "from", "required"),
        ("instrument=NSE:INFY&from=2026-11-02&to=2026-11-01", "from", "after"),
        ("instrument=NSE:INFY&from=2027-01-01&to=2027-01-02", "from", "future"),
        ("instrument=NSE:INFY&from=2024-01-01", "from", "400 days"),
        ("instrument=NSE:INFY&from=1990-01-01&interval=day", "from", "7320 days"),
        ("instrument=NSE:INFY&from=2026-11-01&interval=2minute", "interval", ""),
        ("instrument=NSE:INFY&from=2026-11-01&interval=day&continuous=true", "continuous", "future"),
        ("instrument=NFO:INFY26DECFUT&from=2026-11-01&continuous=true", "continuous", "days"),
        ("instrument=NSE:INFY&from=2026-11-01&colour=red", "colour", "Unknown"),
        ("instrument=NSE:INFY&from=yesterday", "from", ""),
        ("instrument=NSE:INFY&from=0001-01-01", "from", ""),
    ],
)
async def test_a_query_that_makes_no_sense_is_400_and_names_the_limit(
    reader: AsyncClient, broker: FakeBroker, query: str, field: str, says: str
) -> None:
    answer = await reader.get(f"/api/v1/candles?{query}")
    assert answer.status_code == 400
    assert says in str(answer.json()["error"]["details"][field])
    assert broker.asked == []


# --- through the broker's own client ----------------------------------------------------------------------------------


class Recorded(ThreadingHTTPServer):
    """Answers a candle of each window's first day, in the broker's form."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.queries: list[dict[str, list[str]]] = []


class _Handler(BaseHTTPRequestHandler):
    server: Recorded

    def do_GET(self) -> None:
        split = urlsplit(self.path)
        assert split.path == "/instruments/historical/408065/minute"
        query = parse_qs(split.query)
        self.server.queries.append(query)
        candle = [f"{query['from'][0][:10]}T09:15:00+0530", 100.05, 101, 99.5, 100.1, 700, 0]
        body = json.dumps({"status": "success", "data": {"candles": [candle]}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def recorded(settings: Settings) -> Iterator[Recorded]:
    with Recorded() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        settings.KITE_API_ROOT = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


@over_http
def test_windows_go_through_the_brokers_client_and_its_budget(listed: AsyncClient, recorded: Recorded) -> None:
    account = TradingAccount.objects.get()
    store_session(account, {"user_id": "AB1234", "access_token": "token"})
    asked = wanted(Instrument.objects.get(tradingsymbol="INFY"), 130)
    assert prepare(asked).missing == []
    spans = sorted((query["from"][0], query["to"][0]) for query in recorded.queries)
    assert spans == [
        ("2026-07-20 00:00:00", "2026-09-17 23:59:59"),
        ("2026-09-18 00:00:00", "2026-11-16 23:59:59"),
        ("2026-11-17 00:00:00", "2026-11-26 23:59:59"),
    ]
    assert list(MinuteBar.objects.values_list("open", "volume")) == [(100.05, 700)] * 3
