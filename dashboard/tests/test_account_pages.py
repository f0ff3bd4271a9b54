"""The accounts and keys pages in a real browser, served by the real views."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest
import pytest_asyncio
from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connections
from playwright.async_api import Browser, expect
from pytest_django.live_server_helper import LiveServer

from accounts import clock
from accounts.actions import Action
from accounts.api_keys import check_api_key, create_api_key
from accounts.models import ApiKey, BrokerSession, KiteApp, TradingAccount
from accounts.sessions import token_end
from dashboard.tests.browser import Tab, chromium, session_of, tab
from dashboard.tests.conftest import log_in
from dashboard.tests.page_checks import CUT_OFF, FAINT_TEXT, NAMELESS, SMALL_TARGETS
from market.calendar_loading import load_calendar

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module"), pytest.mark.usefixtures("valkey")]

WIDTHS = [320, 390, 760, 1024, 1366, 1920]
PAGES = [
    "/accounts/",
    "/accounts/AB1234/",
    "/settings/keys/",
    "/calendar/",
    "/calendar/?exchange=MCX&month=2026-11",
    "/calendar/?month=2027-02",
]


class Open(Protocol):
    def __call__(self, path: str, *, width: int = ..., **context: Any) -> AbstractAsyncContextManager[Tab]: ...


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest.fixture
def service(transactional_db: None, live_server: LiveServer) -> Iterator[LiveServer]:
    """Asha with two accounts, of which one has to be logged in; four keys; a calendar."""
    load_calendar(django_settings.MARKET_DATA_DIR)
    asha = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key="appkey1", label="Test app")
    first = TradingAccount.objects.create(
        kite_user_id="AB1234", label="Asha", app=app, owner=asha, is_trading=True, automated_login=True
    )
    second = TradingAccount.objects.create(
        kite_user_id="HD9032", label="HUF desk of the family", app=app, owner=asha, monogram_colour="clay"
    )
    log_in(first)
    log_in(second, days_ago=1)
    for label in ("Backtest on the laptop", "Strategy one", "Alerts", "Old"):
        create_api_key(
            owner=asha, label=label, scopes=list(Action), accounts=[first, second], networks=["2001:db8:1234::/48"]
        )
    ApiKey.objects.filter(label="Old").update(revoked_at=clock.now())
    yield live_server
    connections.close_all()


@pytest.fixture
def open_page(browser: Browser, service: LiveServer) -> Open:
    state = session_of("asha", service.url)

    def opened(path: str, *, width: int = 1366, **context: Any) -> AbstractAsyncContextManager[Tab]:
        return tab(browser, service.url + path, width=width, storage_state=state, **context)

    return opened


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_every_width_and_theme_is_whole_readable_and_quiet(open_page: Open, theme: str) -> None:
    for path in PAGES:
        async with open_page(path, color_scheme=theme) as page:
            await page.until("document.querySelector('#clk').textContent !== ''")
            assert await page.page.evaluate("document.documentElement.dataset.theme") == theme
            for width in WIDTHS:
                await page.page.set_viewport_size({"width": width, "height": 800})
                assert await page.page.evaluate(CUT_OFF) == [], f"{path} at {width} px"
                assert await page.page.evaluate(FAINT_TEXT) == [], f"{path} at {width} px"
            assert await page.page.evaluate(NAMELESS) == [], path
            assert await page.page.evaluate(SMALL_TARGETS) == [], path
            assert page.errors == [], path
            assert page.foreign_requests == [], path


async def test_a_login_that_came_is_seen_when_the_page_is_looked_at_again(open_page: Open) -> None:
    async with open_page("/accounts/") as page:
        await expect(page.page.locator(".verdict h1")).to_have_text("Not ready: HUF desk of the family needs a login")
        await expect(page.page.locator("#log-in")).to_have_text("Log in to Kite as HD9032")
        await sync_to_async(_log_in_again)()
        await page.until("window.htmx !== undefined")
        await page.page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(page.page.locator("#log-in")).to_have_count(0)
        await expect(page.page.locator("#accts")).not_to_contain_text("ended")
        assert page.errors == []


def _log_in_again() -> None:
    now = clock.now()
    BrokerSession.objects.update(logged_in_at=now, expires_at=token_end(now))
    connections.close_all()


async def test_check_now_asks_for_the_board_and_keeps_the_focus(open_page: Open) -> None:
    async with open_page("/accounts/") as page:
        await page.until("window.htmx !== undefined")
        await page.page.evaluate("window.kept = true; window.old = document.querySelector('#board')")
        await page.page.focus("#check")
        await page.page.keyboard.press("Enter")
        await page.until("document.querySelector('#board') !== window.old")
        assert await page.page.evaluate("window.kept") is True
        await page.until("document.activeElement.id === 'check'")


async def test_a_board_that_cannot_be_asked_for_says_from_when_it_is(open_page: Open) -> None:
    async with open_page("/accounts/") as page:
        await page.until("window.htmx !== undefined")
        shown = await page.text("#board time")
        await page.page.context.set_offline(True)
        await page.page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(page.page.locator("#boardnote")).to_contain_text(f"What you see is from {shown}")
        await page.page.context.set_offline(False)
        await page.page.evaluate("window.dispatchEvent(new Event('focus'))")
        await expect(page.page.locator("#boardnote")).to_be_hidden()


async def test_a_session_that_ended_leads_to_the_login_and_never_into_the_board(open_page: Open) -> None:
    async with open_page("/accounts/") as page:
        await page.until("window.htmx !== undefined")
        await page.page.context.clear_cookies()
        await page.page.evaluate("window.dispatchEvent(new Event('focus'))")
        await page.page.wait_for_url("**/login/?next=/accounts/")


async def test_the_pages_work_without_javascript(open_page: Open) -> None:
    async with open_page("/accounts/", java_script_enabled=False) as page:
        await expect(page.page.locator("#accts tbody tr")).to_have_count(2)
        await page.page.click("#of-AB1234")
        await expect(page.page.locator("h1")).to_contain_text("AB1234")
        await page.page.click("details.confirm summary")
        await expect(page.page.locator("details.confirm button")).to_be_visible()


async def test_a_key_is_made_copied_and_not_shown_again(open_page: Open) -> None:
    async with open_page("/settings/keys/", permissions=["clipboard-read", "clipboard-write"]) as page:
        await page.page.fill("input[name=label]", "Notebook")
        await page.page.check("input[name=accounts] >> nth=0")
        await page.page.click("form.form .btn.pri")
        text = await page.text("#key-text")
        await page.page.click("[data-copy=key-text]")
        await expect(page.page.locator("[data-copy=key-text]")).to_have_text("Copied")
        assert await page.page.evaluate("navigator.clipboard.readText()") == text
        assert (await sync_to_async(_check)(text)) == "Notebook"
        for width in WIDTHS:
            await page.page.set_viewport_size({"width": width, "height": 800})
            assert await page.page.evaluate(CUT_OFF) == [], f"{width} px"
        assert await page.page.evaluate(FAINT_TEXT) == []
        await page.page.click("text=back to the keys")
        assert text not in await page.page.content()
        assert page.errors == []


def _check(text: str) -> str:
    label = check_api_key(text, address="127.0.0.1").label
    connections.close_all()
    return label


async def test_what_is_wrong_is_said_beside_the_field_and_readable(open_page: Open) -> None:
    async with open_page("/settings/keys/") as page:
        await page.page.fill("input[name=days]", "400")
        await page.page.fill("textarea[name=networks]", "office")
        await page.page.click("form.form .btn.pri")
        await expect(page.page.locator("#err-label")).to_be_visible()
        await expect(page.page.locator("#err-networks")).to_contain_text("not an address")
        await expect(page.page.locator("input[name=days]")).to_have_attribute("aria-describedby", "err-days")
        assert await page.page.input_value("input[name=days]") == "400"
        assert await page.page.evaluate(FAINT_TEXT) == []
        for width in WIDTHS:
            await page.page.set_viewport_size({"width": width, "height": 800})
            assert await page.page.evaluate(CUT_OFF) == [], f"{width} px"


async def test_revoking_needs_two_presses(open_page: Open) -> None:
    async with open_page("/settings/keys/") as page:
        working = page.page.locator(".card .keytable >> nth=0").locator("tbody tr")
        await expect(working).to_have_count(3)
        await page.page.click("text=Revoke… >> nth=0")
        await expect(working).to_have_count(3)
        await page.page.keyboard.press("Escape")
        await expect(page.page.locator(".menu.ask:popover-open")).to_have_count(0)
        await page.page.click("text=Revoke… >> nth=0")
        await page.page.click(".menu.ask:popover-open .btn.danger")
        await expect(working).to_have_count(2)
        assert page.errors == []


async def test_search_leads_to_the_pages(open_page: Open) -> None:
    async with open_page("/accounts/") as page:
        await page.until("document.querySelector('#clk').textContent !== ''")
        await page.page.keyboard.press("Control+k")
        await page.page.keyboard.type("api keys")
        await page.page.keyboard.press("Enter")
        await page.page.wait_for_url("**/settings/keys/")


async def test_the_login_form_lets_a_person_in_and_out_again(browser: Browser, service: LiveServer) -> None:
    await sync_to_async(_set_password)()
    async with tab(browser, f"{service.url}/login/?next=/accounts/") as page:
        await page.page.fill("input[name=username]", "asha")
        await page.page.fill("input[name=password]", "correct horse battery")
        await page.page.click("form .btn.pri")
        await page.page.wait_for_url("**/accounts/")
        await page.page.click(".acct")
        await page.page.click("#acctpop form button")
        await page.page.wait_for_url("**/login/")
        assert page.errors == []


def _set_password() -> None:
    asha = User.objects.get(username="asha")
    asha.set_password("correct horse battery")
    asha.save()
    connections.close_all()


async def test_the_admin_disables_an_account_after_a_second_press(browser: Browser, service: LiveServer) -> None:
    await sync_to_async(_make_administrator)()
    async with tab(browser, f"{service.url}/login/?next=/admin/accounts/tradingaccount/") as page:
        await page.page.fill("input[name=username]", "root")
        await page.page.fill("input[name=password]", "correct horse battery")
        await page.page.click("form .btn.pri")
        await page.page.wait_for_url("**/admin/accounts/tradingaccount/")
        await page.page.click("text=more_horiz >> nth=0")
        await page.page.click("a:visible:has-text('Disable')")
        assert await sync_to_async(_disabled)() == 0
        await page.page.click("#dialog button[type=submit]")
        await expect(page.page.locator("body")).to_contain_text("is disabled.")
        assert page.page.url.endswith("/admin/accounts/tradingaccount/")
        assert await sync_to_async(_disabled)() == 1


def _make_administrator() -> None:
    User.objects.create_superuser("root", password="correct horse battery")
    connections.close_all()


def _disabled() -> int:
    count = TradingAccount.objects.filter(state="disabled").count()
    connections.close_all()
    return count
