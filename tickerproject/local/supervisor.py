"""Starts the processes of the service on one machine, shows their logs, restarts what dies, and stops all of it.

A stopping signal goes to a process's leader, never to its group: Celery's children would die in the middle of a task.
Only what is left after the time of grace is killed as a group.
"""

import asyncio
import contextlib
import os
import signal
import sys
import time
from collections import defaultdict, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tickerproject.local import tied
from tickerproject.local.console import COLOURS, Console

STEADY_SECONDS = 30.0
FIRST_DELAY_SECONDS = 0.5
LONGEST_DELAY_SECONDS = 30.0
GRACE_SECONDS = 12.0
LONGEST_LINE = 64 * 1024
LINES_KEPT = 20


@dataclass(frozen=True)
class Service:
    """One process: its command, how it is stopped, and whether its lines are shown only when it dies (`quiet`)."""

    name: str
    command: Sequence[str]
    stop_signal: signal.Signals = signal.SIGTERM
    popen: Mapping[str, Any] = field(default_factory=dict)
    quiet: bool = False


class ServiceFailed(Exception):
    """A process ended before it was ready."""


class Supervisor:
    """Owns the processes. Everything it started is gone when `stop` returns."""

    def __init__(self, console: Console, environment: Mapping[str, str]) -> None:
        self._console = console
        self.environment = dict(environment)
        self._processes: dict[str, asyncio.subprocess.Process] = {}
        self._keepers: dict[str, asyncio.Task[None]] = {}
        self._services: list[Service] = []
        self._stop_asked = asyncio.Event()
        self._last_lines: dict[str, deque[str]] = defaultdict(lambda: deque(maxlen=LINES_KEPT))

    def start(self, service: Service) -> None:
        """Start `service` and keep it running until `stop`."""
        self._services.append(service)
        colour = COLOURS[(len(self._services) - 1) % len(COLOURS)]
        self._keepers[service.name] = asyncio.create_task(self._keep(service, colour), name=service.name)

    async def wait_ready(self, service: Service, is_ready: Callable[[], bool], seconds: float) -> None:
        """Return once `is_ready` says so (asked in a thread).

        Raises
        ------
        ServiceFailed
            If it is not ready in time; the message holds the last line it printed.
        """
        deadline = time.monotonic() + seconds
        while not await asyncio.to_thread(is_ready):
            if time.monotonic() > deadline:
                last = next(reversed(self._last_lines[service.name]), "it printed nothing")
                raise ServiceFailed(f"{service.name} was not ready within {seconds:.0f} s; its last line: {last}")
            await asyncio.sleep(0.03)

    async def run_once(self, name: str, command: Sequence[str]) -> str:
        """Run a command to its end and return what it wrote to standard output; its other output is shown.

        Raises
        ------
        ServiceFailed
            If it ends with another code than 0.
        """
        process = await self._spawn(Service(name, command), stderr=asyncio.subprocess.PIPE)
        self._processes[name] = process
        assert process.stdout is not None  # noqa: S101
        assert process.stderr is not None  # noqa: S101
        output, _ = await asyncio.gather(process.stdout.read(), self._show(name, COLOURS[-1], process.stderr))
        code = await process.wait()
        del self._processes[name]
        if code != 0:
            tail = output.decode(errors="replace").strip().splitlines()[-20:]
            raise ServiceFailed("\n".join([f"{name} ended with code {code}", *tail]))
        return output.decode(errors="replace")

    async def stop(self) -> None:
        """Stop everything, the last started first, and wait until it is gone."""
        self._stop_asked.set()
        for service in reversed(self._services):
            await self._stop_one(service.name, service.stop_signal)
        for name in list(self._processes):
            await self._stop_one(name, signal.SIGTERM)

    async def _stop_one(self, name: str, how: signal.Signals) -> None:
        keeper = self._keepers.pop(name, None)
        process = self._processes.get(name)
        if process is not None and process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(how)
            try:
                await asyncio.wait_for(_leader_gone(process), GRACE_SECONDS)
            except TimeoutError:
                self._console.trouble(f"{name} did not stop within {GRACE_SECONDS:.0f} s and is killed")
        if process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            await process.wait()
        if keeper is not None:
            keeper.cancel()
            await asyncio.gather(keeper, return_exceptions=True)

    async def _spawn(self, service: Service, **streams: Any) -> asyncio.subprocess.Process:
        command = list(service.command)
        if tied.__file__ not in command:
            command = [sys.executable, "-I", tied.__file__, str(int(service.stop_signal)), *command]
        environment = self.environment | {"TIED_TO": str(os.getpid())}
        return await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            env=environment,
            start_new_session=True,
            limit=LONGEST_LINE,
            **({"stderr": asyncio.subprocess.STDOUT} | streams | dict(service.popen)),
        )

    async def _keep(self, service: Service, colour: int) -> None:
        delay = FIRST_DELAY_SECONDS
        while not self._stop_asked.is_set():
            started = time.monotonic()
            process = await self._spawn(service)
            self._processes[service.name] = process
            assert process.stdout is not None  # noqa: S101
            await self._show(service.name, colour, process.stdout, quiet=service.quiet)
            code = await process.wait()
            if self._stop_asked.is_set():
                return
            if time.monotonic() - started > STEADY_SECONDS:
                delay = FIRST_DELAY_SECONDS
            if service.quiet:
                for text in self._last_lines[service.name]:
                    self._console.line(service.name, colour, text)
            self._console.trouble(f"{service.name} {_ended(code)}; starting it again in {delay:.1f} s")
            await asyncio.sleep(delay)
            delay = min(delay * 2, LONGEST_DELAY_SECONDS)

    async def _show(self, name: str, colour: int, stream: asyncio.StreamReader, *, quiet: bool = False) -> None:
        while True:
            try:
                raw = await stream.readline()
            except ValueError:  # a line longer than the limit: what was read of it is dropped
                continue
            if not raw:
                return
            text = raw.decode(errors="replace").rstrip()
            if text:
                self._last_lines[name].append(text)
                if not quiet:
                    self._console.line(name, colour, text)


async def _leader_gone(process: asyncio.subprocess.Process) -> None:
    """Unlike `process.wait`, does not wait for children that still hold the leader's output."""
    while process.returncode is None:  # noqa: ASYNC110  (asyncio offers no event for it)
        await asyncio.sleep(0.02)


def _ended(code: int) -> str:
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"ended with code {code}"
