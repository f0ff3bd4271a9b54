"""A change of an order in a real browser: the same ticket, two presses, and what differs is what is sent."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from datetime import date, time
from decimal import Decimal
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
from orders.models import BrokerOrder, OrderTask
from orders.states import Operation
from orders.tests.trading import quote

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

WIDTHS = [320, 390, 760, 1024, 1366, 1920]
ORDER_ID = "261125000008406"


class Open(Protocol):
    def __call__(self, path: str = ..., *, width: int = ..., **context: Any) -> AbstractAsyncContextManager[Tab]: ...


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def service(
    transactional_db: None, valkey: "redis.Redis", live_server: LiveServer, settings: Any
) -> Iterator[LiveServer]:
    """Asha's order to buy 130, of which 65 are filled, in an open market with prices that do not grow old."""
    settings.STREAM_STALE_SECONDS = 600
    asha = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=asha, is_trading=True)
    log_in(account)
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
    quote(135.2, token=10_000 + 2 * 24_700, part="nifty:2026-12-29", bid=135.2, ask=135.45)
    order_day.sent(account, "k1", ORDER_ID, filled=65, average="135.10")
    yield live_server
    connections.close_all()


@pytest.fixture
def open_page(browser: Browser, service: LiveServer) -> Open:
    state = session_of("asha", service.url)

    def opened(path: str = "/orders/", *, width: int = 1366, **context: Any) -> AbstractAsyncContextManager[Tab]:
        return tab(browser, service.url + path, width=width, storage_state=state, **context)

    return opened


@pytest.fixture
def address(service: LiveServer) -> str:
    """Of the order with its timeline."""
    return f"/orders/{OrderTask.objects.get(idempotency_key='k1').public_id}/"


@sync_to_async
def changes() -> list[dict[str, Any]]:
    found = [task.params for task in OrderTask.objects.filter(operation=Operation.MODIFY).order_by("pk")]
    connections.close_all()
    return found


@sync_to_async
def told(**columns: Any) -> None:
    """The broker tells of the order."""
    BrokerOrder.objects.filter(order_id=ORDER_ID).update(**columns)
    connections.close_all()


async def test_a_row_opens_its_order_as_it_stands_and_sends_only_what_differs(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("[data-change]")
        ticket = page.page.locator("#ticket")
        await expect(ticket.locator("h2")).to_have_text("Change order")
        await expect(ticket.locator(".ins")).to_contain_text("NIFTY 29 Dec 24,700 CE")
        await expect(ticket.locator(".hint").first).to_contain_text("× 65 = 130 in all, 65 filled")
        await expect(ticket.locator(".go")).to_contain_text("25 of the broker’s 25 changes are left")
        await expect(ticket.locator(".big")).to_contain_text("Nothing is changed yet")
        await expect(ticket.locator("#tk-rev")).to_be_disabled()
        for fixed in (".bs [data-v=SELL]", "#tk-prod [data-v=MIS]"):
            await expect(ticket.locator(fixed)).to_be_disabled()
        await page.page.fill("#tk-price", "136")
        await expect(ticket.locator("#tk-rev")).to_be_enabled()
        await page.page.click("#tk-rev")
        said = ticket.locator(".say")
        for words in ("Change buy 130", "NIFTY 29 Dec 24,700 CE", "Price from 135.20 to 136.00", "Asha AB1234"):
            await expect(said).to_contain_text(words)
        await expect(said).not_to_contain_text("Quantity")
        assert await changes() == []
        await page.page.dblclick("#tk-send")
        await expect(ticket).to_be_hidden()
        (change,) = await changes()
        assert (change["price"], "quantity" in change, "order_type" in change) == ("136", False, False)
        await expect(page.page.locator(".toast")).to_contain_text("Change of buy 130")
        assert page.errors == []


async def test_the_timeline_opens_the_same_ticket_and_the_type_may_become_another(
    open_page: Open, address: str
) -> None:
    async with open_page(address) as page:
        await page.page.click("#change-it")
        await page.page.click('#tk-type [data-v="MARKET"]')
        await page.page.click('#tk-val [data-v="IOC"]')
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        await page.page.click("#tk-rev")
        said = page.page.locator("#ticket .say")
        await expect(said).to_contain_text("Type from limit to market")
        await expect(said).to_contain_text("Price from 135.20 to whatever the market gives, protected")
        await expect(said).to_contain_text("Validity from day to ioc")
        await page.page.click("#tk-send")
        await expect(page.page.locator("#ticket")).to_be_hidden()
        (change,) = await changes()
        assert (change["order_type"], change["market_protection"], change["validity"]) == ("MARKET", "2", "IOC")
        await expect(page.page.locator("#order .about")).to_contain_text("Modify")


async def test_what_the_rules_refuse_cannot_be_reviewed_and_is_said_in_words(open_page: Open) -> None:
    async with open_page() as page:
        await told(filled_quantity=195, quantity=260)
        await page.page.click("[data-change]")
        await page.page.fill("#tk-lots", "2")
        refusal = page.page.locator("#ticket .checks .x").first
        await expect(refusal).to_contain_text("195 of it are filled already")
        await expect(page.page.locator("#tk-rev")).to_be_disabled()
        await page.page.fill("#tk-lots", "4")
        await page.page.fill("#tk-price", "135.47")
        await expect(refusal).to_contain_text("not on the tick")


async def test_an_order_that_ends_while_it_is_being_changed_leads_back_with_the_reason(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("[data-change]")
        await page.page.fill("#tk-price", "136")
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        await page.page.click("#tk-rev")
        await told(status="COMPLETE", filled_quantity=130, average_price=Decimal("135.2"))
        await expect(page.page.locator("#ticket > .note")).to_contain_text("The order is over (complete)")
        await expect(page.page.locator("#tk-rev")).to_be_disabled()
        assert await changes() == []


async def test_an_order_that_somebody_else_changes_meanwhile_is_looked_at_again(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("[data-change]")
        await page.page.fill("#tk-price", "136")
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        await page.page.click("#tk-rev")
        await told(price=Decimal("134.80"))
        await expect(page.page.locator("#ticket > .note")).to_contain_text("become another one meanwhile")
        await page.page.click("#tk-rev")
        await expect(page.page.locator("#ticket .say")).to_contain_text("Price from 134.80 to 136.00")


async def test_a_lost_answer_makes_no_second_change(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("[data-change]")
        await page.page.fill("#tk-price", "136")
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        await page.page.click("#tk-rev")
        await lose_one_answer(page.page, "**/api/v1/orders/*")
        await page.page.click("#tk-send")
        await page.page.click("#tk-again")
        await expect(page.page.locator("#ticket")).to_be_hidden()
        assert len(await changes()) == 1


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_width_and_theme_is_whole_readable_and_quiet(open_page: Open, theme: str) -> None:
    async with open_page(color_scheme=theme) as page:
        await page.page.click("[data-change]")
        await page.page.fill("#tk-price", "136")
        await expect(page.page.locator("#tk-rev")).to_be_enabled()
        for width in WIDTHS:
            await page.page.set_viewport_size({"width": width, "height": 800})
            assert await page.page.evaluate(CUT_OFF) == [], f"{width} px"
            assert await page.page.evaluate(FAINT_TEXT) == [], f"{width} px"
        assert await page.page.evaluate(NAMELESS) == []
        await page.page.click("#tk-rev")
        await expect(page.page.locator("#tk-send")).to_be_enabled()
        assert await page.page.evaluate(FAINT_TEXT) == []
        assert page.errors == []
        assert page.foreign_requests == []
