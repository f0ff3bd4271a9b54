"""A strike rule from the broker's socket to new subscriptions: the real stream process, and the simulated broker.

Market time runs fast, so that the spot leaves its strike within seconds.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime
from decimal import Decimal
from pathlib import Path

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from pytest_django import Settings

from accounts import clock
from accounts.clock import IST
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from market.calendar_loading import load_calendar
from market.latest import latest
from market.names import part_of
from market.refresh import refresh_instruments
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator, options_for_tests, running
from streaming.models import Subscription
from streaming.rebalancing import rebalance
from streaming.strike_models import StrikeMove, StrikeRule
from streaming.strike_rules import create_rule
from streaming.subscriptions import subscribe
from tests.order_processes import OrderProcesses, wait_until

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.long]

NOW = datetime(2026, 11, 25, 9, 20, tzinfo=IST)
SPEED = 60.0


@pytest.fixture
def anchor() -> float:
    """When the market's clock started: with the test, since a morning takes six minutes."""
    return time.time()


@pytest.fixture
def simulator(anchor: float) -> Iterator[RunningSimulator]:
    options = options_for_tests(Path(django_settings.MARKET_DATA_DIR))
    fast = replace(
        options, market_clock=NOW.isoformat(), market_clock_anchor=anchor, market_clock_speed=SPEED, activity=3.0
    )
    with running(fast) as simulator:
        yield simulator


@pytest.fixture(autouse=True)
def listed(transactional_db: None, anchor: float, simulator: RunningSimulator, settings: Settings) -> None:
    """An account that is logged in, the calendar, and the simulator's instruments."""
    settings.KITE_API_ROOT = simulator.http_root
    settings.MARKET_CLOCK, settings.MARKET_CLOCK_ANCHOR, settings.MARKET_CLOCK_SPEED = NOW.isoformat(), anchor, SPEED
    load_calendar(Path(django_settings.MARKET_DATA_DIR))
    app = KiteApp.objects.create(api_key=DEMO_APP.api_key, label="App")
    owner = User.objects.create_user("asha")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner, is_data=True)
    store_session(account, {"user_id": "AB1234", "access_token": simulator.logged_in().access_token})
    refresh_instruments()


@pytest.fixture
def processes(
    tmp_path: Path, anchor: float, simulator: RunningSimulator, valkey: "redis.Redis"
) -> Iterator[OrderProcesses]:
    environment = {
        "KITE_API_ROOT": simulator.http_root,
        "KITE_WS_ROOT": simulator.websocket_root,
        "MARKET_CLOCK": NOW.isoformat(),
        "MARKET_CLOCK_ANCHOR": str(anchor),
        "MARKET_CLOCK_SPEED": str(SPEED),
    }
    with OrderProcesses(tmp_path, environment) as processes:
        yield processes


def centre_of(rule: StrikeRule) -> Decimal | None:
    rule.refresh_from_db()
    return next((Decimal(kept["centre"]) for kept in rule.centres.values()), None)


def test_a_moving_spot_moves_the_strikes_and_what_somebody_asked_for_stays(processes: OrderProcesses) -> None:
    rule = create_rule(underlying="NIFTY", width=Decimal(2), expiries=1, hysteresis=Decimal(0))
    processes.start("stream", [sys.executable, "manage.py", "run_stream"])

    def has_centre() -> bool:
        rebalance(rule.pk)
        return centre_of(rule) is not None

    wait_until(has_centre, 90, "the rule had no price to go by")
    first = centre_of(rule)
    asked = Subscription.objects.filter(rule=rule).select_related("instrument").order_by("instrument__strike")[0]
    subscribe(instrument_token=asked.instrument.instrument_token, requested_mode="ltp")

    def has_moved() -> bool:
        time.sleep(0.2)
        rebalance(rule.pk)
        return centre_of(rule) != first and StrikeMove.objects.filter(action="removed").exists()

    wait_until(has_moved, 120, "the spot stayed where it was")
    rule.refresh_from_db()
    centre = centre_of(rule)
    assert centre is not None
    held = Subscription.objects.filter(rule=rule).select_related("instrument")
    strikes = sorted({one.instrument.strike for one in held} | {asked.instrument.strike})
    assert centre in strikes
    assert len(strikes) <= 6
    asked.refresh_from_db()
    assert (asked.rule_id, asked.requested_mode, asked.status) == (None, "ltp", "active")

    # The new strikes are streamed: the stream followed without being told anything but that rows had changed.
    newest = StrikeMove.objects.filter(action="added").order_by("-at", "-pk")[0].instrument
    part = part_of("NIFTY", newest.expiry)

    def ticks() -> bool:
        [snapshot] = latest(part)
        return snapshot is not None and (snapshot.rows.get(newest.instrument_token) or {}).get("last_price") is not None

    wait_until(ticks, 20, f"no price came of {newest}, streamed since {clock.now():%H:%M}")
