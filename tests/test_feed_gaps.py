"""Outages of the feed from the broker's socket to repaired bars: the real stream process, and the simulated broker."""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.utils import timezone
from pytest_django import Settings

from accounts import clock
from accounts.clock import IST
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from market.calendar_loading import load_calendar
from market.candle_models import MinuteBar
from market.gap_models import FeedGap
from market.gap_refill import refill
from market.models import Instrument
from simulator.control import SimulatorControl
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator, options_for_tests, running, with_control
from tests.feed_simulator import subscribe_shares
from tests.order_processes import OrderProcesses, Process, wait_until

pytestmark = pytest.mark.django_db(transaction=True)

OPENING = datetime(2026, 11, 25, 9, 15, tzinfo=IST)
NOW = datetime(2026, 11, 25, 9, 17, 30, tzinfo=IST)
ANCHOR = time.time()
SHARES = ("INFY", "RELIANCE")


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    options = with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))
    with running(replace(options, market_clock=NOW.isoformat(), market_clock_anchor=ANCHOR)) as simulator:
        yield simulator


@pytest.fixture
def control(simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = simulator.control()
    control.clear()
    yield control
    control.clear()
    control.close()


@pytest.fixture(autouse=True)
def data_account(transactional_db: None, simulator: RunningSimulator, settings: Settings) -> None:
    """An account that is logged in, the calendar, and two shares that are to be streamed."""
    settings.KITE_API_ROOT = simulator.http_root
    settings.MARKET_CLOCK, settings.MARKET_CLOCK_ANCHOR = NOW.isoformat(), ANCHOR
    load_calendar(Path(django_settings.MARKET_DATA_DIR))
    app = KiteApp.objects.create(api_key=DEMO_APP.api_key, label="App")
    owner = User.objects.create_user("asha")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner, is_data=True)
    store_session(account, {"user_id": "AB1234", "access_token": simulator.logged_in().access_token})
    subscribe_shares(simulator, SHARES, NOW.date())


@pytest.fixture
def processes(tmp_path: Path, simulator: RunningSimulator, valkey: "redis.Redis") -> Iterator[OrderProcesses]:
    environment = {
        "KITE_API_ROOT": simulator.http_root,
        "KITE_WS_ROOT": simulator.websocket_root,
        "MARKET_CLOCK": NOW.isoformat(),
        "MARKET_CLOCK_ANCHOR": str(ANCHOR),
        "STREAM_LEASE_SECONDS": "3",
        "STREAM_DRAIN_SECONDS": "4",
    }
    with OrderProcesses(tmp_path, environment) as processes:
        yield processes


def stream(processes: OrderProcesses, name: str) -> Process:
    return processes.start(name, [sys.executable, "manage.py", "run_stream"])


def gaps(**which: Any) -> list[FeedGap]:
    return list(FeedGap.objects.filter(**which).order_by("started_at"))


def later(settings: Settings, minutes: int) -> None:
    """Let market time be further on, here alone, so that nobody has to wait for a minute to be over."""
    settings.MARKET_CLOCK = (clock.now() + timedelta(minutes=minutes)).isoformat()
    settings.MARKET_CLOCK_ANCHOR = time.time()


def test_an_outage_is_in_the_ledger_whatever_ended_it_and_its_bars_are_refilled(
    processes: OrderProcesses, control: SimulatorControl, simulator: RunningSimulator, settings: Settings
) -> None:
    # Started late: absent since the opening, until the first data.
    first = stream(processes, "stream1")
    wait_until(lambda: gaps(cause="absent", status="closed"), 30, "that it came late was not written down")
    [late] = gaps()
    assert (late.feed, late.started_at) == ("AB1234 socket 1", OPENING.astimezone(UTC))
    assert late.ended_at is not None
    assert len(late.instruments) == len(SHARES)

    # A socket that is closed: from the last data to the first.
    time.sleep(0.3)
    assert control.disturb("close")
    wait_until(lambda: gaps(cause="disconnected", status="closed"), 30, "the closed socket was not written down")
    [closed] = gaps(cause="disconnected")
    assert closed.ended_at is not None
    assert late.ended_at < closed.started_at < closed.ended_at

    # A process that dies while nothing comes: the next one closes what it left open, with its own first data.
    control.add("error", on="handshake", status=500)
    assert control.disturb("close")
    wait_until(lambda: gaps(status="open"), 30, "the outage that goes on was not written down")
    first.kill()
    [left] = gaps(status="open")
    control.clear()
    started_at = clock.now()
    second = stream(processes, "stream2")
    wait_until(lambda: not gaps(status="open"), 30, "what a dead process left open stayed open")
    left.refresh_from_db()
    assert left.ended_at is not None
    assert left.ended_at > started_at

    # A process that is killed while all is well: the next one finds until when that was written down.
    second.kill()
    killed_at = clock.now()
    third = stream(processes, "stream3")
    wait_until(lambda: len(gaps(status="closed")) == 4, 30, "the time between two streams was not written down")
    *_, between = gaps()
    assert between.cause == "absent"
    assert between.ended_at is not None
    assert killed_at - timedelta(seconds=11) < between.started_at <= killed_at < between.ended_at
    third.kill()

    # A broker that is away is asked again; its candles take the place of what the stream missed, and are marked.
    later(settings, 5)
    settings.KITE_API_ROOT = "http://127.0.0.1:1"
    assert refill(most=10) == 0
    [failed] = FeedGap.objects.exclude(reason="")
    assert (failed.status, len(failed.remaining)) == ("closed", len(SHARES))
    assert not MinuteBar.objects.filter(origin="repaired").exists()
    settings.KITE_API_ROOT = simulator.http_root
    FeedGap.objects.update(due_at=timezone.now())
    refill(most=100)
    assert [gap.status for gap in gaps()] == ["repaired"] * 4
    touched = {
        minute
        for gap in gaps()
        for minute in range(int(gap.started_at.timestamp()) // 60 * 60, int(gap.ended_at.timestamp()) + 1, 60)  # type: ignore[union-attr]
    }
    kite = simulator.logged_in()
    for share in Instrument.objects.all():
        candles = kite.historical_data(share.instrument_token, OPENING, NOW + timedelta(hours=1), "minute")
        broker = {int(one["date"].timestamp()): one["open"] for one in candles}
        repaired = MinuteBar.objects.filter(instrument=share, origin="repaired")
        assert {int(one.minute.timestamp()) for one in repaired} == touched & broker.keys()
        assert all(one.open == broker[int(one.minute.timestamp())] for one in repaired)
        assert len(repaired) >= 3
    assert sum(gap.bars_refilled for gap in gaps()) >= MinuteBar.objects.filter(origin="repaired").count()
