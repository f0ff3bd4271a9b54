"""Vanna, charm, vomma and speed where the formulas have no answer, and to nonsense; test_models.py for second order."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from greeks import black76, black_scholes, years_between
from greeks.tests.test_models import GOOD, MINUTE, MODELS

CLOSE = 1_764_583_800.0  # some close


@MODELS
@pytest.mark.parametrize("years", [0.0, 1.0])
def test_with_nothing_left_to_happen_they_are_zero_off_the_strike(model: ModuleType, years: float) -> None:
    found = model.second_order(100.0, [80.0, 80.0, 130.0, 130.0], years, 0.0, 0.2 * (years == 0), [True, False] * 2)
    assert not np.any(found)


@pytest.mark.parametrize(("years", "volatility"), [(0.0, 0.2), (1.0, 0.0)])
def test_then_only_the_yield_moves_the_delta_of_what_is_in_the_money(years: float, volatility: float) -> None:
    charm = black_scholes.second_order(100.0, [80.0, 130.0], years, 0.1, volatility, True, 0.03).charm_per_day
    assert charm * 365 == pytest.approx([0.03 * math.exp(-0.03 * years), 0.0], rel=1e-15)


def test_at_the_strike_and_expiry_delta_steps_and_speed_has_no_limit() -> None:
    drifts = [(0.1, 0.0), (0.0, 0.1), (0.0, 0.03), (0.02, 0.02)]  # against σ²/2 = 0.02 and 3/2 σ² = 0.06
    rate, dividend_yield = np.array(drifts).T
    found = black_scholes.second_order(100.0, 100.0, 0.0, rate, 0.2, True, dividend_yield)
    assert found.charm_per_day.tolist() == [-math.inf, math.inf, math.inf, -math.inf]
    assert found.speed.tolist() == [-math.inf, math.inf, -math.inf, -math.inf]
    assert not found.vanna_per_point.any()
    assert not found.vomma_per_point.any()


def test_at_the_strike_a_short_time_approaches_those_limits() -> None:
    drifts = [(0.1, 0.0), (0.0, 0.1), (0.0, 0.03), (0.02, 0.02)]
    rate, dividend_yield = np.array(drifts).T
    soon = black_scholes.second_order(100.0, 100.0, 1e-12, rate, 0.2, True, dividend_yield)
    assert np.sign(soon.charm_per_day).tolist() == [-1.0, 1.0, 1.0, -1.0]
    assert np.sign(soon.speed).tolist() == [-1.0, 1.0, -1.0, -1.0]
    assert np.min(np.abs([soon.charm_per_day, soon.speed])) > 10
    assert np.max(np.abs([soon.vanna_per_point, soon.vomma_per_point])) < 1e-6


def test_at_the_forward_without_volatility_vanna_is_half_of_the_density() -> None:
    found = black76.second_order(100.0, 100.0, 1.0, 0.05, [0.0, 1e-9], True)
    assert found.vanna_per_point * 100 == pytest.approx(math.exp(-0.05) / math.sqrt(8 * math.pi), rel=1e-15)
    assert found.charm_per_day * 365 == pytest.approx(0.05 * math.exp(-0.05) / 2, rel=1e-8)
    assert found.vomma_per_point[0] == 0.0
    assert found.speed[0] == -math.inf


@MODELS
def test_the_limits_at_expiry_are_what_a_short_time_approaches(model: ModuleType) -> None:
    strikes, calls = [90.0, 90.0, 110.0, 110.0], [True, False, True, False]
    soon, then = (np.array(model.second_order(100.0, strikes, t, 0.1, 0.2, calls)) for t in (1e-12, 0.0))
    assert soon == pytest.approx(then, abs=1e-12)


@MODELS
@pytest.mark.parametrize(("seconds_before", "finite"), [(1, True), (0, False), (-1, False)])
def test_a_second_before_expiry_they_are_finite_at_the_strike_and_from_then_on_not(
    model: ModuleType, seconds_before: float, finite: bool
) -> None:
    years = years_between(CLOSE - seconds_before, CLOSE)
    found = model.second_order(24000.0, [24000.0, 25000.0], years, 0.1, 0.15, True)
    assert np.isfinite(found).all(axis=0).tolist() == [finite, True]


@MODELS
@pytest.mark.parametrize("days", [1, 365])
@pytest.mark.parametrize("volatility", [0.01, 5.0])
def test_deep_options_have_finite_ones(model: ModuleType, days: int, volatility: float) -> None:
    found = model.second_order(100.0, [1.0, 1.0, 1e4, 1e4], days / 365, 0.1, volatility, [True, False] * 2)
    assert np.isfinite(found).all()


def test_they_change_sign_where_the_textbook_says() -> None:
    forward, years, volatility = 100.0, 0.25, 0.3
    v = volatility * math.sqrt(years)
    # In strikes: vanna where d2 = 0, vomma where d1 = 0 and where d2 = 0, speed where d1 = -v.
    strikes = forward * np.exp(np.array([-v * v / 2, v * v / 2, 1.5 * v * v]))
    found = black76.second_order(forward, strikes, years, 0.0, volatility, True)
    assert found.vanna_per_point[0] == pytest.approx(0.0, abs=1e-15)
    assert found.vomma_per_point[:2] == pytest.approx([0.0, 0.0], abs=1e-15)
    assert found.speed[2] == pytest.approx(0.0, abs=1e-15)
    assert (found.vanna_per_point[1:] > 0).all()


@MODELS
def test_a_minute_before_expiry_delta_hurries_to_its_end(model: ModuleType) -> None:
    charm = model.second_order(24000.0, [23990.0, 24010.0], MINUTE, 0.0, 0.15, True).charm_per_day
    assert charm[0] > 50  # a day, of which a minute is 1/1440
    assert charm[1] < -50


@MODELS
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("underlying", 0.0),
        ("strike", -1.0),
        ("time_to_expiry", -1e-9),
        ("volatility", -0.01),
        ("rate", math.nan),
        ("volatility", math.inf),
        ("rate", -math.inf),
    ],
)
def test_what_is_out_of_range_gives_nan_in_everything(model: ModuleType, name: str, value: float) -> None:
    inputs: dict[str, Any] = {"underlying": 100.0} | GOOD | {name: value}
    assert np.isnan(model.second_order(*inputs.values())).all()


@MODELS
def test_arguments_broadcast_and_every_result_has_the_whole_shape(model: ModuleType) -> None:
    found = model.second_order(100, [[90], [100], [110]], 0.1, np.float32(0.1), 0.2, [True, False])
    assert {(values.shape, values.dtype) for values in found} == {((3, 2), np.dtype(np.float64))}
    alone = model.second_order(100.0, 110.0, 0.1, np.float32(0.1), 0.2, False)
    assert [values[2, 1] for values in found] == pytest.approx([float(values) for values in alone], rel=1e-14)
    assert model.second_order(100.0, [], 0.1, 0.1, [], np.empty(0, bool)).speed.shape == (0,)


@MODELS
def test_misuse_is_refused(model: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"strike \(2,\).*volatility \(3,\)"):
        model.second_order(100.0, [90.0, 110.0], 0.1, 0.1, [0.1, 0.2, 0.3], True)
    with pytest.raises(TypeError, match="is_call must hold booleans"):
        model.second_order(100.0, 100.0, 0.1, 0.1, 0.2, "CE")
