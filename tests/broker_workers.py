"""Worker processes for the proofs of limits: `python -m tests.broker_workers ROLE …`. They end when stdin does."""

import json
import os
import socket
import sys
import threading
import time
from collections.abc import Callable

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")


def say(**facts: object) -> None:
    """One JSON line to whoever started this process."""
    print(json.dumps(facts), flush=True)  # noqa: T201


def orders(port: int, threads: int, share: str) -> None:
    """Hammer the budget of AB1234 and send a datagram to `port` for each order let through.

    `share` is ``entries``, or ``mixed``: every other thread sends exits, by PostgreSQL while Redis is away.
    """
    from accounts.budget import Go, acquire_order, acquire_order_without_redis
    from accounts.budget_limits import OrderKind
    from accounts.exceptions import BudgetUnavailable
    from accounts.models import TradingAccount

    account = TradingAccount.objects.get(kite_user_id="AB1234")
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.connect(("127.0.0.1", port))

    def hammer(number: int) -> None:
        kind = OrderKind.EXIT if share == "mixed" and number % 2 else OrderKind.ENTRY
        attempt = 0
        while not stopping.is_set():
            attempt += 1
            charge = f"{os.getpid()}:{number}:{attempt}"
            try:
                answer = acquire_order(account, kind, charge_id=charge)
            except BudgetUnavailable:
                if kind is OrderKind.ENTRY:
                    time.sleep(0.02)
                    continue
                answer = acquire_order_without_redis(account, kind, charge_id=charge)
            if isinstance(answer, Go):
                receiver.send(kind.encode())
            else:
                # Impatient on purpose: it asks again before its time.
                time.sleep(min(answer.seconds, 0.02))

    _run([lambda number=number: hammer(number) for number in range(threads)])  # type: ignore[misc]


def data(pause: float) -> None:
    """Ask the broker for holdings, over and over, and say what each call came to."""
    from accounts.broker.client import BrokerClient
    from accounts.exceptions import BrokerError

    client = BrokerClient("appkey1", "t", account="AB1234")

    def ask() -> None:
        while not stopping.is_set():
            try:
                client.holdings()
                outcome = "ok"
            except BrokerError as exc:
                outcome = type(exc).__name__
            say(at=time.monotonic(), outcome=outcome)
            time.sleep(pause)

    _run([ask])


stopping = threading.Event()


def _run(works: list[Callable[[], None]]) -> None:
    from django.db import connection

    def work(one: Callable[[], None]) -> None:
        try:
            one()
        finally:
            connection.close()

    threads = [threading.Thread(target=work, args=(one,)) for one in works]
    say(ready=True)
    sys.stdin.readline()  # begin
    for thread in threads:
        thread.start()
    sys.stdin.read()  # until it is closed
    stopping.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    django.setup()
    if sys.argv[1] == "orders":
        orders(int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
    else:
        data(float(sys.argv[2]))
