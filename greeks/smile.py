"""The fitted smile: one curve through the implied volatilities of one expiry.

Raw SVI gives the total variance w = volatility²·years at log-moneyness k = ln(strike/forward) by five numbers,

    w(k) = a + b·(ρ(k - m) + √((k - m)² + σ²)),

a hyperbola: a rounded bottom between two straight wings. Straight is what wings must be in the end: in a market without
arbitrage w rises no faster than 2|k| (Lee). The fit keeps to that and to w ≥ 0; `greeks.svi` has the method.

References
----------
J. Gatheral, The Volatility Surface, Wiley, 2006, ch. 3.
R. W. Lee, Math. Finance, vol. 14, no. 3, pp. 469-480, 2004.
M. Fukasawa, Math. Finance, vol. 22, no. 4, pp. 753-762, 2012.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri

from greeks import svi
from greeks.arrays import Floats, as_floats, positive, shape_of
from greeks.normalised import SQRT_2PI

LEAST_POINTS = 6  # one more than there are parameters: five points are met exactly whatever they say
STEEPEST = 2.0  # Lee's bound on either wing, in total variance per unit of log-moneyness
# At-the-money deviations. Farther out the prices are a few ticks, of which half are the exchange's smallest: what they
# imply says little, and five parameters that have to follow it miss the middle.
FARTHEST_DEVIATIONS = 3.5
LEAST_VEGA = 1e-4  # of that at the money: of a weekly index option a tick is then tens of points
WORST_FIT = 0.1  # of the at-the-money volatility, as the root mean square of what is left over
# Of the search for a delta: log-moneyness that no option has, and a variance to divide by.
FARTHEST, LEAST_VARIANCE, DELTA_STEPS = 20.0, 1e-300, 100


class Wings(NamedTuple):
    """Two points of a smile at equal delta, and what they make; `nan` where one of them is not on it."""

    call: float
    put: float
    risk_reversal: float  # the call's volatility less the put's: negative where crashes are feared
    butterfly: float  # the mean of both less the volatility at the forward: how much the smile smiles


@dataclass(frozen=True, slots=True)
class Smile:
    """A fitted expiry. Where there was no fit all parameters are `nan`, and so is everything asked of it.

    `a`, `b`, `rho`, `m`, `sigma` are those of raw SVI in total variance. `residual` is the weighted root mean square
    error in volatility (a fraction: 0.002 is a fifth of a point); of a fit that was refused for it, it is kept.
    """

    a: float
    b: float
    rho: float
    m: float
    sigma: float
    forward: float
    time_to_expiry: float
    residual: float
    points: int  # that were fitted: usable, and not outliers
    lowest_strike: float  # of them
    highest_strike: float

    def __bool__(self) -> bool:
        """Whether there is a curve."""
        return self.b >= 0

    def total_variance(self, strike: ArrayLike) -> Floats:
        """Implied volatility squared times years, at any positive strike; beyond the fitted ones the wings go on."""
        k = as_floats(strike)
        with np.errstate(all="ignore"):
            z = np.where(k > 0, np.log(k / self.forward), np.nan) - self.m
            return np.asarray(self.a + self.b * (self.rho * z + np.sqrt(z * z + self.sigma * self.sigma)))

    def implied_volatility(self, strike: ArrayLike) -> Floats:
        """Per year as a fraction, of the shape of `strike`; `nan` where the strike is not positive."""
        with np.errstate(all="ignore"):
            return np.sqrt(np.maximum(self.total_variance(strike), 0.0) / self.time_to_expiry)

    def density(self, strike: ArrayLike) -> Floats:
        """Risk-neutral probability per 1.00 of the underlying that it ends there: the prices' curvature in the strike.

        Below zero means that butterfly spreads at that strike would be worth less than nothing: arbitrage. With
        d₂ = -k/√w - √w/2 it is g(k)·φ(d₂)/(strike·√w), where g = (1 - kw'/2w)² - (w'²/4)(1/w + 1/4) + w''/2.

        References
        ----------
        J. Gatheral and A. Jacquier, Quant. Finance, vol. 14, no. 1, pp. 59-71, 2014, equation 2.1 and lemma 2.2.
        """
        strikes = as_floats(strike)
        w = self.total_variance(strikes)
        with np.errstate(all="ignore"):
            k = np.log(strikes / self.forward)
            z = k - self.m
            root = np.sqrt(z * z + self.sigma * self.sigma)
            slope = self.b * (self.rho + z / root)
            bend = self.b * self.sigma * self.sigma / (root * root * root)
            g = np.square(1 - 0.5 * k * slope / w) - 0.25 * slope * slope * (1 / w + 0.25) + 0.5 * bend
            d2 = -k / np.sqrt(w) - 0.5 * np.sqrt(w)
            return np.asarray(g * np.exp(-0.5 * d2 * d2) / (SQRT_2PI * strikes * np.sqrt(w)))

    @property
    def at_the_money(self) -> float:
        """Implied volatility at the forward."""
        return self._volatility_at(0.0)

    def strike_at_delta(self, delta: float) -> float:
        """The strike with this forward delta at its own volatility on the curve; a call's is above 0, a put's below.

        The forward delta is Φ(d₁) for a call and Φ(d₁) - 1 for a put: undiscounted, so that calls and puts of one
        strike share 1. `nan` where the strike would lie beyond the fitted ones: a wing drawn on is no quote.

        Raises
        ------
        ValueError
            If `delta` is 0 or not between -1 and 1.
        """
        return self.forward * math.exp(self._moneyness_at_delta(delta))

    def wings(self, delta: float = 0.25) -> Wings:
        """Volatilities, risk reversal and butterfly at forward deltas of ±`delta`; errors as `strike_at_delta`."""
        call, put = (self._volatility_at(self._moneyness_at_delta(side * delta)) for side in (1, -1))
        return Wings(call, put, call - put, 0.5 * (call + put) - self.at_the_money)

    # One number at a time, hence in plain floats: numpy's overhead would be all the time they take.

    def _variance_and_slope(self, k: float) -> tuple[float, float]:
        z = k - self.m
        root = math.sqrt(z * z + self.sigma * self.sigma)
        return self.a + self.b * (self.rho * z + root), self.b * (self.rho + z / root)

    def _volatility_at(self, k: float) -> float:
        if not self or math.isnan(k):
            return math.nan
        return math.sqrt(max(self._variance_and_slope(k)[0], 0.0) / self.time_to_expiry)

    def _moneyness_at_delta(self, delta: float) -> float:
        if not -1 < delta < 1 or delta == 0:
            raise ValueError(f"delta is {delta}; a call's lies between 0 and 1, a put's between -1 and 0")
        if not self:
            return math.nan
        k = self._moneyness_at(float(ndtri(delta if delta > 0 else 1 + delta)))
        lowest, highest = math.log(self.lowest_strike / self.forward), math.log(self.highest_strike / self.forward)
        return k if lowest <= k <= highest else math.nan

    def _moneyness_at(self, d1: float) -> float:
        """k where d₁ = -k/√w + √w/2, which falls in k where there is no arbitrage (Fukasawa). Newton in a bracket."""
        low, high, k = -FARTHEST, FARTHEST, 0.0
        for _ in range(DELTA_STEPS):
            w, turn = self._variance_and_slope(k)
            v = math.sqrt(max(w, LEAST_VARIANCE))
            excess = 0.5 * v - k / v - d1
            low, high = (k, high) if excess > 0 else (low, k)
            slope = (0.5 * turn * (k / (v * v) + 0.5) - 1.0) / v
            new = k - excess / slope if slope < 0 else math.inf
            if not low < new < high:
                new = 0.5 * (low + high)
            if abs(new - k) <= 1e-11 * v:  # Newton: what is left is the square of that
                return new
            k = new
        return k


def fit(
    strike: ArrayLike,
    volatility: ArrayLike,
    forward: float,
    time_to_expiry: float,
    *,
    price_error: ArrayLike | None = None,
) -> Smile:
    """The smile of one expiry.

    Parameters
    ----------
    strike, volatility : array_like, one value per strike, in any order
        Implied volatilities of out-of-the-money options: per year as fractions, `nan` where there is none.
    forward : of this expiry, in the strikes' currency
    time_to_expiry : years
    price_error : array_like
        How far each price may be off, in any one unit: half the spread, say. A volatility is then off by that over
        vega, and counts with the inverse square. Where it is not given a volatility's square error counts with its
        vega: between equal errors in volatility, which let the far wings rule, and equal errors in price, which forget
        them.

    Returns
    -------
    Smile
        Without a curve where fewer than six strikes are usable, the forward or the time are not positive, or what is
        left over is more than a tenth of the at-the-money volatility.

    Raises
    ------
    ValueError
        If the shapes do not broadcast to one dimension.
    """
    k, sigma = as_floats(strike), as_floats(volatility)
    error = as_floats(1.0 if price_error is None else price_error)
    shape = shape_of(strike=k, volatility=sigma, price_error=error)
    if len(shape) > 1:
        raise ValueError(f"one expiry at a time: volatilities have shape {shape}, not one dimension")
    forward, years = float(forward), float(time_to_expiry)
    usable = np.broadcast_to(positive(k) & positive(sigma) & positive(error), shape)
    if not (0 < forward < math.inf and 0 < years < math.inf) or np.count_nonzero(usable) < LEAST_POINTS:
        return _none(forward, years, math.nan, int(np.count_nonzero(usable)))
    k, sigma, error = (np.broadcast_to(values, shape)[usable] for values in (k, sigma, error))
    with np.errstate(all="ignore"):
        log_moneyness = np.log(k / forward)
        deviation = sigma * math.sqrt(years)
        d1 = log_moneyness / deviation - 0.5 * deviation
        vega = np.exp(-0.5 * d1 * d1)  # in units of its height at the money
        deviations = log_moneyness / deviation[np.argmin(np.abs(log_moneyness))]
    telling = vega >= LEAST_VEGA
    near = telling & (np.abs(deviations) <= FARTHEST_DEVIATIONS)
    if np.unique(k[near]).size >= LEAST_POINTS:
        telling = near
    if (points := int(np.unique(k[telling]).size)) < LEAST_POINTS:
        return _none(forward, years, math.nan, points)
    k, sigma, error, log_moneyness, vega = (values[telling] for values in (k, sigma, error, log_moneyness, vega))
    at_the_money = float(sigma[np.argmin(np.abs(log_moneyness))])
    unit = at_the_money * math.sqrt(years)  # one standard deviation, to which everything is scaled
    x = log_moneyness / unit
    w = np.square(sigma / at_the_money)
    counts = vega if price_error is None else np.square(vega / error)
    weight = counts / w  # an error in variance is 2√w times the one in volatility
    weight /= weight.max()

    curve, kept = svi.fit_without_outliers(x, w, weight, STEEPEST / unit)
    wrong = at_the_money * np.sqrt(np.maximum(curve.variance(x), 0.0)) - sigma
    counts = counts * kept
    residual = math.sqrt(float(counts @ (wrong * wrong)) / float(counts.sum()))
    points = int(np.count_nonzero(kept))
    if not residual <= WORST_FIT * at_the_money:
        return _none(forward, years, residual, points)
    return Smile(
        a=curve.a * unit * unit,
        b=curve.c * unit,
        rho=curve.d / curve.c if curve.c > 0 else 0.0,
        m=curve.m * unit,
        sigma=curve.sigma * unit,
        forward=forward,
        time_to_expiry=years,
        residual=residual,
        points=points,
        lowest_strike=float(k[kept].min()),
        highest_strike=float(k[kept].max()),
    )


def _none(forward: float, years: float, residual: float, points: int) -> Smile:
    nan = math.nan
    return Smile(nan, nan, nan, nan, nan, forward, years, residual, points, nan, nan)
