"""What a position comes to at its nearest expiry: the payoff, where it breaks even, the most and the least, the odds.

Where every option expires then, profit is a broken line in the spot, straight between the strikes. It is kept as such,
and everything is exact: no grid is laid. Where some live on (calendars, diagonals) these are priced by the model at
their own volatility and the curve is sampled; its break-evens are bracketed there and then found to rounding.

Whether profit or loss has no bound is not read off the curve but counted: far up only calls, futures and holdings
matter, so it hangs on the sign of the units held in them altogether; down at zero the profit is a number.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import ndtr

from greeks.arrays import Floats
from greeks.positions import Kind, Legs, profit

SAMPLES = 2001
REACH = 3.0  # of the highest strike, price or spot
ZOOMS, ZOOM_SAMPLES = 6, 33
# What a kink or a crossing may be off by rounding, of the gross amounts that cancel in it.
ROUNDING = 1e-12


class Extremes(NamedTuple):
    """In rupees. `max_loss` is what can be lost, and negative where even the worst outcome is a gain; `inf` where there
    is no bound."""

    max_profit: float
    max_loss: float


class Outcome(NamedTuple):
    """All of it; `expiry` is the years to the nearest expiry."""

    expiry: float
    break_evens: Floats
    max_profit: float
    max_loss: float
    probability_of_profit: float


@np.errstate(all="ignore")
def payoff(legs: Legs, spot: ArrayLike, rate: float, dividend_yield: float = 0.0) -> Floats:
    """Profit at the nearest expiry: `positions.profit` then, or now where nothing expires. Errors as there."""
    expiry = legs.nearest_expiry
    return profit(
        legs, spot, rate, dividend_yield, years_ahead=0.0 if np.isnan(expiry) and not _dated(legs) else expiry
    )


@np.errstate(all="ignore")
def break_evens(legs: Legs, rate: float, dividend_yield: float = 0.0) -> Floats:
    """Spots above zero at which profit at the nearest expiry becomes loss, or either becomes nothing. Ascending.

    Where the payoff lies on zero over a range, the ends of the range count. None where something is not known.
    """
    return _line(legs, rate, dividend_yield).break_evens


@np.errstate(all="ignore")
def extremes(legs: Legs, rate: float, dividend_yield: float = 0.0) -> Extremes:
    """The most that can be won and lost by the nearest expiry, over all spots from zero up."""
    return _line(legs, rate, dividend_yield).extremes


@np.errstate(all="ignore")
def probability_of_profit(
    legs: Legs,
    spot: float,
    volatility: float,
    rate: float,
    dividend_yield: float = 0.0,
    *,
    forward: float | None = None,
) -> float:
    """The probability that the position is worth more than it cost at the nearest expiry.

    The spot is lognormal then about its forward, as in Black's model: ln S is normal with the mean ln F - v²/2 and the
    deviation v = volatility·√years. The probability of each range of profit is a difference of two normal ones.

    Parameters
    ----------
    legs : what is held
    spot, volatility : of the underlying; per year as a fraction, say the at-the-money one of that expiry
    rate, dividend_yield : per year as fractions, continuously compounded
    forward : of the nearest expiry
        By default that of the first leg that expires then.

    Returns
    -------
    float
        0 to 1; `nan` where nothing expires, or something is not known. A payoff of exactly nothing is no profit.
    """
    return _probability(legs, _line(legs, rate, dividend_yield), spot, volatility, rate, dividend_yield, forward)


@np.errstate(all="ignore")
def outcome(
    legs: Legs,
    spot: float,
    volatility: float,
    rate: float,
    dividend_yield: float = 0.0,
    *,
    forward: float | None = None,
) -> Outcome:
    """Break-evens, extremes and the probability of profit in one call; arguments as `probability_of_profit`."""
    line = _line(legs, rate, dividend_yield)
    probability = _probability(legs, line, spot, volatility, rate, dividend_yield, forward)
    return Outcome(legs.nearest_expiry, line.break_evens, *line.extremes, probability)


@dataclass(frozen=True, slots=True)
class _Line:
    """The payoff by its knots: spots ascending from zero, the profit there (a rounding is zero), and how it goes on."""

    legs: Legs
    rate: float
    dividend_yield: float
    spots: Floats
    values: Floats
    units: float  # held far up
    slope: float  # beyond the last knot
    straight: bool  # between the knots

    def at(self, spots: Floats) -> Floats:
        return payoff(self.legs, spots, self.rate, self.dividend_yield)

    @property
    def known(self) -> bool:
        return bool(np.isfinite(self.values).all())

    @property
    def break_evens(self) -> Floats:
        if not self.known:
            return np.empty(0)
        signs = np.sign(self.values)
        end = np.sign(self.units) if self.units else signs[-1]
        before, after = np.concatenate([signs[:1], signs[:-1]]), np.append(signs[1:], end)
        on_zero = (signs == 0) & ((before != 0) | (after != 0)) & (self.spots > 0)
        crossed = np.flatnonzero(signs[:-1] * signs[1:] < 0)
        found = np.concatenate([self.spots[on_zero], self._crossings(crossed)])
        if signs[-1] * end < 0 and self.slope:
            found = np.append(found, self.spots[-1] - self.values[-1] / self.slope)
        return np.sort(found)

    def _crossings(self, below: NDArray[np.intp]) -> Floats:
        """Where the payoff crosses zero after each of these knots."""
        low, high = self.spots[below], self.spots[below + 1]
        left, right = self.values[below], self.values[below + 1]
        if not self.straight and below.size:
            every, share = np.arange(below.size), np.linspace(0.0, 1.0, ZOOM_SAMPLES)
            for _ in range(ZOOMS):
                inner = low[:, None] + (high - low)[:, None] * share
                values = self.at(inner)
                values[:, 0], values[:, -1] = left, right
                first = np.argmax(np.sign(values[:, 1:]) != np.sign(left)[:, None], axis=1)
                low, high = inner[every, first], inner[every, first + 1]
                left, right = values[every, first], values[every, first + 1]
        return np.asarray(low - left * (high - low) / (right - left))

    @property
    def extremes(self) -> Extremes:
        if not self.known:
            return Extremes(np.nan, np.nan)
        most = np.inf if self.units > 0 else self._most(1.0)
        least = np.inf if self.units < 0 else self._most(-1.0)
        return Extremes(most, least)

    def _most(self, side: float) -> float:
        """The greatest of side·profit."""
        best = int(np.argmax(side * self.values))
        most = float(side * self.values[best])
        if not self.straight:
            low, high = self.spots[max(best - 1, 0)], self.spots[min(best + 1, self.spots.size - 1)]
            for _ in range(ZOOMS):
                inner = np.linspace(low, high, ZOOM_SAMPLES)
                values = side * self.at(inner)
                best = int(np.argmax(values))
                most = max(most, float(values[best]))
                low, high = inner[max(best - 1, 0)], inner[min(best + 1, ZOOM_SAMPLES - 1)]
        return most + 0.0  # -0.0 is no loss


def _line(legs: Legs, rate: float, dividend_yield: float) -> _Line:
    expiry = legs.nearest_expiry
    is_option, is_future = legs.kind == Kind.OPTION, legs.kind == Kind.FUTURE
    strikes = np.unique(legs.strike[is_option])
    prices = np.concatenate([strikes, legs.entry_price[~is_option], [1.0]])
    top = REACH * float(prices.max())
    straight = bool((legs.time_to_expiry[is_option] == expiry).all())
    left = np.where(is_future, legs.time_to_expiry - expiry, 0.0)
    growth = np.exp(legs.carried(rate, dividend_yield) * left)
    moving = np.where(is_option & ~legs.is_call, 0.0, legs.quantity)
    gross = float(np.abs(legs.quantity).sum())
    units = float(moving.sum())
    # Held and sold in equal numbers, though of different expiries, is no unbounded gain for the sake of a little carry.
    units = 0.0 if abs(units) <= ROUNDING * gross else units

    spots = np.unique(np.concatenate([np.linspace(0.0, top, 2 if straight else SAMPLES), strikes]))
    values = payoff(legs, spots, rate, dividend_yield)
    paid = float(np.abs(legs.quantity * legs.entry_price).sum())
    values = np.where(np.abs(values) <= ROUNDING * (paid + gross * spots), 0.0, values)
    return _Line(legs, rate, dividend_yield, spots, values, units, float((moving * growth).sum()), straight)


def _probability(
    legs: Legs, line: _Line, spot: float, volatility: float, rate: float, dividend_yield: float, forward: float | None
) -> float:
    years = legs.nearest_expiry
    if not (line.known and spot > 0 and volatility >= 0 and years >= 0):
        return float("nan")
    if forward is None:
        first = int(np.flatnonzero((legs.kind != Kind.SPOT) & (legs.time_to_expiry == years))[0])
        forward = float(spot * np.exp(legs.carried(rate, dividend_yield)[first] * years))
    deviation = volatility * np.sqrt(years)
    edges = np.concatenate([[0.0], line.break_evens, [np.inf]])
    inside = 0.5 * (edges[:-1] + np.minimum(edges[1:], 2.0 * edges[:-1] + line.spots[-1]))
    gains = line.at(inside)
    paid = float(np.abs(legs.quantity * legs.entry_price).sum())
    pays = gains > ROUNDING * (paid + float(np.abs(legs.quantity).sum()) * inside)
    z = (np.log(edges / forward) + 0.5 * deviation * deviation) / deviation
    if deviation == 0:  # it ends at the forward
        z = np.where(edges > forward, np.inf, -np.inf)
    return float(np.diff(ndtr(z))[pays].sum()) if forward > 0 else float("nan")


def _dated(legs: Legs) -> bool:
    return bool((legs.kind != Kind.SPOT).any())
