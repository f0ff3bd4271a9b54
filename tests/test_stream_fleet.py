"""F55, F56: several stream processes on one simulated broker, started, killed, stopped and frozen.

The simulator's counters say how many sockets were open at once; Redis says whose lines are the newest.
"""

import asyncio
import logging
import random
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from pytest_django import Settings

from accounts.clock import IST
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from market.calendar_loading import load_calendar
from market.exceptions import PricesUnavailable
from market.latest import read
from market.names import RedisNames
from simulator.control import SimulatorControl
from simulator.options import DEMO_USER, DemoApp
from simulator.tests.running import RunningSimulator, options_for_tests, running, with_control
from streaming.models import StreamPart, StreamSlot
from streaming.placing import FROZEN_SECONDS
from streaming.state import StreamState, read_states
from streaming.tests.proxy import Proxy
from tests.feed_simulator import subscribe_shares
from tests.order_processes import OrderProcesses, Process, database_url, wait_until

logger = logging.getLogger(__name__)
pytestmark = pytest.mark.django_db(transaction=True)

NOW = datetime(2026, 11, 25, 10, 42, tzinfo=IST)
ANCHOR = time.time()
USERS = [replace(DEMO_USER, user_id=f"FL000{number}") for number in range(3)]
APPS = [DemoApp(f"fleetkey{number}", f"fleetsecret{number}", "http://127.0.0.1:1/") for number in range(3)]
SHARES = ("INFY", "RELIANCE", "TCS", "SBIN", "HDFCBANK", "ICICIBANK")
LEASE, DRAIN = 3.0, 4.5
"""A fifth of what they are in production, and so is what follows from them: 30 s are 6 here."""
FRESH_SECONDS = 1.0


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    options = with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))
    options = replace(
        options,
        users=tuple(USERS),
        apps=tuple(APPS),
        market_clock=NOW.isoformat(),
        market_clock_anchor=ANCHOR,
        activity=20.0,
    )
    with running(options) as simulator:
        yield simulator


@pytest.fixture
def control(simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = simulator.control()
    control.clear()
    control.reset_counters()
    yield control
    control.clear()
    control.close()


@pytest.fixture(autouse=True)
def streamed(transactional_db: None, simulator: RunningSimulator, settings: Settings) -> None:
    """Three accounts that are logged in, the calendar, and shares to be streamed."""
    settings.KITE_API_ROOT = simulator.http_root
    settings.MARKET_CLOCK, settings.MARKET_CLOCK_ANCHOR = NOW.isoformat(), ANCHOR
    load_calendar(Path(django_settings.MARKET_DATA_DIR))
    owner = User.objects.create_user("asha")
    for user, app in zip(USERS, APPS, strict=True):
        kite_app = KiteApp.objects.create(api_key=app.api_key, label=app.api_key)
        account = TradingAccount.objects.create(
            kite_user_id=user.user_id, label=user.user_id, app=kite_app, owner=owner, is_data=True
        )
        access_token = simulator.logged_in(user, app).access_token
        store_session(account, {"user_id": user.user_id, "access_token": access_token})
    subscribe_shares(simulator, SHARES, NOW.date())


@pytest.fixture
def fleet(
    tmp_path: Path, simulator: RunningSimulator, control: SimulatorControl, valkey: "redis.Redis"
) -> Iterator["FleetOfProcesses"]:
    environment = {
        "KITE_API_ROOT": simulator.http_root,
        "KITE_WS_ROOT": simulator.websocket_root,
        "MARKET_CLOCK": NOW.isoformat(),
        "MARKET_CLOCK_ANCHOR": str(ANCHOR),
        "STREAM_LEASE_SECONDS": str(LEASE),
        "STREAM_DRAIN_SECONDS": str(DRAIN),
    }
    with OrderProcesses(tmp_path, environment) as processes:
        yield FleetOfProcesses(processes, control, valkey)


class FleetOfProcesses:
    """Processes of `run_stream`, and what is seen of them from outside."""

    def __init__(self, processes: OrderProcesses, control: SimulatorControl, client: "redis.Redis") -> None:
        self._processes = processes
        self._control = control
        self._client = client
        self._started = 0

    def start(self, **changes: str) -> Process:
        self._started += 1
        return self._processes.start(
            f"stream{self._started}", [sys.executable, "manage.py", "run_stream"], None, **changes
        )

    @property
    def states(self) -> list[StreamState]:
        return read_states(self._client, RedisNames())

    def peaks(self) -> list[int]:
        counters = self._control.counters()
        return [counters.sockets(app.api_key).peak for app in APPS]

    def open_sockets(self) -> int:
        return len(self._control.sockets())

    def says(self) -> set[str]:
        """What the newest lines say of the feed."""
        snapshots, _ = read([f"{name.lower()}:underlying" for name in SHARES])
        return {one.feed_state for one in snapshots if one is not None}

    def carried(self) -> list[int]:
        """How many sockets carry each share, as the simulator sees them."""
        return [socket["subscribed"] for socket in self._control.sockets() if socket["subscribed"]]

    def all_say_who_holds_what(self) -> bool:
        states = self.states
        names = {state["process"] for state in states}
        return len(names) == 2 and all({slot["owner"] for slot in state["slots"]} == names for state in states)

    def is_fresh(self) -> bool:
        """Whether the newest line of every part is young, and live."""
        try:
            snapshots, _ = read([f"{name.lower()}:underlying" for name in SHARES])
        except PricesUnavailable:  # a busy machine
            return False
        return all(
            one is not None and one.feed_state == "live" and (one.age_ms(time.time()) or 1e9) < 1000 * FRESH_SECONDS
            for one in snapshots
        )

    def wait_for_ticks(self, seconds: float) -> float:
        """Seconds until every part is fresh again."""
        began = time.monotonic()
        wait_until(self.is_fresh, seconds, "the ticks did not come back")
        return time.monotonic() - began

    def writers(self) -> set[str]:
        return {str(owner) for owner in StreamPart.objects.values_list("owner", flat=True)}

    def is_shared_by(self, count: int) -> bool:
        """Whether so many processes hold the slots evenly."""
        held: dict[str, int] = {}
        for owner in StreamSlot.objects.filter(owner__isnull=False).values_list("owner", flat=True):
            held[str(owner)] = held.get(str(owner), 0) + 1
        return (
            len(held) == count and sum(held.values()) == 3 * len(APPS) and max(held.values()) - min(held.values()) <= 1
        )


def test_f56_two_processes_started_together_share_three_accounts_and_carry_everything_once(
    fleet: FleetOfProcesses,
) -> None:
    fleet.start(), fleet.start()
    fleet.wait_for_ticks(90)
    wait_until(lambda: fleet.is_shared_by(2) and len(fleet.writers()) == 2, 90, "they did not share")
    wait_until(lambda: sum(fleet.carried()) == len(SHARES), 10, "not everything is carried once")
    fleet.wait_for_ticks(10)
    assert max(fleet.peaks()) <= 3
    wait_until(fleet.all_say_who_holds_what, 10, "the states do not say who holds what")
    assert all(state["capacity"]["total"] == 27_000 for state in fleet.states)

    def told() -> int:
        return sum(account["subscriptions"] for state in fleet.states for account in state["accounts"].values())

    # Each writes its state once a second: what has just moved may be in two of them.
    wait_until(lambda: told() == len(SHARES), 10, "the states do not say that everything is carried once")


def test_f55_a_killed_process_is_missed_for_seconds_and_one_that_is_stopped_for_less(fleet: FleetOfProcesses) -> None:
    first = fleet.start()
    fleet.wait_for_ticks(90)
    second = fleet.start()
    wait_until(lambda: fleet.is_shared_by(2) and len(fleet.writers()) == 2, 90, "they did not share")

    first.kill()
    took = fleet.wait_for_ticks(30 * LEASE / 15 + 1)
    wait_until(lambda: fleet.is_shared_by(1), DRAIN + 5, "its slots were not taken")

    third = fleet.start()
    wait_until(lambda: fleet.is_shared_by(2) and len(fleet.writers()) == 2, 90, "they did not share again")
    second.signal(signal.SIGTERM)
    assert second.wait_for_its_end(10) == 0
    assert fleet.wait_for_ticks(4) < took + 4
    wait_until(lambda: fleet.is_shared_by(1), 4, "its slots were not released")
    assert third.is_alive
    assert max(fleet.peaks()) <= 3


def test_a_process_that_stood_still_closes_its_sockets_before_it_reads_and_its_lines_change_nothing(
    fleet: FleetOfProcesses,
) -> None:
    first = fleet.start()
    fleet.wait_for_ticks(90)
    second = fleet.start()
    wait_until(lambda: fleet.is_shared_by(2) and len(fleet.writers()) == 2, 90, "they did not share")
    first.signal(signal.SIGSTOP)
    time.sleep(LEASE)
    fleet.wait_for_ticks(30 * LEASE / 15 + 2 * FROZEN_SECONDS)  # it may have stood still while it placed
    [writer] = fleet.writers()
    first.signal(signal.SIGCONT)
    first.wait_for("is over")
    wait_until(lambda: fleet.is_shared_by(2), 60, "the thawed one has no share again")
    # Where the broker still counted a socket of the frozen one, a dial was refused (429), which means a minute's wait.
    fleet.wait_for_ticks(100)
    assert writer in fleet.writers()
    assert first.is_alive
    assert second.is_alive
    assert max(fleet.peaks()) <= 3


async def test_without_postgresql_the_sockets_are_closed_at_the_fence_and_dialled_soon_after_its_return(
    fleet: FleetOfProcesses,
) -> None:
    url = urlsplit(database_url())
    async with Proxy(f"redis://{url.hostname}:{url.port}").running() as proxy:
        port = urlsplit(proxy.url).port
        process = fleet.start(
            DATABASE_URL=url._replace(netloc=f"{url.username}:{url.password}@127.0.0.1:{port}").geturl()
        )
        await asyncio.to_thread(fleet.wait_for_ticks, 90)
        await proxy.cut()
        began = time.monotonic()
        await asyncio.to_thread(wait_until, lambda: not fleet.open_sockets(), 2 * LEASE, "the sockets stayed open")
        assert time.monotonic() - began > LEASE / 4, "and not at once"
        await asyncio.to_thread(wait_until, lambda: fleet.says() == {"stale"}, 5, "nobody says that it is stale")
        await asyncio.sleep(LEASE)
        assert fleet.open_sockets() == 0
        await proxy.restore()
        # Within five seconds on a machine that has nothing else to do.
        await asyncio.to_thread(wait_until, fleet.open_sockets, 10, "nobody dials")
        await asyncio.to_thread(fleet.wait_for_ticks, 15)
        assert process.is_alive
    assert max(fleet.peaks()) <= 3


@pytest.mark.long
@pytest.mark.parametrize("seed", range(2))
def test_f55_through_fifty_kills_stops_and_freezes_no_key_has_more_than_three_sockets(
    fleet: FleetOfProcesses, seed: int
) -> None:
    chance = random.Random(seed)
    living = [fleet.start() for _ in range(3)]
    frozen: list[Process] = []
    fleet.wait_for_ticks(180)
    longest = 0.0
    for _ in range(50):
        # On a busy machine a process takes longer to start than to die: two of them work whenever one goes.
        wait_until(lambda: sum("is ours" in one.text for one in living) >= 2, 180, "no process came up")
        victim = chance.choice([one for one in living if "is ours" in one.text])
        living.remove(victim)
        match chance.choice(["kill", "kill", "term", "freeze"]):
            case "kill":
                victim.kill()
            case "term":
                victim.signal(signal.SIGTERM)
            case "freeze":
                victim.signal(signal.SIGSTOP)
                frozen.append(victim)
        longest = max(longest, fleet.wait_for_ticks(30 * LEASE / 15 + 10))
        _thaw(frozen, living, chance)
        living.append(fleet.start())
        time.sleep(chance.uniform(0, 2 * DRAIN))
        assert max(fleet.peaks()) <= 3
    _thaw(frozen, living, None)
    fleet.wait_for_ticks(30)
    logger.info("seed %d: ticks were away for %.1f s at the longest, peaks %s", seed, longest, fleet.peaks())


def _thaw(frozen: list[Process], living: list[Process], chance: random.Random | None) -> Sequence[Process]:
    """Some of the frozen go on; with a chance of one in two, or all."""
    thawed = [one for one in frozen if chance is None or chance.random() < 0.5]
    for one in thawed:
        frozen.remove(one)
        one.signal(signal.SIGCONT)
        if chance is None:
            living.append(one)
        else:
            one.signal(signal.SIGTERM)
    return thawed
