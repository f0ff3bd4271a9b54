"""Web processes to measure: the service's application or a peer's, under Daphne or uvicorn, on a core of their own."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Final

import psutil

from benchmarks.harness import PeerMissing
from tickerproject.local import tied
from tickerproject.local.ports import LOOPBACK, any_free, is_free

READY_SECONDS = 60.0
SERVICE = "tickerproject.asgi:application"
CHANNEL_LAYER = "benchmarks.channel_layer:application"
DAPHNE, UVICORN = "daphne", "uvicorn"
# Those of the machine, looked up before anything here is tied to one of them.
_CORES: Final[Sequence[int]] = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else ()


@dataclass(frozen=True)
class Web:
    """A process that serves WebSockets."""

    port: int
    process: psutil.Process

    def cpu_seconds(self) -> float:
        """What its threads have had of a core: by the nanosecond where the kernel tells, else by the tick."""
        tasks = Path(f"/proc/{self.process.pid}/task")
        try:
            return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks.iterdir()) / 1e9
        except OSError:
            times = self.process.cpu_times()
            return float(times.user + times.system)


def command_of(server: str, application: str, port: int) -> list[str]:
    """How the application is started, as `docs/serving.md` tells. Raises PeerMissing."""
    if server == DAPHNE:
        more = ["--bind", LOOPBACK, "--ping-interval", "5", "--ping-timeout", "10", "--verbosity", "0"]
        return [sys.executable, "-m", "daphne", *more, "--no-server-name", "--port", str(port), application]
    if find_spec("uvicorn") is None:
        raise PeerMissing("uvicorn")
    more = ["--host", LOOPBACK, "--ws", "websockets-sansio", "--ws-per-message-deflate", "false", "--loop", "uvloop"]
    more += ["--ws-max-size", "131072", "--lifespan", "off"]
    more += ["--no-access-log", "--no-server-header", "--no-proxy-headers", "--log-level", "warning"]
    return [sys.executable, "-m", "uvicorn", *more, "--port", str(port), application]


@contextmanager
def serving(server: str, application: str, *, core: int | None, **settings: str) -> Iterator[Web]:
    """The application, ready to be asked. It is stopped at the end."""
    with running(lambda port: command_of(server, application, port), core=core, **settings) as web:
        yield web


@contextmanager
def running(command: Callable[[int], Sequence[str]], *, core: int | None, **settings: str) -> Iterator[Web]:
    """A process that listens at the port which its command is given."""
    port = any_free()
    process = _started(command(port), settings)
    try:
        if core is not None:
            with suppress(AttributeError):  # not everywhere can a process be tied to a core
                os.sched_setaffinity(process.pid, {core})
        deadline = time.monotonic() + READY_SECONDS
        while is_free(port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} does not listen")
            time.sleep(0.05)
        yield Web(port, psutil.Process(process.pid))
    finally:
        _stop(process)


def cores() -> tuple[int | None, int | None]:
    """One core for the web process and one for everything else, where there are two."""
    return (_CORES[0], _CORES[1]) if len(_CORES) > 1 else (None, None)


def picows(port: int, channel: str) -> list[str]:
    """The command of the broadcast that is the floor. Raises PeerMissing."""
    if find_spec("picows") is None:
        raise PeerMissing("picows")
    return [sys.executable, "-m", "benchmarks.picows_broadcast", str(port), channel]


def keys(sockets: int) -> list[str]:
    """API keys that may stream, so many that each opens its share of the sockets. Needs Django and its database."""
    from django.contrib.auth.models import User

    from accounts.actions import Action
    from accounts.api_keys import create_api_key
    from accounts.models import KiteApp, TradingAccount
    from accounts.socket_consumer import SocketLimits

    owner = User.objects.create(username="benchmark")
    app = KiteApp.objects.create(api_key="benchmark", label="Benchmark")
    account = TradingAccount.objects.create(kite_user_id="AB0001", label="Benchmark", app=app, owner=owner)
    number = -(-sockets // SocketLimits().sockets_per_principal)
    return [
        create_api_key(owner=owner, label=f"{n}", scopes=[Action.STREAM], accounts=[account])[1] for n in range(number)
    ]


@contextmanager
def role(module: str, *arguments: object, **settings: str) -> Iterator[None]:
    """A process of a benchmark that listens to nobody, until the block ends."""
    process = _started([sys.executable, "-m", module, *map(str, arguments)], settings)
    try:
        yield
        if process.poll() is not None:
            raise RuntimeError(f"{module} {arguments} ended by itself")
    finally:
        _stop(process)


def _started(command: Sequence[str], settings: Mapping[str, str]) -> "subprocess.Popen[bytes]":
    """Tied to this process: it ends when this one does, however that ends."""
    tie = [sys.executable, "-I", tied.__file__, str(int(signal.SIGKILL))]
    return subprocess.Popen([*tie, *command], env={**os.environ, **settings}, stdin=subprocess.DEVNULL)


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
