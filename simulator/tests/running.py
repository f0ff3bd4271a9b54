"""A simulator in a thread of its own, for clients that block; and ways to log in to it."""

import asyncio
import gc
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pyotp
import requests
from aiohttp import web_app
from kiteconnect import KiteConnect

from simulator.app import Simulator, start, stop
from simulator.clock import Clock
from simulator.control import SimulatorControl
from simulator.feed import Connection
from simulator.options import DEMO_APP, DEMO_USER, DemoApp, DemoUser, SimulatorOptions
from simulator.rules import Rules

OPEN = datetime.fromisoformat("2026-11-25T10:42:00+05:30").timestamp()
CONTROL_TOKEN = "only-for-tests"
CLOSED = datetime.fromisoformat("2026-11-25T20:00:00+05:30").timestamp()


class SetClock:
    """A clock, market or system, that shows what it is set to."""

    def __init__(self, moment: float) -> None:
        self.moment = moment

    def timestamp(self) -> float:
        return self.moment

    __call__ = timestamp


def options_for_tests(sessions_folder: Path) -> SimulatorOptions:
    return SimulatorOptions(
        sessions_folder=sessions_folder,
        market_clock="2026-11-25T10:42:00+05:30",
        rules=Rules(rate_limits=False),
    )


def with_rules(options: SimulatorOptions, **switches: bool) -> SimulatorOptions:
    return replace(options, rules=replace(options.rules, **switches))


def with_control(options: SimulatorOptions) -> SimulatorOptions:
    """The same simulator, and whoever has CONTROL_TOKEN may let things go wrong."""
    return replace(options, control_token=CONTROL_TOKEN)


class RunningSimulator:
    """A listening simulator, and its event loop."""

    def __init__(self, simulator: Simulator) -> None:
        self.broker = simulator.broker
        self.http_root = simulator.http_root
        self.websocket_root = simulator.websocket_root
        self._feed = simulator.feed

    def request_token(self, user: DemoUser = DEMO_USER, app: DemoApp = DEMO_APP) -> str:
        """A fresh request token, the way a browser gets one."""
        with requests.Session() as browser:
            login_url = f"{self.http_root}/connect/login?v=3&api_key={app.api_key}"
            form: dict[str, Any] = {"user_id": user.user_id, "password": user.password}
            request_id = browser.post(f"{self.http_root}/api/login", form, timeout=5).json()["data"]["request_id"]
            code = pyotp.TOTP(user.totp_secret).now()
            second = {"user_id": user.user_id, "request_id": request_id, "twofa_value": code, "twofa_type": "totp"}
            browser.post(f"{self.http_root}/api/twofa", second, timeout=5).raise_for_status()
            way_back = browser.get(login_url, allow_redirects=False, timeout=5).headers["Location"]
        return parse_qs(urlsplit(way_back).query)["request_token"][0]

    def client(self) -> KiteConnect:
        return KiteConnect(DEMO_APP.api_key, root=self.http_root)

    def logged_in(self, user: DemoUser = DEMO_USER, app: DemoApp = DEMO_APP) -> KiteConnect:
        kite = KiteConnect(app.api_key, root=self.http_root)
        kite.generate_session(self.request_token(user, app), app.api_secret)
        return kite

    def control(self) -> SimulatorControl:
        """The control API; the simulator must have been started `with_control`."""
        return SimulatorControl(self.http_root, CONTROL_TOKEN)

    def connections(self) -> list[Connection]:
        """The sockets that are open now."""
        return list(self._feed.connections)

    def feed_url(self, access_token: str) -> str:
        return f"{self.websocket_root}/?api_key={DEMO_APP.api_key}&access_token={access_token}"


@contextmanager
def running(
    options: SimulatorOptions, clock: Clock | None = None, system_clock: SetClock | None = None
) -> Iterator[RunningSimulator]:
    """Start a simulator in a thread, stop it at the end."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="simulator")
    thread.start()
    simulator: Simulator | None = None
    try:
        more = {"system_clock": system_clock} if system_clock else {}
        simulator = asyncio.run_coroutine_threadsafe(start(options, clock, **more), loop).result(30)
        try:
            yield RunningSimulator(simulator)
        finally:
            asyncio.run_coroutine_threadsafe(stop(simulator), loop).result(30)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()
        # A market is tens of megabytes in a few large arrays, and a hundred simulators are gigabytes. aiohttp keeps
        # the applications of its last thousand handlers, and of a cycle of few objects Python would not soon be rid.
        simulator = None
        web_app._cached_build_middleware.cache_clear()
        gc.collect()
