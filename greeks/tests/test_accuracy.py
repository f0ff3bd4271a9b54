"""Against the textbook at 50 digits, in the corners: a minute to two years, 1 % to 300 %, both wings."""

import itertools
import math
import random

import numpy as np
import pytest

from greeks import Greeks, ImpliedVolatility, Reason, SecondOrder, black76, black_scholes
from greeks.arrays import Floats
from greeks.tests import exact

RATE, DIVIDEND_YIELD = 0.065, 0.012
MODELS = pytest.mark.parametrize("is_black76", [False, True], ids=["black_scholes", "black76"])

MONEYNESS = (-1.5, -0.7, -0.3, -0.1, -0.02, -0.001, 0.0, 0.001, 0.02, 0.1, 0.3, 0.7, 1.5)
YEARS = (1 / 525600, 1 / 8760, 1 / 365, 7 / 365, 30 / 365, 1.0, 2.0)
VOLATILITIES = (0.01, 0.05, 0.15, 0.4, 1.0, 3.0)


def hard_cases(*, is_black76: bool) -> list[exact.Case]:
    asset_yield = RATE if is_black76 else DIVIDEND_YIELD
    return [
        exact.Case(24000.0, 24000.0 * math.exp(moneyness), years, RATE, volatility, is_call, asset_yield)
        for moneyness, years, volatility, is_call in itertools.product(MONEYNESS, YEARS, VOLATILITIES, (True, False))
    ]


def scattered_cases(count: int, *, is_black76: bool) -> list[exact.Case]:
    """As the grid, but on no lattice, and at every distance that a wing of 8 deviations reaches."""
    dice = random.Random(20260101)
    cases: list[exact.Case] = []
    while len(cases) < count:
        years = math.exp(dice.uniform(math.log(1 / 525600), math.log(2.0)))
        volatility = math.exp(dice.uniform(math.log(0.01), math.log(3.0)))
        moneyness = dice.uniform(-8.0, 8.0) * volatility * math.sqrt(years)
        if abs(moneyness) < 1.5:
            asset_yield = RATE if is_black76 else DIVIDEND_YIELD
            strike = 24000.0 * math.exp(moneyness)
            cases.append(exact.Case(24000.0, strike, years, RATE, volatility, dice.random() < 0.5, asset_yield))
    return cases


def priced(cases: list[exact.Case], *, is_black76: bool) -> Greeks:
    c = exact.columns(cases)
    arguments = (c["underlying"], c["strike"], c["time_to_expiry"], c["rate"], c["volatility"], c["is_call"])
    return black76.greeks(*arguments) if is_black76 else black_scholes.greeks(*arguments, c["dividend_yield"])


def second_order(cases: list[exact.Case], *, is_black76: bool) -> SecondOrder:
    c = exact.columns(cases)
    arguments = (c["underlying"], c["strike"], c["time_to_expiry"], c["rate"], c["volatility"], c["is_call"])
    return (
        black76.second_order(*arguments) if is_black76 else black_scholes.second_order(*arguments, c["dividend_yield"])
    )


def inverted(cases: list[exact.Case], prices: Floats, *, is_black76: bool) -> ImpliedVolatility:
    c = exact.columns(cases)
    arguments = (prices, c["underlying"], c["strike"], c["time_to_expiry"], c["rate"], c["is_call"])
    if is_black76:
        return black76.implied_volatility(*arguments)
    return black_scholes.implied_volatility(*arguments, c["dividend_yield"])


def conditioning(cases: list[exact.Case], vega_per_point: Floats) -> Floats:
    """The relative change of volatility that one rounding of the larger of underlying and strike makes."""
    c = exact.columns(cases)
    with np.errstate(divide="ignore", over="ignore"):
        rounding = np.finfo(np.float64).eps * np.maximum(c["underlying"], c["strike"])
        return np.asarray(rounding / (100 * vega_per_point * c["volatility"]))


def assert_greeks_are_exact(cases: list[exact.Case], *, is_black76: bool) -> None:
    cases = [case for case in cases if abs(exact.d1(case)) < 8]
    expected = np.array([exact.greeks(case, black76=is_black76) for case in cases]).T
    found = np.array(priced(cases, is_black76=is_black76))

    c = exact.columns(cases)
    assert np.max(np.abs(found[0] - expected[0]) / np.maximum(c["underlying"], c["strike"])) < 1e-15
    with np.errstate(divide="ignore", invalid="ignore"):
        error = np.abs(found[1:] / expected[1:] - 1)
    # Theta changes sign where carry and decay balance: within a tenth of that point their difference has lost digits to
    # the cancellation (4e-12 of theta was seen).
    decay = expected[4] * 100 * c["volatility"] / (2 * c["time_to_expiry"]) / 365
    error[2, np.abs(expected[3]) < 0.1 * decay] = 0.0
    assert np.max(error) < 1e-12


def assert_second_order_is_exact(cases: list[exact.Case], *, is_black76: bool) -> None:
    cases = [case for case in cases if abs(exact.d1(case)) < 8]
    expected = np.array([exact.second_order(case) for case in cases])
    value, size = expected[:, :, 0].T, expected[:, :, 1].T
    found = np.array(second_order(cases, is_black76=is_black76))
    assert np.max(np.abs(found - value) / size) < 1e-13
    # Away from where a Greek changes sign that is a relative error; near it, it is what the terms' own roundings leave.
    clear = np.abs(value) > 0.1 * size
    assert np.count_nonzero(clear) > 0.5 * clear.size
    assert np.max(np.abs(found[clear] / value[clear] - 1)) < 1e-12


@MODELS
def test_greeks_have_twelve_digits_and_prices_are_exact_to_rounding(is_black76: bool) -> None:
    assert_greeks_are_exact(hard_cases(is_black76=is_black76), is_black76=is_black76)


@MODELS
def test_they_do_off_the_grid_too(is_black76: bool) -> None:
    assert_greeks_are_exact(scattered_cases(500, is_black76=is_black76), is_black76=is_black76)


@pytest.mark.long
@MODELS
def test_they_do_on_twenty_thousand_points(is_black76: bool) -> None:
    assert_greeks_are_exact(scattered_cases(20_000, is_black76=is_black76), is_black76=is_black76)


@MODELS
def test_second_order_greeks_have_thirteen_digits_of_their_terms(is_black76: bool) -> None:
    cases = hard_cases(is_black76=is_black76) + scattered_cases(300, is_black76=is_black76)
    assert_second_order_is_exact(cases, is_black76=is_black76)


@pytest.mark.long
@MODELS
def test_second_order_greeks_have_them_on_twenty_thousand_points(is_black76: bool) -> None:
    assert_second_order_is_exact(scattered_cases(20_000, is_black76=is_black76), is_black76=is_black76)


def test_black76_prices_have_twelve_digits_however_small() -> None:
    cases = [c for c in hard_cases(is_black76=True) if abs(exact.d1(c)) < 8]
    expected = np.array([exact.greeks(case)[0] for case in cases])
    assert np.max(np.abs(priced(cases, is_black76=True).price / expected - 1)) < 1e-12


def assert_volatilities_are_roots(cases: list[exact.Case], *, is_black76: bool) -> None:
    cases = [c for c in cases if exact.time_value(c) > 1e-13 * 24000]
    exactly = np.array([exact.greeks(case, black76=is_black76) for case in cases])
    prices = exactly[:, 0]
    root = np.array([exact.implied_volatility(case, price) for case, price in zip(cases, prices, strict=True)])

    volatility, reason = inverted(cases, prices, is_black76=is_black76)

    assert (reason == Reason.OK).all()
    error, unit = np.abs(volatility / root - 1), conditioning(cases, exactly[:, 4])
    assert np.max(error[unit < 1e-9]) < 1e-9
    assert np.max(error / np.maximum(unit, 1e-15)) < 4  # roundings; a solver in doubles cannot promise less than one
    # There and back: the price's own rounding is in it now.
    determined = unit < 1e-10
    assert np.count_nonzero(determined) > 0.5 * len(cases)
    assert np.max(np.abs(volatility - exact.columns(cases)["volatility"])[determined]) < 1e-9


@MODELS
def test_the_implied_volatility_is_the_root_of_the_price_as_rounded(is_black76: bool) -> None:
    assert_volatilities_are_roots(hard_cases(is_black76=is_black76), is_black76=is_black76)


@pytest.mark.long
@MODELS
def test_it_is_the_root_on_twenty_thousand_points(is_black76: bool) -> None:
    assert_volatilities_are_roots(scattered_cases(20_000, is_black76=is_black76), is_black76=is_black76)


@MODELS
def test_a_volatility_survives_pricing_and_inverting(is_black76: bool) -> None:
    cases = hard_cases(is_black76=is_black76)
    greeks = priced(cases, is_black76=is_black76)
    volatility, _ = inverted(cases, greeks.price, is_black76=is_black76)
    determined = conditioning(cases, greeks.vega_per_point) < 1e-10
    error = np.abs(volatility - exact.columns(cases)["volatility"])
    assert np.count_nonzero(determined) > 400
    assert np.max(error[determined]) < 1e-9
