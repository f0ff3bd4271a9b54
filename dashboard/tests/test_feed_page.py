"""The feed's health in a real browser: the real view, the real socket, and a state in Valkey that the test writes."""

import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import orjson
import pytest
import pytest_asyncio
import redis
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connections
from django.utils import timezone
from playwright.async_api import Browser, expect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts import clock
from accounts.models import KiteApp, TradingAccount
from dashboard.tests.browser import Tab, chromium, session_of, tab
from dashboard.tests.conftest import log_in
from dashboard.tests.health_socket import HealthSocket
from dashboard.tests.page_checks import CUT_OFF, FAINT_TEXT, NAMELESS, SMALL_TARGETS
from market.calendar_loading import load_calendar
from market.gap_models import FeedGap
from market.names import RedisNames
from streaming.state import StreamState
from streaming.tests.health_world import socket, stream

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

KEYS = RedisNames("ticker")
WIDTHS = [320, 390, 760, 1024, 1230, 1280, 1366, 1440, 1920]


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


Make = Callable[[], StreamState]


class Processes:
    """Stream processes that write of themselves, over and over, what the test says they would."""

    def __init__(self, client: "redis.Redis") -> None:
        self._client = client
        self._makers: dict[str, Make] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._writer = threading.Thread(target=self._write_on, name="stream processes")
        self._writer.start()

    def say(self, make: Make) -> None:
        with self._lock:
            self._makers[make()["process"]] = make
            self._write(make)

    def stop(self, process: str) -> None:
        with self._lock:
            del self._makers[process]
            self._client.delete(KEYS.state(process))

    def end(self) -> None:
        self._over.set()
        self._writer.join()

    def _write_on(self) -> None:
        while not self._over.wait(0.3):
            with self._lock:
                for make in self._makers.values():
                    self._write(make)

    def _write(self, make: Make) -> None:
        state = make()
        self._client.set(KEYS.state(state["process"]), orjson.dumps(state), ex=60)


@pytest.fixture
def processes(valkey: "redis.Redis") -> Iterator[Processes]:
    running = Processes(valkey)
    yield running
    running.end()


@pytest.fixture
def service(transactional_db: None, settings: Settings, live_server: LiveServer) -> Iterator[LiveServer]:
    """A Wednesday at 10:42: Asha with two accounts, Ravi with one, and two gaps of the day."""
    settings.MARKET_CLOCK = "2026-11-25T10:42:07+05:30"
    load_calendar(django_settings.MARKET_DATA_DIR)
    app = KiteApp.objects.create(api_key="appkey1", label="Family app")
    for kite_user_id, owner, trades in (("AB1234", "asha", True), ("HD9032", "asha", False), ("CD5678", "ravi", False)):
        user, _ = User.objects.get_or_create(username=owner, defaults={"is_staff": True})
        account = TradingAccount.objects.create(
            kite_user_id=kite_user_id, label=f"{owner} {kite_user_id[:2]}", app=app, owner=user, is_trading=trades
        )
        log_in(account)
    began = clock.now() - timedelta(minutes=30)
    ended = began + timedelta(seconds=17)
    gap = {"instruments": [1, 2, 3], "remaining": [], "closed_at": timezone.now()}
    FeedGap.objects.create(
        feed="AB1234 socket 1", cause="silent", started_at=began, ended_at=ended, status="repaired",
        repaired_at=timezone.now(), bars_refilled=1240, **gap,
    )  # fmt: skip
    FeedGap.objects.create(
        feed="CD5678 socket 1", cause="disconnected", started_at=began, ended_at=ended, status="closed", **gap
    )
    yield live_server
    connections.close_all()


@asynccontextmanager
async def opened(browser: Browser, service: LiveServer, **options: Any) -> AsyncIterator[tuple[Tab, HealthSocket]]:
    state = await sync_to_async(session_of)("asha", service.url)
    cookie = state["cookies"][0]
    carrier = HealthSocket(service.url, f"{cookie['name']}={cookie['value']}")
    try:
        async with tab(browser, f"{service.url}/feed/", storage_state=state, health_socket=carrier, **options) as page:
            yield page, carrier
    finally:
        await carrier.end()


def well(**changes: Any) -> StreamState:
    """One process with two sockets of Asha's and one of Ravi's, and an instrument that does not answer."""
    slots = [
        {"app": "Family app", "slot": number, "account": "AB1234", "owner": "stream-1", "epoch": 3, "is_lost": False}
        | {"seconds_left": 12.5}
        for number in range(2)
    ]
    mute = {"instrument_token": 408065, "tradingsymbol": "INFY", "socket": "AB1234 socket 2", "waiting_seconds": 31.0}
    more = {
        "counters": {"ticks": 2_600_000, "windows": 6000, "older": 7, "crossed": 41},
        "slots": slots,
        "unconfirmed": [mute | {"tries": 2}],
    }
    return stream([socket(), socket("AB1234 socket 2"), socket("CD5678 socket 1")], **more | changes)


def in_trouble(process: str) -> StreamState:
    """One whose Redis fails, with a socket that stays mute."""
    alert = {"kind": "mute_feed", "account": "HD9032", "socket": "HD9032 socket 1", "since": time.time() - 90}
    alert["text"] = "Dialled anew 3 times, and no data comes although the market is open."
    return stream([socket("HD9032 socket 1", age=90.0)], process=process, publisher="open", alerts=[alert])


TEXTS = """() => Object.fromEntries([...document.querySelectorAll("#feed [data-f], #v-title")].map((cell) => {
  const [list, row] = [cell.closest("[data-list]")?.dataset.list, cell.closest("[data-key]")?.dataset.key];
  return [`${list ?? ""} ${row ?? ""} ${cell.dataset.f}`, cell.textContent];
}).filter(([name]) => !/age$|_per_second|clients|pending/.test(name)))"""
# Everything in the app bar is inside the window, and nothing lies on anything else.
OUT_OF_THE_BAR = """() => {
  const parts = [...document.querySelectorAll(".brand, .nav, .bar-r > *")].filter((part) => part.checkVisibility());
  const boxes = parts.map((part) => [part.className || part.id, part.getBoundingClientRect()]);
  const wrong = boxes.filter(([, box]) => box.right > innerWidth + 1).map(([name]) => `outside: ${name}`);
  boxes.slice(1).forEach(([name, box], at) => {
    const [before, { right }] = boxes[at];
    if (box.left < right - 1) wrong.push(`${name} lies on ${before}`);
  });
  return wrong;
}"""
READ = "window.__feed?.health.frames > 0"


async def test_a_state_that_goes_red_turns_the_badge_red_within_two_seconds(
    browser: Browser, service: LiveServer, processes: Processes
) -> None:
    processes.say(well)
    async with opened(browser, service) as (page, _):
        await page.until(READ)
        await expect(page.page.locator("#verdict")).to_have_class("verdict ok")
        await expect(page.page.locator("#v-title")).to_have_text("Prices come in on every socket")
        processes.say(lambda: stream([socket("AB1234 socket 1", age=30.0)], feed_state="stale"))
        began = time.monotonic()
        await page.until("document.querySelector('#verdict').className === 'verdict bad'")
        assert time.monotonic() - began < 2.0
        await expect(page.page.locator("#v-title")).to_have_text("No price comes in")
        await expect(page.page.locator("#truth")).to_have_attribute("data-feed", "stale")
        await expect(page.page.locator("#said")).to_have_text("No price comes in")
        assert page.errors == []
        assert page.foreign_requests == []


async def test_rows_come_and_go_with_what_is_so(browser: Browser, service: LiveServer, processes: Processes) -> None:
    processes.say(well)
    rows = "[data-list=sockets] tr"
    async with opened(browser, service) as (page, _):
        await page.until(READ)
        await expect(page.page.locator(rows)).to_have_count(3)
        processes.say(lambda: stream([socket("AB1234 socket 1", reconnects=4)], process="stream-2"))
        await expect(page.page.locator(rows)).to_have_count(4)
        processes.stop("stream-1")
        await expect(page.page.locator(rows)).to_have_count(1)
        await expect(page.page.locator(rows)).to_contain_text("stream-2")
        processes.stop("stream-2")
        await expect(page.page.locator("[data-empty=sockets]")).to_be_visible()
        await expect(page.page.locator("#v-title")).to_have_text("No stream process is running")
        assert page.errors == []


async def test_what_the_server_wrote_is_what_the_socket_would_write(
    browser: Browser, service: LiveServer, processes: Processes
) -> None:
    """The page without JavaScript, and the same page after a reading: every cell but those that count on."""
    processes.say(lambda: well(overflow={"nifty:2026-12-29": "no room left on account AB1234"}))
    async with opened(browser, service, java_script_enabled=False) as (plain, _):
        at_first = await plain.page.evaluate(TEXTS)
    async with opened(browser, service) as (page, _):
        await page.until(READ)
        assert await page.page.evaluate(TEXTS) == at_first
    assert len(at_first) > 60


async def test_the_page_without_javascript_is_complete(
    browser: Browser, service: LiveServer, processes: Processes
) -> None:
    processes.say(well)
    async with opened(browser, service, java_script_enabled=False) as (page, _):
        text = await page.page.inner_text("main")
        for said in ("Prices come in on every socket", "AB1234, 2", "another account, 1", "went quiet", "all that"):
            assert (said in text) == (said != "all that"), said
        assert "CD5678" not in await page.page.content()
        assert "ravi" not in await page.page.content()


async def test_a_page_that_is_cut_off_says_so_and_comes_back(
    browser: Browser, service: LiveServer, processes: Processes
) -> None:
    processes.say(well)
    async with opened(browser, service) as (page, carrier):
        await page.until(READ)
        carrier.is_cut = True
        await expect(page.page.locator("#v-title")).to_have_text("This page lost the server")
        await expect(page.page.locator("#truth")).to_have_attribute("data-feed", "offline")
        carrier.is_cut = False
        await expect(page.page.locator("#v-title")).to_have_text("Prices come in on every socket")


async def test_a_connection_that_is_open_and_mute_is_made_anew(
    browser: Browser, service: LiveServer, processes: Processes
) -> None:
    processes.say(well)
    async with opened(browser, service) as (page, carrier):
        await page.until(READ)
        await page.page.evaluate("window.__feed.health.muteMs = 1500")
        frames = await page.page.evaluate("window.__feed.health.frames")
        await page.until("(frames) => window.__feed.health.frames > frames", frames)
        carrier.is_mute = True
        await page.until("document.querySelector('#truth').dataset.feed === 'offline'")
        carrier.is_mute = False
        await expect(page.page.locator("#truth")).to_have_attribute("data-feed", "live")
        assert carrier.opened > 1


async def test_a_socket_that_is_refused_says_what_to_do(
    browser: Browser, service: LiveServer, processes: Processes
) -> None:
    processes.say(well)
    async with opened(browser, service) as (page, carrier):
        await page.until(READ)
        carrier.cookie = "sessionid=none"
        await page.page.evaluate("window.__feed.health.dial()")
        await expect(page.page.locator("#v-title")).to_have_text("You are logged out")


async def test_a_dead_token_shows_the_way_to_the_login(
    browser: Browser, service: LiveServer, processes: Processes
) -> None:
    processes.say(lambda: stream([socket(state="awaiting_token", age=None, subscribed=0)], feed_state="stale"))
    async with opened(browser, service) as (page, _):
        await page.until(READ)
        await expect(page.page.locator("[data-login]:visible")).to_have_count(0)
        await sync_to_async(_log_out)("AB1234")
        link = page.page.locator("[data-login=AB1234]")
        await expect(link).to_be_visible()
        await expect(link).to_have_text("Log in to Kite as AB1234")
        await expect(page.page.locator("#v-title")).to_have_text("asha AB needs a login")


def _log_out(kite_user_id: str) -> None:
    account = TradingAccount.objects.get(kite_user_id=kite_user_id)
    account.session.delete()
    connections.close_all()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_width_and_theme_is_whole_readable_and_quiet(
    browser: Browser, service: LiveServer, processes: Processes, theme: str
) -> None:
    long_name = "very-long-host-name-of-a-machine.example"
    processes.say(lambda: well(overflow={"nifty:2026-12-29": "no room left on account AB1234"}))
    processes.say(lambda: in_trouble(long_name))
    async with opened(browser, service, color_scheme=theme) as (page, _):
        await page.until(READ)
        for width in WIDTHS:
            await page.page.set_viewport_size({"width": width, "height": 800})
            assert await page.page.evaluate(CUT_OFF) == [], f"{width} px {await page.page.evaluate(CUT_OFF)}"
            assert await page.page.evaluate(FAINT_TEXT) == [], f"{width} px"
            assert await page.page.evaluate(OUT_OF_THE_BAR) == [], f"{width} px"
        assert await page.page.evaluate(NAMELESS) == []
        assert await page.page.evaluate(SMALL_TARGETS) == []
        assert page.errors == []
        assert page.foreign_requests == []
