"""Budgets and breakers over several real processes, as the other side sees them."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection

from accounts.breaker import BreakerState, states
from accounts.models import KiteApp, OrderDay, TradingAccount
from accounts.tests.fakes import Answer, running_broker
from tickerproject.local.ports import any_free
from tickerproject.local.valkey import Valkey

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]

SO_TIMESTAMPNS = 35  # Linux; the socket module of Python 3.11 does not name it
ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def account() -> TradingAccount:
    owner = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    return TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner)


@contextmanager
def workers(number: int, *role: str, **environment: str) -> Iterator[list["subprocess.Popen[str]"]]:
    """Worker processes on this test's database, all begun at once, and ended at the end."""
    base = django_settings.DATABASES["default"]
    name = connection.settings_dict["NAME"]
    url = f"postgres://{base['USER']}:{base['PASSWORD']}@{base['HOST']}:{base['PORT']}/{name}"
    own = os.environ | {"DATABASE_URL": url, "LOG_LEVEL": "ERROR"} | environment
    command = [sys.executable, "-m", "tests.broker_workers", *role]
    started = [
        subprocess.Popen(command, cwd=ROOT, env=own, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(number)
    ]
    try:
        for worker in started:
            assert worker.stdout is not None
            assert json.loads(worker.stdout.readline()) == {"ready": True}
        for worker in started:
            assert worker.stdin is not None
            worker.stdin.write("begin\n")
            worker.stdin.flush()
        yield started
    finally:
        for worker in started:
            if worker.stdin is not None and not worker.stdin.closed:
                worker.stdin.close()
        for worker in started:
            try:
                worker.wait(20)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
            if worker.stdout is not None:
                worker.stdout.close()


class Receiver:
    """Where the orders arrive, each with the time at which the system received it, however late this thread runs."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._socket.settimeout(0.1)
        self._socket.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.port: int = self._socket.getsockname()[1]
        self.arrived: list[tuple[float, str]] = []
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._receive)

    def __enter__(self) -> "Receiver":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()
        self._socket.close()

    def _receive(self) -> None:
        while not self._stopping.is_set():
            try:
                kind, ancillary, _, _ = self._socket.recvmsg(64, 64)
            except TimeoutError:
                continue
            [(_, _, stamp)] = ancillary
            seconds, nanoseconds = struct.unpack("=qq", stamp)
            self.arrived.append((seconds + nanoseconds / 1e9, kind.decode()))

    def wait_for(self, number: int, seconds: float) -> None:
        wait_until(lambda: len(self.arrived) >= number, seconds)

    def most_in_a_rolling_second(self) -> int:
        moments = [moment for moment, _ in self.arrived]
        return max(sum(moment <= other < moment + 1 for other in moments) for moment in moments)


def wait_until(is_so: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "it never came"
        time.sleep(0.01)


@pytest.mark.parametrize("orders", [20, pytest.param(200, marks=pytest.mark.long)])
def test_f31_sixteen_workers_never_send_more_than_eight_in_any_second(
    account: TradingAccount, valkey: "redis.Redis", orders: int
) -> None:
    for_new_risk = django_settings.ORDER_BUDGET_PER_SECOND - django_settings.ORDER_BUDGET_RESERVE_PER_SECOND
    with Receiver() as receiver:
        with workers(2, "orders", str(receiver.port), "8", "entries"):
            receiver.wait_for(1, 20)
            receiver.wait_for(orders, orders / for_new_risk * 1.5 + 20)
        first, last = receiver.arrived[0][0], receiver.arrived[orders - 1][0]
        assert receiver.most_in_a_rolling_second() <= 8
        seconds = orders / for_new_risk * django_settings.ORDER_BUDGET_WINDOW_SECONDS
        assert seconds - 2 <= last - first <= seconds + 4, "what is not kept for exits, less the margin"


@contextmanager
def own_valkey(folder: Path, port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """A server that keeps nothing over a restart; killed at the end, by its process id."""
    server = Valkey(folder, port, durable=False)
    server.prepare()
    process = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        wait_until(server.is_ready, 20)
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_redis_that_is_killed_and_comes_back_empty_lifts_no_limit(account: TradingAccount, tmp_path: Path) -> None:
    port = any_free()
    url = ""
    with Receiver() as receiver, ExitStack() as ending:
        with own_valkey(tmp_path, port):
            url = Valkey(tmp_path, port, durable=False).url
            ending.enter_context(workers(2, "orders", str(receiver.port), "4", "mixed", REDIS_URL=url))
            receiver.wait_for(12, 30)
        killed_at = time.time()
        time.sleep(2.5)
        while_away = [kind for moment, kind in receiver.arrived if moment > killed_at + 0.5]
        with own_valkey(tmp_path, port), redis.Redis.from_url(url) as client:
            back_at = time.time()
            time.sleep(3)
            after = [kind for moment, kind in receiver.arrived if moment > back_at + 1.5]
            arrived = len(receiver.arrived)
            used, outside = client.hmget("ticker:budget:AB1234:orders:facts", "used", "outside")
    assert set(while_away) == {"exit"}, "new risk waits for Redis, exits go by the database"
    assert len(while_away) <= 2 * 3
    assert set(after) == {"exit"}, "the minute that was forgotten may have been full"
    assert receiver.most_in_a_rolling_second() <= 8 + 1, "one for what the way varies by"
    assert int(used or 0) + int(outside or 0) >= arrived, "nothing that was sent is forgotten"
    assert OrderDay.objects.get(account=account).used_without_redis == int(outside or 0)


def test_f16_five_faults_open_the_breaker_in_all_workers_for_its_time_and_then_calls_go_again(
    account: TradingAccount, valkey: "redis.Redis"
) -> None:
    fault = Answer({"status": "error", "message": "down", "error_type": "NetworkException"}, 503)
    states_now = partial(states, ["AB1234:data"])
    with running_broker() as broker:
        broker.answer("GET /portfolio/holdings", fault)
        strict = {"KITE_API_ROOT": broker.root, "BREAKER_OPEN_SECONDS": "2"}
        with workers(4, "data", "0.45", **strict) as started:  # fewer calls than the budget's ten a second
            wait_until(lambda: states_now() == {"AB1234:data": BreakerState.OPEN}, 20)
            broker.answer("GET /portfolio/holdings", Answer([]))
            wait_until(lambda: states_now() == {"AB1234:data": BreakerState.CLOSED}, 20)
            reports = _reports_of(started)
    arrived = [asked.at for asked in broker.asked]
    pause, before = max((later - at, n) for n, (at, later) in enumerate(pairwise(arrived), start=1))
    assert pause > 1.5, "nothing is sent while it is open"
    # The other three workers may each have been let through just before the fifth fault was reported.
    assert 5 <= before <= 5 + 3
    assert len(arrived) >= before + 3, "three successes close it"
    opened_at = sorted(one["at"] for own in reports for one in own if one["outcome"] == "OutcomeUnknown")[4]
    refused = [next(one["at"] for one in own if one["outcome"] == "BreakerOpen") for own in reports]
    assert max(refused) <= opened_at + 1, "all workers within 1 s"


def _reports_of(started: list["subprocess.Popen[str]"]) -> list[list[dict[str, Any]]]:
    """End the workers, and what each has said."""
    found = []
    for worker in started:
        assert worker.stdin is not None
        worker.stdin.close()
    for worker in started:
        assert worker.stdout is not None
        found.append([json.loads(line) for line in worker.stdout])
    return found
