"""A simulated broker whose sockets are tested: fixtures, and shares of it to be streamed."""

from collections.abc import Iterator, Sequence
from datetime import date
from pathlib import Path

import pytest
from django.conf import settings as django_settings

from market.models import Instrument
from simulator.control import SimulatorControl
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator, options_for_tests, with_control
from simulator.tests.running import running as running_simulator
from streaming.connection import AccessToken
from streaming.models import Subscription


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running_simulator(with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))) as simulator:
        yield simulator


@pytest.fixture
def control(simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = simulator.control()
    yield control
    control.clear()
    control.close()


@pytest.fixture
def token(simulator: RunningSimulator, control: SimulatorControl) -> AccessToken:
    """Of a fresh login; counting begins after it."""
    access_token: str = simulator.logged_in().access_token
    control.reset_counters()
    return AccessToken(DEMO_APP.api_key, access_token)


def subscribe_shares(simulator: RunningSimulator, names: Sequence[str], today: date) -> None:
    """Have these shares of NSE listed and streamed, with the broker's tokens."""
    listed = {row["tradingsymbol"]: row for row in simulator.client().instruments("NSE")}
    for name in names:
        share = Instrument.objects.create(
            exchange="NSE",
            tradingsymbol=name,
            instrument_token=listed[name]["instrument_token"],
            instrument_type="EQ",
            segment="NSE",
            first_seen=date(2020, 1, 1),
            last_seen=today,
        )
        Subscription.objects.create(instrument=share)
