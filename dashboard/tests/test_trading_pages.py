"""The halt control in a real browser: easy to press on purpose, hard to press by accident."""

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
from dashboard.tests.browser import Tab, chromium, session_of, tab
from dashboard.tests.conftest import log_in
from dashboard.tests.page_checks import CUT_OFF, FAINT_TEXT, NAMELESS, SMALL_TARGETS
from orders.halts import Scope, set_state
from orders.models import TradingState

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("valkey")]

WIDTHS = [320, 390, 760, 1024, 1366, 1920]
State = TradingState.State


class Open(Protocol):
    def __call__(self, path: str = ..., *, width: int = ..., **context: Any) -> AbstractAsyncContextManager[Tab]: ...


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def service(transactional_db: None, live_server: LiveServer) -> Iterator[LiveServer]:
    """Asha with two accounts that trade."""
    asha = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    for kite_user_id, label in (("AB1234", "Asha"), ("HD9032", "HUF desk of the family")):
        made = TradingAccount.objects.create(
            kite_user_id=kite_user_id, label=label, app=app, owner=asha, is_trading=True
        )
        log_in(made)
    yield live_server
    connections.close_all()


@pytest.fixture
def open_page(browser: Browser, service: LiveServer) -> Open:
    state = session_of("asha", service.url)

    def opened(path: str = "/accounts/", *, width: int = 1366, **context: Any) -> AbstractAsyncContextManager[Tab]:
        return tab(browser, service.url + path, width=width, storage_state=state, **context)

    return opened


@sync_to_async
def halted() -> list[str]:
    rows = TradingState.objects.filter(state=State.HALTED).order_by("account__kite_user_id")
    found = [row.account.kite_user_id if row.account else "all" for row in rows]
    connections.close_all()
    return found


async def test_a_short_press_does_nothing_and_a_hold_halts_by_pointer(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("#haltb")
        await page.page.hover("#holdb")
        await page.page.mouse.down()
        await page.page.wait_for_timeout(300)
        await page.page.mouse.up()
        await page.page.wait_for_timeout(800)
        assert await halted() == []
        await expect(page.page.locator("#halt")).to_be_visible()
        await page.page.mouse.down()
        await page.page.wait_for_timeout(1000)
        await page.page.mouse.up()
        await expect(page.page.locator("#halts .note.halted")).to_have_count(2)
        await expect(page.page.locator("#haltb")).to_have_text("Halted")
        await expect(page.page.locator("#halt")).to_be_hidden()
        await expect(page.page.locator(".toast.warn")).to_contain_text("Trading is halted")
        assert await halted() == ["AB1234", "HD9032"]
        assert page.errors == []


@pytest.mark.parametrize("key", ["Space", "Enter"])
async def test_a_short_press_does_nothing_and_a_hold_halts_by_key(open_page: Open, key: str) -> None:
    async with open_page() as page:
        await page.page.keyboard.press("Shift+H")
        await page.until("document.activeElement.id === 'holdb'")
        await page.page.keyboard.down(key)
        await page.page.wait_for_timeout(300)
        await page.page.keyboard.up(key)
        await page.page.wait_for_timeout(800)
        assert await halted() == []
        await page.page.keyboard.down(key)
        await page.page.wait_for_timeout(1000)
        await page.page.keyboard.up(key)
        await expect(page.page.locator("#halts .note.halted")).to_have_count(2)
        assert await halted() == ["AB1234", "HD9032"]


async def test_a_click_halts_nothing_unless_one_press_was_chosen(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("#haltb")
        await page.page.click("#halt .scope label >> nth=1")
        await page.page.dblclick("#holdb")
        await page.page.wait_for_timeout(900)
        assert await halted() == []
        await page.page.check("#holdalt")
        await page.page.click("#holdb")
        await expect(page.page.locator("#halts .note.halted")).to_have_count(1)
        assert await halted() == ["AB1234"]


async def test_resuming_needs_the_word_and_enter_does_not_do_it(open_page: Open) -> None:
    await sync_to_async(_halt_one)()
    async with open_page() as page:
        await page.page.click("text=Resume…")
        await expect(page.page.locator("#resb")).to_be_disabled()
        await page.page.fill("#resr", "it was the feed")
        await page.page.fill("#resw", "resume")
        await expect(page.page.locator("#resb")).to_be_disabled()
        await page.page.fill("#resw", "RESUME")
        await page.page.press("#resw", "Enter")
        await page.page.wait_for_timeout(300)
        assert await halted() == ["AB1234"]
        await page.page.click("#resb")
        await expect(page.page.locator("#halts .note")).to_have_count(0)
        await expect(page.page.locator("#haltb")).to_have_text("Halt")
        assert await halted() == []
        assert page.errors == []


def _halt_one() -> None:
    account = TradingAccount.objects.get(kite_user_id="AB1234")
    set_state(Scope(account), State.HALTED, actor=f"user:{account.owner_id}", reason="looks odd")
    connections.close_all()


async def test_a_halt_by_somebody_else_is_seen_when_the_page_is_looked_at(open_page: Open) -> None:
    async with open_page() as page:
        await page.until("document.querySelector('#clk').textContent !== ''")
        await expect(page.page.locator("#halts .note")).to_have_count(0)
        await sync_to_async(_halt_one)()
        await page.page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(page.page.locator("#halts .note")).to_contain_text("Asha, AB1234")
        await expect(page.page.locator("#halts .note")).to_contain_text("(looks odd)")


async def test_a_server_that_does_not_answer_is_told_where_one_looks(open_page: Open) -> None:
    async with open_page() as page:
        await page.page.click("#haltb")
        await page.page.check("#holdalt")
        await page.page.context.set_offline(True)
        await page.page.click("#holdb")
        await expect(page.page.locator("#halt .err")).to_contain_text("did not answer")
        await expect(page.page.locator("#halt")).to_be_visible()
        await page.page.context.set_offline(False)
        await page.page.click("#holdb")
        await expect(page.page.locator("#halts .note.halted")).to_have_count(2)


async def test_halting_and_resuming_work_without_javascript(open_page: Open) -> None:
    async with open_page(java_script_enabled=False) as page:
        await page.page.click("#haltb")
        await page.page.check("input[name=sure]")
        await page.page.click(".btn.danger")
        assert await halted() == ["AB1234", "HD9032"]
        await expect(page.page.locator(".toast")).to_contain_text("Trading is halted")
        await page.page.fill("input[name=reason] >> nth=0", "it was the feed")
        await page.page.fill("input[name=word] >> nth=0", "RESUME")
        await page.page.click(".card .btn.pri >> nth=0")
        assert await halted() == ["HD9032"]


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_width_and_theme_is_whole_readable_and_quiet(open_page: Open, theme: str) -> None:
    await sync_to_async(_halt_one)()
    async with open_page("/trading/", color_scheme=theme) as page:
        await page.until("document.querySelector('#clk').textContent !== ''")
        for width in WIDTHS:
            await page.page.set_viewport_size({"width": width, "height": 800})
            assert await page.page.evaluate(CUT_OFF) == [], f"{width} px"
            assert await page.page.evaluate(FAINT_TEXT) == [], f"{width} px"
        assert await page.page.evaluate(NAMELESS) == []
        assert await page.page.evaluate(SMALL_TARGETS) == []
        await page.page.click("#haltb")
        box = await page.page.evaluate("document.querySelector('#halt').getBoundingClientRect().right <= innerWidth")
        assert box
        assert page.errors == []
        assert page.foreign_requests == []
