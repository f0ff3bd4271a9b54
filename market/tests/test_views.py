"""Instruments and option chains over HTTP."""

from datetime import date
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts.models import TradingAccount
from market.instruments import import_instruments
from market.tests.dumps import dump, future, index, option, stock

ROWS = [
    index(),
    stock(),
    stock("M&M", 519937),
    future(),
    option(token=1),
    option(kind="PE", token=2),
    option(expiry=date(2026, 12, 8), strike=82.5, token=3),
    option(expiry=date(2026, 11, 24), token=4),  # expired yesterday
]


@pytest.fixture
def reader(client: Client, account: TradingAccount) -> Client:
    import_instruments([dump(ROWS)])
    client.force_login(account.owner)
    return client


def symbols(client: Client, query: str) -> list[str]:
    answer = client.get(f"/api/v1/instruments?{query}")
    assert answer.status_code == 200, answer.content
    return [item["tradingsymbol"] for item in answer.json()["items"]]


def test_an_instrument_is_found_by_its_symbol(reader: Client) -> None:
    found = reader.get("/api/v1/instruments/NFO:NIFTY26120882.5CE").json()
    assert (found["strike"], found["tick_size"], found["expiry"]) == ("82.5", "0.05", "2026-12-08")
    assert reader.get("/api/v1/instruments/NSE:NIFTY%2050").json()["instrument_token"] == 256265
    assert reader.get("/api/v1/instruments/NSE:M%26M").json()["tradingsymbol"] == "M&M"


def test_an_unknown_symbol_is_404(reader: Client) -> None:
    answer = reader.get("/api/v1/instruments/NSE:NOSUCH")
    assert answer.status_code == 404
    assert answer.json()["error"]["message"] == "There is no instrument NSE:NOSUCH."


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("exchange=NSE", ["INFY", "M&M", "NIFTY 50"]),
        ("name=nifty 50&instrument_type=PE", ["NIFTY26120124500PE"]),
        ("expiry=2026-12-08", ["NIFTY26120882.5CE"]),
        ("expiry_from=2026-12-01&expiry_to=2026-12-07&instrument_type=CE", ["NIFTY26120124500CE"]),
        ("strike=82.50", ["NIFTY26120882.5CE"]),
        ("instrument_token=408065", ["INFY"]),
        ("q=nifty+24500+ce&expiry=2026-12-01", ["NIFTY26120124500CE"]),
        ("q=nifty fut", ["NIFTY26DECFUT"]),
        ("is_active=false", []),
        ("segment=INDICES", ["NIFTY 50"]),
    ],
)
def test_the_list_is_narrowed_by_its_query(reader: Client, query: str, expected: list[str]) -> None:
    assert symbols(reader, query) == expected


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("colour=red", "colour"),
        ("instrument_type=XX", "instrument_type"),
        ("instrument_token=0", "instrument_token"),
        ("instrument_token=99999999999", "instrument_token"),
        ("strike=NaN", "strike"),
        ("expiry=tomorrow", "expiry"),
        ("q=%00", "q"),
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("offset=-1", "offset"),
    ],
)
def test_a_query_that_makes_no_sense_is_400_and_names_the_field(reader: Client, query: str, field: str) -> None:
    answer = reader.get(f"/api/v1/instruments?{query}")
    assert answer.status_code == 400
    assert field in answer.json()["error"]["details"]


def test_the_list_comes_in_pages(reader: Client) -> None:
    page: dict[str, Any] = reader.get("/api/v1/instruments?limit=3&offset=3").json()
    assert (page["total"], page["limit"], page["offset"], page["has_more"], len(page["items"])) == (8, 3, 3, True, 3)


@pytest.mark.parametrize("underlying", ["NIFTY", "nifty", "NIFTY%2050", "NSE:NIFTY%2050"])
def test_an_option_chain_tells_its_living_expiries(reader: Client, underlying: str) -> None:
    answer = reader.get(f"/api/v1/option-chains/{underlying}").json()
    assert (answer["underlying"], answer["expiries"]) == ("NIFTY", ["2026-12-01", "2026-12-08"])
    assert answer["spot"]["tradingsymbol"] == "NIFTY 50"


def test_an_option_chain_says_of_each_expiry_how_long_and_how_large_it_is_and_whether_it_is_followed(
    reader: Client, valkey: "redis.Redis", django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    valkey.set("ticker:latest:nifty:2026-12-08", b"whatever")
    with django_assert_max_num_queries(6):  # of which four say who is asking
        answer = reader.get("/api/v1/option-chains/NIFTY").json()
    common = {"exchange": "NFO", "lot_size": 75, "strikes": 1}
    assert answer["chains"] == [
        {"expiry": "2026-12-01", "days_to_expiry": 6, "contracts": 2, "is_followed": False} | common,
        {"expiry": "2026-12-08", "days_to_expiry": 13, "contracts": 1, "is_followed": True} | common,
    ]


@pytest.mark.usefixtures("without_redis")
def test_without_redis_nobody_knows_which_chains_are_followed(reader: Client) -> None:
    chains = reader.get("/api/v1/option-chains/NIFTY").json()["chains"]
    assert {chain["is_followed"] for chain in chains} == {None}


def test_an_underlying_without_options_is_404(reader: Client) -> None:
    assert reader.get("/api/v1/option-chains/INFY").status_code == 404


@pytest.mark.parametrize("path", ["instruments", "instruments/NSE:INFY", "option-chains/NIFTY"])
def test_strangers_learn_nothing(client: Client, db: None, path: str) -> None:
    assert client.get(f"/api/v1/{path}").status_code in {401, 403}
    client.force_login(User.objects.create_user("nobody"))
    assert client.get(f"/api/v1/{path}").status_code == 403
