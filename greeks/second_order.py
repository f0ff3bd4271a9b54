"""How the first-order Greeks themselves move: with volatility, with time, with the underlying.

Both models share the formulas. With c the asset's discount, φ the density at d1 and b = r - q the underlying's drift
(none for a forward), the derivatives of delta c·w·Φ(w·d1), of vega S·c·φ·√T and of gamma c·φ/(S·v) are

    vanna = -c φ d2/σ,    vomma = S c φ √T d1 d2/σ,    speed = -gamma/S · (d1/v + 1),
    charm = q·delta - c φ (b/v - d2/2T).

References
----------
E. G. Haug, The Complete Guide to Option Pricing Formulas, 2nd ed., McGraw-Hill, 2007, chapter 2.
"""

from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from greeks.arrays import Floats
from greeks.kernel import DAYS_A_YEAR, POINT, Inputs, Terms, terms_of, usable


class SecondOrder(NamedTuple):
    """Second-order Greeks: float64, of the inputs' broadcast shape, `nan` where an input is out of range.

    ====================  ===========================================================================================
    ``vanna_per_point``   delta change per volatility point (0.01); also the change of vega a point per 1.00 of the
                          underlying
    ``charm_per_day``     delta change as one calendar day (1/365 year) passes, all else equal
    ``vomma_per_point``   change of vega a point per volatility point
    ``speed``             gamma change per 1.00 of the underlying
    ====================  ===========================================================================================

    All but charm are alike for calls and puts; so is charm where the asset yields nothing (Black-76: at a rate of 0).

    At expiry, and at zero volatility, they are their limits: 0, but for the charm of what is in the money, whose delta
    is a discount that time undoes. Exactly at the strike speed and charm have no finite limit: speed is -inf (+inf at
    expiry where the drift is below -3/2 σ²); charm is -inf or +inf as the drift (at expiry the drift and σ²/2) carries
    the underlying's forward up or down, and finite where it does neither. Vanna at zero volatility is c·√T/√(8π) there.
    """

    vanna_per_point: Floats
    charm_per_day: Floats
    vomma_per_point: Floats
    speed: Floats


def second_order(inputs: Inputs) -> SecondOrder:
    s, _, t, r, q, sigma, _, shape = inputs
    vanna, charm, vomma, speed = greeks = SecondOrder(*(np.empty(shape) for _ in SecondOrder._fields))
    with np.errstate(all="ignore"):
        terms = terms_of(inputs)
        v, d1, d2 = terms.v, terms.d1, terms.d2
        weight = terms.carry * terms.density
        discount_undone = q * (terms.w * terms.carry * ndtr(terms.w * d1))
        ascent = (r - q) / v - d2 / (2.0 * t)  # of d1, per year that the expiry is farther away

        np.multiply(weight, d2 / sigma * -POINT, out=vanna)
        np.subtract(discount_undone, weight * ascent, out=charm)
        np.multiply(s * weight, terms.root_t * d1 * d2 / sigma * POINT**2, out=vomma)
        np.multiply(weight / (s * s * v), -(d1 / v + 1.0), out=speed)

        far = terms.density == 0  # so far out, or so near expiry, that it outruns whatever it multiplies
        for values in (vanna, vomma, speed):
            np.copyto(values, 0.0, where=far)
        np.copyto(charm, discount_undone, where=far)
        if not terms.plain:
            _set_limits_at_strike(greeks, inputs, terms, discount_undone)
        charm /= DAYS_A_YEAR
        if not terms.plain:
            unusable = ~usable(inputs, terms)
            for values in greeks:
                values[unusable] = np.nan
    return greeks


def _set_limits_at_strike(greeks: SecondOrder, inputs: Inputs, terms: Terms, discount_undone: Floats) -> None:
    """Where the forward is at the strike with nothing left to happen: the density is φ(0), and 1/v infinite."""
    at_strike = (terms.v == 0) & (terms.x == 0)
    at_expiry = inputs.time_to_expiry == 0
    drift, variance = inputs.rate - inputs.asset_yield, inputs.volatility**2
    ascends = np.sign(drift + np.where(at_expiry, 0.5 * variance, 0.0))
    skews = np.where(at_expiry & (drift + 1.5 * variance < 0), np.inf, -np.inf)
    limits = SecondOrder(
        vanna_per_point=terms.carry * terms.density * terms.root_t * (0.5 * POINT),
        charm_per_day=discount_undone - np.where(ascends == 0, 0.0, ascends * np.inf),
        vomma_per_point=np.zeros(()),
        speed=skews,
    )
    for values, limit in zip(greeks, limits, strict=True):
        np.copyto(values, limit, where=at_strike)
