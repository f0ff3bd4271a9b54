"""The last session's candles of what is streamed: loaded once, in order of importance, and never in anybody's way."""

import logging
from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal

import pytest
from celery.exceptions import Retry
from kombu.exceptions import OperationalError
from pytest_django import Settings

from accounts import clock
from accounts.clock import IST
from accounts.exceptions import NotSent
from market import calendar, candles
from market.calendar import Calendar
from market.candle_coverage import Kind
from market.candle_models import MinuteBar
from market.candles import Row
from market.hours import SessionDay
from market.models import Instrument
from streaming import tasks
from streaming.models import Subscription
from streaming.tasks import load_last_session, ring_for_last_session
from streaming.tests.conftest import MakeInstrument

MONDAY, FRIDAY = date(2026, 11, 23), date(2026, 11, 20)
SPOT = 25_040.0


class FakeBroker:
    """Two minutes of Friday for every instrument; the index is at `SPOT`."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.days: set[tuple[date, date]] = set()
        self.failures: list[Exception] = []

    def __call__(self, instrument: Instrument, start: datetime, end: datetime, kind: Kind) -> Sequence[Row]:
        self.asked.append(instrument.tradingsymbol)
        self.days.add((start.date(), end.date()))
        if self.failures:
            raise self.failures.pop(0)
        price = SPOT if instrument.segment == "INDICES" else 100.0
        opens = datetime.combine(FRIDAY, time(9, 15), IST)
        prices = dict.fromkeys(("open", "high", "low", "close"), price)
        return [{"date": opens + timedelta(minutes=n), **prices, "volume": 1, "oi": 2} for n in range(2)]


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    fake = FakeBroker()
    monkeypatch.setattr(candles, "ask_broker", fake)
    return fake


@pytest.fixture(autouse=True)
def subscribed(make_instrument: MakeInstrument, monkeypatch: pytest.MonkeyPatch) -> None:
    """Monday before the opening: three strikes of NIFTY are subscribed, its index and future derived; and a share."""
    monkeypatch.setattr(clock, "now", lambda: datetime.combine(MONDAY, time(8, 30), IST).astimezone(UTC))
    days = [
        SessionDay(exchange, segment, FRIDAY, "regular", time(9, 15), time(15, 30), "test", verified=True)
        for exchange, segment in (("NSE", "equity"), ("NFO", "derivatives"))
    ]
    monkeypatch.setattr(calendar, "read_calendar", lambda: Calendar(days))
    make_instrument(256265, "NIFTY 50", name="NIFTY 50", segment="INDICES")
    contract = {"exchange": "NFO", "name": "NIFTY", "expiry": date(2026, 12, 1)}
    make_instrument(11, "NIFTYFUT", instrument_type="FUT", segment="NFO-FUT", **contract)
    asked = [make_instrument(408065, "INFY", name="INFY")]
    for token, strike in ((21, 25_500), (22, 25_000), (23, 25_100)):
        option = {"instrument_type": "CE", "strike": Decimal(strike), "segment": "NFO-OPT"}
        asked.append(make_instrument(token, f"NIFTY{strike}CE", **contract | option))
    make_instrument(99, "TCS", name="TCS")  # nobody asked for it
    Subscription.objects.bulk_create([Subscription(instrument=instrument) for instrument in asked])


def test_the_last_session_is_loaded_once_underlyings_first_then_what_is_nearest_to_the_money(
    broker: FakeBroker,
) -> None:
    load_last_session.apply(throw=True)
    order = ["INFY", "NIFTY 50", "NIFTYFUT", "NIFTY25000CE", "NIFTY25100CE", "NIFTY25500CE"]
    assert broker.asked == order
    assert broker.days == {(FRIDAY, MONDAY - timedelta(days=1))}
    assert MinuteBar.objects.filter(origin="history").count() == 2 * len(order)
    load_last_session.apply(throw=True)
    assert broker.asked == order  # what is stored is not asked for again


@pytest.mark.parametrize(("most", "count"), [(4, 4), (1, 1), (0, 0), (-1, 0)])
def test_it_is_bounded_and_can_be_switched_off(broker: FakeBroker, settings: Settings, most: int, count: int) -> None:
    settings.STREAM_BOOTSTRAP_INSTRUMENTS = most
    load_last_session.apply(throw=True)
    assert len(broker.asked) == count


def test_what_the_broker_does_not_answer_is_asked_again_later_and_the_rest_is_not(
    broker: FakeBroker,
) -> None:
    broker.failures = [NotSent("no route to the broker")]
    with pytest.raises(Retry):
        load_last_session.run()
    asked = len(broker.asked)
    load_last_session.run()
    assert broker.asked[asked:] == ["INFY"]


def test_a_worker_that_is_to_stop_leaves_the_rest_to_another(broker: FakeBroker, stopping_worker: None) -> None:
    with pytest.raises(Retry):
        load_last_session.run()
    assert broker.asked == []


def test_after_some_tries_it_is_left_and_said(broker: FakeBroker, caplog: pytest.LogCaptureFixture) -> None:
    broker.failures = [NotSent("no route to the broker")] * 100
    load_last_session.apply(throw=False, retries=tasks.TRIES - 1)
    assert "the last session of NSE:INFY is not to be had: no route to the broker" in caplog.text


def test_without_a_queue_the_stream_starts_all_the_same(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def away(**_: object) -> None:
        raise OperationalError("no queue")

    monkeypatch.setattr(load_last_session, "apply_async", away)
    with caplog.at_level(logging.WARNING):
        ring_for_last_session()
    assert "nobody was told to fetch the last session's candles: no queue" in caplog.text


def test_switched_off_nothing_is_rung(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> None:
    rung: list[object] = []
    monkeypatch.setattr(load_last_session, "apply_async", lambda **options: rung.append(options))
    ring_for_last_session()
    assert len(rung) == 1
    settings.STREAM_BOOTSTRAP_INSTRUMENTS = 0
    ring_for_last_session()
    assert len(rung) == 1
