"""What an expiry's rows say as a whole, in the form that the stream and REST share."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from jsonschema import Draft202012Validator, FormatChecker

from market.chain_analytics import analytics_of, chain_of
from market.tests import chains
from market.tests.chains import FORWARD, SPOT, VOLATILITY

SCHEMA = Path(__file__).parents[2] / "docs" / "schemas" / "ws" / "analytics.json"
YEARS = 6 / 365


def found(**changes: Any) -> dict[str, Any]:
    line = chains.options_line(YEARS, **changes)
    columns = {name: np.array(values, object) for name, values in line["columns"].items()}
    chain = chain_of(
        strike=columns["strike"].astype(float),
        is_call=columns["is_call"].astype(bool),
        price=columns["last_price"].astype(float),
        implied_volatility=columns["implied_volatility"].astype(float),
        oi=columns["oi"].astype(float),
        oi_change=columns["oi_day_change"].astype(float),
        volume=columns["volume_traded"].astype(float),
        pricing=line["pricing"],
    )
    return analytics_of(chain)


def check(analytics: Mapping[str, Any]) -> None:
    line = chains.head("nifty:2026-12-01:analytics", "2026-12-01", "analytics") | {"analytics": analytics}
    schema = json.loads(SCHEMA.read_text())
    Draft202012Validator(schema, format_checker=FormatChecker()).validate(orjson.loads(orjson.dumps(line)))
    assert "NaN" not in json.dumps(line)


def test_the_analytics_of_a_chain_follow_their_schema_and_say_what_went_in() -> None:
    analytics = found()
    check(analytics)
    assert (analytics["forward"], analytics["spot"], analytics["atm_strike"]) == (FORWARD, SPOT, 24_550.0)
    assert analytics["atm_implied_volatility"] == pytest.approx(VOLATILITY, abs=2e-4)
    assert analytics["put_call_ratio"] == {"oi": 2.0, "volume": 1.0}
    assert analytics["totals"] == {"call_oi": 157_500, "put_oi": 315_000, "call_volume": 21_000, "put_volume": 21_000}
    assert analytics["smile"]["fitted_volatility"] == pytest.approx(chains.smile(analytics["strikes"]), abs=1e-3)


def test_the_skew_is_positive_where_puts_are_dearer() -> None:
    analytics = found()
    low, *_, high = analytics["smile"]["fitted_volatility"]
    assert (low > high) == (analytics["skew_25_delta"] > 0)
    assert analytics["skew_25_delta"] != 0


def test_the_straddle_is_the_implied_move() -> None:
    analytics = found()
    assert analytics["implied_move"]["points"] == analytics["straddle"]["price"]
    assert analytics["implied_move"]["fraction"] == pytest.approx(analytics["straddle"]["price"] / FORWARD, abs=1e-6)
    # About 0.8 standard deviations, and a strike that is not the forward costs a little more.
    assert analytics["straddle"]["price"] == pytest.approx(0.798 * analytics["one_sigma_move"]["points"], rel=0.02)


def test_walls_are_the_strikes_with_most_open_interest() -> None:
    oi = [0] * (2 * len(chains.STRIKES))
    oi[2 * chains.STRIKES.index(24_700.0)], oi[2 * chains.STRIKES.index(24_200.0) + 1] = 900, 800
    analytics = found(oi=oi)
    assert analytics["walls"]["call_oi"] == [{"strike": 24_700.0, "value": 900.0}]
    assert analytics["walls"]["put_oi"] == [{"strike": 24_200.0, "value": 800.0}]
    assert 24_200.0 <= analytics["max_pain"] <= 24_700.0


def test_rows_may_come_in_any_order_and_a_strike_may_lack_its_put() -> None:
    pricing = chains.options_line(YEARS)["pricing"]
    values = [3.0, 1.0, 2.0]
    chain = chain_of(
        strike=[200.0, 100.0, 200.0],
        is_call=[False, True, True],
        price=values,
        implied_volatility=values,
        oi=values,
        oi_change=values,
        volume=values,
        pricing=pricing,
    )
    assert chain.strike.tolist() == [100.0, 200.0]
    assert chain.call_oi.tolist() == [1.0, 2.0]
    assert chain.put_oi == pytest.approx([np.nan, 3.0], nan_ok=True)


@pytest.mark.parametrize("rows", [0, 1, 2])
def test_a_chain_of_which_nothing_is_known_has_nulls_and_follows_the_schema(rows: int) -> None:
    nothing = np.full(rows, np.nan)
    unknown: dict[str, Any] = dict.fromkeys(("underlying_price", "spot", "time_to_expiry"))
    pricing = unknown | {"model": "black-76", "rate": 0.1, "dividend_yield": 0.0}
    chain = chain_of(
        strike=[100.0 + row for row in range(rows)],
        is_call=[True] * rows,
        price=nothing,
        implied_volatility=nothing,
        oi=nothing,
        oi_change=nothing,
        volume=nothing,
        pricing=pricing,
    )
    analytics = analytics_of(chain)
    check(analytics)
    assert analytics["atm_strike"] is None
    assert analytics["totals"]["call_oi"] is None


def test_options_priced_on_the_spot_have_the_forward_that_it_is_carried_to() -> None:
    line = chains.options_line(YEARS)
    pricing = line["pricing"] | {"model": "black-scholes-merton", "underlying_price": SPOT}
    nothing = np.full(1, np.nan)
    chain = chain_of(
        strike=[24_500.0],
        is_call=[True],
        price=nothing,
        implied_volatility=nothing,
        oi=nothing,
        oi_change=nothing,
        volume=nothing,
        pricing=pricing,
    )
    assert chain.spot == SPOT
    assert chain.forward == pytest.approx(SPOT * np.exp(0.10 * YEARS))
