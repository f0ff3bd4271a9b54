"""News of orders through real processes: a worker that sends, web servers that die, and a client that comes back."""

import json
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.models import TradingAccount
from orders.models import OrderTask
from orders.news import give_numbers, heads
from orders.tasks import ring
from simulator.control import SimulatorControl
from tests.conftest import Place
from tests.order_processes import OrderProcesses, ready, wait_until

ORDERS = 12


class Program:
    """A client that acknowledges all it hears, and remembers where it was."""

    def __init__(self, account: TradingAccount) -> None:
        self.name = str(account.public_id)
        self.rows: list[dict[str, Any]] = []
        _, self._key = create_api_key(owner=account.owner, label="p", scopes=[Action.READ], accounts=[account])

    @contextmanager
    def dial(self, address: str) -> Iterator[ClientConnection]:
        """A socket that goes on where the one before has ended."""
        asked: dict[str, Any] = {"accounts": "all"}
        if self.rows:
            asked["last_seq"] = {self.name: self.rows[-1]["seq"]}
        url = f"{address.replace('http', 'ws')}/ws/orders/"
        with connect(url, additional_headers={"X-API-Key": self._key}) as socket:
            socket.send(json.dumps({"subscribe": asked}))
            begun = json.loads(socket.recv(10))
            assert begun["accounts"][self.name]["resumed"] is bool(self.rows)
            yield socket

    def listen(self, socket: ClientConnection, until: int) -> None:
        """Take rows until there are so many of them."""
        while len(self.rows) < until:
            message = json.loads(socket.recv(20))
            if "frame" in message:
                socket.send(json.dumps({"ack": message["frame"]}))
            if message["type"] == "news":
                self.rows += message["rows"]


@pytest.mark.processes
def test_a_client_of_a_web_server_that_is_killed_goes_on_at_another_and_misses_nothing(
    trader: TradingAccount, place: Place, processes: OrderProcesses, control: SimulatorControl
) -> None:
    worker = processes.worker()
    processes.beat()  # on a slow machine a call may take longer than is waited for: then the book has to be looked into
    (first, at_first), (_, at_second) = processes.web(), processes.web()
    ready(worker)
    program = Program(trader)
    with program.dial(at_first) as socket:
        for _ in range(ORDERS):
            place(trader)
        ring(trader.pk)
        program.listen(socket, ORDERS + 3)  # all are taken on, and the first ones on their way
        first.kill()
        with pytest.raises(ConnectionClosed):
            program.listen(socket, 10_000)
    place(trader)
    ring(trader.pk)
    wait_until(lambda: not OrderTask.objects.open().exists(), 60, "some order has not come to an end")
    time.sleep(0.2)  # the broker's own news of them may follow
    give_numbers()
    with program.dial(at_second) as socket:
        program.listen(socket, heads([trader.pk])[trader.pk])
    assert [row["seq"] for row in program.rows] == list(range(1, len(program.rows) + 1))
    versions = defaultdict(list)
    for row in program.rows:
        if row["kind"] == "task":
            versions[row["reference"]].append(row["data"]["version"])
    assert len(versions) == ORDERS + 1
    for task in OrderTask.objects.all():
        assert versions[str(task.public_id)] == list(range(1, task.version + 1))
