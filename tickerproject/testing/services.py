"""A pytest plugin: a PostgreSQL and a Valkey of its own for every run, on free ports, stopped by process id.

It is loaded with `-p` because pytest-django reads the settings before any conftest.py, and they need the addresses.
`DATABASE_URL` and `REDIS_URL` of the caller are used instead where they are set. Of workers that run side by side
(`pytest -n 2`) each has a database of its own in the one PostgreSQL, and a Valkey of its own: tests empty it.
"""

import atexit
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator
from pathlib import Path

import pytest

from tickerproject.local.ports import any_free
from tickerproject.local.postgres import Postgres
from tickerproject.local.valkey import Valkey
from tickerproject.testing import environment

READY_SECONDS = 60
STOP_SECONDS = 20

_running: list[tuple[subprocess.Popen[bytes], signal.Signals]] = []
_folders: list[Path] = []


def _wait_until_ready(is_ready: Callable[[], bool], process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while not is_ready():
        if process.poll() is not None or time.monotonic() > deadline:
            raise pytest.UsageError(f"a test server did not start: {log.read_text()[-800:]}")
        time.sleep(0.02)


def _start_postgres(folder: Path) -> str:
    server = Postgres(folder / "postgres", any_free(), durable=False)
    server.prepare()
    if server.folder != folder / "postgres":
        _folders.append(server.folder)
    command, options = server.command()
    log = folder / "postgres.log"
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **options)
    _running.append((process, signal.SIGINT))
    _wait_until_ready(server.is_ready, process, log)
    server.create_database()
    return server.url


def _start_valkey(folder: Path) -> str:
    server = Valkey(folder / "valkey", any_free(), durable=False)
    server.prepare()
    log = folder / "valkey.log"
    with log.open("wb") as output:
        process = subprocess.Popen(server.command(), stdout=output, stderr=output)
    _running.append((process, signal.SIGTERM))
    _wait_until_ready(server.is_ready, process, log)
    return server.url


# A wrapper, since pytest-django's own hook (which reads the settings) asks to be the first of the plain ones.
@pytest.hookimpl(wrapper=True)
def pytest_load_initial_conftests() -> Generator[None]:
    folder = Path(tempfile.mkdtemp(prefix="ticker-tests-"))
    _folders.append(folder)
    if "DATABASE_URL" not in os.environ:
        os.environ["DATABASE_URL"] = _start_postgres(folder)
    if "REDIS_URL" not in os.environ or "PYTEST_XDIST_WORKER" in os.environ:
        os.environ["REDIS_URL"] = _start_valkey(folder)
    environment.fill()
    return (yield)


def pytest_unconfigure() -> None:
    _stop_servers()


@atexit.register  # for a run that ends before pytest is configured
def _stop_servers() -> None:
    for process, how in _running:
        process.send_signal(how)
    for process, _ in _running:
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    _running.clear()
    for folder in _folders:
        shutil.rmtree(folder, ignore_errors=True)
    _folders.clear()
