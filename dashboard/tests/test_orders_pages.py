"""The orders page in a real browser: it keeps itself true, and nothing is sent by accident."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.contrib.auth.models import User
from django.db import connections
from playwright.async_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from accounts.models import KiteApp, TradingAccount
from dashboard.tests import order_day
from dashboard.tests.browser import OrdersSocket, Tab, chromium, session_of, tab
from dashboard.tests.conftest import log_in
from dashboard.tests.page_checks import CUT_OFF, FAINT_TEXT, NAMELESS, SMALL_TARGETS
from orders.models import OrderTask
from orders.states import Operation

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("valkey")]

WIDTHS = [320, 390, 760, 1024, 1366, 1920]


class Open(Protocol):
    def __call__(self, path: str = ..., *, width: int = ..., **context: Any) -> AbstractAsyncContextManager[Tab]: ...


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def service(transactional_db: None, live_server: LiveServer) -> Iterator[LiveServer]:
    """Asha with two accounts and a day of orders."""
    asha = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    for kite_user_id, label in (("AB1234", "Asha"), ("CD5678", "Ravi")):
        log_in(
            TradingAccount.objects.create(kite_user_id=kite_user_id, label=label, app=app, owner=asha, is_trading=True)
        )
    order_day.list_options()
    first, second = TradingAccount.objects.order_by("pk")
    order_day.a_day(first, second)
    yield live_server
    connections.close_all()


@pytest.fixture
def open_page(browser: Browser, service: LiveServer) -> Open:
    state = session_of("asha", service.url)

    def opened(path: str = "/orders/", *, width: int = 1366, **context: Any) -> AbstractAsyncContextManager[Tab]:
        return tab(browser, service.url + path, width=width, storage_state=state, **context)

    return opened


@pytest.fixture
def part_filled(service: LiveServer) -> str:
    return str(OrderTask.objects.get(idempotency_key="k4").public_id)


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_width_and_theme_is_whole_readable_and_quiet(open_page: Open, theme: str, part_filled: str) -> None:
    for path in ("/orders/", f"/orders/{part_filled}/"):
        async with open_page(path, color_scheme=theme, reduced_motion="reduce") as page:
            await page.until("document.querySelector('#clk').textContent !== ''")
            for width in WIDTHS:
                await page.page.set_viewport_size({"width": width, "height": 800})
                assert await page.page.evaluate(CUT_OFF) == [], f"{path} at {width} px"
                assert await page.page.evaluate(FAINT_TEXT) == [], f"{path} at {width} px"
            assert await page.page.evaluate(NAMELESS) == [], path
            assert await page.page.evaluate(SMALL_TARGETS) == [], path
            assert page.errors == [], path
            assert page.foreign_requests == [], path


async def test_a_row_opens_its_order_and_the_list_keeps_itself_true_beside_it(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("#tab tr:has-text('24,900 CE') .price", force=True)  # the row's link covers it
        await page.page.wait_for_url("**/orders/*-*/")
        await expect(page.page.locator("#order .name")).to_contain_text("24,900 CE")
        await page.until("window.htmx !== undefined")
        await sync_to_async(_one_more)()
        await page.page.evaluate("document.body.dispatchEvent(new Event('orders-news'))")
        await expect(page.page.locator("#tab tbody tr")).to_have_count(13)
        await expect(page.page.locator("#tab tr[aria-current]")).to_contain_text("24,900 CE")
        assert page.errors == []


def _one_more() -> None:
    order_day.placed(TradingAccount.objects.get(kite_user_id="AB1234"), "later", tradingsymbol="NIFTY26DEC25000CE")
    connections.close_all()


async def test_filters_work_in_place_and_by_address(open_page: Open) -> None:
    async with open_page() as page:
        await page.until("window.htmx !== undefined")
        await page.page.evaluate("window.kept = true")
        await page.page.click("#show-need")
        await expect(page.page.locator("#tab tbody tr")).to_have_count(2)
        assert await page.page.evaluate("window.kept") is True
        await page.page.reload()
        await expect(page.page.locator("#tab tbody tr")).to_have_count(2)
        await page.page.select_option("#by-account", label="Ravi")
        await expect(page.page.locator("#tab tbody tr")).to_have_count(1)
        assert page.errors == []


async def test_a_filter_is_not_lost_to_a_list_that_looks_at_the_same_moment(open_page: Open) -> None:
    async with open_page() as page:
        await page.until("window.htmx !== undefined")
        for show, count in (("need", 2), ("bad", 2), ("all", 12), ("done", 3)):
            await page.page.evaluate("document.body.dispatchEvent(new Event('orders-news'))")
            await page.page.click(f"#show-{show}")
            await expect(page.page.locator("#tab tbody tr")).to_have_count(count)


async def test_a_double_click_makes_one_cancel(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.dblclick("#tab tr:has-text('Part filled') .dng")
        await expect(page.page.locator("#tab")).to_contain_text("Being cancelled")
        assert await sync_to_async(_cancels)() == 1


def _cancels() -> int:
    count = OrderTask.objects.filter(operation=Operation.CANCEL).count()
    connections.close_all()
    return count


async def test_a_list_that_cannot_be_asked_for_says_from_when_it_is(open_page: Open) -> None:
    async with open_page() as page:
        await page.until("window.htmx !== undefined")
        await page.page.context.set_offline(True)
        await page.page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(page.page.locator("#st-live")).to_contain_text("as of")
        await page.page.context.set_offline(False)
        await page.page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(page.page.locator("#st-live")).not_to_contain_text("as of")


async def test_the_page_works_without_javascript(open_page: Open) -> None:
    async with open_page(java_script_enabled=False) as page:
        await page.page.click("#show-work")
        await expect(page.page.locator("#tab tbody tr")).to_have_count(5)
        await page.page.click("#tab tr:has-text('Part filled') a.open")
        await page.page.click("#cancel-it")
        await expect(page.page.locator(".toast")).to_contain_text("Being cancelled")
        assert await sync_to_async(_cancels)() == 1


def news(seq: int, words: str, **data: Any) -> dict[str, Any]:
    """A row about one order of the person's own."""
    params = {"transaction_type": "BUY", "quantity": 130, "tradingsymbol": "NIFTY26DEC24700CE"}
    told = {"operation": "place", "status": "running", "principal": data.pop("principal", "user:1"), "params": params}
    row = {"account": "a", "seq": seq, "kind": "task", "reference": "t1", "at": "", "words": words}
    return row | {"data": told | {"is_late_arrival": False, "error_message": ""} | data}


async def test_news_make_the_list_look_at_once_and_are_acknowledged(open_page: Open) -> None:
    socket = OrdersSocket(accounts={"a": 7})
    async with open_page(orders_socket=socket) as page:
        await expect(page.page.locator("#st-live")).to_have_text("current")
        assert socket.said[0] == {"subscribe": {"accounts": "all", "last_seq": {}}}
        await sync_to_async(_one_more)()
        socket.tell(news(8, "Sending", principal="apikey:x"))
        await expect(page.page.locator("#tab tbody tr")).to_have_count(13)
        await expect(page.page.locator("#st-live")).to_have_text("current, number 8")
        await expect(page.page.locator(".toast")).to_have_count(0)
        assert socket.said[-1] == {"ack": 1}


async def test_one_order_has_one_toast_and_what_needs_a_person_stays(open_page: Open) -> None:
    socket = OrdersSocket(accounts={"a": 7})
    async with open_page(orders_socket=socket) as page:
        await expect(page.page.locator("#st-live")).to_have_text("current")
        me = await page.page.get_attribute("body", "data-principal")
        socket.tell(news(8, "Sending", principal=me), news(9, "Checking", principal=me, status="unknown"))
        toasts = page.page.locator(".toast")
        await expect(toasts).to_have_count(1)
        await expect(toasts).to_contain_text("It is not sent again while we look.")
        await expect(page.page.locator(".toast.warn")).to_have_count(1)
        filled = {"status": "COMPLETE", "filled_quantity": 130, "quantity": 130, "average_price": "135.1"}
        row = news(10, "Filled") | {"kind": "broker_order", "reference": "26", "data": filled | {"task": "t1"}}
        socket.tell(row)
        await expect(toasts).to_have_count(1)
        await expect(toasts).to_contain_text("Filled: 130 of 130 at 135.10.")


async def test_a_socket_that_broke_goes_on_from_the_last_row(open_page: Open) -> None:
    socket = OrdersSocket(accounts={"a": 7})
    async with open_page(orders_socket=socket) as page:
        await expect(page.page.locator("#st-live")).to_have_text("current")
        socket.tell(news(8, "Sending"))
        await expect(page.page.locator("#st-live")).to_have_text("current, number 8")
        await socket.routes[-1].close(code=1012)
        while len(socket.routes) < 2:
            await page.page.wait_for_timeout(50)
        await expect(page.page.locator("#st-live")).to_contain_text("current")
        asked = [said["subscribe"] for said in socket.said if "subscribe" in said]
        assert asked[-1] == {"accounts": "all", "last_seq": {"a": 8}}


async def test_a_login_that_ended_is_not_dialled_for_again(open_page: Open) -> None:
    socket = OrdersSocket(accounts={"a": 7})
    async with open_page(orders_socket=socket) as page:
        await expect(page.page.locator("#st-live")).to_have_text("current")
        await socket.routes[-1].close(code=4401)
        await expect(page.page.locator("#st-live")).to_have_text("by looking every 5 s")
        await page.page.wait_for_timeout(1200)
        assert len(socket.routes) == 1
