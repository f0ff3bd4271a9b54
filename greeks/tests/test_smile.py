"""The fitted smile: what is an SVI comes back as one, what is not is met closely, and nothing is made up."""

import math

import numpy as np
import pytest
from hypothesis import Phase, assume, given, settings
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.optimize import least_squares
from scipy.special import ndtr

from greeks import black76
from greeks.arrays import Floats
from greeks.smile import Smile, fit

FORWARD, YEARS, VOLATILITY = 24_000.0, 7 / 365, 0.13
DEVIATION = VOLATILITY * math.sqrt(YEARS)
DEVIATIONS = np.linspace(-3.5, 3.5, 80)
STRIKES = FORWARD * np.exp(DEVIATIONS * DEVIATION)


def svi(k: Floats, a: float, b: float, rho: float, m: float, sigma: float) -> Floats:
    return np.asarray(a + b * (rho * (k - m) + np.sqrt((k - m) ** 2 + sigma**2)))


def smile_of(a: float, b: float, rho: float, m: float, sigma: float, years: float = YEARS) -> Smile:
    return Smile(a, b, rho, m, sigma, FORWARD, years, 0.0, 80, float(STRIKES[0]), float(STRIKES[-1]))


def quadratic(skew: float = -0.09, curvature: float = 0.02) -> Floats:
    return np.asarray(VOLATILITY * (1 + skew * DEVIATIONS + curvature * DEVIATIONS**2))


def svis_come_back(
    volatility: float, years: float, slope: float, rho: float, vertex: float, roundness: float, count: int
) -> None:
    unit = volatility * math.sqrt(years)
    k = np.linspace(-3.5, 3.5, count) * unit
    shape = (slope * unit, rho, vertex * unit, roundness * unit)
    a = unit**2 - float(svi(np.zeros(1), 0.0, *shape)[0])
    w = svi(k, a, *shape)
    # Well within Lee's bound, as smiles are, and no volatility below half of that at the money: there every quote is
    # many of its own deviations away, and has no weight left to tell one curve from another.
    assume(slope * unit * (1 + abs(rho)) < 0.8 and a + shape[0] * shape[3] * math.sqrt(1 - rho**2) > 0.2 * unit**2)
    strikes = FORWARD * np.exp(k)
    found = fit(strikes, np.sqrt(w / years), FORWARD, years)
    fitted = (found.lowest_strike <= strikes) & (strikes <= found.highest_strike)
    left = np.count_nonzero(k[fitted] < vertex * unit)
    assume(5 <= left <= np.count_nonzero(fitted) - 5)  # a wing without quotes can be any
    assert found.implied_volatility(strikes[fitted]) == pytest.approx(np.sqrt(w / years)[fitted], rel=1e-6)
    assert found.residual < 1e-6 * volatility


# Rounder than the strikes lie apart: of a corner between two strikes nobody can tell where it is.
shapes = (
    st.floats(0.05, 0.6), st.floats(1 / 365, 1.0), st.floats(0.05, 0.8), st.floats(-0.95, 0.95), st.floats(-1.5, 1.5),
    st.floats(0.25, 4.0), st.integers(40, 160),
)  # fmt: skip


@given(*shapes)
@settings(max_examples=50)
def test_a_smile_that_is_an_svi_comes_back(
    volatility: float, years: float, slope: float, rho: float, vertex: float, roundness: float, count: int
) -> None:
    svis_come_back(volatility, years, slope, rho, vertex, roundness, count)


@pytest.mark.long
@given(*shapes)
@settings(max_examples=2_000, deadline=None, phases=[Phase.generate])
def test_thousands_of_them_come_back(
    volatility: float, years: float, slope: float, rho: float, vertex: float, roundness: float, count: int
) -> None:
    svis_come_back(volatility, years, slope, rho, vertex, roundness, count)


def test_the_parameters_come_back_too() -> None:
    parameters = (0.4 * DEVIATION**2, 0.5 * DEVIATION, -0.4, 0.2 * DEVIATION, 0.9 * DEVIATION)
    k = np.log(STRIKES / FORWARD)
    found = fit(STRIKES, np.sqrt(svi(k, *parameters) / YEARS), FORWARD, YEARS)
    assert (found.a, found.b, found.rho, found.m, found.sigma) == pytest.approx(parameters, rel=1e-6)


def test_a_flat_smile_has_no_skew_and_no_butterfly() -> None:
    found = fit(STRIKES, np.full(80, 0.15), FORWARD, YEARS)
    assert found.at_the_money == pytest.approx(0.15, rel=1e-12)
    assert found.wings() == pytest.approx((0.15, 0.15, 0.0, 0.0), abs=1e-12)


def test_it_is_as_close_as_a_general_optimiser_gets() -> None:
    """Weighted by vega; scipy's least squares on all five parameters, started at ours, finds next to nothing more."""
    volatility = quadratic() + np.random.default_rng(5).normal(0.0, 0.001, 80)
    found = fit(STRIKES, volatility, FORWARD, YEARS)
    assert found.points == 80
    k = np.log(STRIKES / FORWARD)
    d1 = -k / (volatility * math.sqrt(YEARS)) + volatility * math.sqrt(YEARS) / 2
    weight = np.exp(-0.5 * d1 * d1)

    def errors(p: Floats) -> Floats:
        scaled = (p[0] * DEVIATION**2, p[1] * DEVIATION, p[2], p[3] * DEVIATION, p[4] * DEVIATION)
        return np.asarray(np.sqrt(weight) * (svi(k, *scaled) / (volatility**2 * YEARS) - 1) * volatility / 2)

    ours = [found.a / DEVIATION**2, found.b / DEVIATION, found.rho, found.m / DEVIATION, found.sigma / DEVIATION]
    best = least_squares(errors, ours, x_scale="jac")
    assert float(errors(np.array(ours)) @ errors(np.array(ours))) < 2 * best.cost * 1.01
    assert found.residual == pytest.approx(math.sqrt(2 * best.cost / weight.sum()), rel=0.01)


def test_a_few_stale_quotes_do_not_move_it() -> None:
    volatility = quadratic() + np.random.default_rng(5).normal(0.0, 0.0005, 80)
    clean = fit(STRIKES, volatility, FORWARD, YEARS)
    volatility[[3, 20, 38, 52, 61, 77]] *= [1.3, 1.5, 0.7, 1.4, 1.2, 1.6]
    found = fit(STRIKES, volatility, FORWARD, YEARS)
    assert found.points <= 74
    middle = STRIKES[10:70]
    assert found.implied_volatility(middle) == pytest.approx(clean.implied_volatility(middle), abs=0.0005)


def test_wide_quotes_count_less() -> None:
    volatility, wide = quadratic(), np.arange(80) % 2 == 0
    without = fit(STRIKES[~wide], volatility[~wide], FORWARD, YEARS, price_error=0.05)
    volatility[wide] += 0.004
    found = fit(STRIKES, volatility, FORWARD, YEARS, price_error=np.where(wide, 5.0, 0.05))
    assert found.implied_volatility(STRIKES) == pytest.approx(without.implied_volatility(STRIKES), abs=0.0001)


@given(st.floats(0.02, 0.98), st.booleans())
def test_the_strike_at_a_delta_has_that_delta(size: float, is_call: bool) -> None:
    found = fit(STRIKES, quadratic(), FORWARD, YEARS)
    delta = size if is_call else -size
    strike = found.strike_at_delta(delta)
    greeks = black76.greeks(FORWARD, strike, YEARS, 0.0, found.implied_volatility(strike), is_call)
    assert greeks.delta == pytest.approx(delta, abs=1e-10)


def test_skew_and_butterfly_of_a_straight_smile_by_hand() -> None:
    """Nearly flat at 0.13 and straight in k: the 25-deltas lie ±0.6745 deviations out; the skew is slope·2·0.6745."""
    found = fit(STRIKES, quadratic(skew=-0.001, curvature=0.0), FORWARD, YEARS)
    assert found.wings().risk_reversal == pytest.approx(-0.001 * 0.13 * 2 * 0.67449, rel=0.01)
    assert abs(found.wings().butterfly) < 1e-5


def test_the_density_of_an_orderly_smile_is_a_distribution_about_the_forward() -> None:
    found = fit(STRIKES, quadratic(), FORWARD, YEARS)
    low, high = FORWARD * math.exp(-8 * DEVIATION), FORWARD * math.exp(8 * DEVIATION)
    assert quad(lambda s: float(found.density(s)), low, high, epsabs=0, limit=200)[0] == pytest.approx(1.0, abs=1e-3)
    mean = quad(lambda s: s * float(found.density(s)), low, high, epsabs=0, limit=200)[0]
    assert mean == pytest.approx(FORWARD, rel=1e-3)


def test_the_density_of_a_flat_smile_is_lognormal() -> None:
    found = fit(STRIKES, np.full(80, 0.15), FORWARD, YEARS)
    v = 0.15 * math.sqrt(YEARS)
    below = quad(lambda s: float(found.density(s)), 0.8 * FORWARD, 1.01 * FORWARD, epsabs=1e-12, points=[FORWARD])[0]
    assert below == pytest.approx(float(ndtr((math.log(1.01) + v * v / 2) / v)), abs=1e-9)


def test_vogts_smile_has_a_negative_density_though_its_variance_is_positive() -> None:
    """Gatheral and Jacquier, 2014, example 3.1: g falls below zero between k = 0.5 and 1.5."""
    found = smile_of(-0.0410, 0.1331, 0.3060, 0.3586, 0.4153, years=1.0)
    strikes = FORWARD * np.exp(np.linspace(-1.5, 1.5, 61))
    negative = strikes[found.density(strikes) < 0]
    assert (found.total_variance(strikes) > 0).all()
    assert negative.size
    assert 0.5 < math.log(negative[0] / FORWARD) < math.log(negative[-1] / FORWARD) <= 1.5


@given(st.lists(st.floats(0.02, 3.0), min_size=6, max_size=30), st.floats(0.2, 3.0), st.floats(1 / 365, 1.0))
def test_whatever_the_quotes_no_curve_breaks_lees_bound_or_falls_below_zero(
    volatilities: list[float], reach: float, years: float
) -> None:
    strikes = FORWARD * np.exp(np.linspace(-reach, reach, len(volatilities)) * 0.2 * math.sqrt(years))
    found = fit(strikes, volatilities, FORWARD, years)
    if found:
        assert found.b * (1 + abs(found.rho)) <= 2 + 1e-9
        assert found.a + found.b * found.sigma * math.sqrt(1 - found.rho**2) >= -1e-12
        assert abs(found.rho) <= 1


any_number = st.floats(allow_nan=True, allow_infinity=True)


@given(st.lists(st.tuples(any_number, any_number), max_size=12), any_number, any_number)
def test_anything_gives_a_curve_or_none_and_never_a_warning(
    quotes: list[tuple[float, float]], forward: float, years: float
) -> None:
    strikes, volatility = np.array(quotes).reshape(-1, 2).T
    found = fit(strikes, volatility, forward, years)
    assert bool(found) == (not math.isnan(found.a))
    assert found.implied_volatility([1.0, -1.0, math.nan]).shape == (3,)


@pytest.mark.parametrize("known", range(6))
def test_fewer_than_six_quotes_are_no_smile(known: int) -> None:
    volatility = np.where(np.arange(80) < known, 0.13, math.nan)
    found = fit(STRIKES, volatility, FORWARD, YEARS)
    assert not found
    assert np.isnan(found.implied_volatility(STRIKES)).all()
    assert np.isnan(found.wings()).all()
    assert math.isnan(found.strike_at_delta(0.25))
    assert math.isnan(found.at_the_money)


def test_quotes_without_a_pattern_are_refused_and_the_residual_says_why() -> None:
    found = fit(STRIKES, 0.13 * np.exp(np.random.default_rng(5).normal(0, 0.6, 80)), FORWARD, YEARS)
    assert not found
    assert found.residual > 0.013


def test_a_delta_beyond_the_quotes_is_not_made_up() -> None:
    near = slice(34, 46)  # half a deviation to either side
    found = fit(STRIKES[near], quadratic()[near], FORWARD, YEARS)
    assert math.isnan(found.strike_at_delta(0.25))
    assert math.isnan(found.wings().risk_reversal)
    assert found.strike_at_delta(0.45) > FORWARD


def test_the_order_of_the_quotes_does_not_matter() -> None:
    volatility = quadratic() + np.random.default_rng(5).normal(0.0, 0.0005, 80)
    mixed = np.random.default_rng(6).permutation(80)
    straight, other = (fit(STRIKES[order], volatility[order], FORWARD, YEARS) for order in (np.arange(80), mixed))
    assert other.implied_volatility(STRIKES) == pytest.approx(straight.implied_volatility(STRIKES), rel=1e-4)


def test_misuse_is_refused() -> None:
    with pytest.raises(ValueError, match=r"strike \(2,\), volatility \(3,\)"):
        fit([1.0, 2.0], [0.1, 0.1, 0.1], 1.0, 1.0)
    with pytest.raises(ValueError, match="one expiry at a time"):
        fit([[1.0]], [[0.1]], 1.0, 1.0)
    for delta in (0.0, 1.0, -1.0, 2.0, math.nan):
        with pytest.raises(ValueError, match="delta is"):
            smile_of(0.0003, 0.01, 0.0, 0.0, 0.01).strike_at_delta(delta)


def test_far_options_at_the_smallest_price_do_not_bend_the_middle() -> None:
    """Beyond four deviations every option costs the exchange's smallest step, whatever it is worth."""
    years, deviation = 1.3 / 365, VOLATILITY * math.sqrt(1.3 / 365)
    x = np.linspace(-12.0, 12.0, 157)
    strikes, smile = FORWARD * np.exp(x * deviation), VOLATILITY * (1 - 0.09 * x + 0.02 * x * x)
    is_call = strikes >= FORWARD
    prices = black76.price(FORWARD, strikes, years, 0.0, smile, is_call)
    prices = np.where(np.abs(x) > 4.0, 0.05, prices)
    volatility = black76.implied_volatility(prices, FORWARD, strikes, years, 0.0, is_call).volatility
    found = fit(strikes, volatility, FORWARD, years)
    middle = np.abs(x) < 2.5
    assert found.implied_volatility(strikes[middle]) == pytest.approx(smile[middle], abs=0.002)
    assert found.wings().risk_reversal == pytest.approx(-0.09 * 2 * 0.6745 * VOLATILITY, rel=0.1)
