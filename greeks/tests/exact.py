"""The textbook formulas at 50 digits: what the vectorised code is measured against. Slow, scalar, nothing shared."""

from collections.abc import Iterable
from typing import Any, NamedTuple

import mpmath
import numpy as np
from numpy.typing import NDArray

DIGITS = 50


class Case(NamedTuple):
    """One option; for Black-76 `underlying` is the forward and `dividend_yield` equals `rate`."""

    underlying: float
    strike: float
    time_to_expiry: float
    rate: float
    volatility: float
    is_call: bool
    dividend_yield: float


def columns(cases: Iterable[Case]) -> dict[str, NDArray[Any]]:
    """The cases as arrays by field name."""
    return {name: np.array(values) for name, values in zip(Case._fields, zip(*cases, strict=True), strict=True)}


def d1(case: Case) -> float:
    with mpmath.workdps(DIGITS):
        s, k, t, r, sigma, q = _exact(case)
        return float((mpmath.log(s / k) + (r - q + sigma**2 / 2) * t) / (sigma * mpmath.sqrt(t)))


def greeks(case: Case, *, black76: bool = False) -> tuple[float, ...]:
    """Price, delta, gamma, theta a day, vega a point, rho a point, each rounded once, at the end."""
    with mpmath.workdps(DIGITS):
        s, k, t, r, sigma, q = _exact(case)
        w = 1 if case.is_call else -1
        root_t = mpmath.sqrt(t)
        d_1 = (mpmath.log(s / k) + (r - q + sigma**2 / 2) * t) / (sigma * root_t)
        d_2 = d_1 - sigma * root_t
        density = mpmath.npdf(d_1)
        asset_leg, cash_leg = s * mpmath.exp(-q * t) * _cdf(w * d_1), k * mpmath.exp(-r * t) * _cdf(w * d_2)
        price = w * (asset_leg - cash_leg)
        decay = s * mpmath.exp(-q * t) * density * sigma / (2 * root_t)
        exact = (
            price,
            w * mpmath.exp(-q * t) * _cdf(w * d_1),
            mpmath.exp(-q * t) * density / (s * sigma * root_t),
            (w * (q * asset_leg - r * cash_leg) - decay) / 365,
            s * mpmath.exp(-q * t) * density * root_t / 100,
            (-t * price if black76 else w * t * cash_leg) / 100,
        )
        return tuple(float(value) for value in exact)


def second_order(case: Case) -> tuple[tuple[float, float], ...]:
    """Vanna a point, charm a day, vomma a point, speed; each with its size: the same with no term negative.

    Where the terms nearly cancel the value is far below its size, and it is the size that doubles can be held to.
    """
    with mpmath.workdps(DIGITS):
        s, k, t, r, sigma, q = _exact(case)
        w = 1 if case.is_call else -1
        v = sigma * mpmath.sqrt(t)
        x = mpmath.log(s / k) + (r - q) * t
        d_1, d_2, most = x / v + v / 2, x / v - v / 2, abs(x) / v + v / 2
        carry = mpmath.exp(-q * t)
        weight = carry * mpmath.npdf(d_1)
        vomma, speed = s * weight * mpmath.sqrt(t) / sigma / 10**4, weight / (s * s * v)
        discount_undone = q * carry * _cdf(w * d_1)
        exact = (
            (-weight * d_2 / sigma / 100, weight * most / sigma / 100),
            (
                (w * discount_undone - weight * ((r - q) / v - d_2 / (2 * t))) / 365,
                (abs(discount_undone) + weight * (abs(r - q) / v + most / (2 * t))) / 365,
            ),
            (vomma * d_1 * d_2, vomma * most * most),
            (-speed * (d_1 / v + 1), speed * (most / v + 1)),
        )
        return tuple((float(value), float(size)) for value, size in exact)


def time_value(case: Case) -> float:
    """Price less intrinsic value."""
    with mpmath.workdps(DIGITS):
        return float(_price_and_vega(case, mpmath.mpf(case.volatility))[0] - _intrinsic(case))


def implied_volatility(case: Case, price: float) -> float:
    """The root for the price as the double that it is, by Newton from the volatility the case was made with."""
    with mpmath.workdps(DIGITS):
        sigma = mpmath.mpf(case.volatility)
        for _ in range(20):
            value, vega = _price_and_vega(case, sigma)
            step = (value - mpmath.mpf(price)) / vega
            step = max(min(step, sigma / 2), -sigma)
            sigma -= step
            if abs(step) < mpmath.mpf(10) ** -25 * sigma:
                break
        return float(sigma)


def _exact(case: Case) -> tuple[Any, ...]:
    return tuple(mpmath.mpf(value) for value in (*case[:5], case.dividend_yield))


def _cdf(z: Any) -> Any:
    return mpmath.erfc(-z / mpmath.sqrt(2)) / 2


def _intrinsic(case: Case) -> Any:
    s, k, t, r, _, q = _exact(case)
    forward_value = s * mpmath.exp(-q * t) - k * mpmath.exp(-r * t)
    return max(forward_value if case.is_call else -forward_value, mpmath.mpf(0))


def _price_and_vega(case: Case, sigma: Any) -> tuple[Any, Any]:
    s, k, t, r, _, q = _exact(case)
    w = 1 if case.is_call else -1
    d_1 = (mpmath.log(s / k) + (r - q + sigma**2 / 2) * t) / (sigma * mpmath.sqrt(t))
    d_2 = d_1 - sigma * mpmath.sqrt(t)
    asset = s * mpmath.exp(-q * t)
    price = w * (asset * _cdf(w * d_1) - k * mpmath.exp(-r * t) * _cdf(w * d_2))
    return price, asset * mpmath.npdf(d_1) * mpmath.sqrt(t)
