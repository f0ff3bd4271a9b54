"""The processes that carry orders out, for the fault rows: started on this test's database, hurt by pid, stopped."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import requests
from django.conf import settings
from django.db import connection

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.models import TradingAccount
from tickerproject.local import tied
from tickerproject.local.ports import LOOPBACK, any_free, is_free

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS, GRACE_SECONDS = 60.0, 20.0
CELERY = (sys.executable, "-m", "celery", "--app", "tickerproject", "--quiet")

STRICT: Mapping[str, float | int] = {
    "KITE_TIMEOUT_SECONDS": 1.0,
    "KITE_PATIENCE_SECONDS": 0.5,
    "ORDER_LEASE_SECONDS": 3.0,
    "ORDER_RECONCILE_FIRST_SECONDS": 0.2,
    "ORDER_ABSENCE_SECONDS": 1.0,
    "ORDER_BUDGET_PER_SECOND": 10,
    "ORDER_BUDGET_RESERVE_PER_SECOND": 1,
    "ORDER_BUDGET_WINDOW_SECONDS": 1.0,
    "DATA_BUDGET_OTHER": 10,
    "BREAKER_FAILURES": 1000,
    "BREAKER_OPEN_SECONDS": 1.0,
}
"""Short times, so that faults show in seconds and no budget is the clock."""


def database_url() -> str:
    """The test database, for a process of its own."""
    base = settings.DATABASES["default"]
    name = connection.settings_dict["NAME"]
    return f"postgres://{base['USER']}:{base['PASSWORD']}@{base['HOST']}:{base['PORT']}/{name}"


def wait_until(is_so: Callable[[], Any], seconds: float, what: str = "it never came") -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, what
        time.sleep(0.03)


@dataclass
class Process:
    """One process, from its start to its end."""

    name: str
    running: "subprocess.Popen[bytes]"
    log: Path

    @property
    def text(self) -> str:
        return self.log.read_text(errors="replace")

    @property
    def is_alive(self) -> bool:
        return self.running.poll() is None

    def signal(self, number: signal.Signals) -> None:
        self.running.send_signal(number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self.running.wait()

    def wait_for(self, text: str, seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while text not in self.text:
            assert self.is_alive, f"{self.name} ended:\n{self.text[-3000:]}"
            assert time.monotonic() < deadline, f"{self.name} never said {text!r}:\n{self.text[-3000:]}"
            time.sleep(0.03)

    def wait_for_its_end(self, seconds: float = GRACE_SECONDS) -> int:
        return self.running.wait(seconds)


class OrderProcesses:
    """Workers, pumps, beats and web servers with the same settings; all of them end with the block."""

    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self._folder = folder
        own = {"LOG_FORMAT": "console", "LOG_LEVEL": "INFO", "DATABASE_URL": database_url()}
        self._environment = os.environ | own | dict(environment)
        self._started: list[Process] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._started:  # all at once; to be gentle takes a worker seconds
            if process.is_alive:
                process.signal(signal.SIGKILL)
        for process in self._started:
            process.running.wait(GRACE_SECONDS)
            if process.log.is_file():  # and no device
                sys.stdout.write(f"--- {process.name}:\n{process.text[-3000:]}\n")  # shown where the test has failed

    def worker(self, *, queues: str = "orders,sync", **changes: str) -> Process:
        name = f"worker{len(self._started)}"
        options = ["--pool", "threads", "--concurrency", "4", "--without-gossip", "--without-mingle"]
        options += ["--loglevel", "INFO", "--queues", queues, "--hostname", f"{name}@%h"]
        return self.start(name, [*CELERY, "worker", *options], None, **changes)

    def beat(self, **changes: str) -> Process:
        name = f"beat{len(self._started)}"
        # The schedule of the settings in a file: the table that production has is emptied between tests.
        own = ["--scheduler", "celery.beat.PersistentScheduler", "--schedule", str(self._folder / name)]
        return self.start(name, [*CELERY, "beat", "--loglevel", "INFO", "--pidfile", "", *own], None, **changes)

    pump_command = (sys.executable, "manage.py", "run_orderpump")

    def pump(self, **changes: str) -> Process:
        return self.start(f"pump{len(self._started)}", self.pump_command, None, **changes)

    def web(self, **changes: str) -> tuple[Process, str]:
        """The process, and the address at which it listens already."""
        port = any_free()
        command = [sys.executable, "-m", "daphne", "--bind", LOOPBACK, "--port", str(port), "--verbosity", "0"]
        process = self.start(f"web{len(self._started)}", [*command, "tickerproject.asgi:application"], None, **changes)
        wait_until(lambda: not is_free(port) or not process.is_alive, START_SECONDS, "no web server")
        assert process.is_alive, process.text[-3000:]
        return process, f"http://{LOOPBACK}:{port}"

    def run(self, *command: str) -> str:
        """Run a command to its end; what it wrote."""
        done = subprocess.run(command, cwd=ROOT, env=self._environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def start(self, name: str, command: Sequence[str], /, output: Path | None = None, **changes: str) -> Process:
        """Start a process; what it writes goes to `output`, else to a file of its own."""
        log = output or self._folder / f"{name}.log"
        tie = [sys.executable, "-I", tied.__file__, str(int(signal.SIGKILL))]
        with log.open("ab") as file:
            running = subprocess.Popen(
                [*tie, *command],
                cwd=ROOT,
                env=self._environment | changes,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        process = Process(name, running, log)
        self._started.append(process)
        return process


def ready(*processes: Process) -> None:
    """Wait until each of them works; they may start side by side. A beat says nothing, and is not waited for."""
    said = {"worker": "ready.", "pump": "the order pump works"}
    for process in processes:
        for kind, text in said.items():
            if process.name.startswith(kind):
                process.wait_for(text)


class Door:
    """A program that sends orders to a web server over HTTP."""

    def __init__(self, account_id: str, key: str) -> None:
        self._headers = {"X-API-Key": key}
        self._account = account_id

    @classmethod
    def of(cls, account: TradingAccount) -> Self:
        """With a key of its own that may trade."""
        scopes = (Action.READ, Action.TRADE)
        _, key = create_api_key(owner=account.owner, label="program", scopes=scopes, accounts=[account])
        return cls(str(account.public_id), key)

    def place(self, address: str, key: str, **changes: Any) -> requests.Response:
        body: dict[str, Any] = {
            "account": self._account,
            "exchange": "NSE",
            "tradingsymbol": "INFY",
            "transaction_type": "BUY",
            "quantity": 1,
            "product": "MIS",
            "order_type": "LIMIT",
            "price": "1500.00",
            "allow_duplicate": True,
        }
        headers = self._headers | {"Idempotency-Key": key}
        return requests.post(f"{address}/api/v1/orders", json=body | changes, headers=headers, timeout=20)

    def cancel(self, address: str, task_id: str, key: str) -> int:
        headers = self._headers | {"Idempotency-Key": key}
        return requests.delete(f"{address}/api/v1/orders/{task_id}", headers=headers, timeout=20).status_code
