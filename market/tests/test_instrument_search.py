"""Finding instruments by what a person types."""

import time
from datetime import date

import pytest
from django.db import connection
from django.test import Client

from accounts.models import TradingAccount
from market.instrument_search import MOST_CANDIDATES, Wanted, _condition, search
from market.instruments import import_instruments
from market.models import Instrument
from market.tests.dumps import Row, dump, future, index, market, option, stock

pytestmark = pytest.mark.django_db

LATER = date(2026, 12, 8)
ROWS = [
    index(),
    index("NIFTY BANK", 260105),
    stock("INFY"),
    Row("RELIANCE", 738561, "RELIANCE INDUSTRIES"),
    Row("HDFCBANK", 341249, "HDFC BANK"),
    future(),
    future("BANKNIFTY", token=12_000_002),
    future("RELIANCE", token=12_000_003),
    option(strike=26000, token=1),
    option(strike=26000, kind="PE", token=2),
    option(strike=26000, expiry=LATER, token=3),
    option(strike=25000, token=4),
    option("BANKNIFTY", strike=26000, token=5),
    option("RELIANCE", strike=1400, kind="PE", token=6),
    option("RELIANCE", strike=82.5, token=7),
]


@pytest.fixture(autouse=True)
def listed() -> None:
    import_instruments([dump(ROWS)])


def found(text: str) -> list[str]:
    keys = search(Instrument.objects.active(), text)
    rows = Instrument.objects.in_bulk(keys)
    return [rows[key].tradingsymbol for key in keys]


@pytest.mark.parametrize(
    ("text", "first"),
    [
        ("nifty 26000 ce", ["NIFTY26120126000CE", "NIFTY26120826000CE", "BANKNIFTY26120126000CE"]),
        ("NIFTY, 26000 call", ["NIFTY26120126000CE", "NIFTY26120826000CE", "BANKNIFTY26120126000CE"]),
        ("nifty put", ["NIFTY26120126000PE"]),
        ("nifty", ["NIFTY 50", "NIFTY26DECFUT", "NIFTY26120125000CE"]),
        ("nifty 50", ["NIFTY 50"]),
        ("bank nifty fut", ["BANKNIFTY26DECFUT"]),
        ("rel", ["RELIANCE", "RELIANCE26DECFUT", "RELIANCE26120182.5CE"]),
        ("NSE:INFY", ["INFY"]),
        ("in", ["INFY"]),
        ("hdfc bank", ["HDFCBANK"]),
        ("industries", ["RELIANCE"]),
        ("82.50", ["RELIANCE26120182.5CE"]),
        ("26120126000pe", ["NIFTY26120126000PE"]),
    ],
)
def test_the_likeliest_comes_first(text: str, first: list[str]) -> None:
    assert found(text)[: len(first)] == first


@pytest.mark.parametrize(
    ("slip", "meant"),
    [("relianec 1400 pe", "RELIANCE2612011400PE"), ("bnknifty fut", "BANKNIFTY26DECFUT"), ("relience", "RELIANCE")],
)
def test_a_slip_of_the_pen_finds_the_name_most_like_it(slip: str, meant: str) -> None:
    assert found(slip)[0] == meant


@pytest.mark.parametrize("text", ["zzzzqqq", "nifty 99999", "%", "_", "\\", "' or 1=1 --", "%%%", ":", "९९", "1e9"])
def test_what_nothing_is_like_finds_nothing(text: str) -> None:
    assert found(text) == []


def test_every_word_has_to_be_met_and_further_ones_than_anybody_types_are_left_out() -> None:
    assert found("nifty 26000 ce " + "dec " * 50) == []
    assert Wanted.of("a b c d e f g h i j").words == tuple("ABCDEFGH")


def test_a_search_keeps_to_the_filters_beside_it(client: Client, account: TradingAccount) -> None:
    client.force_login(account.owner)
    answer = client.get("/api/v1/instruments?q=nifty 26000 ce&expiry=2026-12-08&limit=1").json()
    assert [item["tradingsymbol"] for item in answer["items"]] == ["NIFTY26120826000CE"]
    assert (answer["total"], answer["has_more"]) == (1, False)


def test_pages_of_a_search_follow_one_another(client: Client, account: TradingAccount) -> None:
    client.force_login(account.owner)
    pages = [client.get(f"/api/v1/instruments?q=nifty&limit=2&offset={offset}").json() for offset in range(0, 10, 2)]
    symbols = [item["tradingsymbol"] for page in pages for item in page["items"]]
    assert symbols == found("nifty")
    assert [page["has_more"] for page in pages] == [True, True, True, True, False]


def test_a_strike_is_found_by_the_index_and_not_by_reading_the_table() -> None:
    import_instruments([dump(market(20_000))], accept_shrinking=True)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE market_instrument")
    plan = Instrument.objects.filter(_condition(Wanted.of("stock7 2450"))).order_by()[:MOST_CANDIDATES].explain()
    assert "market_instrument_words" in plan
    assert "Seq Scan" not in plan


TEXTS = ["stock7 2450 ce", "stock12", "ce", "2450", "stcok7 fut", "nosuchthing", "s", "stock50 1050 pe"]


@pytest.mark.long
def test_a_search_of_115_000_rows_takes_20_ms_at_most() -> None:
    import_instruments([dump(market(115_000))], accept_shrinking=True)
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE market_instrument")

    def seconds(text: str) -> float:
        began = time.perf_counter()
        Instrument.objects.in_bulk(search(Instrument.objects.active(), text)[:100])
        return time.perf_counter() - began

    # The best of many: a search that shares its core with something else says nothing about itself.
    best = {text: min(seconds(text) for _ in range(30)) for text in TEXTS}
    assert {text: taken for text, taken in best.items() if taken > 0.020} == {}
