"""A whole day's refresh of the instruments while the stream runs: 115,000 rows, and no flush is missed.

The real processes run with a simulated broker that lists as many instruments as the real one. Before the refresh a good
part of the table is made wrong, so that it has rows to add, change and retire. A listener on Redis sees each flush.
"""

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg
import pytest
import redis

from market.lines import decode, split
from market.names import RedisNames
from streaming.state import read_states
from tests.running import ROOT, Run, start, stop
from tickerproject.local.state import read_env

pytestmark = [pytest.mark.long, pytest.mark.processes]

ROWS = 115_000
WATCHED_SECONDS = 8.0
"""Before the refresh: what a quiet stream's flushes look like on this machine."""
AFTERWARDS_SECONDS = 5.0
"""After it: by then the stream has seen that instruments have changed."""
LONGEST_GAP_SECONDS = 1.0
"""Between two flushes while PostgreSQL and the import take what they can of the same cores; on a machine that is busy
otherwise, three times as long as before the refresh."""

SPOIL = """
    UPDATE market_instrument SET lot_size = lot_size + 1 WHERE id % 10 = 0 AND name <> 'NIFTY';
    UPDATE market_instrument SET tradingsymbol = 'GONE' || id WHERE id % 10 = 1 AND name <> 'NIFTY'
        AND instrument_type IN ('CE', 'PE');
"""


@dataclass
class Flushes:
    """What a listener on the underlying's channel of options saw: when, and which number of which run."""

    at: list[float] = field(default_factory=list)
    numbers: dict[str, list[tuple[int, int]]] = field(default_factory=dict)

    def listen(self, url: str, stopping: threading.Event) -> None:
        with redis.Redis.from_url(url) as client, client.pubsub() as channel:
            channel.subscribe("ticker:nifty:options")
            while not stopping.is_set():
                message = channel.get_message(ignore_subscribe_messages=True, timeout=0.2)
                if message is None:
                    continue
                self.at.append(time.monotonic())
                for line in map(decode, split(message["data"])):
                    self.numbers.setdefault(line["part"], []).append((int(line["epoch"]), int(line["seq"])))

    def longest_gap(self, begins: float, ends: float) -> float:
        times = [begins, *(at for at in self.at if begins <= at <= ends), ends]
        return max(later - earlier for earlier, later in pairwise(times))


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    started = start(tmp_path / "data", tmp_path / "log", "--clock", "2026-11-25T10:42:00+05:30", "--rows", str(ROWS))
    try:
        started.wait_for("ticker is running", seconds=300)
        yield started
    finally:
        stop(started)


def test_a_refresh_of_115_000_rows_costs_the_stream_no_flush(run: Run) -> None:
    environment = {**os.environ, **read_env(run.folder / "runtime.env"), "TICKER_DATA_DIR": str(run.folder)}
    with psycopg.connect(environment["DATABASE_URL"]) as connection:
        connection.execute(SPOIL)
    flushes, stopping = Flushes(), threading.Event()
    listener = threading.Thread(target=flushes.listen, args=(environment["REDIS_URL"], stopping))
    listener.start()
    try:
        time.sleep(WATCHED_SECONDS)
        before = stream_state(environment["REDIS_URL"])
        begins = time.monotonic()
        command = [sys.executable, "manage.py", "import_instruments"]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
        ends = time.monotonic()
        time.sleep(AFTERWARDS_SECONDS + 1.0)
    finally:
        stopping.set()
        listener.join()

    report = re.search(r"([\d,]+) instruments in .*: ([\d,]+) added, ([\d,]+) changed, ([\d,]+) retired", done.stdout)
    assert report is not None, done.stdout + done.stderr
    rows, added, changed, retired = (int(figure.replace(",", "")) for figure in report.groups())
    assert rows > 110_000
    assert min(added, changed, retired) > 8_000

    after = stream_state(environment["REDIS_URL"])
    assert (after["epoch"], after["started_at"]) == (before["epoch"], before["started_at"])  # it was not started again
    for lost in ("windows_lost", "batches_dropped"):
        assert after["counters"].get(lost, 0) == before["counters"].get(lost, 0)
    for part, numbers in flushes.numbers.items():
        assert numbers == sorted(set(numbers)), part
    gap = flushes.longest_gap(begins, ends + AFTERWARDS_SECONDS)
    quiet = flushes.longest_gap(begins - WATCHED_SECONDS + 1.0, begins)
    assert gap < max(LONGEST_GAP_SECONDS, 3 * quiet), f"{gap:.3f} s without a flush; before the refresh {quiet:.3f} s"


def stream_state(url: str) -> dict[str, Any]:
    with redis.Redis.from_url(url) as client:
        [state] = read_states(client, RedisNames())
    return dict(state)
