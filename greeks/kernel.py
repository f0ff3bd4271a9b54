"""The one formula behind both models: an option on an asset that yields q, financed at r.

Black–Scholes–Merton is this with a spot and its dividend yield; Black-76 is this with a forward, which "yields" the
rate. One pass shares d1, d2, the two normal probabilities and the density among the price and all first-order Greeks.
"""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr

from greeks.arrays import Floats, Mask, as_floats, as_mask, least, shape_of
from greeks.normalised import SQRT_2PI, log_ratio, mills_gap

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


class Terms(NamedTuple):
    """What the formulas share, each in the shape of what it depends on."""

    root_t: Floats
    v: Floats  # σ√T
    reciprocal: Floats  # 1 / v
    x: Floats  # ln(asset / cash)
    carry: Floats  # discount of the asset, e^(-qT)
    discount: Floats  # discount of the strike, e^(-rT)
    d1: Floats
    d2: Floats
    density: Floats  # φ(d1)
    w: Floats  # 1 for a call, -1 for a put
    plain: bool  # nothing is at a limit or out of range: so it is in nearly every call


def terms_of(inputs: Inputs) -> Terms:
    """d1, d2 and what they are made of. The caller silences the divisions by a σ√T of zero."""
    s, k, t, r, q, sigma, is_call, _ = inputs
    root_t = np.sqrt(t)
    v = sigma * root_t
    discount = np.exp(-r * t)
    carry, x = discount, log_ratio(s, k)
    if q is not r:
        carry = np.exp(-q * t)
        x = x + (r - q) * t
    reciprocal = 1.0 / v
    d1 = x * reciprocal
    half = 0.5 * v
    d2 = d1 - half
    d1 += half
    # No nan and no infinity survives a sum of squares; given a positive spot, nor does a strike that is not.
    plain = least(v) > 0 and least(s) > 0 and math.isfinite(np.vdot(d1, d1) + np.vdot(r, r))
    if not plain:
        at_strike = (v == 0) & (x == 0)
        d1, d2 = np.where(at_strike, 0.0, d1), np.where(at_strike, 0.0, d2)  # nothing is left to happen: even odds
    density = d1 * d1
    density *= -0.5
    density = np.exp(density)
    density *= 1 / SQRT_2PI
    return Terms(root_t, v, reciprocal, x, carry, discount, d1, d2, density, np.where(is_call, 1.0, -1.0), plain)


def usable(inputs: Inputs, terms: Terms) -> Mask:
    """What has an answer at all; elsewhere every Greek is `nan`."""
    s, k, t, r, _, sigma, _, shape = inputs
    # An infinite input, whichever it is, leaves no finite sum.
    found = (s > 0) & (k > 0) & (t >= 0) & (sigma >= 0) & np.isfinite(terms.x + terms.v + r)
    return np.broadcast_to(found, shape)


def first_order(inputs: Inputs, *, forward_held: bool) -> Greeks:
    """Price and Greeks. `forward_held`: a change of the rate leaves the underlying's forward where it is (Black-76)."""
    s, k, t, r, q, sigma, _, shape = inputs
    price, delta, gamma, theta, vega, rho = greeks = Greeks(*(np.empty(shape) for _ in Greeks._fields))
    held, owed, slope = np.empty(shape), np.empty(shape), np.empty(shape)
    with np.errstate(all="ignore"):
        terms = terms_of(inputs)
        root_t, v, reciprocal, x, carry, discount, d1, d2, density, w, plain = terms
        # Φ(w·d), not 1 - Φ(d): the latter has no digits left in the far wing.
        np.multiply(w, d1, out=delta)
        ndtr(delta, out=delta)
        delta *= w
        delta *= carry
        np.multiply(w, d2, out=owed)
        ndtr(owed, out=owed)
        owed *= w
        owed *= k * discount
        np.multiply(delta, s, out=held)
        np.subtract(held, owed, out=price)
        np.multiply(density, carry, out=gamma)
        np.multiply(gamma, s, out=slope)
        gamma *= reciprocal
        gamma /= s
        if forward_held:  # the price is in rho and theta then, and they want all its digits
            _restore_digits(price, held, slope, inputs, terms)
        np.abs(price, out=price)  # rounding can leave it a hair below zero
        np.multiply(slope, root_t, out=vega)
        vega *= POINT
        slope *= sigma
        slope /= root_t
        slope *= 0.5 / DAYS_A_YEAR
        decay = slope  # the same memory
        if not plain:
            _set_flat_limits(price, gamma, decay, v == 0, s * carry, k * discount, x, t, w)
        if forward_held:
            np.multiply(price, r / DAYS_A_YEAR, out=theta)
            theta -= decay
            np.multiply(price, t * -POINT, out=rho)
        else:
            np.multiply(owed, t, out=rho)
            rho *= POINT
            held *= q / DAYS_A_YEAR
            owed *= r / DAYS_A_YEAR
            np.subtract(held, owed, out=theta)
            theta -= decay
        if not plain:
            unusable = ~usable(inputs, terms)
            for values in greeks:
                values[unusable] = np.nan
    return greeks


def _restore_digits(price: Floats, held: Floats, slope: Floats, inputs: Inputs, terms: Terms) -> None:
    """Recompute, as exercise plus time value, the prices that the subtraction has robbed of their digits."""
    terms_size = slope * np.abs(terms.d1)
    terms_size += np.abs(held)
    chosen = np.flatnonzero(price < CANCELS * terms_size)
    if not chosen.size:
        return
    parts = (inputs.underlying, inputs.strike, terms.w, terms.carry, slope, terms.x, terms.v)
    f, k, w, discount, slope, x, v = (_spread(array, price.shape).take(chosen) for array in parts)
    h = np.fmin(np.abs(x) / v, 40.0)  # beyond 40 the slope is zero; fmin also settles 0/0
    np.put(price, chosen, np.maximum(w * (f - k), 0.0) * discount + slope * mills_gap(h, v))


def _spread(values: Floats, shape: tuple[int, ...]) -> Floats:
    """As numpy's broadcast_to, which takes its time even if there is nothing to do."""
    return values if values.shape == shape else np.broadcast_to(values, shape)


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
