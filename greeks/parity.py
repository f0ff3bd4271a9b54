"""The forward that the options themselves imply.

Put–call parity needs no volatility: at every strike, call - put = (forward - strike)·e^(-rate·years). Each pair of
quotes therefore names a forward, and near the money, where both sides trade, they agree to a few ticks. A stale or
mistaken quote names another one, so they are counted like votes rather than averaged like measurements.

References
----------
H. R. Stoll, J. Finance, vol. 24, no. 5, pp. 801-824, 1969.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from greeks.arrays import Floats, as_floats, positive, shape_of

PAIRS = 10  # strikes around the money that vote
LEAST_PAIRS = 3  # with two, a bad one cannot be told from a good one
LEAST_AGREEING = 2
# Of a normal spread, a median absolute deviation of 1/1.4826 of it: three such spreads keep 99.7 % of honest quotes.
OUTLIER = 3 * 1.4826


class ParityForward(NamedTuple):
    """`forward` is `nan` where too few pairs were quoted or too few agreed."""

    forward: float
    pairs: int  # how many strikes stand behind it
    deviation: float  # their median distance from it, in price: a few ticks when the chain is in order


NONE_IMPLIED = ParityForward(float("nan"), 0, float("nan"))


@np.errstate(all="ignore")  # quotes without end: what they make is not finite, and no forward
def implied_forward(
    call_price: ArrayLike,
    put_price: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: float,
    rate: float,
    *,
    spread: ArrayLike = 1.0,
    pairs: int = PAIRS,
) -> ParityForward:
    """The forward of one expiry from its calls and puts.

    The strikes nearest the money take part. The weighted median of what they name settles on whom the majority agrees
    with; the weighted mean of those within three spreads of it is the answer, smoother than the median from one tick to
    the next.

    Parameters
    ----------
    call_price, put_price, strike : array_like, one value per strike, in any order
        `nan` or zero where there is no quote. Middle of bid and ask where there is one, else the last price.
    time_to_expiry : years, >= 0
    rate : per year as a fraction, continuously compounded
    spread : array_like
        Ask less bid of the call plus that of the put: a pair wider than most counts that much less.
    pairs : how many strikes around the money take part

    Raises
    ------
    ValueError
        If the shapes do not broadcast to one dimension, or `pairs` is less than three.
    """
    if pairs < LEAST_PAIRS:
        raise ValueError(f"pairs is {pairs}; at least {LEAST_PAIRS} are needed to outvote a bad quote")
    call, put, k, width = (as_floats(values) for values in (call_price, put_price, strike, spread))
    shape = shape_of(call_price=call, put_price=put, strike=k, spread=width)
    if len(shape) > 1:
        raise ValueError(f"one expiry at a time: quotes have shape {shape}, not one dimension")
    named = np.atleast_1d(np.asarray(k + (call - put) * np.exp(rate * time_to_expiry)))
    quoted = positive(call) & positive(put) & positive(k) & positive(width) & positive(named)
    quoted = np.broadcast_to(quoted, named.shape) & (time_to_expiry >= 0)
    if np.count_nonzero(quoted) < LEAST_PAIRS:
        return NONE_IMPLIED
    forwards, strikes = named[quoted], np.broadcast_to(k, named.shape)[quoted]
    widths = np.broadcast_to(width, named.shape)[quoted]
    weights = 1.0 / np.maximum(widths, np.median(widths))  # wide quotes count less; a very tight one is still one vote

    money = _weighted_median(forwards, weights)
    nearest = np.argsort(np.abs(strikes - money), kind="stable")[:pairs]
    forwards, weights = forwards[nearest], weights[nearest]

    middle = _weighted_median(forwards, weights)
    distance = np.abs(forwards - middle)
    agrees = distance <= OUTLIER * _weighted_median(distance, weights)
    if np.count_nonzero(agrees) < LEAST_AGREEING:
        return NONE_IMPLIED
    forward = float(np.average(forwards[agrees], weights=weights[agrees]))
    if not np.isfinite(forward):
        return NONE_IMPLIED
    return ParityForward(forward, int(np.count_nonzero(agrees)), float(np.median(np.abs(forwards[agrees] - forward))))


def _weighted_median(values: Floats, weights: Floats) -> float:
    """The value with half of the weight on either side; the middle of two where they share it."""
    order = np.argsort(values, kind="stable")
    running = np.cumsum(weights[order])
    half = 0.5 * running[-1]
    low = int(np.searchsorted(running, half * (1 - 1e-12)))
    high = int(np.searchsorted(running, half * (1 + 1e-12)))
    return float(0.5 * (values[order[low]] + values[order[min(high, values.size - 1)]]))
