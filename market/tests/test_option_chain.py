"""One expiry's option chain over HTTP, from made prices in Redis to the answer."""

import json
import time
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
import redis
from django.core.cache import cache
from django.test import Client
from pytest_django import DjangoAssertNumQueries

from accounts import clock
from greeks import black76, black_scholes
from market.chain_examples import CHAIN
from market.chain_history import record
from market.chain_serializers import OptionChainSerializer, OptionSerializer
from market.lines import encode
from market.models import ChainMinute, UnderlyingPricing
from market.option_chain import around
from market.tests import chains
from market.tests.chains import FORWARD, RATE, SPOT, STRIKES
from market.tests.dumps import NEAR

URL = f"/api/v1/option-chains/NIFTY/{NEAR}"
GREEKS = ("delta", "gamma", "theta_per_day", "vega_per_point", "rho_per_point")


@pytest.fixture
def years(reader: Client) -> float:
    return chains.years_left()


def ask(client: Client, query: str = "") -> dict[str, Any]:
    response = client.get(f"{URL}?{query}")
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def sides(answer: dict[str, Any], name: str) -> list[Any]:
    """One column of the answer: calls and puts in turn, in strike order."""
    return [row[side][name] for row in answer["strikes"] for side in ("call", "put")]


def test_the_answer_is_what_the_stream_left_in_redis(reader: Client, years: float, valkey: "redis.Redis") -> None:
    chains.publish(valkey, years)
    answer = ask(reader)
    line = chains.options_line(years)
    assert [row["strike"] for row in answer["strikes"]] == list(STRIKES)
    for name in ("last_price", "bid", "ask", "oi", "oi_day_change", "implied_volatility", *GREEKS, "greeks_reason"):
        assert sides(answer, name) == line["columns"][name], name
    assert answer["strikes"][0]["call"]["tradingsymbol"] == "NIFTY26120124000CE"
    head = {
        name: answer[name]
        for name in ("underlying", "expiry", "exchange", "lot_size", "source", "feed_state", "reason")
    }
    assert head == {
        "underlying": "NIFTY",
        "expiry": "2026-12-01",
        "exchange": "NFO",
        "lot_size": 75,
        "source": "simulated",
        "feed_state": "live",
        "reason": None,
    }


def test_a_chain_costs_one_query_and_one_read(
    reader: Client, years: float, valkey: "redis.Redis", django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    chains.publish(valkey, years)
    login = 2  # the session, and its user
    rights = 1
    with django_assert_num_queries(login + rights + 1):
        ask(reader, "analytics=false")
    before = valkey.info("commandstats")["cmdstat_mget"]["calls"]
    with django_assert_num_queries(login + rights + 1 + 3):  # expiries and history…
        ask(reader)
    assert valkey.info("commandstats")["cmdstat_mget"]["calls"] == before + 1
    with django_assert_num_queries(login + rights + 1):  # …which are kept for a minute
        ask(reader)


def test_ages_are_told_as_of_now(reader: Client, years: float, valkey: "redis.Redis") -> None:
    chains.publish(valkey, years, sent_at=time.time() - 60)
    answer = ask(reader)
    assert 60_100 <= answer["age_ms"] < 75_000
    assert answer["stale"] is True
    assert 60_100 <= answer["strikes"][0]["call"]["age_ms"] < 75_000
    assert 60_100 <= answer["pricing"]["underlying_age_ms"] < 75_000
    chains.publish(valkey, years)
    assert ask(reader)["stale"] is False


def test_a_listed_chain_that_is_not_streamed_has_contracts_and_no_prices(reader: Client, valkey: "redis.Redis") -> None:
    answer = ask(reader)
    assert answer["reason"] == "not_streamed"
    assert answer["strikes"][0]["put"]["tradingsymbol"] == "NIFTY26120124000PE"
    assert set(sides(answer, "last_price")) == set(sides(answer, "delta")) == {None}
    assert {answer[name] for name in ("source", "age_ms", "pricing", "analytics", "term_structure")} == {None}
    assert answer["stale"] is True


def test_of_a_chain_that_is_streamed_in_part_the_rest_says_so(
    reader: Client, years: float, valkey: "redis.Redis"
) -> None:
    line = chains.options_line(years)
    line["columns"] = {name: values[:6] for name, values in line["columns"].items()}
    valkey.set(chains.PART, encode(line))
    reasons = sides(ask(reader), "greeks_reason")
    assert reasons == [None] * 6 + ["not_streamed"] * (2 * len(STRIKES) - 6)


@pytest.mark.parametrize(
    "path", ["NOSUCH/2026-12-01", "NIFTY/2026-12-02", "NIFTY/2026-02-30", "NIFTY/0000-00-00", "INFY/2026-12-01"]
)
def test_what_is_not_listed_is_404(reader: Client, path: str) -> None:
    answer = reader.get(f"/api/v1/option-chains/{path}")
    assert answer.status_code == 404
    assert answer.json()["error"]["code"] == "not_found"


def test_without_redis_it_is_unavailable_and_says_so_in_the_one_shape(reader: Client, without_redis: None) -> None:
    response = reader.get(URL)
    assert response.status_code == 503
    assert response.json()["error"]["code"] == "unavailable"
    assert "127.0.0.1" not in response.content.decode()
    assert reader.get("/api/v1/option-chains/NIFTY").status_code == 200


def test_another_rate_gives_what_the_model_gives_at_that_rate(
    reader: Client, years: float, valkey: "redis.Redis"
) -> None:
    chains.publish(valkey, years)
    answer = ask(reader, "rate=0.065&underlying_source=future")
    pricing, columns = answer["pricing"], chains.options_line(years)["columns"]
    assert (pricing["underlying_source"], pricing["underlying_price"], pricing["rate"]) == (
        "future",
        FORWARD + 2,
        0.065,
    )
    middle = (np.array(columns["bid"]) + np.array(columns["ask"])) / 2
    terms = FORWARD + 2, np.array(columns["strike"]), years, 0.065
    is_call = np.array(columns["is_call"])
    solved = black76.implied_volatility(middle, *terms, is_call)
    greeks = black76.greeks(*terms, solved.volatility, is_call)
    volatility = np.array(sides(answer, "implied_volatility"), float)
    assert volatility == pytest.approx(solved.volatility, abs=1e-6, nan_ok=True)
    assert np.array(sides(answer, "delta"), float) == pytest.approx(greeks.delta, abs=1e-6, nan_ok=True)


def test_the_spot_as_source_brings_the_other_model(reader: Client, years: float, valkey: "redis.Redis") -> None:
    chains.publish(valkey, years)
    answer = ask(reader, "underlying_source=spot&dividend_yield=0.01")
    assert answer["pricing"]["model"] == "black-scholes-merton"
    assert answer["pricing"]["underlying_price"] == SPOT
    call = next(row for row in answer["strikes"] if row["strike"] == 24_500.0)["call"]
    again = black_scholes.price(SPOT, 24_500.0, years, RATE, call["implied_volatility"], True, 0.01)
    assert float(again) == pytest.approx((call["bid"] + call["ask"]) / 2, abs=0.01)


def test_the_parity_forward_is_found_from_the_books(reader: Client, years: float, valkey: "redis.Redis") -> None:
    chains.publish(valkey, years)
    pricing = ask(reader, f"rate={RATE}&underlying_source=parity-forward")["pricing"]
    assert pricing["underlying_price"] == pytest.approx(FORWARD, abs=0.01)
    assert pricing["underlying_age_ms"] >= 100


def test_where_the_wanted_source_has_no_price_the_next_one_is_taken(
    reader: Client, years: float, valkey: "redis.Redis"
) -> None:
    rows = 2 * len(STRIKES)
    valkey.set(chains.PART, encode(chains.options_line(years, bid=[None] * rows)))
    valkey.set(chains.CASH_PART, encode(chains.cash_line()))
    assert ask(reader, "underlying_source=parity-forward")["pricing"]["underlying_source"] == "future"
    valkey.delete(chains.CASH_PART)
    answer = ask(reader, "underlying_source=parity-forward")
    assert answer["pricing"]["underlying_price"] is None
    assert set(sides(answer, "greeks_reason")) == {"no_underlying"}


def test_a_row_that_cannot_be_priced_says_why(reader: Client, years: float, valkey: "redis.Redis") -> None:
    line = chains.options_line(years)
    columns = line["columns"]
    columns["flags"][0], columns["flags"][1], columns["flags"][2] = 1, 2, 4
    columns["bid"][3] = columns["last_price"][3] = None
    columns["bid"][4], columns["last_trade_time"][4] = None, columns["last_trade_time"][4] - 301
    columns["bid"][5], columns["last_trade_time"][5] = None, columns["last_trade_time"][5] - 299
    valkey.set(chains.PART, encode(line))
    valkey.set(chains.CASH_PART, encode(chains.cash_line()))
    reasons = sides(ask(reader, "rate=0.07"), "greeks_reason")
    assert reasons[:6] == ["untraded", "crossed", "negative_price", "no_price", "stale", None]


def test_an_override_keeps_the_underlyings_other_terms(reader: Client, years: float, valkey: "redis.Redis") -> None:
    UnderlyingPricing.objects.create(
        underlying="NIFTY", rate="0.05", underlying_source="future", option_price="last-price"
    )
    rows = 2 * len(STRIKES)
    valkey.set(chains.PART, encode(chains.options_line(years, bid=[1.0] * rows, ask=[1.1] * rows)))
    valkey.set(chains.CASH_PART, encode(chains.cash_line()))
    answer = ask(reader, "dividend_yield=0.02")
    assert (answer["pricing"]["rate"], answer["pricing"]["underlying_source"]) == (0.05, "future")
    assert answer["strikes"][10]["call"]["implied_volatility"] == pytest.approx(0.13, abs=0.02), "from the last trade"


def test_second_order_greeks_come_on_request(reader: Client, years: float, valkey: "redis.Redis") -> None:
    chains.publish(valkey, years)
    assert "speed" not in ask(reader)["strikes"][0]["call"]
    answer = ask(reader, "second_order=true")
    call = next(row for row in answer["strikes"] if row["strike"] == 24_550.0)["call"]

    def at(bump: float, forward: float = FORWARD) -> Any:
        return black76.greeks(forward, 24_550.0, years, RATE, call["implied_volatility"] + bump, True)

    assert call["vanna_per_point"] == pytest.approx(float(at(0.005).delta - at(-0.005).delta), rel=5e-3)
    assert call["vomma_per_point"] == pytest.approx(
        float(at(0.005).vega_per_point - at(-0.005).vega_per_point), rel=1e-2, abs=1e-5
    )
    slope = (at(0, FORWARD + 1).gamma - at(0, FORWARD - 1).gamma) / 2
    assert call["speed"] == pytest.approx(float(slope), rel=1e-3)


def test_only_the_strikes_around_the_money(reader: Client, years: float, valkey: "redis.Redis") -> None:
    chains.publish(valkey, years)
    answer = ask(reader, "strikes=2")
    assert [row["strike"] for row in answer["strikes"]] == [24_450.0, 24_500.0, 24_550.0, 24_600.0, 24_650.0]
    assert len(answer["analytics"]["strikes"]) == len(STRIKES)


@pytest.mark.parametrize(
    ("money", "count", "expected"),
    [
        (2.4, 1, [1, 2, 3]),
        (2.5, 0, [2]),
        (99, 1, [3, 4]),
        (0.5, 1, [1, 2]),
        (None, 1, [1, 2, 3, 4]),
        (2, None, [1, 2, 3, 4]),
    ],
)
def test_the_money_is_the_nearest_strike_the_lower_of_two(
    money: float | None, count: int | None, expected: list[int]
) -> None:
    assert list(around([1, 2, 3, 4], money, count)) == expected


def test_analytics_come_with_the_chain_and_can_be_left_out(reader: Client, years: float, valkey: "redis.Redis") -> None:
    chains.publish(valkey, years)
    answer = ask(reader)
    assert answer["analytics"]["atm_strike"] == 24_550.0
    assert answer["term_structure"] == [
        {
            "expiry": "2026-12-01",
            "time_to_expiry": pytest.approx(years, abs=1e-9),
            "forward": FORWARD,
            "atm_implied_volatility": answer["analytics"]["atm_implied_volatility"],
        }
    ]
    assert ask(reader, "analytics=false")["analytics"] is None


def test_analytics_take_the_prices_that_the_stream_took(reader: Client, years: float, valkey: "redis.Redis") -> None:
    rows = 2 * len(STRIKES)
    chains.publish(valkey, years, priced_at_middle=[False] * rows, last_price=[80.0] * rows)
    assert ask(reader)["analytics"]["straddle"] == {"strike": 24_550.0, "price": 160.0}


def test_the_term_structure_has_what_the_stream_says_of_other_expiries(
    reader: Client, years: float, valkey: "redis.Redis"
) -> None:
    chains.publish(valkey, years)
    other = {"time_to_expiry": 0.1, "forward": 24_700.0, "atm_implied_volatility": 0.15}
    line = chains.head(f"nifty:{chains.LATER}:analytics", str(chains.LATER), "analytics") | {"analytics": other}
    valkey.set(f"ticker:latest:nifty:{chains.LATER}:analytics", encode(line))
    structure = ask(reader)["term_structure"]
    assert [entry["expiry"] for entry in structure] == ["2026-12-01", "2026-12-29"]
    assert structure[1] == other | {"expiry": "2026-12-29"}


def test_volatility_is_ranked_among_the_days_before(reader: Client, years: float, valkey: "redis.Redis") -> None:
    """Thirty days of 0.10 to 0.39 behind; today's 0.15 at 30 days is above 5 of them, and 5/29 of the way up."""
    chains.publish(valkey, years)
    month = {"time_to_expiry": 30 / 365, "forward": 24_700.0, "atm_implied_volatility": 0.15}
    line = chains.head(f"nifty:{chains.LATER}:analytics", str(chains.LATER), "analytics") | {"analytics": month}
    valkey.set(f"ticker:latest:nifty:{chains.LATER}:analytics", encode(line))
    end = clock.now()
    record(
        ChainMinute(
            underlying="NIFTY",
            expiry=(end - timedelta(days=n + 1)).date() + timedelta(days=20),
            minute=end - timedelta(days=n + 1),
            source="simulated",
            time_to_expiry=20 / 365,
            atm_implied_volatility=0.10 + 0.01 * n,
        )
        for n in range(30)
    )
    history = ask(reader)["implied_volatility_history"]
    assert history == {
        "maturity_days": 30.0,
        "implied_volatility": 0.15,
        "days": 30,
        "rank": pytest.approx(100 * 0.05 / 0.29, abs=0.01),
        "percentile": pytest.approx(100 * 5 / 30, abs=0.01),
    }


def test_open_interest_is_compared_with_the_last_minute_of_the_session_before(
    reader: Client, years: float, valkey: "redis.Redis"
) -> None:
    chains.publish(valkey, years)
    assert ask(reader)["oi_since_last_session"] is None  # and that none was kept is remembered…
    cache.clear()  # …for a while
    today = clock.now()
    for before, call_oi in ((timedelta(days=1, minutes=1), 5.0), (timedelta(days=1), 10.0), (timedelta(0), 99.0)):
        row = ChainMinute(underlying="NIFTY", expiry=NEAR, minute=today - before, source="simulated")
        row.call_oi, row.put_oi = call_oi, 20.0
        record([row])
    answer = ask(reader)
    totals = answer["analytics"]["totals"]
    assert answer["oi_since_last_session"] == {
        "date": (today - timedelta(days=1)).astimezone(clock.IST).date().isoformat(),
        "call_oi_change": totals["call_oi"] - 10.0,
        "put_oi_change": totals["put_oi"] - 20.0,
    }


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("rate=nan", "rate"),
        ("rate=inf", "rate"),
        ("rate=2", "rate"),
        ("rate=1e999", "rate"),
        ("rate=٣", "rate"),
        ("dividend_yield=x", "dividend_yield"),
        ("underlying_source=moon", "underlying_source"),
        ("strikes=-1", "strikes"),
        ("strikes=1.5", "strikes"),
        ("analytics=maybe", "analytics"),
        ("colour=red", "colour"),
    ],
)
def test_a_query_that_makes_no_sense_is_400_and_names_the_field(reader: Client, query: str, field: str) -> None:
    answer = reader.get(f"{URL}?{query}")
    assert answer.status_code == 400
    assert field in answer.json()["error"]["details"]


def test_a_blob_that_cannot_be_read_is_no_blob(reader: Client, valkey: "redis.Redis") -> None:
    valkey.set(chains.PART, "{broken")
    valkey.set(f"{chains.PART}:analytics", "{broken")
    assert ask(reader)["reason"] == "not_streamed"


def test_the_answer_has_the_documented_fields(reader: Client, years: float, valkey: "redis.Redis") -> None:
    chains.publish(valkey, years)
    answer = ask(reader, "second_order=true")
    assert set(answer) == set(OptionChainSerializer().fields) == set(CHAIN)
    assert list(ask(reader)["strikes"][0]["call"]) == list(CHAIN["strikes"][0]["call"])
    assert set(answer["strikes"][0]["call"]) == set(OptionSerializer().fields)
    assert "NaN" not in json.dumps(answer)
    assert datetime.fromisoformat(answer["expiry"]).date() == NEAR
