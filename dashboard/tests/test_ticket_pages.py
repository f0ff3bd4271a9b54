"""The order ticket in a real browser: two different presses send, and one ticket makes one order."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import date, time
from typing import Any, Protocol

import pytest
import pytest_asyncio
import redis
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from playwright.async_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from accounts import clock
from accounts.models import KiteApp, TradingAccount
from dashboard.tests import order_day
from dashboard.tests.browser import Tab, chromium, lose_one_answer, session_of, tab
from dashboard.tests.conftest import log_in
from dashboard.tests.page_checks import CUT_OFF, FAINT_TEXT, NAMELESS
from market.models import TradingSession
from orders.halts import Scope, set_state
from orders.models import OrderTask, TradingState
from orders.tests.trading import quote

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

WIDTHS = [320, 390, 760, 1024, 1366, 1920]
SYMBOL = "NIFTY26DEC24700CE"
TOKEN = 10_000 + 2 * 24_700
PART = "nifty:2026-12-29"


class Open(Protocol):
    def __call__(self, path: str = ..., *, width: int = ..., **context: Any) -> AbstractAsyncContextManager[Tab]: ...


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def service(transactional_db: None, valkey: "redis.Redis", live_server: LiveServer) -> Iterator[LiveServer]:
    """Asha with one account, an open market, and a price of one option."""
    asha = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    log_in(TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=asha, is_trading=True))
    order_day.list_options(date(2026, 12, 29))
    TradingSession.objects.create(
        exchange="NFO",
        segment="derivatives",
        date=clock.today(),
        kind="regular",
        opens_at=time(0, 1),
        closes_at=time(23, 59),
        source="test",
    )
    price()
    yield live_server
    connections.close_all()


def price(last: float = 135.2, **columns: Any) -> None:
    """The option trades at this price now."""
    quote(last, token=TOKEN, part=PART, bid=last, ask=round(last + 0.25, 2), **columns)


@pytest.fixture
def open_page(browser: Browser, service: LiveServer) -> Open:
    state = session_of("asha", service.url)
    path_of_ticket = f"/orders/new/?exchange=NFO&symbol={SYMBOL}&side=BUY&lots=2"

    def opened(path: str = path_of_ticket, *, width: int = 1366, **context: Any) -> AbstractAsyncContextManager[Tab]:
        return tab(browser, service.url + path, width=width, storage_state=state, **context)

    return opened


@sync_to_async
def orders() -> list[OrderTask]:
    found = list(OrderTask.objects.order_by("pk"))
    connections.close_all()
    return found


async def reviewed(page: Tab) -> None:
    await sync_to_async(price)()
    await expect(page.page.locator("#tk-rev")).to_be_enabled()
    await page.page.click("#tk-rev")
    await expect(page.page.locator("#ticket .say")).to_be_visible()


async def test_a_ticket_says_lots_quantity_source_and_whose_it_is_and_sends_one_order(open_page: Open) -> None:
    async with open_page() as page:
        await expect(page.page.locator("#ticket .ins")).to_contain_text("NIFTY 29 Dec 24,700 CE")
        await expect(page.page.locator("#ticket .hint").first).to_contain_text("× 65 = 130 quantity")
        await expect(page.page.locator("#ticket .asacct")).to_contain_text("Asha AB1234")
        await expect(page.page.locator("#ticket .chip.sim")).to_have_text("Simulated")
        assert await page.page.input_value("#tk-price") == "135.45"
        await reviewed(page)
        said = page.page.locator("#ticket .say")
        for words in ("Buy 130", "(2 lots)", "NIFTY 29 Dec 24,700 CE", "limit 135.45, NRML, day", "Asha AB1234"):
            await expect(said).to_contain_text(words)
        await expect(page.page.locator("#tk-send")).to_contain_text("simulated")
        assert await orders() == []
        await page.page.click("#tk-send")
        await expect(page.page.locator("#ticket")).to_be_hidden()
        await expect(page.page.locator(".toast")).to_contain_text("Buy 130 NIFTY 29 Dec 24,700 CE")
        (task,) = await orders()
        assert (task.params["quantity"], task.params["price"], task.idempotency_key[:4]) == (130, "135.45", "web-")
        await expect(page.page.locator("#tab tbody")).to_contain_text("by hand")
        assert page.errors == []
        assert page.foreign_requests == []


async def test_the_ticket_shows_the_levels_of_the_book_that_the_stream_has(open_page: Open) -> None:
    book: dict[str, Any] = {"bid_quantity": 650, "bid_2": 135.15, "bid_quantity_2": 1300, "ask_quantity": None}
    await sync_to_async(price)(**book)
    async with open_page() as page:
        rows = page.page.locator("#ticket .depth > div")
        await expect(rows).to_have_text(["650135.20", "–135.45", "1,300135.15", "––"])
        await sync_to_async(price)(bid_2=None, bid_quantity_2=None)
        await expect(rows).to_have_count(2)
        assert page.errors == []


async def test_double_clicks_make_one_order(open_page: Open) -> None:
    async with open_page() as page:
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        await page.page.dblclick("#tk-rev")
        await page.page.wait_for_timeout(200)
        assert await orders() == [], "its second half does not send"
        await expect(page.page.locator("#tk-send")).to_be_enabled()
        await page.page.dblclick("#tk-send")
        await expect(page.page.locator("#ticket")).to_be_hidden()
        assert len(await orders()) == 1


async def test_enter_in_a_field_sends_nothing_and_ctrl_enter_takes_two_steps(open_page: Open) -> None:
    async with open_page() as page:
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        for field in ("#tk-lots", "#tk-price"):
            await page.page.focus(field)
            await page.page.keyboard.press("Enter")
        await page.page.wait_for_timeout(300)
        await expect(page.page.locator("#ticket .form")).to_be_visible()
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        await page.page.keyboard.press("Control+Enter")
        await expect(page.page.locator("#ticket .say")).to_be_visible()
        await page.page.keyboard.press("Enter")
        await page.page.wait_for_timeout(600)
        await page.page.keyboard.press("Enter")
        assert await orders() == []
        await page.page.keyboard.press("Control+Enter")
        await expect(page.page.locator("#ticket")).to_be_hidden()
        assert len(await orders()) == 1


async def test_the_key_is_kept_over_a_reload_and_a_lost_answer_makes_no_second_order(open_page: Open) -> None:
    async with open_page() as page:
        key = await page.text("#ticket .tk-h .lbl")
        await page.page.fill("#tk-lots", "3")
        await page.page.keyboard.press("Tab")
        await page.page.goto(page.page.url.partition("new/")[0])
        await expect(page.page.locator("#ticket .tk-h .lbl")).to_have_text(key)
        assert await page.page.input_value("#tk-lots") == "3"
        await reviewed(page)
        await lose_one_answer(page.page, "**/api/v1/orders")
        await page.page.click("#tk-send")
        await expect(page.page.locator("#tk-again")).to_be_enabled()
        assert len(await orders()) == 1
        await page.page.reload()
        await expect(page.page.locator("#ticket .tk-h h2")).to_have_text("No answer yet")
        await page.page.click("#tk-again")
        await expect(page.page.locator("#ticket")).to_be_hidden()
        assert len(await orders()) == 1


async def test_old_prices_turn_the_market_type_off(open_page: Open) -> None:
    async with open_page() as page:
        market = page.page.locator('#tk-type [data-v="MARKET"]')
        await expect(market).to_be_enabled()
        await market.click()
        await expect(page.page.locator("#ticket .fld.ro")).to_contain_text("2 % from last")
        await sync_to_async(price)(feed_state="stalled")
        await expect(market).to_be_disabled()
        await expect(page.page.locator("#ticket > .note")).to_contain_text("Prices are old: market orders are off.")
        await expect(page.page.locator("#tk-price")).to_be_visible()


async def test_a_price_that_moved_since_the_review_leads_back_with_the_reason(open_page: Open) -> None:
    async with open_page() as page:
        await reviewed(page)
        await sync_to_async(price)(138.0)
        await expect(page.page.locator("#ticket > .note")).to_contain_text("since you reviewed it")
        await expect(page.page.locator("#tk-send")).to_have_count(0)
        assert await orders() == []


async def test_a_feed_that_stopped_since_the_review_leads_back_with_the_reason(open_page: Open) -> None:
    async with open_page() as page:
        await reviewed(page)
        await sync_to_async(price)(feed_state="stalled")
        await expect(page.page.locator("#ticket > .note")).to_contain_text("Prices stopped coming")
        await expect(page.page.locator("#tk-send")).to_have_count(0)


async def test_a_halt_refuses_entries_in_words(open_page: Open) -> None:
    await sync_to_async(_halt)()
    async with open_page() as page:
        await expect(page.page.locator("#ticket .checks .x").first).to_contain_text("halted")
        await expect(page.page.locator("#tk-rev")).to_be_disabled()


def _halt() -> None:
    account = TradingAccount.objects.get()
    set_state(Scope(account), TradingState.State.HALTED, actor="user:1", reason="looks odd")
    connections.close_all()


async def test_what_is_typed_is_what_is_checked(open_page: Open) -> None:
    async with open_page() as page:
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        await page.page.fill("#tk-price", "135.47")
        await expect(page.page.locator("#ticket .checks .x").first).to_be_visible()
        await expect(page.page.locator("#tk-rev")).to_be_disabled()
        await page.page.fill("#tk-price", "135.5")
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        await page.page.focus("#tk-price")
        await page.page.keyboard.press("ArrowUp")
        assert await page.page.input_value("#tk-price") == "135.55"


async def test_a_contract_is_found_by_a_few_words(open_page: Open) -> None:
    async with open_page("/orders/") as page:
        await page.page.click("#new-order")
        await page.page.fill("#tk-find", "24700 ce")
        await page.page.click("#tk-found button")
        await expect(page.page.locator("#ticket .ins")).to_contain_text("NIFTY 29 Dec 24,700 CE")
        await page.page.keyboard.press("Escape")
        await expect(page.page.locator("#ticket")).to_be_hidden()


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_width_and_theme_is_whole_readable_and_quiet(open_page: Open, theme: str) -> None:
    async with open_page(color_scheme=theme) as page:
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        for width in WIDTHS:
            await page.page.set_viewport_size({"width": width, "height": 800})
            assert await page.page.evaluate(CUT_OFF) == [], f"{width} px"
            assert await page.page.evaluate(FAINT_TEXT) == [], f"{width} px"
        assert await page.page.evaluate(NAMELESS) == []
        await reviewed(page)
        await expect(page.page.locator("#tk-send")).to_be_enabled()
        assert await page.page.evaluate(FAINT_TEXT) == []
        assert page.errors == []
        assert page.foreign_requests == []
