"""The real processes on free ports, with servers of their own: started, started again when they die, and stopped.

Whoever hurts them sends signals to their process ids; nothing here knows why one died.
"""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import psutil

from benchmarks.soak.broker_users import Trader, accounts_file
from tickerproject.local import tied
from tickerproject.local.ports import LOOPBACK, is_free, next_free
from tickerproject.local.postgres import Postgres
from tickerproject.local.valkey import Valkey
from tickerproject.testing.environment import TEST_ENVIRONMENT

PROJECT = Path(__file__).resolve().parents[2]
CONTROL_TOKEN = "only-for-the-soak"  # noqa: S105 - it opens a simulator that lives for minutes
START_SECONDS, GRACE_SECONDS, WATCH_SECONDS = 90, 20, 0.05
PYTHON = sys.executable
CELERY = (PYTHON, "-m", "celery", "--app", "tickerproject", "--quiet")
WORKER = (
    *CELERY, "worker", "--pool", "threads", "--concurrency", "8", "--without-gossip", "--without-mingle",
    "--loglevel", "WARNING", "--queues", "orders,sync",
)  # fmt: skip
BEAT = (*CELERY, "beat", "--loglevel", "WARNING", "--pidfile", "")
PUMP = (PYTHON, "manage.py", "run_orderpump")


def web(port: int) -> tuple[str, ...]:
    return (
        PYTHON, "-m", "daphne", "--bind", LOOPBACK, "--port", str(port), "--verbosity", "0", "--no-server-name",
        "tickerproject.asgi:application",
    )  # fmt: skip


# Below those that the system hands out by itself: while a killed server is away, a client that dials its port could be
# given that very port for its own end, and the server could not come back.
PORTS = 15_000, 31_000


class RigFailed(Exception):
    """A process did not start; the message has the end of what it wrote."""


@dataclass
class Process:
    """One process of the rig, over all its lives."""

    name: str
    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] | None = None
    popen: Mapping[str, Any] = field(default_factory=dict)
    stop_signal: signal.Signals = signal.SIGTERM
    lives: int = 0
    _running: "subprocess.Popen[bytes] | None" = None

    def start(self) -> None:
        with self.log.open("ab") as output:
            self._running = subprocess.Popen(
                self.command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.environment,
                **{"cwd": PROJECT, **self.popen},
            )  # fmt: skip
        self.lives += 1

    @property
    def is_alive(self) -> bool:
        return self._running is not None and self._running.poll() is None

    @property
    def is_stopped(self) -> bool:
        """Whether SIGSTOP holds it."""
        try:
            return self.is_alive and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED
        except psutil.NoSuchProcess:
            return False

    @property
    def pid(self) -> int:
        assert self._running is not None
        return self._running.pid

    def signal(self, number: signal.Signals) -> None:
        """Send it, if the process is there to hear it."""
        if self.is_alive:
            with suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def end(self) -> None:
        """Stop it, as a person would; by force after the time of grace."""
        if self._running is None:
            return
        self.signal(signal.SIGCONT)
        self.signal(self.stop_signal)
        try:
            self._running.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            self._running.kill()
            self._running.wait()

    def tail(self, characters: int = 1500) -> str:
        return self.log.read_text(errors="replace")[-characters:] if self.log.exists() else ""


class Rig:
    """PostgreSQL, Valkey, the simulated broker and the service's processes, until the block ends.

    `settings` are environment variables for all of them; `traders` the simulator's users besides the demo's. With
    `keep` the folder with the logs stays.
    """

    def __init__(self, traders: Sequence[Trader], settings: Mapping[str, str], *, keep: bool = False) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="ticker-soak-"))
        self._traders, self._settings, self._keep_files = traders, dict(settings), keep
        self._processes: dict[str, Process] = {}
        self._keeping = threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper")
        self._lock = threading.Lock()
        self._ports: set[int] = set()
        self.environment: dict[str, str] = {}

    def __enter__(self) -> Self:
        try:
            self._start_servers()
        except BaseException:  # also where it is interrupted: what was started must not stay behind
            self.__exit__()
            raise
        self._keeping.set()
        self._keeper.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._keeping.clear()
        if self._keeper.is_alive():
            self._keeper.join()
        # The servers last: a worker that hands over its work needs them.
        for process in reversed(list(self._processes.values())):
            process.end()
        if not self._keep_files:
            shutil.rmtree(self.path, ignore_errors=True)

    def __getitem__(self, name: str) -> Process:
        return self._processes[name]

    def port(self) -> int:
        """A free one, and another with each call."""
        port = next_free(random.randint(*PORTS), taken=frozenset(self._ports))
        self._ports.add(port)
        return port

    def manage(self, *arguments: str) -> None:
        """Run a management command to its end."""
        self.run(PYTHON, "manage.py", *arguments)

    def run(self, *command: str) -> str:
        """The same of any command; what it wrote to standard output. Raises RigFailed."""
        done = subprocess.run(command, cwd=PROJECT, env=self.environment, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RigFailed(f"{' '.join(command)} ended with {done.returncode}: {(done.stdout + done.stderr)[-1500:]}")
        return done.stdout

    def add(self, name: str, command: Sequence[str], **settings: str) -> Process:
        """Start a process of the service, and keep it running; `settings` are for it alone."""
        process = Process(name, _tied(command), self.path / f"{name}.log", self.environment | settings)
        process.start()
        with self._lock:
            self._processes[name] = process
        return process

    def wait(self, name: str, is_ready: Callable[[], bool], seconds: float = START_SECONDS) -> None:
        deadline = time.monotonic() + seconds
        while not is_ready():
            if time.monotonic() > deadline or not (self._keeping.is_set() or self[name].is_alive):
                raise RigFailed(f"{name} is not ready after {seconds:.0f} s:\n{self[name].tail()}")
            time.sleep(0.05)

    def remove(self, *names: str) -> None:
        """Stop these for good."""
        with self._lock:
            leaving = [self._processes.pop(name) for name in names]
        for process in leaving:
            process.end()

    # --- servers ----------------------------------------------------------------------------------------------------

    def _start_servers(self) -> None:
        postgres = Postgres(self.path / "postgres", self.port(), durable=False)
        postgres.prepare()
        command, popen = postgres.command()
        self._server("postgres", command, popen, signal.SIGINT)
        valkey = Valkey(self.path / "valkey", self.port(), durable=False)
        valkey.prepare()
        self._server("valkey", valkey.command(), {}, signal.SIGTERM)
        port = self.port()
        users = self.path / "users.toml"
        users.write_text(accounts_file(self._traders))
        root = f"{LOOPBACK}:{port}"
        self.environment = {
            **os.environ,
            **TEST_ENVIRONMENT,
            "DATABASE_URL": postgres.url,
            "REDIS_URL": valkey.url,
            "TICKER_DATA_DIR": str(self.path),
            "MARKET_CLOCK_ANCHOR": f"{time.time():.3f}",
            "KITE_API_ROOT": f"http://{root}",
            "KITE_WS_ROOT": f"ws://{root}",
            "KITE_LOGIN_ROOT": f"http://{root}",
            "SIMULATOR_PORT": str(port),
            "SIMULATOR_ACCOUNTS_FILE": str(users),
            "SIMULATOR_CONTROL_TOKEN": CONTROL_TOKEN,
            "SIMULATOR_SEED": "1",
            "LOG_FORMAT": "console",
            "LOG_LEVEL": "WARNING",
            **self._settings,
        }
        self.add("simulator", (PYTHON, "manage.py", "run_simulator"))
        self.wait("postgres", postgres.is_ready)
        self.wait("valkey", valkey.is_ready)
        postgres.create_database()
        self.manage("migrate", "--verbosity", "0")
        self.wait("simulator", lambda: not is_free(port))

    def _server(self, name: str, command: Sequence[str], popen: Mapping[str, Any], stop: signal.Signals) -> None:
        process = Process(name, command, self.path / f"{name}.log", popen=popen, stop_signal=stop)
        process.start()
        self._processes[name] = process

    def _keep(self) -> None:
        """Start again whatever died. One thread for all of it: tied processes end with the thread that started them."""
        while self._keeping.is_set():
            with self._lock:
                dead = [process for process in self._processes.values() if not process.is_alive]
            for process in dead:
                process.start()
            time.sleep(WATCH_SECONDS)


def _tied(command: Sequence[str]) -> list[str]:
    """As `command`, and it ends when the rig's process does, however that ends."""
    return [PYTHON, "-I", tied.__file__, str(int(signal.SIGKILL)), *command]
