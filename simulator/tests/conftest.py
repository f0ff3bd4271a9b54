"""Simulators for tests: real ones, listening, with the market time of our choice."""

import os
from collections.abc import Iterator
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from django.conf import settings
from kiteconnect import KiteConnect

from simulator.clock import SessionCalendar
from simulator.control import SimulatorControl
from simulator.market import Market
from simulator.options import SimulatorOptions
from simulator.tests.running import CLOSED, OPEN, RunningSimulator, SetClock, options_for_tests, running, with_control
from simulator.tests.trading import TradingFloor


@pytest.fixture(scope="session")
def sessions_folder() -> Path:
    return Path(settings.MARKET_DATA_DIR)


@pytest.fixture(scope="session")
def calendar(sessions_folder: Path) -> SessionCalendar:
    return SessionCalendar.from_folder(sessions_folder)


@pytest.fixture(scope="session")
def options(sessions_folder: Path) -> SimulatorOptions:
    return options_for_tests(sessions_folder)


@pytest.fixture(scope="session")
def simulator(options: SimulatorOptions) -> Iterator[RunningSimulator]:
    """A simulator in an open market that moves, without rate limits."""
    with running(options) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def kite(simulator: RunningSimulator) -> KiteConnect:
    """The official client, logged in to it."""
    return simulator.logged_in()


@pytest.fixture
def open_clock() -> SetClock:
    return SetClock(OPEN)


@pytest.fixture
def quiet_simulator(options: SimulatorOptions) -> Iterator[RunningSimulator]:
    """A simulator of one's own in a market that is closed: whatever arrives was sent for another reason than a tick."""
    with running(options, SetClock(CLOSED)) as simulator:
        yield simulator


@pytest.fixture(scope="session")
def faulty_simulator(options: SimulatorOptions) -> Iterator[RunningSimulator]:
    """A simulator in an open market whose control API is on."""
    with running(with_control(options)) as simulator:
        yield simulator


@pytest.fixture
def control(faulty_simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    """Its control API: no rules and no counts from the test before, and none for the next one."""
    control = faulty_simulator.control()
    control.reset_counters()
    yield control
    control.clear()
    control.close()


@pytest.fixture
def victim(faulty_simulator: RunningSimulator, control: SimulatorControl) -> KiteConnect:
    """The official client, logged in to it. Its login is not counted."""
    kite = faulty_simulator.logged_in()
    control.reset_counters()
    return kite


@pytest.fixture(scope="session")
def one_day(calendar: SessionCalendar) -> Market:
    """A market of 25 November 2026, late in the morning."""
    market = Market(date(2026, 11, 25), calendar, seed=1)
    market.advance(OPEN)
    return market


@pytest.fixture
def still_market(one_day: Market) -> Iterator[Market]:
    """The same for a test that changes what it shows."""
    before = one_day.packets.copy()
    yield one_day
    one_day.packets[:] = before


@pytest.fixture
def floor(still_market: Market) -> TradingFloor:
    """A desk whose orders take no time."""
    return TradingFloor(still_market)


@pytest.fixture(scope="session")
def trading_simulator(options: SimulatorOptions) -> Iterator[RunningSimulator]:
    """A simulator in an open market that stands still, whose orders take no time and whose control API is on."""
    with running(replace(with_control(options), order_ms=0), SetClock(OPEN)) as simulator:
        yield simulator


@pytest.fixture
def trader(trading_simulator: RunningSimulator) -> Iterator[KiteConnect]:
    """The official client, logged in to it. Its user has what it began with."""
    control = trading_simulator.control()
    control.reset_orders()
    yield trading_simulator.logged_in()
    control.clear()
    control.close()


@pytest.fixture
def recordings() -> Path:
    """The broker's recorded answers, where the machine has them."""
    folder = os.environ.get("KITE_MOCKS_DIR", "")
    if not folder:
        pytest.skip("KITE_MOCKS_DIR does not name a folder with zerodha/kiteconnect-mocks")
    return Path(folder)
