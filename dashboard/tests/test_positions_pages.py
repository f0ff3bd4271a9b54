"""The positions page in a real browser: getting out is shown first, held to send and told after; payoffs are drawn."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import date, time
from time import time as now
from typing import Any, Protocol

import pytest
import pytest_asyncio
import redis
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from playwright.async_api import Browser, Page, expect
from pytest_django.live_server_helper import LiveServer

from accounts import clock
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from accounts.tests.fakes import Answer, ScriptedBroker, running_broker
from dashboard.tests import order_day, payoff_day
from dashboard.tests.browser import Tab, chromium, lose_one_answer, session_of, tab
from dashboard.tests.page_checks import CUT_OFF, FAINT_TEXT, NAMELESS
from market.models import TradingSession
from orders.ledger import claim
from orders.models import OrderTask
from orders.tests.trading import quote
from orders.trade_sync import sync

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

WIDTHS = [320, 390, 760, 1024, 1366, 1920]
IN_FULL = {"priced_at_middle": False, "implied_volatility": 0.13}  # what the stream's own lines have, too
CALL, PUT = "NIFTY26DEC24700CE", "NIFTY26DEC24300PE"


class Open(Protocol):
    def __call__(self, path: str = ..., *, width: int = ..., **context: Any) -> AbstractAsyncContextManager[Tab]: ...


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def broker(settings: Any) -> Iterator[ScriptedBroker]:
    with running_broker() as running:
        settings.KITE_API_ROOT = running.root
        running.answer("GET /trades", Answer([]))
        running.answer("GET /orders", Answer([]))
        running.answer("GET /user/profile", Answer({"user_id": "AB1234"}))
        holds(running, (CALL, 130), (PUT, -130))
        yield running


def holds(broker: ScriptedBroker, *held: tuple[str, int]) -> None:
    """What the broker says that the account holds."""
    rows = [
        {
            "tradingsymbol": symbol,
            "exchange": "NFO",
            "product": "NRML",
            "quantity": quantity,
            "overnight_quantity": quantity,
            "multiplier": 1,
            "average_price": 120.5,
        }
        for symbol, quantity in held
    ]
    broker.answer("GET /portfolio/positions", Answer({"net": rows, "day": []}))


@pytest.fixture
def service(
    transactional_db: None, valkey: "redis.Redis", broker: ScriptedBroker, live_server: LiveServer, settings: Any
) -> Iterator[LiveServer]:
    """Asha bought calls and sold puts; the market is open, and the call has a price that does not grow old."""
    settings.STREAM_STALE_SECONDS = 600
    asha = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=asha, is_trading=True)
    store_session(account, {"user_id": "AB1234", "access_token": "token-of-the-day"})
    order_day.list_options(date(2026, 12, 29))
    for day in {clock.today(), date(2026, 12, 29)}:
        TradingSession.objects.create(
            exchange="NFO",
            segment="derivatives",
            date=day,
            kind="regular",
            opens_at=time(0, 1),
            closes_at=time(23, 59),
            source="test",
        )
    quote(135.2, token=10_000 + 2 * 24_700, part="nifty:2026-12-29", bid=135.2, ask=135.45, **IN_FULL)
    assert sync(account)
    yield live_server
    connections.close_all()


@pytest.fixture
def open_page(browser: Browser, service: LiveServer) -> Open:
    state = session_of("asha", service.url)

    def opened(path: str = "/positions/", *, width: int = 1366, **context: Any) -> AbstractAsyncContextManager[Tab]:
        return tab(browser, service.url + path, width=width, storage_state=state, **context)

    return opened


@sync_to_async
def in_database(read: Callable[[], Any]) -> Any:
    found = read()
    connections.close_all()
    return found


def exits() -> list[tuple[str, str, int]]:
    tasks = OrderTask.objects.filter(operation="exit").order_by("pk")
    return [(one.params["transaction_type"], one.params["tradingsymbol"], one.params["quantity"]) for one in tasks]


async def hold(page: Page, seconds: float) -> None:
    await page.locator("#eahold").hover()
    await page.mouse.down()
    await page.wait_for_timeout(seconds * 1000)
    await page.mouse.up()


async def test_what_would_be_sent_is_shown_first_and_a_hold_sends_it(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("[data-exit-all]")
        rows = page.page.locator("#ea-rows tr")
        await expect(rows).to_have_count(2)
        await expect(rows.nth(0)).to_contain_text(f"BUY 130 {PUT}")
        await expect(rows.nth(0)).to_contain_text("at market, protected")
        await expect(rows.nth(1)).to_contain_text(f"SELL 130 {CALL}")
        await expect(rows.nth(1)).to_contain_text("limit 132.50")
        await expect(page.page.locator("#eahold")).to_contain_text("Press and hold to exit all 2")
        await hold(page.page, 0.3)
        await page.page.wait_for_timeout(300)
        assert await in_database(exits) == [], "let go early, nothing happens"
        await hold(page.page, 1.1)
        await expect(page.page.locator("#ea-h")).to_have_text("Exits of Asha")
        assert await in_database(exits) == [("BUY", PUT, 130), ("SELL", CALL, 130)]
        await expect(page.page.locator("#ea-say")).to_contain_text("2 orders to exit were taken on")
        await expect(rows.nth(0)).to_contain_text("Waiting")
        await in_database(lambda: claim(TradingAccount.objects.get(), "worker"))
        await expect(page.page.locator("#ea-rows")).to_contain_text("Sending")
        assert page.errors == []


async def test_who_cannot_hold_ticks_a_box_and_a_lost_answer_exits_nothing_twice(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("[data-exit-all]")
        await expect(page.page.locator("#eahold")).to_be_enabled()
        await page.page.check("#eaalt")
        await lose_one_answer(page.page, "**/flatten")
        await page.page.click("#eahold")
        await expect(page.page.locator("#exitall .err")).to_contain_text("exits nothing twice")
        await page.page.click("#eahold")
        await expect(page.page.locator("#ea-h")).to_have_text("Exits of Asha")
        assert len(await in_database(exits)) == 2


async def test_positions_that_cannot_be_read_are_said_and_cannot_be_sent(
    open_page: Open, broker: ScriptedBroker
) -> None:
    broker.answer("GET /portfolio/positions", Answer("?", status=502, content_type="text/html"))
    async with open_page() as page:
        await page.page.click("[data-exit-all]")
        await expect(page.page.locator("#exitall .err")).to_contain_text("nothing was sent")
        await expect(page.page.locator("#eahold")).to_be_disabled()
        assert await in_database(exits) == []


async def test_one_position_opens_a_ticket_that_can_only_make_it_smaller(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click(f"#exit-AB1234-NFO-{PUT}-NRML")
        ticket = page.page.locator("#ticket")
        await expect(ticket.locator("h2")).to_have_text("Exit")
        await expect(ticket.locator(".bs [data-v=BUY]")).to_have_attribute("aria-pressed", "true")
        await expect(ticket.locator(".bs [data-v=SELL]")).to_be_disabled()
        await expect(ticket.locator(".hint").first).to_contain_text("× 65 = 130")
        await expect(ticket.locator(".form")).to_contain_text("It only makes the position smaller")


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_width_and_theme_is_whole_readable_and_quiet(open_page: Open, theme: str) -> None:
    async with open_page(color_scheme=theme) as page:
        await page.page.click("[data-exit-all]")
        await expect(page.page.locator("#eahold")).to_be_enabled()
        for width in WIDTHS:
            await page.page.set_viewport_size({"width": width, "height": 800})
            assert await page.page.evaluate(CUT_OFF) == [], f"{width} px"
            assert await page.page.evaluate(FAINT_TEXT) == [], f"{width} px"
            fits = "document.querySelector('#exitall').scrollWidth <= document.querySelector('#exitall').clientWidth"
            assert await page.page.evaluate(fits), f"{width} px"
        assert await page.page.evaluate(NAMELESS) == []
        assert page.errors == []
        assert page.foreign_requests == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_a_payoff_is_drawn_whole_readable_and_in_words(open_page: Open, theme: str) -> None:
    await in_database(lambda: payoff_day.prices(volatility=0.13, sent_at=now()))
    async with open_page(color_scheme=theme) as page:
        picture = page.page.locator("figure.pay svg.ch")
        await expect(picture.locator("path.exp")).to_have_count(1)
        await expect(picture.locator("path.now")).to_have_count(1)
        words = await picture.get_attribute("aria-label") or ""
        assert words.startswith("NIFTY, expiry 29 Dec: at most without limit made")
        figures = page.page.locator("figure.pay .kv")
        await expect(figures).to_contain_text("Break-even")
        await expect(figures).to_contain_text("Open, as above+₹9,100")
        for width in WIDTHS:
            await page.page.set_viewport_size({"width": width, "height": 800})
            assert await page.page.evaluate(CUT_OFF) == [], f"{width} px"
            assert await page.page.evaluate(FAINT_TEXT) == [], f"{width} px"
        assert page.errors == []
        assert page.foreign_requests == []
