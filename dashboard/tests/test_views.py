"""The pages as the server makes them, with a database and a last snapshot in Valkey."""

import gzip
import time
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client

from dashboard import views
from dashboard.tests.fakes import FakeMarket
from market.latest import _client, latest
from market.lines import encode
from market.models import Instrument
from streaming.models import Subscription

DAY = date(2026, 11, 25)
CHAIN = "/chain/NIFTY/2026-12-01/"


@pytest.fixture
def market() -> FakeMarket:
    return FakeMarket(strikes_each_side=2)


@pytest.fixture
def listed(db: None, market: FakeMarket) -> list[Instrument]:
    """The market's options, listed and followed by nobody."""
    return Instrument.objects.bulk_create(
        Instrument(
            exchange="NFO",
            tradingsymbol=f"NIFTY26D01{contract.strike:.0f}{'CE' if contract.is_call else 'PE'}",
            instrument_token=contract.instrument_token,
            name="NIFTY",
            expiry=market.expiry,
            strike=contract.strike,
            lot_size=contract.lot_size,
            instrument_type="CE" if contract.is_call else "PE",
            segment="NFO-OPT",
            first_seen=DAY,
            last_seen=DAY,
        )
        for contract in market.contracts
    )


@pytest.fixture
def followed(listed: list[Instrument]) -> list[Instrument]:
    Subscription.objects.bulk_create(Subscription(instrument=option) for option in listed)
    return listed


@pytest.fixture
def browser(db: None, client: Client) -> Client:
    """A browser in which an administrator is logged in."""
    client.force_login(User.objects.create_superuser("root"))
    return client


def test_who_is_not_logged_in_is_sent_to_log_in_and_comes_back(db: None, client: Client) -> None:
    answer = client.get(CHAIN)

    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/login/?next={CHAIN}"


def test_who_may_not_stream_is_refused(db: None, client: Client) -> None:
    client.force_login(User.objects.create_user("nobody"))

    assert client.get(CHAIN).status_code == 403


def test_the_first_page_says_so_when_nothing_is_followed(browser: Client) -> None:
    assert b"No contracts are followed" in browser.get("/").content


def test_the_first_page_is_the_first_followed_chain(browser: Client, followed: list[Instrument]) -> None:
    assert browser.get("/").headers["Location"] == CHAIN


def test_the_first_page_returns_to_the_chain_looked_at_last(browser: Client, followed: list[Instrument]) -> None:
    later = followed[0]
    later.pk, later.tradingsymbol, later.expiry = None, "NIFTY26D0824600CE", date(2026, 12, 8)
    later.save()
    Subscription.objects.create(instrument=later)
    browser.get("/chain/NIFTY/2026-12-08/")

    assert browser.get("/").headers["Location"] == "/chain/NIFTY/2026-12-08/"


@pytest.mark.usefixtures("valkey")
def test_a_chain_is_complete_html_before_any_price_came(browser: Client, followed: list[Instrument]) -> None:
    html = browser.get(CHAIN).content.decode()

    assert html.count('class="rw" role="row"') == 5
    assert 'class="loading"' in html
    assert "<style" not in html
    assert " style=" not in html
    assert "<script>" not in html


def test_a_chain_travels_compressed(browser: Client, followed: list[Instrument]) -> None:
    answer = browser.get(CHAIN, headers={"Accept-Encoding": "gzip"})

    assert answer.headers["Content-Encoding"] == "gzip"
    assert len(answer.content) < len(gzip.decompress(answer.content)) / 3


def test_a_chain_carries_its_last_snapshot_and_its_age(
    browser: Client, followed: list[Instrument], market: FakeMarket, valkey: "redis.Redis"
) -> None:
    valkey.set("ticker:latest:nifty:2026-12-01", encode(market.options(kind="snapshot")))
    valkey.set("ticker:latest:nifty:underlying", encode(market.cash(kind="snapshot")))
    page = browser.get(CHAIN).context["page"]

    assert page.header.spot == "24,612.35"
    assert page.rows[2].call.ltp != "–"
    assert 20 <= page.age_ms < 20_000


def test_only_followed_contracts_are_shown(browser: Client, followed: list[Instrument]) -> None:
    Subscription.objects.filter(instrument__strike__gt=24_600).update(status=Subscription.Status.INACTIVE)

    assert [row.strike for row in browser.get(CHAIN).context["page"].rows] == [24_500.0, 24_550.0, 24_600.0]


def test_a_listed_chain_that_nobody_follows_says_so(browser: Client, listed: list[Instrument]) -> None:
    assert b"No contracts are followed for this expiry" in browser.get(CHAIN).content


@pytest.mark.parametrize(
    "address", ["/chain/NIFTY/2026-12-03/", "/chain/NOSUCH/2026-12-01/", "/chain/NIFTY/2026-13-01/"]
)
def test_what_is_not_listed_is_not_found(browser: Client, followed: list[Instrument], address: str) -> None:
    assert browser.get(address).status_code == 404


@pytest.fixture
def without_redis(settings: Any) -> Iterator[None]:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    _client.cache_clear()
    yield
    _client.cache_clear()


@pytest.mark.usefixtures("without_redis", "followed")
def test_a_page_comes_at_once_without_redis(browser: Client) -> None:
    began = time.monotonic()

    assert latest("nifty:underlying") == [None]
    assert browser.get(CHAIN).status_code == 200
    assert time.monotonic() - began < 3


def test_a_snapshot_that_cannot_be_read_is_no_snapshot(valkey: "redis.Redis") -> None:
    valkey.set("ticker:latest:nifty:underlying", "{broken")

    assert latest("nifty:underlying") == [None]


def test_market_time_is_told_to_open_pages(browser: Client) -> None:
    told = browser.get("/session/NFO/").json()

    assert told.keys() == {"system_now", "market_now", "speed", "opens_at", "closes_at"}
    assert browser.get("/session/NOSUCH/").status_code == 404


def test_no_query_is_asked_per_strike(
    browser: Client, followed: list[Instrument], django_assert_max_num_queries: object
) -> None:
    browser.get(CHAIN)
    with django_assert_max_num_queries(11):  # type: ignore[operator]  # three of them for what is halted
        browser.get(CHAIN)


def test_nifty_comes_first_among_the_followed(followed: list[Instrument]) -> None:
    other = followed[0]
    other.pk, other.tradingsymbol, other.name = None, "ABB26DEC5000CE", "ABB"
    other.save()
    Subscription.objects.create(instrument=other)

    assert [chain.underlying for chain in views.followed_chains()] == ["NIFTY", "ABB"]
