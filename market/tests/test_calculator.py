"""Greeks of rows that a request brings along."""

import json
import time
from typing import Any

import numpy as np
import pytest
from django.contrib.auth.models import User
from django.test import Client
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from greeks import black76, black_scholes
from market.greeks_rows import MOST_ROWS
from market.tests import chains

URL = "/api/v1/greeks"
ROW = {"underlying_price": 100.0, "strike": 100.0, "instrument_type": "CE", "time_to_expiry": 1.0, "volatility": 0.2}


def post(client: Client, body: Any, url: str = URL) -> Any:
    return client.post(url, json.dumps(body), content_type="application/json")


def rows(client: Client, *some: dict[str, Any], **more: Any) -> list[dict[str, Any]]:
    response = post(client, {"rows": list(some), "rate": 0.0} | more)
    assert response.status_code == 200, response.content
    found: list[dict[str, Any]] = response.json()["rows"]
    return found


def problems(client: Client, *some: Any, **more: Any) -> list[tuple[int, str]]:
    response = post(client, {"rows": list(some)} | more)
    assert response.status_code == 400, response.content
    assert response.json()["error"]["code"] == "invalid_input"
    return [(problem["index"], problem["field"]) for problem in response.json()["error"]["details"]["rows"]]


def test_a_volatility_gives_the_price_and_the_price_gives_it_back(reader: Client) -> None:
    """Hull's example: spot 42, strike 40, 10 %, 20 %, half a year: the call is 4.76, the put 0.81."""
    row = {"underlying_price": 42, "strike": 40, "time_to_expiry": 0.5, "volatility": 0.2, "rate": 0.1}
    call, put = rows(
        reader, row | {"instrument_type": "CE"}, row | {"instrument_type": "PE"}, model="black-scholes-merton"
    )
    assert (round(call["price"], 2), round(put["price"], 2)) == (4.76, 0.81)
    del row["volatility"]
    [back] = rows(reader, row | {"instrument_type": "CE", "price": call["price"]}, model="black-scholes-merton")
    assert back["implied_volatility"] == pytest.approx(0.2, abs=1e-12)
    assert back["delta"] == pytest.approx(call["delta"])


def test_rows_are_answered_in_their_order_with_their_own_rates(reader: Client) -> None:
    found = rows(
        reader, ROW, ROW | {"rate": 0.1}, ROW | {"instrument_type": "PE"}, ROW | {"volatility": 0.4}, rate=0.05
    )
    rates, volatilities = np.array([0.05, 0.1, 0.05, 0.05]), np.array([0.2, 0.2, 0.2, 0.4])
    expected = black76.greeks(100.0, 100.0, 1.0, rates, volatilities, np.array([True, True, False, True]))
    for name in ("price", "delta", "gamma", "theta_per_day", "vega_per_point", "rho_per_point"):
        assert [row[name] for row in found] == pytest.approx(getattr(expected, name)), name


def test_a_dividend_yield_counts_with_the_spot(reader: Client) -> None:
    [found] = rows(reader, ROW | {"dividend_yield": 0.03}, model="black-scholes-merton", rate=0.05)
    assert found["price"] == pytest.approx(float(black_scholes.price(100, 100, 1, 0.05, 0.2, True, 0.03)))


def test_second_order_greeks_come_on_request(reader: Client) -> None:
    assert "speed" not in rows(reader, ROW)[0]
    [found] = rows(reader, ROW, second_order=True)
    expected = black76.second_order(100.0, 100.0, 1.0, 0.0, 0.2, True)
    assert found["vanna_per_point"] == pytest.approx(float(expected.vanna_per_point))
    assert found["speed"] == pytest.approx(float(expected.speed))


def test_an_expiry_counts_to_the_close_of_its_market(reader: Client) -> None:
    row = {name: value for name, value in ROW.items() if name != "time_to_expiry"}
    [found] = rows(reader, row | {"expiry": "2026-12-01", "exchange": "NFO"})
    assert found["time_to_expiry"] == pytest.approx(chains.years_left(), abs=1e-6)


def test_a_price_without_a_volatility_has_a_reason(reader: Client) -> None:
    row = {name: value for name, value in ROW.items() if name != "volatility"}
    deep = row | {"strike": 50.0}
    found = rows(reader, deep | {"price": 49.0}, deep | {"price": 50.0}, row | {"price": 101.0}, row | {"price": 8.0})
    assert [row["greeks_reason"] for row in found] == ["below_intrinsic", "no_time_value", "above_bound", None]
    assert [row["delta"] is None for row in found] == [True, True, True, False]
    assert found[0]["price"] == 49.0


def test_a_greek_without_a_finite_value_is_null_and_says_so(reader: Client) -> None:
    [found] = rows(reader, ROW | {"time_to_expiry": 0}, second_order=True)
    assert (found["price"], found["gamma"], found["greeks_reason"]) == (0.0, None, "not_finite")


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"strike": -1}, "strike"),
        ({"strike": 0}, "strike"),
        ({"strike": "100"}, "strike"),
        ({"strike": True}, "strike"),
        ({"strike": None}, "strike"),
        ({"strike": 10**400}, "strike"),
        ({"strike": [1]}, "strike"),
        ({"underlying_price": 0}, "underlying_price"),
        ({"volatility": -0.1}, "volatility"),
        ({"time_to_expiry": -0.1}, "time_to_expiry"),
        ({"rate": 6.5}, "rate"),
        ({"price": 5}, "price"),
        ({"volatility": None}, "price"),
        ({"expiry": "2026-12-01"}, "time_to_expiry"),
        ({"time_to_expiry": None}, "time_to_expiry"),
        ({"time_to_expiry": None, "expiry": "soon"}, "expiry"),
        ({"time_to_expiry": None, "expiry": 20261201}, "expiry"),
        ({"time_to_expiry": None, "expiry": "2026-12-01", "exchange": "MOON"}, "expiry"),
        ({"time_to_expiry": None, "expiry": "2026-12-01", "exchange": ["NFO"]}, "expiry"),
        ({"exchange": "NFO"}, "exchange"),
        ({"instrument_type": "CALL"}, "instrument_type"),
        ({"instrument_type": {}}, "instrument_type"),
        ({"colour": "red"}, "colour"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(reader: Client, change: dict[str, Any], field: str) -> None:
    found = problems(reader, ROW, ROW | change)
    assert (1, field) in found
    assert {index for index, _ in found} == {1}


def test_an_expiry_on_a_day_without_hours_is_a_mistake_that_is_looked_up_once(reader: Client) -> None:
    row = {name: value for name, value in ROW.items() if name != "time_to_expiry"} | {"expiry": "2050-01-01"}
    assert problems(reader, row, row) == [(0, "expiry"), (1, "expiry")]


def test_of_many_bad_rows_the_first_hundred_are_named_and_all_counted(reader: Client) -> None:
    response = post(reader, {"rows": [ROW | {"strike": -1}] * 300 + ["row"]})
    details = response.json()["error"]["details"]
    assert (len(details["rows"]), details["problems"]) == (100, 301)


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "rows"),
        ({"rows": []}, "rows"),
        ({"rows": {}}, "rows"),
        ({"rows": [ROW], "model": "bachelier"}, "model"),
        ({"rows": [ROW], "rate": 10**400}, "rate"),
        ({"rows": [ROW], "rate": True}, "rate"),
        ({"rows": [ROW], "second_order": "perhaps"}, "second_order"),
        ({"rows": [ROW], "colour": "red"}, "colour"),
        ({"rows": [ROW] * (MOST_ROWS + 1)}, "rows"),
        ([], "non_field_errors"),
        ("x", "non_field_errors"),
        (None, "non_field_errors"),
    ],
)
def test_a_body_that_makes_no_sense_is_400_and_names_the_field(reader: Client, body: Any, field: str) -> None:
    response = post(reader, body)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"], response.content


def test_five_thousand_rows_fit_and_are_quick(reader: Client) -> None:
    row = {"underlying_price": 24530.55, "strike": 24500, "instrument_type": "CE", "price": 210.55, "rate": 0.065}
    row |= {"expiry": "2026-12-01", "exchange": "NFO", "dividend_yield": 0.0125}
    began = time.monotonic()
    found = rows(reader, *[row] * MOST_ROWS)
    assert len(found) == MOST_ROWS
    assert found[0] == found[-1]
    assert time.monotonic() - began < 5


def test_more_than_the_limit_of_this_one_route_is_413(reader: Client) -> None:
    response = reader.post(URL, b'{"rows": "' + b"x" * 1024 * 1024 + b'"}', content_type="application/json")
    assert response.status_code == 413
    large = b'{"legs": "' + b"x" * 64 * 1024 + b'"}'
    assert reader.post("/api/v1/strategies/payoff", large, content_type="application/json").status_code == 413


@pytest.mark.parametrize("path", ["greeks", "strategies/payoff"])
def test_strangers_calculate_nothing(client: Client, db: None, path: str) -> None:
    assert post(client, {"rows": [ROW]}, f"/api/v1/{path}").status_code in {401, 403}
    client.force_login(User.objects.create_user("nobody"))
    assert post(client, {"rows": [ROW]}, f"/api/v1/{path}").status_code == 403


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.sampled_from(
        [0, 1e-320, 1e300, 10**400, -1, 0.5, "CE", "PE", "FUT", "EQ", "2026-12-01", "0001-01-01", "NFO", "", "٣"]
    )
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
fair = {
    "underlying_price": st.floats(1e-9, 1e9),
    "strike": st.floats(1e-9, 1e9),
    "instrument_type": st.sampled_from(["CE", "PE"]),
    "time_to_expiry": st.floats(0, 100),
    "rate": st.floats(-1, 1),
    "dividend_yield": st.floats(-1, 1),
}
fair_rows = st.fixed_dictionaries(fair | {"price": st.floats(0, 1e9)}) | st.fixed_dictionaries(
    fair | {"volatility": st.floats(0, 100)}
)
odd_rows = st.dictionaries(st.sampled_from([*fair, "price", "volatility", "expiry", "exchange"]), anything, max_size=8)
bodies = anything | st.fixed_dictionaries(
    {"rows": st.lists(fair_rows | odd_rows | anything, max_size=4)},
    optional={
        "model": st.sampled_from(["black-76", "black-scholes-merton"]) | anything,
        "second_order": st.booleans() | anything,
        "rate": anything,
        "dividend_yield": anything,
    },
)
only_fair = st.fixed_dictionaries(
    {
        "rows": st.lists(fair_rows, min_size=1, max_size=6),
        "model": st.sampled_from(["black-76", "black-scholes-merton"]),
        "second_order": st.just(True),
    }
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=bodies | only_fair)
def test_no_body_is_an_error_of_ours(reader: Client, body: Any) -> None:
    assert post(reader, body).status_code in {200, 400}


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(body=only_fair)
def test_rows_in_range_are_always_answered(reader: Client, body: Any) -> None:
    assert post(reader, body).status_code == 200
