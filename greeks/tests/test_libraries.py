"""Against libraries that others wrote and use: QuantLib's Black calculator and vollib. They are scalar; we are not."""

import itertools
import math

import numpy as np
import pytest
import QuantLib
from vollib.black.implied_volatility import implied_volatility as vollib_implied_volatility
from vollib.black_scholes_merton import black_scholes_merton
from vollib.black_scholes_merton.greeks import analytical

from greeks import black76, black_scholes
from greeks.arrays import Floats

SPOT, RATE, DIVIDEND_YIELD = 24000.0, 0.065, 0.012
# Within what these libraries can do: their probabilities lose the far wing, their implied volatilities the near expiry.
MONEYNESS = (-0.2, -0.05, -0.01, 0.0, 0.01, 0.05, 0.2)
YEARS = (1 / 365, 7 / 365, 30 / 365, 1.0)
VOLATILITIES = (0.08, 0.15, 0.4, 1.0)


def options() -> tuple[Floats, ...]:
    """Strikes, years, volatilities and sides of options within six deviations."""
    rows = [
        (SPOT * math.exp(moneyness), years, volatility, is_call)
        for moneyness, years, volatility, is_call in itertools.product(MONEYNESS, YEARS, VOLATILITIES, (True, False))
        if abs(moneyness) < 6 * volatility * math.sqrt(years)
    ]
    assert len(rows) > 150
    strike, years, volatility, is_call = (np.array(column) for column in zip(*rows, strict=True))
    return strike, years, volatility, is_call


def test_quantlib_has_the_same_greeks() -> None:
    strike, years, volatility, is_call = options()
    theirs = []
    # QuantLib 1.44 divides volga by σ√T, where the slope of its own vega has σ.
    for k, t, sigma, call in zip(*(a.tolist() for a in (strike, years, volatility, is_call)), strict=True):
        payoff = QuantLib.PlainVanillaPayoff(QuantLib.Option.Call if call else QuantLib.Option.Put, k)
        forward = SPOT * math.exp((RATE - DIVIDEND_YIELD) * t)
        option = QuantLib.BlackCalculator(payoff, forward, sigma * math.sqrt(t), math.exp(-RATE * t))
        first = option.value(), option.delta(SPOT), option.gamma(SPOT), option.theta(SPOT, t) / 365
        volga = option.volga(t) * math.sqrt(t)
        theirs.append((*first, option.vega(t) / 100, option.rho(t) / 100, option.vanna(SPOT, t) / 100, volga / 100**2))
    terms = SPOT, strike, years, RATE, volatility, is_call, DIVIDEND_YIELD
    second = black_scholes.second_order(*terms)
    ours = [*black_scholes.greeks(*terms), second.vanna_per_point, second.vomma_per_point]
    scale = np.max(np.abs(ours), axis=1)
    np.testing.assert_array_less(np.abs(np.array(theirs).T - ours).T / scale, 1e-12)


def test_vollib_has_the_same_greeks() -> None:
    strike, years, volatility, is_call = options()
    theirs = []
    for k, t, sigma, call in zip(*(a.tolist() for a in (strike, years, volatility, is_call)), strict=True):
        terms = "c" if call else "p", SPOT, k, t, RATE, sigma, DIVIDEND_YIELD
        greeks = [getattr(analytical, name)(*terms) for name in ("delta", "gamma", "theta", "vega", "rho")]
        theirs.append([black_scholes_merton(*terms), *greeks])
    ours = black_scholes.greeks(SPOT, strike, years, RATE, volatility, is_call, DIVIDEND_YIELD)
    for name, found, expected in zip(ours._fields, ours, np.array(theirs).T, strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-13 * np.max(np.abs(found)), err_msg=name)


def test_vollib_finds_the_same_implied_volatilities() -> None:
    strike, years, volatility, is_call = options()
    price = black76.price(SPOT, strike, years, RATE, volatility, is_call)
    worth_inverting = price > np.exp(-RATE * years) * np.maximum(np.where(is_call, SPOT - strike, strike - SPOT), 0) + 1
    strike, years, is_call, price = (a[worth_inverting] for a in (strike, years, is_call, price))
    rows = zip(*(a.tolist() for a in (price, strike, years, is_call)), strict=True)
    theirs = [vollib_implied_volatility(p, SPOT, k, RATE, t, "c" if call else "p") for p, k, t, call in rows]
    found = black76.implied_volatility(price, SPOT, strike, years, RATE, is_call).volatility
    assert len(theirs) > 100
    assert found == pytest.approx(theirs, rel=1e-11)
