"""Fault rows of orders in which Redis dies, hangs or refuses: a server of its own, hurt by pid."""

import signal
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest
import redis
from django.db.models import F

from accounts.broker import data_client
from accounts.models import TradingAccount
from orders.models import OrderTask
from orders.states import Operation, Status
from orders.tests.trading import list_contracts
from simulator.control import SimulatorControl
from tests.conftest import taken_by_tag
from tests.order_processes import Door, OrderProcesses, ready, wait_until
from tickerproject.local.ports import any_free
from tickerproject.local.valkey import Valkey

pytestmark = [pytest.mark.processes, pytest.mark.long]  # minutes, by the deaths of processes


class OwnRedis:
    """A server that keeps nothing over a restart."""

    def __init__(self, folder: Path) -> None:
        self._server = Valkey(folder, any_free(), durable=False)
        self._server.prepare()
        self.url = self._server.url
        self.start()

    def start(self) -> None:
        self.process = subprocess.Popen(self._server.command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_until(self._server.is_ready, 20)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def client(self) -> "redis.Redis":
        return redis.Redis.from_url(self.url)


@pytest.fixture
def own_redis(tmp_path: Path) -> Iterator[OwnRedis]:
    server = OwnRedis(tmp_path / "valkey")
    yield server
    server.kill()


class Service:
    """A web server, a worker and a pump on that Redis, and a program that sends orders."""

    def __init__(self, processes: OrderProcesses, account: TradingAccount, server: OwnRedis) -> None:
        list_contracts()
        worker, pump = processes.worker(REDIS_URL=server.url), processes.pump(REDIS_URL=server.url)
        _, self.address = processes.web(REDIS_URL=server.url)
        ready(worker, pump)
        self._door, self._numbers = Door.of(account), count(1)
        last_price = data_client(account).ltp(["NSE:INFY"])["NSE:INFY"]["last_price"]
        self._low = f"{round(float(last_price) * 0.95)}.00"

    def send(self) -> tuple[int, str, float]:
        """One order that waits in the market's book: the answer, the task's id, and the seconds it took."""
        begun = time.monotonic()
        answer = self._door.place(self.address, f"k{next(self._numbers)}", price=self._low)
        return answer.status_code, answer.json().get("id", ""), time.monotonic() - begun

    def send_and_see(self, number: int) -> list[tuple[int, str, float]]:
        """So many orders while all is well, until the broker has them."""
        sent = [self.send() for _ in range(number)]
        deadline = time.monotonic() + 60
        while not completed(number):
            rows = list(OrderTask.objects.values_list("status", "error_code", "attempts", "error_message"))
            assert time.monotonic() < deadline, (sent, rows)
            time.sleep(0.05)
        return sent

    def cancel(self, task_id: str) -> int:
        return self._door.cancel(self.address, task_id, f"k{next(self._numbers)}")


@pytest.fixture
def service(
    control: SimulatorControl, processes: OrderProcesses, trader: TradingAccount, own_redis: OwnRedis
) -> Service:
    """`control` comes first: orders of the test before would be orphans to the processes, and stop the account."""
    return Service(processes, trader, own_redis)


def completed(number: int, operation: Operation = Operation.PLACE) -> bool:
    return OrderTask.objects.filter(operation=operation, status=Status.COMPLETED).count() == number


def each_once(control: SimulatorControl) -> None:
    tags = OrderTask.objects.filter(operation=Operation.PLACE, status=Status.COMPLETED).values_list("tag", flat=True)
    assert taken_by_tag(control) == dict.fromkeys(tags, 1)


@pytest.mark.parametrize("to_the_end", [False, pytest.param(True, marks=pytest.mark.long)])
def test_f41_while_redis_is_gone_orders_are_taken_and_wait_cancels_go_out_and_nothing_is_lost(
    service: Service, own_redis: OwnRedis, control: SimulatorControl, to_the_end: bool
) -> None:
    """F41: killed in the middle of things, and back without its memory."""
    first = service.send_and_see(3)
    own_redis.kill()
    away = [service.send() for _ in range(6)]
    assert {status for status, _, _ in [*first, *away]} == {202}
    assert service.cancel(first[0][1]) == 202
    wait_until(lambda: completed(1, Operation.CANCEL), 20)
    assert completed(3), "new risk waits: nobody counts it now"
    own_redis.start()
    assert service.cancel(first[1][1]) == 202
    wait_until(lambda: completed(2, Operation.CANCEL), 20)
    if to_the_end:  # the minute that Redis has forgotten may have been full
        wait_until(lambda: completed(9), 90, str(list(OrderTask.objects.values_list("status", "error_code"))))
    else:
        assert OrderTask.objects.open().count() == 6, "they wait for a minute, and none is lost"
    each_once(control)


def test_f42_while_redis_hangs_orders_are_taken_within_a_second(
    service: Service, own_redis: OwnRedis, control: SimulatorControl
) -> None:
    """F42: it accepts connections, and says nothing."""
    service.send_and_see(1)
    own_redis.process.send_signal(signal.SIGSTOP)
    try:
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: service.send(), range(10)))
    finally:
        own_redis.process.send_signal(signal.SIGCONT)
    assert {status for status, _, _ in answers} == {202}
    slowest = max(seconds for _, _, seconds in answers)
    # A second on an idle machine, most of it the cache's own patience; what must not show is a socket's five.
    assert slowest < 4, slowest
    wait_until(lambda: completed(11), 60)
    each_once(control)


@pytest.mark.parametrize("how", ["NOSCRIPT", "OOM", "READONLY"])
def test_f43_a_redis_that_refuses_makes_no_500_and_loses_nothing(
    service: Service, own_redis: OwnRedis, control: SimulatorControl, how: str
) -> None:
    """F43: scripts forgotten, memory full, or become a replica that takes no writes."""
    service.send_and_see(1)
    with own_redis.client() as client:
        match how:
            case "NOSCRIPT":
                client.script_flush()
            case "OOM":
                client.config_set("maxmemory", "1")
            case _:
                client.replicaof("127.0.0.1", "1")
        answers = [service.send() for _ in range(4)]
        assert {status for status, _, _ in answers} == {202}
        client.config_set("maxmemory", "0")
        client.replicaof("NO", "ONE")
    wait_until(lambda: completed(5), 60)
    each_once(control)
    assert not OrderTask.objects.filter(attempts__gt=F("max_attempts")).exists()
