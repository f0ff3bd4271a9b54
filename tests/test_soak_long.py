"""A soak: the real processes for some minutes, with good and bad clients, while parts of it are killed.

`TICKER_SOAK_SECONDS` makes it longer, up to the six hours for which the simulated market stays open. All tests look at
one run. What was killed comes back in its first third; what stays must not grow in the second half.
"""

import asyncio
import os
import random
import re
import statistics
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

import psutil
import pytest

from tests.running import Run, start, stop
from tests.soak_clients import (
    NOT_ACKNOWLEDGED,
    GoodClient,
    Seen,
    Service,
    come_and_go,
    flows_within,
    never_acknowledge,
    stop_reading,
)

SOAK_SECONDS = float(os.environ.get("TICKER_SOAK_SECONDS") or 240)
LONGEST_SECONDS = 6 * 3600
SAMPLE_SECONDS = 2.0
GIVE_UP_SECONDS = 90.0

KILLS = {"stream": 0.10, "valkey": 0.20, "simulator": 0.30}
"""When each is killed, as shares of the soak."""
FLOWS_AGAIN_SECONDS = {"stream": 30.0, "valkey": 20.0, "simulator": 20.0}
"""A killed process is started again after half a second; what remains is its own start, on a slow machine. The stream
also waits until the broker cannot count the sockets of the one that was killed any more (`STREAM_DRAIN_SECONDS`).
"""
WARM, LAST = (0.5, 0.6), (0.9, 1.0)
"""The two tenths that are compared. By the first, caches are full and everything that was killed is warm again."""
GROWTH, GROWTH_BYTES = 1.03, 6 * 2**20
"""How much more memory the last tenth may show than the warm one: a share of it and the noise of an allocator."""
FILES_MORE = 6
"""Open files beyond the warm tenth's most: sockets of clients that came and left while it was counted."""

WATCHED = {"stream": "run_stream", "web": "daphne", "valkey": "valkey-server", "simulator": "run_simulator"}

pytestmark = [pytest.mark.long, pytest.mark.processes]


@dataclass(frozen=True)
class Sample:
    at: float  # as a share of the soak
    pid: int
    memory: int
    files: int
    threads: int


@dataclass
class Evidence:
    """What one soak left behind."""

    log: str = ""
    good: Seen = field(default_factory=Seen)
    silent: Seen = field(default_factory=Seen)
    stopped: Seen = field(default_factory=Seen)
    restless: Seen = field(default_factory=Seen)
    flows_after: dict[str, float] = field(default_factory=dict)
    samples: dict[str, list[Sample]] = field(default_factory=lambda: {name: [] for name in ("stream", "web")})
    clients_left: float = -1.0
    files_before: int = 0
    files_after: int = 0
    exit_code: int | None = None
    survivors: list[str] = field(default_factory=list)

    def during(self, name: str, span: tuple[float, float]) -> list[Sample]:
        return [sample for sample in self.samples[name] if span[0] <= sample.at <= span[1]]


def process(run: Run, name: str) -> psutil.Process:
    """The process of a service, waited for if it is being started."""
    deadline = time.monotonic() + 60
    while True:
        for child in psutil.Process(run.process.pid).children():
            try:
                if any(WATCHED[name] in word for word in child.cmdline()):
                    return child
            except (psutil.NoSuchProcess, psutil.ZombieProcess):
                pass
        assert time.monotonic() < deadline, f"{name} does not run"
        time.sleep(0.1)


def clients_of(run: Run) -> float:
    with urllib.request.urlopen(f"{run.address}/metrics", timeout=10) as answer:
        found = re.search(r"^websocket_clients (\S+)", answer.read().decode(), re.M)
    assert found is not None
    return float(found[1])


class Soak:
    def __init__(self, run: Run, say: Callable[[str], None]) -> None:
        self.run, self.say = run, say
        self.evidence = Evidence()
        expiry = run.get("/api/v1/option-chains/NIFTY")["expiries"][0]
        expiry = expiry["expiry"] if isinstance(expiry, dict) else expiry
        self.service = Service(run.port, run.api_key, {"underlying": "NIFTY", "expiry": expiry})
        self.good = GoodClient(self.service, self.evidence.good)

    async def hold(self) -> None:
        """The whole soak, up to the moment when its clients have left."""
        evidence = self.evidence
        evidence.files_before = process(self.run, "web").num_fds()
        self.began = time.monotonic()
        clients = [
            asyncio.create_task(self.good.run(), name="good"),
            asyncio.create_task(never_acknowledge(self.service, evidence.silent), name="silent"),
            asyncio.create_task(stop_reading(self.service, evidence.stopped), name="stopped"),
            asyncio.create_task(come_and_go(self.service, evidence.restless, random.Random(7)), name="restless"),
        ]
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._kill_all(), name="killer")
                group.create_task(self._sample(), name="sampler")
        finally:
            for client in clients:
                client.cancel()
            ended = await asyncio.gather(*clients, return_exceptions=True)
        assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended
        await asyncio.sleep(3)
        evidence.clients_left = await asyncio.to_thread(clients_of, self.run)
        evidence.files_after = process(self.run, "web").num_fds()

    def _passed(self) -> float:
        return (time.monotonic() - self.began) / SOAK_SECONDS

    async def _kill_all(self) -> None:
        for name, share in KILLS.items():
            await asyncio.sleep(max(0.0, self.began + share * SOAK_SECONDS - time.monotonic()))
            victim = await asyncio.to_thread(process, self.run, name)
            killed_at = time.time()
            victim.kill()
            self.evidence.flows_after[name] = await flows_within(self.good, killed_at, GIVE_UP_SECONDS)
            self.say(f"{name} killed: prices flow again after {self.evidence.flows_after[name]:.1f} s")

    async def _sample(self) -> None:
        told = 0
        while (passed := self._passed()) <= 1:
            for name, samples in self.evidence.samples.items():
                found = await asyncio.to_thread(process, self.run, name)
                with found.oneshot():
                    memory, files, threads = found.memory_info().rss, found.num_fds(), found.num_threads()
                samples.append(Sample(passed, found.pid, memory, files, threads))
            if int(passed * 10) > told:
                told = int(passed * 10)
                self.say(
                    f"{passed:.0%} of {SOAK_SECONDS:.0f} s: " + "; ".join(map(self._figures, self.evidence.samples))
                )
            await asyncio.sleep(SAMPLE_SECONDS)

    def _figures(self, name: str) -> str:
        newest = self.evidence.samples[name][-1]
        return f"{name} {newest.memory / 2**20:.0f} MiB, {newest.files} files, {newest.threads} threads"


@pytest.fixture(scope="module")
def evidence(tmp_path_factory: pytest.TempPathFactory, progress: Callable[[str], None]) -> Evidence:
    assert SOAK_SECONDS <= LONGEST_SECONDS, "the simulated market closes after six hours"
    folder = tmp_path_factory.mktemp("soak")
    run = start(folder / "data", folder / "log", "--clock", "2026-11-25T09:20:00+05:30")
    try:
        run.wait_for("ticker is running")
        run.wait_for("beat +│")
        soak = Soak(run, progress)
        asyncio.run(soak.hold())
        children = psutil.Process(run.process.pid).children(recursive=True)
    finally:
        stop(run)
    evidence = soak.evidence
    evidence.exit_code = run.process.returncode
    evidence.survivors = [
        str(child) for child in children if child.is_running() and child.status() != psutil.STATUS_ZOMBIE
    ]
    evidence.log = run.text
    return evidence


@pytest.mark.parametrize("name", KILLS)
def test_prices_flow_again_within_seconds_after_a_kill(evidence: Evidence, name: str) -> None:
    assert f"{name} was ended by SIGKILL; starting it again" in evidence.log
    assert evidence.flows_after[name] <= FLOWS_AGAIN_SECONDS[name]


def test_every_checked_message_follows_its_schema_and_lines_come_in_order(evidence: Evidence) -> None:
    for seen in (evidence.good, evidence.silent, evidence.stopped, evidence.restless):
        assert seen.wrong == []
        assert seen.checked > 0


def test_the_good_client_was_never_cut_off_and_got_several_frames_a_second(evidence: Evidence) -> None:
    assert evidence.good.connections == 1
    assert evidence.good.frames > 3 * SOAK_SECONDS


def test_a_client_that_never_acknowledges_stays_and_gets_a_frame_a_second(evidence: Evidence) -> None:
    assert evidence.silent.connections == 1
    assert 0.6 * SOAK_SECONDS < evidence.silent.frames < 1.05 * SOAK_SECONDS + 5


def test_a_client_that_stops_reading_is_closed_for_it_every_time(evidence: Evidence) -> None:
    assert evidence.stopped.closed.keys() == {str(NOT_ACKNOWLEDGED)}
    assert evidence.stopped.closed.total() >= SOAK_SECONDS // 60


def test_clients_that_came_and_left_are_forgotten_and_their_files_closed(evidence: Evidence) -> None:
    assert evidence.restless.connections > SOAK_SECONDS
    assert evidence.clients_left == 0
    assert evidence.files_after <= evidence.files_before + FILES_MORE


@pytest.mark.parametrize("name", ["stream", "web"])
def test_memory_does_not_keep_growing(evidence: Evidence, name: str) -> None:
    warm, last = (statistics.median(s.memory for s in evidence.during(name, span)) for span in (WARM, LAST))
    assert last <= GROWTH * warm + GROWTH_BYTES


@pytest.mark.parametrize("name", ["stream", "web"])
def test_open_files_and_threads_stay_bounded(evidence: Evidence, name: str) -> None:
    warm, last = (evidence.during(name, span) for span in (WARM, LAST))
    assert {sample.pid for sample in [*warm, *last]} == {last[0].pid}
    assert max(s.files for s in last) <= max(s.files for s in warm) + FILES_MORE
    assert max(s.threads for s in last) <= max(s.threads for s in warm) + 1


def test_nobody_wrote_a_traceback_or_lost_a_task(evidence: Evidence) -> None:
    complaints = Counter(
        line.partition("│")[0].strip()
        for line in evidence.log.splitlines()
        if re.search(r"Traceback \(most recent|Task was destroyed|was never (retrieved|awaited)|Unclosed", line)
    )
    assert complaints == {}


def test_ctrl_c_ends_all_of_it(evidence: Evidence) -> None:
    assert evidence.exit_code == 0
    assert evidence.survivors == []
    assert "everything is stopped" in evidence.log
