"""Candles through the whole way to the simulated broker: a year without a gap, many who ask at once, and a kill."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connections
from pytest_django import Settings

from accounts import clock
from accounts.clock import IST
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from market.calendar import current
from market.calendar_loading import load_calendar
from market.candle_models import CandleCoverage, MinuteBar
from market.candle_series import CandleInterval
from market.candles import Wanted, prepare, read, read_months
from market.models import Instrument
from simulator.control import SimulatorControl
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator, options_for_tests, running, with_control, with_rules
from tests.order_processes import database_url, wait_until
from tests.running import ROOT

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]

NOW = datetime(2026, 11, 25, 10, 42, tzinfo=IST)
YESTERDAY = date(2026, 11, 24)
HISTORICAL = "/instruments/historical/{instrument_token}/{interval}"
SHARES = ("INFY", "RELIANCE", "TCS", "SBIN")


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    options = with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))
    with running(with_rules(options, rate_limits=True)) as simulator:
        yield simulator


@pytest.fixture
def control(simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = simulator.control()
    control.reset_counters()
    yield control
    control.close()


@pytest.fixture(autouse=True)
def data_account(simulator: RunningSimulator, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """An account to ask with, the calendar, and some shares."""
    settings.KITE_API_ROOT = simulator.http_root
    monkeypatch.setattr(clock, "now", lambda: NOW.astimezone(UTC))
    load_calendar(Path(django_settings.MARKET_DATA_DIR))
    app = KiteApp.objects.create(api_key=DEMO_APP.api_key, label="App")
    owner = User.objects.create_user("asha")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner, is_data=True)
    store_session(account, {"user_id": "AB1234", "access_token": simulator.logged_in().access_token})
    listed = {row["tradingsymbol"]: row for row in simulator.client().instruments("NSE")}
    for name in SHARES:
        Instrument.objects.create(
            exchange="NSE",
            tradingsymbol=name,
            instrument_token=listed[name]["instrument_token"],
            instrument_type="EQ",
            segment="NSE",
            first_seen=date(2020, 1, 1),
            last_seen=NOW.date(),
        )


def minutes_of(name: str, *, days: int, last: date = YESTERDAY) -> Wanted:
    end = datetime.combine(last, datetime.max.time(), IST)
    start = datetime.combine(last - timedelta(days=days - 1), datetime.min.time(), IST)
    return Wanted(Instrument.objects.get(tradingsymbol=name), start, end, CandleInterval.MINUTE)


def stored(wanted: Wanted) -> list[int]:
    return np.concatenate([read(wanted, *piece).start for piece in read_months(wanted)]).tolist()  # type: ignore[no-any-return]


def minutes_of_sessions(first: date, last: date) -> list[int]:
    """Every minute in which shares trade between two days, by the calendar."""
    found: list[int] = []
    for n in range((last - first).days + 1):
        session = current().session_of("NSE", "equity", first + timedelta(days=n))
        if session is not None:
            found += range(int(session.opens_at.timestamp()), int(session.closes_at.timestamp()), 60)
    return found


def historical_calls(control: SimulatorControl) -> int:
    return control.counters().calls(route=HISTORICAL)


def test_a_year_has_every_minute_of_its_sessions_once_and_is_asked_for_once(control: SimulatorControl) -> None:
    wanted = minutes_of("INFY", days=365)
    assert prepare(wanted).missing == []
    assert stored(wanted) == minutes_of_sessions(YESTERDAY - timedelta(days=364), YESTERDAY)
    asked = historical_calls(control)
    assert asked == 7  # windows of sixty days
    assert prepare(wanted).missing == []
    assert historical_calls(control) == asked


def test_twenty_who_ask_at_once_stay_within_what_the_broker_allows(
    control: SimulatorControl, settings: Settings
) -> None:
    # So much longer than the broker's second that a machine which stalls on the way does not bring four into one.
    settings.DATA_BUDGET_WINDOW_SECONDS = 2.0
    missing: list[object] = []
    days = [date(2026, 10, day) for day in (5, 6, 7, 8, 9)]

    def ask(number: int) -> None:
        try:
            wanted = minutes_of(SHARES[number % 4], days=1, last=days[number // 4])
            missing.extend(prepare(wanted).missing)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    counters = control.counters()
    assert counters.answers(route=HISTORICAL) == {"200": 20}  # none was one too many
    assert counters.worst_second(route=HISTORICAL) <= 3
    assert missing == []
    assert MinuteBar.objects.count() == 4 * len(minutes_of_sessions(days[0], days[-1])) > 0


def test_a_backfill_that_is_killed_goes_on_where_it_was(
    control: SimulatorControl, simulator: RunningSimulator, settings: Settings
) -> None:
    environment = os.environ | {
        "DATABASE_URL": database_url(),
        "KITE_API_ROOT": simulator.http_root,
        "MARKET_CLOCK": NOW.isoformat(),
        "CREDENTIAL_KEYS": ",".join(settings.CREDENTIAL_KEYS),
    }
    share = Instrument.objects.get(tradingsymbol="INFY")
    future = next(row for row in simulator.client().instruments("NFO") if row["tradingsymbol"] == "INFY26DECFUT")
    Instrument.objects.create(
        exchange="NFO",
        tradingsymbol="INFY26DECFUT",
        instrument_token=future["instrument_token"],
        name="INFY",
        expiry=future["expiry"],
        instrument_type="FUT",
        segment="NFO-FUT",
        first_seen=date(2026, 9, 1),
        last_seen=NOW.date(),
    )
    command = [sys.executable, "manage.py", "backfill", "INFY", "--days", "170"]
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    wait_until(
        lambda: CandleCoverage.objects.filter(instrument=share).exists() or process.poll() is not None,
        60,
        "no window was stored",
    )
    process.send_signal(signal.SIGKILL)
    process.communicate()
    time.sleep(0.2)  # what the broker was asked for last has arrived there
    before = historical_calls(control)
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    again = historical_calls(control) - before
    assert 3 <= again < 6  # three windows each: all of the future's, and what the share lacked
    wanted = minutes_of("INFY", days=170)
    assert stored(wanted) == minutes_of_sessions(YESTERDAY - timedelta(days=169), YESTERDAY)
