"""What a position of several legs comes to, on explicit terms and at current prices."""

import json
from typing import Any

import numpy as np
import pytest
import redis
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import DjangoAssertNumQueries
from scipy.special import ndtr

from greeks import black76, black_scholes
from market.lines import encode
from market.tests import chains
from market.tests.chains import FORWARD, RATE, SPOT
from market.tests.test_calculator import anything
from market.tests.test_calculator import post as post_to

URL = "/api/v1/strategies/payoff"
CALL, PUT = "NFO:NIFTY26120124500CE", "NFO:NIFTY26120124500PE"
TERMS = {"time_to_expiry": 0.1, "implied_volatility": 0.2}


def leg(kind: str, strike: float, quantity: int, entry_price: float | None = None, **more: Any) -> dict[str, Any]:
    terms = {"instrument_type": kind, "strike": strike, "quantity": quantity} | TERMS | more
    return terms if entry_price is None else terms | {"entry_price": entry_price}


def evaluate(client: Client, *legs: dict[str, Any], **more: Any) -> dict[str, Any]:
    response = post_to(client, {"legs": list(legs), **more}, URL)
    assert response.status_code == 200, response.content
    answer: dict[str, Any] = response.json()
    return answer


def details(client: Client, *legs: Any, **more: Any) -> dict[str, Any]:
    response = post_to(client, {"legs": list(legs), **more}, URL)
    assert response.status_code == 400, response.content
    found: dict[str, Any] = response.json()["error"]["details"]
    return found


def test_a_call_spread_by_hand(reader: Client) -> None:
    """Bought at 4 and sold at 1, ten wide, 50 units: it costs 150, brings 350 at most, and is even at 103."""
    answer = evaluate(reader, leg("CE", 100, 50, 4), leg("CE", 110, -50, 1), spot=100, rate=0)
    outcome = answer["outcome"]
    assert outcome["break_evens"] == [pytest.approx(103)]
    assert outcome["max_profit"] == {"value": pytest.approx(350), "unbounded": False}
    assert outcome["max_loss"] == {"value": pytest.approx(150), "unbounded": False}
    assert outcome["time_to_expiry"] == 0.1


def test_the_probability_of_profit_is_that_of_ending_beyond_the_break_even(reader: Client) -> None:
    outcome = evaluate(reader, leg("CE", 100, 50, 4), leg("CE", 110, -50, 1), spot=100, rate=0)["outcome"]
    deviation = 0.2 * np.sqrt(0.1)
    expected = ndtr(-(np.log(103 / 100) / deviation + deviation / 2))
    assert outcome["probability_of_profit"] == pytest.approx(float(expected), abs=1e-9)
    assert outcome["volatility"] == 0.2


def test_what_has_no_bound_says_so(reader: Client) -> None:
    outcome = evaluate(reader, leg("CE", 100, -75, 4), spot=100)["outcome"]
    assert outcome["max_loss"] == {"value": None, "unbounded": True}
    assert outcome["max_profit"] == {"value": pytest.approx(300), "unbounded": False}


def test_the_grid_is_profit_by_day_shift_and_spot(reader: Client) -> None:
    asked = {
        "spot_range": {"lowest": 90, "highest": 110, "points": 3},
        "days_ahead": [0, 10],
        "volatility_shifts": [0, 0.1],
    }
    grid = evaluate(reader, leg("CE", 100, 75, 4), spot=100, rate=0.05, **asked)["grid"]
    assert grid["spots"] == [90.0, 100.0, 110.0]
    assert grid["at_expiry"] == pytest.approx([-300, -300, 450])
    price = black_scholes.price(
        np.array([90.0, 100.0, 110.0]), 100, 0.1 - 10 / 365, 0.05, 0.3, np.array([True] * 3), 0.0
    )
    assert grid["profit"][1][1] == pytest.approx(((price - 4) * 75).tolist())
    assert np.shape(grid["profit"]) == (2, 2, 3)


def test_after_the_nearest_expiry_nothing_is_known(reader: Client) -> None:
    grid = evaluate(reader, leg("CE", 100, 75, 4), spot=100, days_ahead=[36.5, 37])["grid"]
    assert grid["profit"][0][0] == pytest.approx(grid["at_expiry"])
    assert set(grid["profit"][1][0]) == {None}


def test_greeks_are_in_rupees_by_leg_and_net(reader: Client) -> None:
    answer = evaluate(reader, leg("CE", 100, 75, 4), leg("PE", 95, -150, 2), spot=100, rate=0.05)
    call = black_scholes.greeks(100, 100, 0.1, 0.05, 0.2, True)
    put = black_scholes.greeks(100, 95, 0.1, 0.05, 0.2, False)
    first, second = (leg["greeks"] for leg in answer["legs"])
    assert first["vega_per_point"] == pytest.approx(75 * float(call.vega_per_point))
    assert second["theta_per_day"] == pytest.approx(-150 * float(put.theta_per_day))
    assert first["delta_per_percent"] == pytest.approx(75 * float(call.delta))
    assert answer["net"]["delta"] == pytest.approx(75 * float(call.delta) - 150 * float(put.delta))
    assert answer["net"]["profit"] == pytest.approx(75 * (float(call.price) - 4) - 150 * (float(put.price) - 2))


def test_an_explicit_leg_without_an_entry_price_costs_what_the_model_says(reader: Client) -> None:
    answer = evaluate(reader, leg("CE", 100, 75), spot=100, rate=0.05)
    [found] = answer["legs"]
    assert found["entry_price"] == pytest.approx(float(black_scholes.price(100, 100, 0.1, 0.05, 0.2, True)))
    assert found["entry_price_source"] == "model"
    assert answer["net"]["profit"] == pytest.approx(0, abs=1e-9)


def test_listed_legs_take_current_prices_volatilities_and_forwards(reader: Client, valkey: "redis.Redis") -> None:
    years = chains.years_left()
    chains.publish(valkey, years)
    answer = evaluate(reader, {"instrument": CALL, "quantity": -75}, {"instrument": PUT, "quantity": -75})
    assert (answer["underlying"], answer["spot"], answer["spot_source"], answer["rate"]) == (
        "NIFTY",
        SPOT,
        "market",
        0.1,
    )
    call = answer["legs"][0]
    fair = black76.greeks(FORWARD, 24_500, years, RATE, float(chains.smile(24_500)), True)
    assert call["entry_price"] == pytest.approx(float(fair.price), abs=1e-6)
    assert (call["entry_price_source"], call["implied_volatility_source"]) == ("market", "market")
    assert (call["instrument_type"], call["expiry"], call["forward"]) == ("CE", "2026-12-01", FORWARD)
    # The spot moves the forward in proportion.
    assert call["greeks"]["delta"] == pytest.approx(-75 * float(fair.delta) * FORWARD / SPOT, rel=1e-4)
    paid = answer["legs"][0]["entry_price"] + answer["legs"][1]["entry_price"]
    assert answer["outcome"]["break_evens"] == pytest.approx([24_500 - paid, 24_500 + paid])
    assert answer["outcome"]["max_loss"]["unbounded"] is True


def test_a_future_and_a_covered_call(reader: Client, valkey: "redis.Redis") -> None:
    chains.publish(valkey, chains.years_left())
    answer = evaluate(
        reader, {"instrument": "NFO:NIFTY26DECFUT", "quantity": 75}, {"instrument": CALL, "quantity": -75}
    )
    future = answer["legs"][0]
    assert (future["instrument_type"], future["entry_price"], future["implied_volatility"]) == (
        "FUT",
        FORWARD + 2,
        None,
    )
    premium = answer["legs"][1]["entry_price"]
    assert answer["outcome"]["max_profit"]["value"] == pytest.approx(75 * (24_500 - (FORWARD + 2) + premium))


def test_what_is_given_counts_before_the_market(reader: Client, valkey: "redis.Redis") -> None:
    chains.publish(valkey, chains.years_left())
    given = {"instrument": CALL, "quantity": 75, "entry_price": 100, "implied_volatility": 0.3, "forward": 24_600}
    answer = evaluate(reader, given, spot=24_400)
    [found] = answer["legs"]
    assert (found["entry_price"], found["entry_price_source"]) == (100, "given")
    assert (found["implied_volatility"], found["forward"], answer["spot"]) == (0.3, 24_600, 24_400)
    assert answer["sent_at"] is None, "nothing was looked up"


def test_another_spot_carries_the_markets_forward_along_and_leaves_a_given_one(
    reader: Client, valkey: "redis.Redis"
) -> None:
    chains.publish(valkey, chains.years_left())
    listed = {"instrument": CALL, "quantity": 1, "implied_volatility": 0.0}
    answer = evaluate(reader, listed, listed | {"forward": 25_100}, spot=25_000)
    of_market, given = answer["legs"]
    assert (of_market["forward_source"], given["forward_source"]) == ("market", "given")
    discount = np.exp(-RATE * chains.years_left())
    # Without volatility a call in the money is worth its discounted distance from the strike.
    assert of_market["greeks"]["value"] == pytest.approx((25_000 * FORWARD / SPOT - 24_500) * discount, rel=1e-5)
    assert given["greeks"]["value"] == pytest.approx((25_100 - 24_500) * discount, rel=1e-5)


def test_legs_cost_one_query_for_all_of_them(
    reader: Client, valkey: "redis.Redis", django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    chains.publish(valkey, chains.years_left())
    with django_assert_num_queries(3 + 2):  # who is asking; instruments and pricing terms
        evaluate(reader, {"instrument": CALL, "quantity": -75}, {"instrument": PUT, "quantity": -75})


def test_legs_whose_prices_are_not_known_are_named(reader: Client, valkey: "redis.Redis") -> None:
    valkey.set(chains.CASH_PART, encode(chains.cash_line()))
    found = details(reader, {"instrument": CALL, "quantity": 75, "entry_price": 5}, {"instrument": PUT, "quantity": 75})
    named = [(problem["index"], problem["field"]) for problem in found["legs"]]
    assert named == [(0, "implied_volatility"), (1, "implied_volatility"), (1, "entry_price")]
    valkey.delete(chains.CASH_PART)
    assert "spot" in details(reader, {"instrument": CALL, "quantity": 75})
    assert "spot" in details(reader, leg("CE", 100, 75))


def test_without_redis_current_prices_are_unavailable_and_explicit_terms_still_work(
    reader: Client,
    without_redis: None,
) -> None:
    response = post_to(reader, {"legs": [{"instrument": CALL, "quantity": 75}]}, URL)
    assert (response.status_code, response.json()["error"]["code"]) == (503, "unavailable")
    assert evaluate(reader, leg("CE", 100, 75), spot=100)["net"]["delta"] > 0


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"instrument": "NFO:NOSUCH", "quantity": 1}, "instrument"),
        ({"instrument": "NSE:INFY", "quantity": 1}, "instrument"),  # another underlying
        ({"instrument_type": "CE", "strike": 100, "quantity": 1, "time_to_expiry": 0.1}, "implied_volatility"),
        ({"instrument_type": "PE", "quantity": 1, **TERMS}, "strike"),
        ({"instrument_type": "FUT", "quantity": 1}, "expiry"),
        ({"instrument_type": "FUT", "quantity": 1, "time_to_expiry": 1, "expiry": "2026-12-01"}, "expiry"),
        ({"instrument_type": "FUT", "quantity": 1, "expiry": "2050-01-01"}, "expiry"),
        ({"instrument": CALL, "strike": 1, "quantity": 1}, "strike"),
        ({"quantity": 1}, "instrument"),
        ({"instrument": CALL, "quantity": 0}, "quantity"),
        ({"instrument": CALL, "quantity": 1.5}, "quantity"),
        ({"instrument": CALL}, "quantity"),
        ({"instrument": "nifty", "quantity": 1}, "instrument"),
        ({"instrument": CALL, "quantity": 1, "colour": "red"}, "colour"),
        ("NFO:NIFTY", "non_field_errors"),
        (None, "non_field_errors"),
    ],
)
def test_a_leg_that_makes_no_sense_is_named(reader: Client, wrong: Any, field: str) -> None:
    [problem] = details(reader, {"instrument": CALL, "quantity": 75}, wrong, spot=24_500)["legs"]
    assert (problem["index"], problem["field"]) == (1, field)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"legs": []}, "legs"),
        ({"legs": [leg("CE", 100, 1)] * 51}, "legs"),
        ({"legs": [leg("CE", 100, 0)]}, "legs"),
        ({"legs": [leg("CE", 0, 1)]}, "legs"),
        ({"legs": [leg("CE", 100, 1, colour="red")]}, "legs"),
        ({"legs": [{"instrument": CALL, "strike": 1, "quantity": 1}]}, "legs"),
        ({"legs": [{"instrument": "nifty", "quantity": 1}]}, "legs"),
        ({"legs": [{"quantity": 1}]}, "legs"),
        ({"legs": [leg("CE", 100, 1)], "spot": 0}, "spot"),
        ({"legs": [leg("CE", 100, 1)], "spot": 100, "spot_range": {"lowest": 2, "highest": 1}}, "spot_range"),
        ({"legs": [leg("CE", 100, 1)], "spot_range": {"points": 501}}, "spot_range"),
        ({"legs": [leg("CE", 100, 1)], "days_ahead": [0] * 11}, "days_ahead"),
        ({"legs": [leg("CE", 100, 1)], "days_ahead": [-1]}, "days_ahead"),
        ({"legs": [leg("CE", 100, 1)], "volatility_shifts": ["x"]}, "volatility_shifts"),
        ({"legs": [leg("CE", 100, 1)], "volatility_shifts": [0] * 11}, "volatility_shifts"),
    ],
)
def test_a_body_that_makes_no_sense_is_400_and_names_the_field(reader: Client, body: Any, field: str) -> None:
    response = post_to(reader, body, URL)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"], response.content


fair_legs = st.fixed_dictionaries(
    {
        "instrument_type": st.sampled_from(["CE", "PE", "FUT", "EQ"]),
        "strike": st.floats(1e-6, 1e9),
        "time_to_expiry": st.sampled_from([0, 0.01, 0.1, 100]) | st.floats(0, 100),
        "quantity": st.integers(-(10**9), 10**9).filter(bool),
        "implied_volatility": st.floats(0, 10),
    },
    optional={"entry_price": st.floats(0, 1e9), "forward": st.floats(1e-6, 1e9)},
)
odd_legs = st.dictionaries(
    st.sampled_from(["instrument", "instrument_type", "strike", "expiry", "exchange", "quantity", "entry_price"]),
    anything | st.sampled_from([CALL, PUT]),
    max_size=6,
)
listed_legs = st.fixed_dictionaries({"instrument": st.sampled_from([CALL, PUT]), "quantity": st.integers(1, 10)})
bodies = st.fixed_dictionaries(
    {"legs": st.lists(fair_legs | odd_legs | listed_legs | anything, max_size=4)},
    optional={
        "spot": st.floats(1e-6, 1e9) | anything,
        "underlying": st.sampled_from(["NIFTY", "MOON"]) | anything,
        "spot_range": anything | st.fixed_dictionaries({"lowest": st.floats(0, 1e9), "points": st.integers(2, 9)}),
        "days_ahead": st.lists(st.floats(0, 400), max_size=3) | anything,
        "volatility_shifts": st.lists(st.floats(-1, 1), max_size=3) | anything,
        "volatility": st.floats(0, 10) | anything,
        "rate": st.floats(-1, 1) | anything,
    },
)
only_fair = st.fixed_dictionaries(
    {
        "legs": st.lists(fair_legs, min_size=1, max_size=4),
        "spot": st.floats(1e-6, 1e9),
        "spot_range": st.just({"points": 5}),
    },
    optional={"days_ahead": st.lists(st.floats(0, 400), max_size=3), "rate": st.floats(-1, 1)},
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies | only_fair | anything)
def test_no_body_is_an_error_of_ours(reader: Client, valkey: "redis.Redis", body: Any) -> None:
    response = post_to(reader, body, URL)
    assert response.status_code in {200, 400}, response.content
    json.loads(response.content, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=only_fair)
def test_explicit_terms_in_range_are_always_answered(reader: Client, body: Any) -> None:
    assert post_to(reader, body, URL).status_code == 200
