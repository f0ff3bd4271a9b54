"""The one formula behind both models: an option on an asset that yields q, financed at r.

Black–Scholes–Merton is this with a spot and its dividend yield; Black-76 is this with a forward, which "yields" the
rate. One pass shares d1, d2, the two normal probabilities and the density among the price and all Greeks.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from greeks.arrays import Floats, Mask, as_floats, as_mask, shape_of
from greeks.normalised import SQRT_2PI, log_ratio, time_value

DAYS_A_YEAR = 365.0
POINT = 0.01
# Out of the money, and near expiry everywhere, the price is a small difference of large terms, each with an error of
# some roundings of itself and of |d1| times its density. Below this share of that, too few of its digits are true.
CANCELS = 1 / 2000


class Greeks(NamedTuple):
    """Price and first-order Greeks: float64, of the inputs' broadcast shape, `nan` where an input is out of range.

    ========================  =======================================================================================
    ``price``                 in the currency of the inputs
    ``delta``                 price change per 1.00 of the underlying (the spot, or in Black-76 the forward)
    ``gamma``                 delta change per 1.00 of the underlying
    ``theta_per_day``         price change as one calendar day (1/365 year) passes, all else equal; mostly negative
    ``vega_per_point``        price change per volatility point (0.01)
    ``rho_per_point``         price change per 0.01 of the rate (in Black-76 with the forward held)
    ========================  =======================================================================================

    At expiry, and at zero volatility, they are their limits: price intrinsic; delta 0 or ±1 (times the yield's
    discount; ±½ at the strike); gamma and vega 0; theta the carry of what is in the money. Exactly at the strike gamma
    has no finite limit and is +inf; nor has theta at expiry, and is -inf.
    """

    price: Floats
    delta: Floats
    gamma: Floats
    theta_per_day: Floats
    vega_per_point: Floats
    rho_per_point: Floats


class Inputs(NamedTuple):
    """The arguments of either model as arrays, not yet expanded to their common shape."""

    underlying: Floats
    strike: Floats
    time_to_expiry: Floats
    rate: Floats
    asset_yield: Floats
    volatility: Floats
    is_call: Mask
    shape: tuple[int, ...]


def first_order(inputs: Inputs, *, forward_held: bool) -> Greeks:
    """Price and Greeks. `forward_held`: a change of the rate leaves the underlying's forward where it is (Black-76)."""
    s, k, t, r, q, sigma, is_call, shape = inputs
    out = np.empty((6, *shape))
    price, delta, gamma, theta, vega, rho = (out[i, ...] for i in range(6))
    decay = np.empty(shape)
    with np.errstate(all="ignore"):
        root_t = np.sqrt(t)
        v = sigma * root_t
        discount = np.exp(-r * t)
        carry = discount if q is r else np.exp(-q * t)
        asset, cash = s * carry, k * discount
        x = log_ratio(s, k) + (r - q) * t

        m = x / v
        if flat := not v.min(initial=np.inf) > 0:
            m = np.where((v == 0) & (x == 0), 0.0, m)  # at the strike with nothing left to happen: even odds
        d1 = m + 0.5 * v
        d2 = m - 0.5 * v
        density = np.exp(-0.5 * d1 * d1)
        density *= 1 / SQRT_2PI
        # Φ(w·d), not 1 - Φ(d): the latter has no digits left in the far wing.
        w = np.where(is_call, 1.0, -1.0)
        held = ndtr(w * d1)
        held *= w
        owed = ndtr(w * d2)
        owed *= w

        np.multiply(carry, held, out=delta)
        asset_leg, cash_leg = asset * held, cash * owed
        np.subtract(asset_leg, cash_leg, out=price)
        slope = asset * density
        if forward_held:  # the price is in rho and theta then, and they want all its digits
            cancels = price < CANCELS * (np.abs(asset_leg) + slope * np.abs(d1))
            if cancels.any():
                _restore_digits(price, cancels, asset, cash, x, v, w)
        np.maximum(price, 0.0, out=price)
        np.divide(density * (carry / s), v, out=gamma)
        np.multiply(slope, root_t * POINT, out=vega)
        np.multiply(slope, sigma * (0.5 / DAYS_A_YEAR / root_t), out=decay)
        if flat:
            _set_flat_limits(price, gamma, decay, v == 0, asset, cash, x, t, w)
        if forward_held:
            np.subtract(price * (r / DAYS_A_YEAR), decay, out=theta)
            np.multiply(price, t * -POINT, out=rho)
        else:
            np.subtract(asset_leg * (q / DAYS_A_YEAR), cash_leg * (r / DAYS_A_YEAR), out=theta)
            theta -= decay
            np.multiply(cash_leg, t * POINT, out=rho)

        # An infinite input, whichever it is, leaves no finite x + v.
        usable = (s > 0) & (k > 0) & (t >= 0) & (sigma >= 0) & np.isfinite(x + v)
    if not usable.all():
        out[:, ~np.broadcast_to(usable, shape)] = np.nan
    return Greeks(price, delta, gamma, theta, vega, rho)


def _restore_digits(price: Floats, some: Mask, asset: Floats, cash: Floats, x: Floats, v: Floats, w: Floats) -> None:
    """Recompute, as intrinsic plus time value, the prices that the subtraction has robbed of their digits."""
    chosen = np.flatnonzero(some)
    a, c, x, v, w = (np.broadcast_to(array, price.shape).take(chosen) for array in (asset, cash, x, v, w))
    intrinsic = np.maximum(2.0 * np.sinh(0.5 * w * x), 0.0)  # (a - c) / √(ac), exact also where a is nearly c
    np.put(price, chosen, np.sqrt(a * c) * (intrinsic + time_value(np.abs(x), v)))


def _set_flat_limits(
    price: Floats,
    gamma: Floats,
    decay: Floats,
    flat: Mask,
    asset: Floats,
    cash: Floats,
    x: Floats,
    t: Floats,
    w: Floats,
) -> None:
    """Where σ√T is zero the price is intrinsic, and nothing else moves it but at the very strike."""
    at_strike = x == 0
    np.copyto(price, np.maximum(w * (asset - cash), 0.0), where=flat)
    np.copyto(gamma, np.where(at_strike, np.inf, 0.0), where=flat)
    np.copyto(decay, np.where(at_strike & (t == 0), np.inf, 0.0), where=flat)


def inputs_of(
    *,
    name: str,
    underlying: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: ArrayLike,
    rate: ArrayLike,
    volatility: ArrayLike,
    is_call: ArrayLike,
    asset_yield: ArrayLike | None,
) -> Inputs:
    """Arrays and their common shape; `name` is what the caller's user calls the underlying."""
    s, k, t, r, sigma = (as_floats(values) for values in (underlying, strike, time_to_expiry, rate, volatility))
    q = r if asset_yield is None else as_floats(asset_yield)
    calls = as_mask(is_call)
    named = {name: s, "strike": k, "time_to_expiry": t, "rate": r, "volatility": sigma, "is_call": calls}
    if asset_yield is not None:
        named["dividend_yield"] = q
    return Inputs(s, k, t, r, q, sigma, calls, shape_of(**named))
