"""What holds for every option, whatever its numbers."""

import math
from functools import partial
from types import ModuleType

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from greeks import Greeks, Reason, black76, black_scholes

MODELS = pytest.mark.parametrize("model", [black_scholes, black76], ids=["black_scholes", "black76"])
UNDERLYING = 24000.0
ROUNDING = 1e-15 * UNDERLYING * math.e

any_number = st.floats(allow_nan=True, allow_infinity=True)
strikes = st.floats(-1.0, 1.0).map(lambda x: UNDERLYING * math.exp(x))
years = st.floats(1 / 525600, 2.0)
rates = st.floats(-0.02, 0.15)
volatilities = st.floats(0.01, 3.0)


@MODELS
@given(any_number, any_number, any_number, any_number, any_number, any_number, st.booleans())
def test_anything_gives_a_number_or_nan_and_never_a_warning(
    model: ModuleType, s: float, k: float, t: float, r: float, sigma: float, price: float, is_call: bool
) -> None:
    assert model.greeks(s, k, t, r, sigma, is_call).price.shape == ()
    assert model.second_order(s, k, t, r, sigma, is_call).speed.shape == ()
    volatility, reason = model.implied_volatility(price, s, k, t, r, is_call)
    assert (reason == Reason.OK) == bool(volatility > 0)
    assert math.isnan(volatility) == (reason != Reason.OK)


@given(strikes, years, rates, rates, volatilities)
def test_call_less_put_is_asset_less_strike(k: float, t: float, r: float, q: float, sigma: float) -> None:
    call, put = np.array(black_scholes.greeks(UNDERLYING, k, t, r, sigma, [True, False], q)).T
    asset, cash = UNDERLYING * math.exp(-q * t), k * math.exp(-r * t)
    assert call[0] - put[0] == pytest.approx(asset - cash, abs=4 * ROUNDING)
    assert call[1] - put[1] == pytest.approx(math.exp(-q * t), rel=1e-14)
    assert (call[2], call[4]) == (put[2], put[4])  # gamma and vega know no side
    decay = 365 * abs(call[3])  # a minute before expiry it is 1e7 a year, and its rounding more than the carry's
    assert (call[3] - put[3]) * 365 == pytest.approx(q * asset - r * cash, abs=1e-9 + 1e-15 * decay)
    assert (call[5] - put[5]) * 100 == pytest.approx(t * cash, rel=1e-13)


@MODELS
@given(strikes, years, rates, volatilities, st.booleans())
def test_prices_lie_between_intrinsic_value_and_bound(
    model: ModuleType, k: float, t: float, r: float, sigma: float, is_call: bool
) -> None:
    price = float(model.price(UNDERLYING, k, t, r, sigma, is_call))
    cash = k * math.exp(-r * t)
    asset = UNDERLYING * (math.exp(-r * t) if model is black76 else 1.0)
    intrinsic = max(asset - cash if is_call else cash - asset, 0.0)
    assert intrinsic - 2 * ROUNDING <= price <= (asset if is_call else cash) + 2 * ROUNDING


@MODELS
@given(strikes, years, rates, volatilities, st.floats(1.001, 2.0))
def test_prices_move_the_right_way(
    model: ModuleType, k: float, t: float, r: float, sigma: float, factor: float
) -> None:
    def prices(s: float, k: float, sigma: float) -> tuple[float, float]:
        call, put = model.price(s, k, t, r, sigma, [True, False])
        return float(call), float(put)

    (call, put), slack = prices(UNDERLYING, k, sigma), 8 * ROUNDING
    (call_up, put_up) = prices(UNDERLYING * factor, k, sigma)
    assert call_up >= call - slack
    assert put_up <= put + slack
    (call_k, put_k) = prices(UNDERLYING, k * factor, sigma)
    assert call_k <= call + slack
    assert put_k >= put - slack
    assert min(np.subtract(prices(UNDERLYING, k, sigma * factor), (call, put))) >= -slack


@MODELS
@given(st.floats(-3.0, 3.0), st.floats(1 / 365, 2.0), st.floats(0.0, 0.15), st.floats(0.05, 1.0), st.booleans())
def test_greeks_are_the_slopes_of_the_price(
    model: ModuleType, deviations: float, t: float, r: float, sigma: float, is_call: bool
) -> None:
    k = UNDERLYING * math.exp(deviations * sigma * math.sqrt(t))
    greeks = model.greeks(UNDERLYING, k, t, r, sigma, is_call)

    def slope(step: float, *, s: float = 0, t_: float = 0, r_: float = 0, v: float = 0) -> float:
        """Central difference of fourth order; which argument moves is marked by 1."""
        offsets = np.array([-2, -1, 1, 2]) * step
        p = model.price(UNDERLYING + s * offsets, k, t + t_ * offsets, r + r_ * offsets, sigma + v * offsets, is_call)
        return float(p @ [1, -8, 8, -1]) / (12 * step)

    move = 0.01 * sigma * math.sqrt(t)  # a hundredth of a deviation
    noise = 100 * ROUNDING
    assert slope(UNDERLYING * move, s=1) == pytest.approx(greeks.delta, rel=1e-5, abs=noise / (UNDERLYING * move))
    assert slope(0.01 * sigma, v=1) / 100 == pytest.approx(greeks.vega_per_point, rel=3e-5, abs=noise / sigma)
    assert slope(1e-3, r_=1) / 100 == pytest.approx(greeks.rho_per_point, rel=1e-4, abs=10 * noise)
    theta = -slope(0.01 * t, t_=1) / 365
    assert theta == pytest.approx(greeks.theta_per_day, rel=1e-4, abs=1e-7 * UNDERLYING * sigma + noise / t)

    near = UNDERLYING * (1 + move * np.array([-2, -1, 1, 2]))
    curve = float(model.greeks(near, k, t, r, sigma, is_call).delta @ [1, -8, 8, -1]) / (12 * UNDERLYING * move)
    assert curve == pytest.approx(greeks.gamma, rel=1e-5, abs=1e-12 / (UNDERLYING * move))


@MODELS
@given(st.floats(-3.0, 3.0), st.floats(1 / 365, 2.0), st.floats(0.0, 0.15), st.floats(0.05, 1.0), st.booleans())
def test_second_order_greeks_are_the_slopes_of_first_order_ones(
    model: ModuleType, deviations: float, t: float, r: float, sigma: float, is_call: bool
) -> None:
    k = UNDERLYING * math.exp(deviations * sigma * math.sqrt(t))
    found = model.second_order(UNDERLYING, k, t, r, sigma, is_call)

    def slopes(step: float, *, s: float = 0, t_: float = 0, v: float = 0) -> Greeks:
        offsets = np.array([-2, -1, 1, 2]) * step
        near = model.greeks(UNDERLYING + s * offsets, k, t + t_ * offsets, r, sigma + v * offsets, is_call)
        return Greeks(*(values @ [1, -8, 8, -1] / (12 * step) for values in near))

    move = 0.01 * sigma * math.sqrt(t)  # a hundredth of a deviation
    by_volatility, by_time = slopes(0.01 * sigma, v=1), slopes(0.01 * t, t_=1)
    by_underlying = slopes(UNDERLYING * move, s=1)
    # Each is held to a part in 10^5 of what it is at its largest, some deviations off.
    close = partial(pytest.approx, rel=1e-5)
    assert by_volatility.delta / 100 == close(found.vanna_per_point, abs=1e-7 / sigma)
    assert by_underlying.vega_per_point == close(found.vanna_per_point, abs=1e-7 / sigma)
    assert by_volatility.vega_per_point / 100 == close(
        found.vomma_per_point, abs=1e-9 * UNDERLYING * math.sqrt(t) / sigma
    )
    assert -by_time.delta / 365 == close(found.charm_per_day, abs=1e-7 / t)
    assert by_underlying.gamma == close(found.speed, abs=1e-5 / (UNDERLYING * move * 100) ** 2)


@given(strikes, years, rates, rates, volatilities)
def test_only_the_yield_tells_a_call_from_a_put_in_second_order(
    k: float, t: float, r: float, q: float, sigma: float
) -> None:
    call, put = np.array(black_scholes.second_order(UNDERLYING, k, t, r, sigma, [True, False], q)).T
    assert call[[0, 2, 3]].tolist() == put[[0, 2, 3]].tolist()
    rounding = 1e-12 * 365 * abs(call[1]) + 1e-300  # nearer to zero a double has no twelve digits left
    assert (call[1] - put[1]) * 365 == pytest.approx(q * math.exp(-q * t), rel=1e-12, abs=rounding)


@given(strikes, years, rates, volatilities)
def test_a_call_is_a_put_seen_from_the_other_currency(k: float, t: float, r: float, sigma: float) -> None:
    call = float(black76.price(UNDERLYING, k, t, r, sigma, True))
    assert call == pytest.approx(float(black76.price(k, UNDERLYING, t, r, sigma, False)), rel=1e-12, abs=ROUNDING)


@MODELS
@given(st.floats(1e-3, 1e6), strikes, years, rates, volatilities, st.booleans())
def test_the_currency_does_not_matter(
    model: ModuleType, scale: float, k: float, t: float, r: float, sigma: float, is_call: bool
) -> None:
    one = model.greeks(UNDERLYING, k, t, r, sigma, is_call)
    other = model.greeks(UNDERLYING * scale, k * scale, t, r, sigma, is_call)
    assert other.price / scale == pytest.approx(one.price, rel=1e-10, abs=4 * ROUNDING)
    assert other.delta == pytest.approx(one.delta, rel=1e-9)


@MODELS
@given(st.lists(st.tuples(strikes, years, volatilities, st.booleans()), min_size=1, max_size=20), st.data())
def test_one_bad_option_does_not_touch_its_neighbours(
    model: ModuleType, options: list[tuple[float, float, float, bool]], data: st.DataObject
) -> None:
    k, t, sigma, is_call = (np.array(column) for column in zip(*options, strict=True))
    good = np.array(model.greeks(UNDERLYING, k, t, 0.1, sigma, is_call))
    bad = data.draw(st.integers(0, len(options) - 1))
    sigma[bad] = np.nan
    found = np.array(model.greeks(UNDERLYING, k, t, 0.1, sigma, is_call))
    assert np.isnan(found[:, bad]).all()
    others = np.arange(len(options)) != bad
    np.testing.assert_array_equal(found[:, others], good[:, others])
