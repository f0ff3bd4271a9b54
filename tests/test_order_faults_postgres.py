"""Fault rows of orders in which PostgreSQL restarts or has no connection left: a server of its own, hurt by pid."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import psycopg
import pytest
import redis
import requests

from simulator.control import SimulatorControl
from tests.conftest import APPS, TRADERS, taken_by_tag
from tests.order_processes import Door, OrderProcesses, ready, wait_until
from tickerproject.local.ports import any_free
from tickerproject.local.postgres import Postgres

pytestmark = [pytest.mark.processes, pytest.mark.long]  # minutes, by the deaths of processes

FEW = 24  # connections


class OwnPostgres:
    """A server that can be restarted as an administrator does: what is open is cut off, nothing committed is lost."""

    def __init__(self, folder: Path) -> None:
        self._server = Postgres(folder, any_free(), durable=False)
        self._server.prepare()
        self.start()
        self._server.create_database()
        self.url = self._server.url

    def start(self) -> None:
        command, options = self._server.command()
        command = [*command, "-c", f"max_connections={FEW}", "-c", "superuser_reserved_connections=0"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        wait_until(self._server.is_ready, 30)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGINT)  # a fast shutdown
        self.process.wait(30)

    def rows(self, query: str) -> list[tuple[object, ...]]:
        with psycopg.connect(self.url) as own:
            return own.execute(query).fetchall()


class Service:
    """The service on that server, and a program that insists on its orders."""

    def __init__(self, server: OwnPostgres, processes: OrderProcesses, access_token: str) -> None:
        self.server = server
        processes.run(sys.executable, "manage.py", "migrate", "--verbosity", "0")
        told = processes.run(
            sys.executable, "-m", "tests.order_steps", TRADERS[0].user_id, APPS[0].api_key, access_token
        )
        prepared = json.loads(told.splitlines()[-1])
        worker, pump = processes.worker(), processes.pump()
        _, self._address = processes.web()
        ready(worker, pump)
        self._door = Door(prepared["account"], prepared["key"])
        self.answers: list[requests.Response] = []

    def insist(self, key: str) -> None:
        """Ask with this key until the order is taken."""
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            answer = self._door.place(self._address, key)
            self.answers.append(answer)
            if answer.ok:
                return
            time.sleep(0.2)
        pytest.fail(f"{key} was never taken: {answer.status_code} {answer.text[:300]}")

    def compare(self, control: SimulatorControl, orders: int) -> None:
        """Each key is one row, completed, and one order at the broker."""
        open_rows = "select count(*) from orders_ordertask where status not in ('completed', 'failed', 'dead_letter')"
        wait_until(lambda: self.server.rows(open_rows) == [(0,)], 60)
        tasks = self.server.rows("select idempotency_key, tag, status from orders_ordertask")
        assert len({key for key, _, _ in tasks}) == len(tasks) == orders
        completed = {str(tag): 1 for _, tag, status in tasks if status == "completed"}
        assert taken_by_tag(control) == completed
        assert len(completed) == orders, [status for _, _, status in tasks]


@pytest.fixture
def service(
    tmp_path: Path,
    valkey: "redis.Redis",
    strict: dict[str, str],
    access_tokens: dict[str, str],
    control: SimulatorControl,
) -> Iterator[Service]:
    with ExitStack() as ending:
        server = OwnPostgres(tmp_path / "postgres")
        ending.callback(server.stop)
        own = strict | {"DATABASE_URL": server.url, "DATABASE_POOL_TIMEOUT_SECONDS": "2"}
        processes = ending.enter_context(OrderProcesses(tmp_path, own))
        yield Service(server, processes, access_tokens[TRADERS[0].user_id])


def test_f44_orders_under_way_while_postgresql_restarts_end_as_they_should(
    service: Service, control: SimulatorControl
) -> None:
    """F44: whoever asks meanwhile is told to come again, and what is in flight is found or sent, once."""
    with ThreadPoolExecutor(3) as pool:
        asking = [pool.submit(service.insist, f"k{number}") for number in range(60)]
        wait_until(lambda: sum(one.done() for one in asking) >= 15, 30)
        service.server.stop()
        time.sleep(1)
        service.server.start()
        for one in asking:
            one.result()
    refused = [answer for answer in service.answers if not answer.ok]
    assert {answer.status_code for answer in refused} <= {503}, [answer.text[:300] for answer in refused]
    assert all("Retry-After" in answer.headers for answer in refused)
    service.insist("last")  # the later order without which absence is not proven
    service.compare(control, 61)


def test_f45_without_a_connection_left_requests_are_refused_in_time_and_workers_recover(
    service: Service, control: SimulatorControl
) -> None:
    """F45: others hold every connection for a while."""
    service.insist("k0")
    holders: list[psycopg.Connection[tuple[object, ...]]] = []
    try:
        while len(holders) < FEW:
            holders.append(psycopg.connect(service.server.url))
    except psycopg.OperationalError:
        pass
    assert holders
    with ThreadPoolExecutor(8) as pool:
        begun = time.monotonic()
        asking = [pool.submit(service.insist, f"k{number}") for number in range(1, 9)]
        time.sleep(3)
        for holder in holders:
            holder.close()
        for one in asking:
            one.result()
        assert time.monotonic() - begun < 40
    assert {answer.status_code for answer in service.answers if not answer.ok} <= {503}
    service.insist("last")
    service.compare(control, 10)
