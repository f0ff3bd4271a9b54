"""The chain page in a real browser, against a service that the test drives."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from dashboard import formats
from dashboard.tests.browser import Tab, chromium, tab
from dashboard.tests.fakes import MARKET_TIME, FakeMarket, FakeSite, fake_site
from dashboard.tests.page_checks import FAINT_TEXT, NAMELESS

pytestmark = [pytest.mark.browser, pytest.mark.asyncio(loop_scope="module")]

WIDTHS = [320, 390, 760, 1024, 1280, 1440]
LIVE = "window.__chain?.firstTickMs != null"


class Open(Protocol):
    def __call__(self, *, width: int = ..., height: int = ..., **context: Any) -> AbstractAsyncContextManager[Tab]: ...


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with chromium() as started:
        yield started


@pytest_asyncio.fixture(loop_scope="module")
async def site() -> AsyncIterator[FakeSite]:
    async with fake_site() as running:
        yield running


@pytest.fixture
def open_page(browser: Browser, site: FakeSite) -> Open:
    def opened(*, width: int = 1440, height: int = 900, **context: Any) -> AbstractAsyncContextManager[Tab]:
        return tab(browser, site.address, width=width, height=height, **context)

    return opened


# --- layout -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_no_width_scrolls_sideways_or_cuts_a_number(open_page: Open, theme: str) -> None:
    async with open_page(color_scheme=theme) as page:
        await page.until(LIVE)
        assert await page.page.evaluate("document.documentElement.dataset.theme") == theme
        for width in WIDTHS:
            await page.page.set_viewport_size({"width": width, "height": 800})
            for view in "1234":
                await page.page.keyboard.press(view)
                assert await page.page.evaluate(SIDEWAYS) == [], f"{width} px, view {view}"
        assert page.errors == []


SIDEWAYS = """() => {
  const wrong = [];
  const root = document.documentElement;
  if (root.scrollWidth > innerWidth) wrong.push(`page: ${root.scrollWidth} px`);
  const grid = document.querySelector("#grid");
  if (grid.scrollWidth > grid.clientWidth) wrong.push(`grid: ${grid.scrollWidth} in ${grid.clientWidth} px`);
  const visible = (cell) => cell.offsetParent && cell.getBoundingClientRect().width > 0;
  for (const cell of document.querySelectorAll(".rw.atm .c, .rw.atm .s, .rw.atm .k, .gh .hd .c, #truth, #fta, #spot"))
    if (visible(cell) && cell.scrollWidth > cell.clientWidth + 1)
      wrong.push(`${cell.className || cell.id}: ${cell.textContent}`);
  return wrong;
}"""


async def test_every_control_has_a_name(open_page: Open) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        assert await page.page.evaluate(NAMELESS) == []


@pytest.mark.parametrize("theme", ["light", "dark"])
async def test_text_stands_out_from_its_ground(open_page: Open, theme: str) -> None:
    async with open_page(color_scheme=theme) as page:
        await page.until(LIVE)
        assert await page.page.evaluate(FAINT_TEXT) == []


async def test_nothing_is_fetched_from_another_host_and_nothing_is_complained_about(
    open_page: Open, site: FakeSite
) -> None:
    async with open_page() as page, site.ticking():
        await page.until("window.__chain?.feed.updates > 5")
        await page.page.click("#truth")
        assert page.foreign_requests == []
        assert page.errors == []


async def test_the_theme_is_kept_and_is_there_before_the_first_paint(open_page: Open) -> None:
    async with open_page(color_scheme="light") as page:
        await page.page.keyboard.press("t")
        await page.page.add_init_script(
            """new MutationObserver(() => {
                 if (document.body) window.atBody ??= document.documentElement.dataset.theme;
               }).observe(document, { childList: true, subtree: true })"""
        )
        await page.page.reload()
        assert await page.page.evaluate("window.atBody") == "dark"


async def test_charts_stand_beside_the_grid_where_there_is_room_and_over_it_where_not(open_page: Open) -> None:
    async with open_page(width=1024) as page:
        await page.until(LIVE)
        await expect(page.page.locator("#dock")).to_be_hidden()
        await page.page.keyboard.press("c")
        await expect(page.page.locator("#ch-smile svg")).to_be_visible()
        await page.page.keyboard.press("Escape")
        await expect(page.page.locator("#dock")).to_be_hidden()


# --- prices -----------------------------------------------------------------------------------------------------------


async def test_the_page_asks_for_its_chain_and_shows_the_snapshot(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        assert site.subscriptions[0]["chains"] == [{"underlying": "NIFTY", "expiry": "2026-12-01"}]
        assert await page.text("#spot") == formats.grouped(site.market.spot, 2)
        assert await page.text('[data-k="24600.0"] .ce .ltp') == await last_price(site.market, 24_600.0)
        assert await page.page.get_attribute("body", "data-source") == "simulated"
        assert "Simulated" in (await page.page.text_content("#src") or "")


async def last_price(market: FakeMarket, strike: float) -> str:
    [call] = [contract for contract in market.contracts if contract.strike == strike and contract.is_call]
    return formats.price(market.price(call, market.spot)[0])


async def test_the_servers_snapshot_is_shown_with_its_age_before_the_socket_speaks(
    open_page: Open, site: FakeSite
) -> None:
    site.auto, site.with_snapshot = False, True
    async with open_page() as page:
        await page.until("window.__chain?.feed.ageMs > 0")
        assert await page.text('[data-k="24600.0"] .ce .ltp') == await last_price(site.market, 24_600.0)
        assert await page.page.evaluate("document.body.classList.contains('loading')") is False


async def test_without_prices_the_page_says_what_it_waits_for(open_page: Open, site: FakeSite) -> None:
    site.auto = False
    async with open_page() as page:
        assert await page.text("#ftw") == "Waiting"
        assert await page.page.locator(".rw[data-k]").count() == len(site.market.strikes)
        await expect(page.page.locator("#feednote")).to_contain_text("Waiting for the first prices")


async def test_a_change_is_tinted_and_rests_again(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        cell = '[data-k="24600.0"] .ce .ltp'
        await page.page.evaluate(
            """(selector) => {
                 window.tints = [];
                 const cell = document.querySelector(selector);
                 new MutationObserver(() => window.tints.push(cell.dataset.f ?? ""))
                   .observe(cell, { attributes: true, attributeFilter: ["data-f"] });
               }""",
            cell,
        )
        site.market.spot += 20
        await site.update(site.market.options(), site.market.cash())
        await page.until("window.tints.length === 2")
        assert await page.page.evaluate("window.tints") == ["1", ""]


async def test_missing_numbers_are_dashes_and_never_zero(open_page: Open, site: FakeSite) -> None:
    gone: dict[str, Any] = dict.fromkeys(
        ["bid", "ask", "implied_volatility", "delta", "gamma", "theta_per_day", "vega_per_point", "oi"]
    )
    async with open_page() as page:
        await page.until(LIVE)
        await site.update(site.market.options(oi_day_change=None, change_percent=None, last_price=None, **gone))
        await page.until("document.querySelector('.rw.atm .ce .ltp').textContent === '–'")
        shown = await page.page.eval_on_selector_all(".rw.atm .c", "cells => cells.map((cell) => cell.textContent)")
        assert [text for text in shown if text != "–"] == [
            formats.compact(v) for v in at_the_money_volumes(site.market)
        ]
        await page.until("document.querySelector('#f-iv').textContent === '–'")
        assert await page.text("#f-pcr") == "–"


def at_the_money_volumes(market: FakeMarket) -> list[int]:
    return [market.volume[c.instrument_token] for c in market.contracts if c.strike == 24_600.0]


async def test_the_header_is_computed_from_the_chain(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until("document.querySelector('#f-pcr')?.textContent !== '–'")
        market = site.market
        calls = {c.strike: market.oi[c.instrument_token] for c in market.contracts if c.is_call}
        puts = {c.strike: market.oi[c.instrument_token] for c in market.contracts if not c.is_call}

        def pain(settled: float) -> float:
            paid_to_calls = sum(oi * max(0.0, settled - strike) for strike, oi in calls.items())
            return paid_to_calls + sum(oi * max(0.0, strike - settled) for strike, oi in puts.items())

        assert await page.text("#f-pcr") == f"{sum(puts.values()) / sum(calls.values()):.2f}"
        assert await page.text("#f-pain") == formats.grouped(min(market.strikes, key=pain))
        assert await page.text("#f-fut") == formats.grouped(market.spot + 44.6, 2)
        assert await page.text("#c-oi") == f"{sum(calls.values()) / 1e7:.2f} Cr"


async def test_the_spot_line_moves_when_the_spot_crosses_a_strike(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        assert await page.page.evaluate("document.querySelector('#spotline').nextElementSibling.dataset.k") == "24650.0"
        site.market.spot = 24_730.0
        await site.update(site.market.options(), site.market.cash())
        await page.until("document.querySelector('#spotline').nextElementSibling.dataset.k === '24750.0'")
        await page.until("document.querySelector('.rw.atm').dataset.k === '24750.0'")


async def test_frames_are_acknowledged_after_they_are_drawn(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        for _ in range(3):
            await site.update()
        await page.until("window.__chain.feed.updates === 4")
        # The last one alone is not: the server may have two on their way.
        while not site.frames_acknowledged or site.frames_acknowledged[-1] < site.frame - 1:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert site.frames_acknowledged == sorted(site.frames_acknowledged)


# --- truth ------------------------------------------------------------------------------------------------------------


async def test_the_age_grows_while_the_socket_lives_but_is_mute(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        first = (await page.feed())["ageMs"]
        await page.until("(first) => window.__chain.feed.ageMs > first + 400", first)
        assert site.sockets, "the socket stayed open"


async def test_stale_prices_turn_the_pill_red_and_lose_their_colour(open_page: Open, site: FakeSite) -> None:
    site.stale_ms = 1000
    async with open_page() as page:
        await page.until("window.__chain?.feed.state === 'stale'")
        assert await page.text("#ftw") == "Stale"
        colour = "(selector) => getComputedStyle(document.querySelector(selector)).color"
        grey = await page.page.evaluate(colour, ".fact .lbl")
        for selector in (".rw.atm .ce .ltp", ".rw.atm .pe .chg", "#spot", "#f-fut"):
            assert await page.page.evaluate(colour, selector) == grey, selector
        red = await page.page.evaluate("getComputedStyle(document.querySelector('#truth .ft')).backgroundColor")
        assert red == "rgb(179, 32, 26)"
        await expect(page.page.locator("#feednote")).to_contain_text("Prices are")
        await expect(page.page.locator("#feedsaid")).to_have_text("Prices are stale.")


async def test_fresh_prices_end_staleness(open_page: Open, site: FakeSite) -> None:
    site.stale_ms = 1000
    async with open_page() as page:
        await page.until("window.__chain?.feed.state === 'stale'")
        await site.update()
        await expect(page.page.locator("#feednote")).to_be_hidden()


async def test_an_old_snapshot_is_as_old_as_it_says(open_page: Open, site: FakeSite) -> None:
    site.auto = False
    async with open_page() as page:
        while not site.subscriptions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        options, cash = site.market.options(kind="snapshot"), site.market.cash(kind="snapshot")
        options["sent_at"] -= 3600  # left in Redis an hour ago
        await site.update(options, cash)
        await page.until("window.__chain?.feed.state === 'stale'")
        assert (await page.feed())["ageMs"] > 3_590_000


async def test_the_underlying_going_quiet_makes_the_chain_old_too(open_page: Open, site: FakeSite) -> None:
    site.stale_ms = 1000
    async with open_page() as page:
        await page.until(LIVE)
        while (await page.feed())["state"] != "stale":
            await site.update(site.market.options())
        await expect(page.page.locator("#feedrest")).to_contain_text("underlying went quiet")


async def test_a_lost_server_is_said_and_found_again_by_the_page_itself(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        site.accepts = False
        await site.cut()
        await page.until("window.__chain.feed.state === 'offline'")
        await expect(page.page.locator("#feednote")).to_contain_text("lost the server")
        site.accepts = True
        await page.until("window.__chain.feed.connections === 2 && window.__chain.feed.state === 'live'")
        assert len(site.subscriptions) == 2


async def test_a_login_that_ended_is_said_instead_of_dialled_for(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        site.logged_in = False
        await site.cut(4401)
        await expect(page.page.locator("#feednote")).to_contain_text("You are logged out")
        assert len(site.subscriptions) == 1


async def test_a_chain_the_stream_does_not_know_yet_is_asked_for_again(open_page: Open, site: FakeSite) -> None:
    site.auto = False
    async with open_page() as page:
        while not site.sockets or not site.subscriptions:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        error = {"type": "error", "id": "1", "code": "unknown_chain", "message": "Not streamed.", "details": {}}
        for socket in site.sockets:
            await socket.send(json.dumps(error))
        site.auto = True
        await page.until(LIVE)
        assert len(site.subscriptions) == 2


async def test_a_closed_market_shows_its_last_prices_in_normal_ink(open_page: Open, site: FakeSite) -> None:
    site.closes_at, site.stale_ms = MARKET_TIME - 60, 300
    async with open_page() as page:
        await page.until("window.__chain?.feed.state === 'closed' && window.__chain.feed.ageMs > 600")
        assert await page.text("#fta") == "Wed 10:42"
        assert (await page.text("#ses")).startswith("Closed")
        await expect(page.page.locator("#feednote")).to_be_hidden()


async def test_the_path_of_a_price_is_shown_with_its_hops(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page, site.ticking():
        await page.until("window.__chain?.feed.updates > 3")
        await page.page.click("#truth")
        await expect(page.page.locator("#tp-h")).to_have_text("Prices are simulated and current")
        await expect(page.page.locator("#hop2 em")).to_have_text(r := await page.text("#hop2 em"))
        assert r.endswith("ms")
        assert await page.text("#tp-ex") == "10:42:07"


async def test_an_expiry_that_nobody_follows_says_so_and_offers_one_that_is(open_page: Open, site: FakeSite) -> None:
    site.empty = True
    async with open_page() as page:
        await expect(page.page.locator("#blank")).to_contain_text("No contracts are followed")
        await expect(page.page.locator("#blank a")).to_have_attribute("href", "/chain/NIFTY/2026-12-01/")
        assert page.errors == []


# --- keys and choices -------------------------------------------------------------------------------------------------


async def test_arrow_keys_walk_the_strikes_and_read_each_contract_out(open_page: Open) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        await page.page.focus("#grid")
        await page.page.keyboard.press("ArrowDown")
        await expect(page.page.locator("#said")).to_contain_text("24600 call, last")
        await page.page.keyboard.press("ArrowDown")
        await page.page.keyboard.press("ArrowRight")
        await expect(page.page.locator("#said")).to_contain_text("24650 put, last")
        assert await page.page.get_attribute('[data-k="24650.0"]', "data-cur") == "pe"


async def test_the_number_of_strikes_is_a_choice_that_is_kept(open_page: Open) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        await page.page.select_option(".tools select", "10")
        shown = page.page.locator(".rw[data-k]:not([hidden])")
        await expect(shown).to_have_count(21)
        await page.page.reload()
        await page.until(LIVE)
        await expect(shown).to_have_count(21)


async def test_search_finds_a_contract_and_marks_it(open_page: Open) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        await page.page.keyboard.press("Control+k")
        await page.page.keyboard.type("25100 pe")
        await page.page.keyboard.press("Enter")
        assert await page.page.get_attribute('[data-k="25100.0"]', "data-cur") == "pe"
        await expect(page.page.locator('[data-k="25100.0"]')).to_be_in_viewport()


async def test_brackets_go_to_the_next_expiry(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        await page.page.keyboard.press("]")
        await page.page.wait_for_url(f"{site.address}/chain/NIFTY/2026-12-08/")


async def test_open_interest_can_be_read_in_lots(open_page: Open, site: FakeSite) -> None:
    async with open_page() as page:
        await page.until(LIVE)
        await page.page.click(".tools [popovertarget=viewpop]")
        await page.page.click("#viewpop [data-v=lots]")
        [token] = [c.instrument_token for c in site.market.contracts if c.strike == 24_600.0 and c.is_call]
        await expect(page.page.locator(".rw.atm .ce .oi u")).to_have_text(formats.compact(site.market.oi[token] / 65))


# --- numbers ----------------------------------------------------------------------------------------------------------

SAMPLES = [None, 0, 0.04, -0.04, 0.05, 1.25, -12.3, 99.94, 99.96, -120.4, 999, 999.6, 1000, 7_600, 99_949, 99_950]
SAMPLES += [3_300_000, 9_994_999, 9_995_000, 21_900_000, -2_130, 1_842_310, 24_612.35, 0.00104, -0.55]


async def test_the_server_and_the_page_write_every_number_alike(open_page: Open) -> None:
    async with open_page() as page:
        written = await page.page.evaluate(
            """async (samples) => {
              const f = await import(document.querySelector("link[href*='format']").href);
              return samples.map((x) => [f.price(x), f.fixed(x, 1), f.fixed(x, 2), f.fixed(x, 4), f.change(x),
                f.compact(x), f.compactChange(x), f.grouped(x, 0), f.grouped(x, 2), f.signedGrouped(x, 2)]);
            }""",
            SAMPLES,
        )
    for sample, texts in zip(SAMPLES, written, strict=True):
        assert texts == [
            formats.price(sample),
            *(formats.fixed(sample, decimals) for decimals in (1, 2, 4)),
            formats.change(sample),
            formats.compact(sample),
            formats.compact_change(sample),
            formats.grouped(sample),
            formats.grouped(sample, 2),
            formats.signed_grouped(sample),
        ], sample
