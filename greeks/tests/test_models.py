"""What both models answer where the formula has no answer: at expiry, at zero volatility, far away, and to nonsense."""

import math
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from greeks import Greeks, black76, black_scholes, years_between

MODELS = pytest.mark.parametrize("model", [black_scholes, black76], ids=["black_scholes", "black76"])
MINUTE = 1 / 525600
YEAR = 365 * 86400
GOOD: dict[str, Any] = {"strike": 100.0, "time_to_expiry": 0.1, "rate": 0.1, "volatility": 0.2, "is_call": True}


@MODELS
@pytest.mark.parametrize("volatility", [0.0, 0.2, 5.0])
def test_at_expiry_a_price_is_intrinsic_and_delta_a_step(model: ModuleType, volatility: float) -> None:
    strikes = [90.0, 90.0, 100.0, 100.0, 110.0, 110.0]
    greeks = model.greeks(100.0, strikes, 0.0, 0.1, volatility, [True, False] * 3)
    assert greeks.price.tolist() == [10.0, 0.0, 0.0, 0.0, 0.0, 10.0]
    assert greeks.delta.tolist() == [1.0, 0.0, 0.5, -0.5, 0.0, -1.0]
    assert greeks.gamma.tolist() == [0.0, 0.0, math.inf, math.inf, 0.0, 0.0]
    assert not greeks.vega_per_point.any()
    assert not greeks.rho_per_point.any()


def test_at_expiry_theta_is_the_carry_of_what_is_in_the_money() -> None:
    theta = black_scholes.greeks(100.0, [90.0, 110.0], 0.0, 0.1, 0.2, True, 0.03).theta_per_day * 365
    assert theta.tolist() == pytest.approx([0.03 * 100 - 0.1 * 90, 0.0])
    assert black_scholes.greeks(100.0, 100.0, 0.0, 0.1, 0.2, True).theta_per_day == -math.inf


def test_the_limits_at_expiry_are_what_a_short_time_approaches() -> None:
    strikes, calls = [90.0, 90.0, 110.0, 110.0], [True, False, True, False]
    soon = np.array(black_scholes.greeks(100.0, strikes, 1e-12, 0.1, 0.2, calls, 0.03))
    then = np.array(black_scholes.greeks(100.0, strikes, 0.0, 0.1, 0.2, calls, 0.03))
    assert soon == pytest.approx(then, abs=1e-9)


def test_without_volatility_an_option_is_worth_its_discounted_forward_or_nothing() -> None:
    greeks = black_scholes.greeks(100.0, [90.0, 120.0], 1.0, 0.1, 0.0, True, 0.03)
    assert greeks.price == pytest.approx([100 * math.exp(-0.03) - 90 * math.exp(-0.1), 0.0], rel=1e-14)
    assert greeks.delta == pytest.approx([math.exp(-0.03), 0.0], rel=1e-15)
    assert greeks.gamma.tolist() == greeks.vega_per_point.tolist() == [0.0, 0.0]


def test_without_volatility_at_the_forward_vega_is_at_its_largest_and_gamma_unbounded() -> None:
    greeks = black76.greeks(100.0, 100.0, 1.0, 0.0, 0.0, True)
    assert greeks.vega_per_point == pytest.approx(1 / math.sqrt(2 * math.pi))
    assert [float(values) for values in greeks[:4]] == [0.0, 0.5, math.inf, 0.0]


@MODELS
@pytest.mark.parametrize("days", [1, 365])
@pytest.mark.parametrize("volatility", [0.01, 5.0])
def test_deep_options_stay_within_their_bounds(model: ModuleType, days: int, volatility: float) -> None:
    greeks: Greeks = model.greeks(100.0, [1.0, 1.0, 1e4, 1e4], days / 365, 0.1, volatility, [True, False] * 2)
    assert np.isfinite(greeks).all()
    assert (greeks.price >= 0).all()
    assert (np.abs(greeks.delta) <= 1).all()
    assert (greeks.gamma >= 0).all()


@MODELS
def test_one_minute_before_expiry_an_option_at_the_strike_has_half_a_delta(model: ModuleType) -> None:
    greeks = model.greeks(24000.0, 24000.0, MINUTE, 0.1, 0.15, [True, False])
    assert greeks.delta == pytest.approx([0.5, -0.5], abs=1e-3)
    # The straddle's approximation, S·σ·√(T/2π), is exact to second order.
    assert greeks.price == pytest.approx(24000 * 0.15 * math.sqrt(MINUTE / (2 * math.pi)), rel=2e-3)


@pytest.mark.parametrize("name", ["underlying", "strike", "time_to_expiry", "rate", "volatility"])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@MODELS
def test_what_is_no_number_gives_nan_in_everything(model: ModuleType, name: str, value: float) -> None:
    inputs = {"underlying": 100.0} | GOOD | {name: [value, 100.0 if name in {"underlying", "strike"} else 0.2]}
    greeks = np.array(model.greeks(*inputs.values()))
    assert np.isnan(greeks[:, 0]).all()
    assert np.isfinite(greeks[:, 1]).all()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("underlying", 0.0),
        ("underlying", -0.5),
        ("underlying", -1.0),
        ("strike", 0.0),
        ("strike", -0.5),
        ("time_to_expiry", -1e-9),
        ("volatility", -0.01),
    ],
)
@MODELS
def test_what_is_out_of_range_gives_nan_in_everything(model: ModuleType, name: str, value: float) -> None:
    inputs = {"underlying": 100.0} | GOOD | {name: value}
    assert np.isnan(model.greeks(*inputs.values())).all()


@MODELS
@pytest.mark.parametrize(
    "negative",
    [("underlying", "strike"), ("underlying", "strike", "volatility"), ("volatility", "time_to_expiry")],
    ids=" and ".join,
)
def test_two_wrong_signs_do_not_make_a_right_one(model: ModuleType, negative: tuple[str, ...]) -> None:
    inputs = {"underlying": 100.0} | GOOD
    inputs |= {name: -inputs[name] for name in negative}
    assert np.isnan(model.greeks(*inputs.values())).all()


@MODELS
@pytest.mark.parametrize("seconds_left", [1, 0, -1])
def test_a_second_before_expiry_delta_is_steep_and_from_then_on_a_step(model: ModuleType, seconds_left: int) -> None:
    close = 1_764_583_800.0
    years = years_between(close - seconds_left, close)
    greeks = model.greeks(24000.0, 24000.0, years, 0.1, 0.15, [True, False])
    assert greeks.delta == pytest.approx([0.5, -0.5], abs=1e-4)
    assert np.isfinite(greeks.gamma).tolist() == [seconds_left > 0] * 2
    straddle = 24000 * 0.15 * math.sqrt(max(seconds_left, 0) / YEAR / (2 * math.pi))
    assert greeks.price == pytest.approx(straddle, rel=1e-3)


@MODELS
def test_shapes_that_do_not_broadcast_are_named(model: ModuleType) -> None:
    with pytest.raises(ValueError, match=r"strike \(2,\).*volatility \(3,\)"):
        model.greeks(100.0, [90.0, 110.0], 0.1, 0.1, [0.1, 0.2, 0.3], True)
    with pytest.raises(ValueError, match=r"price \(3,\).*strike \(2,\)"):
        model.implied_volatility([1.0, 2.0, 3.0], 100.0, [90.0, 110.0], 0.1, 0.1, True)


@pytest.mark.parametrize("is_call", ["CE", ["CE", "PE"], 1, [1, -1], math.nan])
@MODELS
def test_a_mask_that_is_not_boolean_is_refused(model: ModuleType, is_call: Any) -> None:
    with pytest.raises(TypeError, match="is_call must hold booleans"):
        model.price(100.0, 100.0, 0.1, 0.1, 0.2, is_call)


@MODELS
def test_arguments_broadcast_and_every_result_has_the_whole_shape(model: ModuleType) -> None:
    greeks = model.greeks(100, [[90], [100], [110]], 0.1, np.float32(0.1), 0.2, [True, False])
    assert {(values.shape, values.dtype) for values in greeks} == {((3, 2), np.dtype(np.float64))}
    assert greeks.gamma[:, 0].tolist() == greeks.gamma[:, 1].tolist()
    alone = model.greeks(100.0, 110.0, 0.1, np.float32(0.1), 0.2, False)
    assert [values[2, 1] for values in greeks] == pytest.approx([float(values) for values in alone], rel=1e-15)


@MODELS
def test_an_empty_chain_has_empty_greeks(model: ModuleType) -> None:
    empty = np.empty(0)
    assert model.greeks(100.0, empty, 0.1, 0.1, empty, empty.astype(bool)).price.shape == (0,)
    assert model.implied_volatility(empty, 100.0, empty, 0.1, 0.1, empty.astype(bool)).reason.shape == (0,)


def test_black_scholes_on_a_spot_is_black76_on_its_forward() -> None:
    strikes, calls = np.linspace(80, 120, 9), [[True], [False]]
    on_spot = black_scholes.price(100.0, strikes, 0.5, 0.1, 0.2, calls, 0.03)
    on_forward = black76.price(100.0 * math.exp(0.07 * 0.5), strikes, 0.5, 0.1, 0.2, calls)
    assert on_spot == pytest.approx(on_forward, rel=1e-12)


@MODELS
def test_half_a_rupee_is_a_price_and_a_strike_like_any_other(model: ModuleType) -> None:
    """Prices scale: in a market two hundred times as large deltas are the same; also beside an option at its expiry."""
    terms = GOOD | {"time_to_expiry": np.array([0.1, 0.0])}
    large = model.greeks(*({"underlying": 101.0} | terms).values())
    small = model.greeks(*({"underlying": 101.0 / 200} | terms | {"strike": 0.5}).values())
    assert small.delta == pytest.approx(large.delta, rel=1e-12)
    assert small.price * 200 == pytest.approx(large.price, rel=1e-12)
