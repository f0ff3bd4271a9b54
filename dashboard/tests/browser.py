"""The system's Chromium under Playwright, and what a test wants to know of a page.

Playwright's own download is not used: tests run with what the machine has, and say so when it has none.
"""

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client
from playwright.async_api import Browser, Page, Route, WebSocketRoute, async_playwright, expect

from dashboard.tests.health_socket import HealthSocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_SECONDS = 15
MISSING = (
    "SKIPPED, NOT PASSED: there is no Chromium on this machine, so no page was looked at. "
    "Install one (`apt-get install chromium`) and run again."
)
expect.set_options(timeout=PATIENCE_SECONDS * 1000)


def executable() -> str:
    """The path of the system's Chromium. Without one the test is skipped, and the reason says so."""
    found = next((path for name in NAMES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip(MISSING)
    return found


@asynccontextmanager
async def chromium() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable(), args=ARGUMENTS)
        yield browser
        await browser.close()


async def lose_one_answer(page: Page, pattern: str) -> None:
    """The next request to such an address reaches the server, and its answer never the page."""
    lost = {"once": True}

    async def lose(route: Route) -> None:
        if lost.pop("once", False):
            await route.fetch()
            await route.abort()
        else:
            await route.continue_()

    await page.route(pattern, lose)


@dataclass
class Tab:
    """A page, and everything it complained about or asked another host for."""

    page: Page
    own_host: str
    errors: list[str] = field(default_factory=list)
    foreign_requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", lambda message: self.errors.append(message.text) if message.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", lambda request: self._requested(request.url))

    def _requested(self, url: str) -> None:
        if urlsplit(url).scheme not in ("data", "blob") and urlsplit(url).netloc != self.own_host:
            self.foreign_requests.append(url)

    async def until(self, condition: str, argument: Any = None) -> None:
        """Wait until a JavaScript expression (or function of `argument`) is true.

        Playwright's own `wait_for_function` runs `eval` in the page, which the page's security policy forbids.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not await self.page.evaluate(condition, argument):
            if time.monotonic() > deadline:
                raise TimeoutError(f"not true within {PATIENCE_SECONDS} s: {condition}")
            await asyncio.sleep(0.02)

    async def feed(self) -> dict[str, Any]:
        """What the page says of its feed: state, ageMs, connections, updates, skipped."""
        feed: dict[str, Any] = await self.page.evaluate("window.__chain.feed")
        return feed

    async def text(self, selector: str) -> str:
        return (await self.page.locator(selector).first.inner_text()).strip()


@dataclass
class OrdersSocket:
    """A stand-in for `/ws/orders/`: notes what the page says, and sends what the test tells it to."""

    said: list[dict[str, Any]] = field(default_factory=list)
    routes: list[WebSocketRoute] = field(default_factory=list)
    accounts: dict[str, int] = field(default_factory=dict)
    frame: int = 0

    def connected(self, route: WebSocketRoute) -> None:
        self.routes.append(route)
        route.on_message(lambda text: self._heard(route, json.loads(text)))

    def _heard(self, route: WebSocketRoute, message: dict[str, Any]) -> None:
        self.said.append(message)
        if "subscribe" in message:
            begun = {name: {"seq": seq, "resumed": False} for name, seq in self.accounts.items()}
            route.send(json.dumps({"type": "subscribed", "accounts": begun}))

    def tell(self, *rows: dict[str, Any]) -> None:
        self.frame += 1
        self.routes[-1].send(json.dumps({"type": "news", "frame": self.frame, "rows": rows}))


def session_of(username: str, address: str) -> dict[str, Any]:
    """What a browser keeps once this person has logged in at `address`: Playwright's `storage_state`."""
    client = Client()
    client.force_login(User.objects.get(username=username))
    cookie = {
        "name": settings.SESSION_COOKIE_NAME,
        "value": client.cookies[settings.SESSION_COOKIE_NAME].value,
        "domain": urlsplit(address).hostname,
        "path": "/",
        "expires": -1,
        "httpOnly": True,
        "secure": False,
        "sameSite": "Lax",
    }
    return {"cookies": [cookie], "origins": []}


@asynccontextmanager
async def tab(
    browser: Browser,
    address: str,
    *,
    width: int = 1440,
    height: int = 900,
    orders_socket: OrdersSocket | None = None,
    health_socket: HealthSocket | None = None,
    **context: Any,
) -> AsyncIterator[Tab]:
    """A fresh page on `address`. `context`: Playwright's own options, such as color_scheme.

    `orders_socket` stands in for `/ws/orders/`, which the test server does not have; without one nothing is told.
    `health_socket` carries `/ws/health/`.
    """
    made = await browser.new_context(viewport={"width": width, "height": height}, **context)
    made.set_default_timeout(PATIENCE_SECONDS * 1000)
    opened = Tab(await made.new_page(), urlsplit(address).netloc)
    await opened.page.route_web_socket("**/ws/orders/", (orders_socket or OrdersSocket()).connected)
    if health_socket is not None:
        await opened.page.route_web_socket("**/ws/health/", health_socket.connected)
    try:
        await opened.page.goto(address)
        yield opened
    finally:
        await made.close()
