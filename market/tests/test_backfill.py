"""Fetching an underlying's minutes ahead of time."""

from datetime import UTC, datetime, timedelta
from io import StringIO

import pytest
from celery.exceptions import Retry
from django.core.management import CommandError, call_command

from accounts import clock
from accounts.exceptions import NotSent
from market import candles
from market.backfill import backfill, instruments_of
from market.candle_models import MinuteBar
from market.instruments import import_instruments
from market.tasks import backfill as backfill_task
from market.tests.dumps import dump, future, index, option, stock
from market.tests.test_candles import FakeBroker

pytestmark = pytest.mark.django_db

NOW = datetime(2026, 11, 27, 5, 30, tzinfo=UTC)  # a Friday


@pytest.fixture(autouse=True)
def listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOW)
    import_instruments([dump([index(), stock(), future(), option(token=1), option(kind="PE", token=2)])])


@pytest.fixture
def broker(monkeypatch: pytest.MonkeyPatch) -> FakeBroker:
    fake = FakeBroker()
    monkeypatch.setattr(candles, "ask_broker", fake)
    return fake


def test_the_spot_comes_first_and_options_only_when_asked_for() -> None:
    assert [one.tradingsymbol for one in instruments_of("nifty 50", with_options=False)] == [
        "NIFTY 50",
        "NIFTY26DECFUT",
    ]
    assert [one.instrument_type for one in instruments_of("NIFTY", with_options=True)] == ["EQ", "FUT", "CE", "PE"]
    assert instruments_of("NOSUCH", with_options=True) == []


def test_a_run_that_was_stopped_goes_on_where_it_was(broker: FakeBroker) -> None:
    some = instruments_of("NIFTY", with_options=True)

    def stop_at_the_third(done: int, of: int, _: object) -> None:
        assert of == 4
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        backfill(some, 4, on_progress=stop_at_the_third)
    assert len(broker.asked) == 2
    assert backfill(some, 4).missing == {}
    assert len(broker.asked) == 4
    assert set(broker.asked) == {((NOW - timedelta(days=4)).date(), (NOW - timedelta(days=1)).date())}
    assert MinuteBar.objects.count() == 4 * 2 * 4  # four instruments, two minutes, Monday to Thursday


def test_a_worker_that_is_to_stop_ends_between_two_instruments_and_another_goes_on(
    broker: FakeBroker, stopping_worker: None
) -> None:
    with pytest.raises(Retry):
        backfill_task.run("NIFTY", days=4)
    assert broker.asked == []


def test_what_the_broker_does_not_answer_is_named_and_the_rest_is_fetched(broker: FakeBroker) -> None:
    broker.failures = [NotSent("no route")]
    out = StringIO()
    with pytest.raises(CommandError, match="1 instruments are not complete"):
        call_command("backfill", "NIFTY", days=4, stdout=out)
    assert "NSE:NIFTY 50 lacks 2026-11-23 to 2026-11-26: no route" in out.getvalue()
    assert MinuteBar.objects.count() == 8
    call_command("backfill", "NIFTY", days=4, with_options=True, stdout=out)
    assert "4 instruments" in out.getvalue()


@pytest.mark.parametrize(("underlying", "days"), [("NOSUCH", 30), ("NIFTY", 0), ("NIFTY", 401)])
def test_a_run_that_makes_no_sense_is_refused(broker: FakeBroker, underlying: str, days: int) -> None:
    with pytest.raises(CommandError):
        call_command("backfill", underlying, days=days)
    assert broker.asked == []


def test_the_task_does_the_same_and_can_run_twice(broker: FakeBroker) -> None:
    for _ in range(2):
        backfill_task.apply(args=("NIFTY",), kwargs={"days": 2}, throw=True)
    assert len(broker.asked) == 2
