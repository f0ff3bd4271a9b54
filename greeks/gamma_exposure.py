"""Gamma exposure: how much the market's hedgers must trade as the underlying moves, and which way.

The usual assumption about who holds what is taken over, not proven: customers sell calls and buy puts, so that dealers
are long the calls and short the puts. A dealer who keeps delta flat then sells into a rise where the net is positive,
which calms the market, and buys into it where the net is negative, which drives it. The level between is the flip.

    exposure(S) = Σ gamma(S, strike)·(call_oi - put_oi)·contract_size · S² · 0.01

in currency for a move of 1 %: the change of the delta in units, gamma·(S/100), valued at S. Gamma is that of
Black–Scholes–Merton on the spot, each strike at its own volatility, alike for its call and its put. As the spot moves,
volatilities stay with their strikes and the forward keeps its ratio to the spot.

References
----------
SqueezeMetrics, The Implied Order Book, white paper, 2020 (and 2016 as Gamma Exposure): the assumption and the unit.
A. Barbon and A. Buraschi, Gamma Fragility, University of St. Gallen working paper, 2020: what follows from the sign.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from greeks.arrays import Floats, as_floats, positive
from greeks.normalised import SQRT_2PI
from greeks.open_interest import columns, known_sum

PER_CENT = 0.01
# Where the flip is looked for. The profile is a sum of bells, each one standard deviation (of its strike) wide: an
# eighth of one as step misses none of its turns, and four are as far as the market thinks it can go before expiry.
REACH, LEVELS = 4.0, 65
ZOOM, ZOOM_LEVELS = 2, 17


class GammaExposure(NamedTuple):
    """All in currency for a move of the underlying of 1 %. What is not known of a strike is `nan` there, and left out
    of the sums; a sum of nothing known is `nan`."""

    call: Floats  # by strike, >= 0
    put: Floats  # by strike, <= 0
    net: float
    flip: (
        float  # the level of the underlying nearest to the spot at which the net changes sign; nan where there is none
    )
    levels: Floats  # of the underlying, ascending, and the net there
    profile: Floats


def gamma_exposure(
    strike: ArrayLike,
    volatility: ArrayLike,
    call_oi: ArrayLike,
    put_oi: ArrayLike,
    *,
    spot: float,
    forward: float,
    time_to_expiry: float,
    rate: float,
    contract_size: float = 1.0,
    levels: ArrayLike | None = None,
) -> GammaExposure:
    """Gamma exposure by strike and in all, and its profile over levels of the underlying with the flip.

    Parameters
    ----------
    strike, volatility, call_oi, put_oi : array_like of one length
        Implied volatilities per year as fractions; open interest in contracts of `contract_size` units.
    spot, forward : the underlying now and for this expiry
    time_to_expiry, rate : years; per year as a fraction, continuously compounded
    contract_size : units of the underlying that one of `call_oi` stands for
        1 for Kite, whose open interest counts units; the lot size for a source that counts lots.
    levels : array_like, ascending
        Of the underlying, where the profile is wanted and the flip looked for. By default 65 over four standard
        deviations at the money to either side.

    Raises
    ------
    ValueError
        If the shapes differ, or `levels` are not one row of ascending numbers above zero.
    """
    k, sigma, calls, puts = columns(strike=strike, volatility=volatility, call_oi=call_oi, put_oi=put_oi)
    grid = None if levels is None else _checked(levels)
    market = np.array([spot, forward, contract_size, time_to_expiry, rate])
    with np.errstate(all="ignore"):
        # exposure = S·Σ oi·φ(d1)/v times a constant: one exponential for each strike and level.
        deviation = sigma * np.sqrt(time_to_expiry)
        slope = 1.0 / deviation
        shift = np.log(forward / (spot * k)) * slope + 0.5 * deviation
        scale = (PER_CENT * contract_size / SQRT_2PI * np.exp(-rate * time_to_expiry) * forward / spot) * slope
        usable = positive(deviation) & positive(k) & positive(scale) & np.isfinite(shift) & np.isfinite(market).all()
        d1 = np.log(spot) * slope + shift
        of_one = np.where(usable, spot * scale * np.exp(-0.5 * d1 * d1), np.nan)
        call, put = of_one * calls, -(of_one * puts)
        net = known_sum(np.concatenate([call, put]))
        known = np.flatnonzero(usable & (np.isfinite(calls) | np.isfinite(puts)))
        if not known.size:
            grid = np.empty(0) if grid is None else grid
            return GammaExposure(call, put, net, float("nan"), grid, np.full(grid.shape, np.nan))
        net_oi = np.where(np.isfinite(calls), calls, 0.0) - np.where(np.isfinite(puts), puts, 0.0)
        bells = _Bells(slope[known], shift[known], (scale * net_oi)[known])
        if grid is None:
            near = known[np.argmin(np.abs(k[known] - forward))]
            grid = spot * np.exp(np.linspace(-REACH, REACH, LEVELS) * deviation[near])
        profile = bells.at(grid)
        return GammaExposure(call, put, net, _flip(bells, grid, profile, spot), grid, profile)


class _Bells(NamedTuple):
    slope: Floats
    shift: Floats
    weight: Floats

    def at(self, levels: Floats) -> Floats:
        """The net exposure at each level: levels × strikes in one go."""
        d1 = np.multiply.outer(np.log(levels), self.slope)
        d1 += self.shift
        d1 *= d1
        d1 *= -0.5
        np.exp(d1, out=d1)
        # Not @: of this size BLAS would wake threads, which on a busy machine takes longer than the sum.
        return np.asarray(levels * np.einsum("ij,j->i", d1, self.weight))


def _checked(levels: ArrayLike) -> Floats:
    found = as_floats(levels)
    if found.ndim != 1 or not positive(found).all() or not (found[1:] > found[:-1]).all():
        raise ValueError("levels must be one row of ascending numbers above zero")
    return found


def _flip(bells: _Bells, levels: Floats, profile: Floats, spot: float) -> float:
    """Bracketed on the grid; then the bracket is divided anew, and the rest is nearly a straight line."""
    change = _changes(levels, profile)
    if not change:
        return float("nan")
    low, high, crossing = min(change, key=lambda found: abs(found[2] - spot))
    for _ in range(ZOOM):
        inner = np.linspace(low, high, ZOOM_LEVELS)
        if not (change := _changes(inner, bells.at(inner))):  # it changes by less than rounding
            break
        low, high, crossing = min(change, key=lambda found: abs(found[2] - spot))
    return crossing


def _changes(levels: Floats, profile: Floats) -> list[tuple[float, float, float]]:
    """Where the profile changes sign: the levels on either side, and where a line between them crosses zero."""
    # Exact zeros stand far out, where nothing is left of the bells, and at a crossing hit on the head.
    there = np.flatnonzero((profile != 0) & np.isfinite(profile))
    levels, profile = levels[there], profile[there]
    before = np.flatnonzero((profile[1:] > 0) != (profile[:-1] > 0))
    return [
        (low, high, low - below * (high - low) / (above - below))
        for low, high, below, above in zip(
            levels[before].tolist(),
            levels[before + 1].tolist(),
            profile[before].tolist(),
            profile[before + 1].tolist(),
            strict=True,
        )
    ]
