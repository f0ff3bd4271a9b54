"""`manage.py run_simulator`: the simulated broker, until SIGTERM or Ctrl-C."""

import asyncio
import signal
from argparse import ArgumentParser
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from simulator.app import Simulator, start, stop
from simulator.options import (
    DEMO_APP,
    DEMO_REDIRECT_URL,
    DEMO_USER,
    DemoApp,
    DemoUser,
    InvalidOptions,
    SimulatorOptions,
    read_accounts,
)
from simulator.rules import Rules


class Command(BaseCommand):
    help = "Run the simulated broker (REST and WebSocket on one port)."
    requires_system_checks = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", help="address to listen on (default: SIMULATOR_HOST)")
        parser.add_argument("--port", type=int, help="port, 0 for a free one (default: SIMULATOR_PORT)")

    def handle(self, *args: Any, host: str | None = None, port: int | None = None, **kwargs: Any) -> None:
        try:
            options = options_from_settings()
            options = replace(
                options, host=options.host if host is None else host, port=options.port if port is None else port
            )
            asyncio.run(self._serve(options))
        except InvalidOptions as exc:
            raise CommandError(str(exc)) from exc

    async def _serve(self, options: SimulatorOptions) -> None:
        stopping = asyncio.Event()
        loop = asyncio.get_running_loop()
        # Before the start, which takes a moment: a supervisor may change its mind in it.
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopping.set)
        simulator = await start(options)
        self._announce(simulator)
        await stopping.wait()
        await stop(simulator)
        self.stdout.write("simulator stopped")

    def _announce(self, simulator: Simulator) -> None:
        market = simulator.broker.market
        self.stdout.write(
            f"simulator listening on {simulator.http_root} (port {simulator.port}): "
            f"{len(market.packets)} instruments of {market.day}, seed {market.seed}"
        )
        self.stdout.flush()


def options_from_settings() -> SimulatorOptions:
    """Options from the SIMULATOR_… and MARKET_CLOCK… settings; what is not set keeps its default.

    Raises InvalidOptions when they cannot work.
    """
    rules = Rules(**{field.name: _setting(field.name, field.default) for field in fields(Rules)})
    redirect_url = _setting("redirect_url", DEMO_REDIRECT_URL)
    users: tuple[DemoUser, ...] = (DEMO_USER,)
    postback_url = _setting("postback_url", "")
    apps: tuple[DemoApp, ...] = (replace(DEMO_APP, redirect_url=redirect_url, postback_url=postback_url),)
    if accounts_file := _setting("accounts_file", ""):
        more_users, more_apps = read_accounts(Path(accounts_file))
        users, apps = (*users, *more_users), (*apps, *more_apps)
    names = ("host", "port", "seed", "rows", "activity", "frame_ms", "order_ms", "control_token")
    own = {name: _setting(name, None) for name in names}
    state_file = _setting("state_file", "")
    return SimulatorOptions(
        sessions_folder=Path(settings.MARKET_DATA_DIR),
        users=users,
        apps=apps,
        rules=rules,
        state_file=Path(state_file) if state_file else None,
        market_clock=settings.MARKET_CLOCK,
        market_clock_speed=settings.MARKET_CLOCK_SPEED,
        market_clock_anchor=settings.MARKET_CLOCK_ANCHOR,
        **{name: value for name, value in own.items() if value is not None},
    )


def _setting(name: str, default: Any) -> Any:
    return getattr(settings, f"SIMULATOR_{name.upper()}", default)
