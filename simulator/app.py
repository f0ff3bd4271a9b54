"""The simulator as one aiohttp application, and how to run it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from aiohttp import web

from simulator import announcements, feed
from simulator.broker import BROKER, Broker
from simulator.clock import Clock
from simulator.faults import routes as control
from simulator.faults.calls import disturb
from simulator.options import InvalidOptions, SimulatorOptions
from simulator.rest import history, instruments, login, margins, orders, portfolio, quotes, session, user
from simulator.rest.envelope import envelope
from simulator.trading.memory import Memory

_SHUTDOWN_SECONDS = 2.0
_KEEP_SECONDS = 1.0  # what a killed simulator forgets


def build_app(
    options: SimulatorOptions, clock: Clock | None = None, system_clock: Callable[[], float] = time.time
) -> web.Application:
    """REST and WebSocket of one simulated broker. Raises InvalidOptions.

    `clock` replaces the market clock that the options describe, `system_clock` the machine's.
    """
    app = web.Application(middlewares=[disturb, envelope] if options.control_token else [envelope])
    app[BROKER] = Broker(options, clock, system_clock)
    for part in (feed, announcements, session, login, user, quotes, history, instruments, orders, portfolio, margins):
        part.setup(app)
    control.setup(app, system_clock)
    if options.state_file is not None:
        app.cleanup_ctx.append(_remembering)
    return app


async def _remembering(app: web.Application) -> AsyncIterator[None]:
    """Go on with the trading of before, and keep it while the simulator runs."""
    broker = app[BROKER]
    assert broker.options.state_file is not None  # noqa: S101 - else it is not appended
    memory = Memory(broker.options.state_file, broker.desk)
    memory.recall()

    async def keep() -> None:
        while True:
            await asyncio.sleep(_KEEP_SECONDS)
            memory.keep()

    task = asyncio.create_task(keep(), name="keep trading")
    yield
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    memory.keep()


@dataclass(frozen=True, slots=True)
class Simulator:
    """A simulator that is listening."""

    broker: Broker
    feed: feed.Feed
    host: str
    port: int
    _runner: web.AppRunner

    @property
    def http_root(self) -> str:
        return f"http://{self.host}:{self.port}"

    @property
    def websocket_root(self) -> str:
        return f"ws://{self.host}:{self.port}"


async def start(
    options: SimulatorOptions, clock: Clock | None = None, system_clock: Callable[[], float] = time.time
) -> Simulator:
    """Listen in the running event loop. Raises InvalidOptions, also when the port is taken."""
    app = await asyncio.to_thread(build_app, options, clock, system_clock)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=_SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        site = web.TCPSite(runner, options.host, options.port)
        await site.start()
    except OSError as exc:
        await runner.cleanup()
        raise InvalidOptions(
            f"cannot listen on {options.host}:{options.port} ({exc.strerror}); choose another SIMULATOR_PORT, or 0"
        ) from exc
    port: int = runner.addresses[0][1]
    return Simulator(app[BROKER], app[feed.FEED], options.host, port, runner)


async def stop(simulator: Simulator) -> None:
    """Close every connection and the port."""
    await simulator._runner.cleanup()
