"""The volatility that a price implies, for a whole chain at once, and the reason where there is none.

The out-of-the-money price in units of √(F·K), b, is inverted for v = σ√T (`greeks.normalised` has the notation):

1. *Start.* As v → 0 with h = x/v held, b/x → (φ(h) - hΦ(-h))/h, the Bachelier price: a function of h alone. So
   v/(b + x) is a function of ln(1 + x/b) alone. It is tabulated once, read linearly, and corrected by the next term in
   v²; good to about 1e-6 on a live chain. At the money (x = 0) needs no special case.
2. *Halley steps* on ln b, whose derivatives are in closed form. Convergence is cubic: one step ends at rounding on a
   live chain, a second one takes the wide rest.
3. *Bracketed Newton* for the few that are left: prices near their upper bound, where ln b is flat and ln(bound - b) is
   not, and prices farther out than the table reaches. Every iteration halves its bracket or better, and there are at
   most `BRACKETED_STEPS`.

What is subtracted is subtracted once and early: the intrinsic value from the price as quoted, in an order that loses no
digits near the money. What remains is as exact as the price itself.
"""

import enum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from greeks.arrays import Floats, not_negative, positive
from greeks.normalised import LN_SQRT_2PI, SQRT_2PI, mills, mills_gap

HALLEY_STEPS = 3
CUBED_IS_ROUNDING = 5e-6  # a relative step below this leaves an error below its cube
BRACKETED_STEPS = 120
ROUNDING = 4 * float(np.finfo(np.float64).eps)

TABLE_END = 60.0  # ln(1 + x/b): a time value of 1e-26 of the moneyness
TABLE_SIZE = 1 << 14
NODES_PER_UNIT = TABLE_SIZE / TABLE_END


class Reason(enum.IntEnum):
    """Why there is no implied volatility."""

    OK = 0
    BELOW_INTRINSIC = 1  # cheaper than exercising: stale, or the underlying moved
    ABOVE_BOUND = (
        2  # at or above what any volatility gives: the underlying for a call, the strike's present value for a put
    )
    NO_TIME_VALUE = 3  # worth its intrinsic value to rounding, or no time is left: any small volatility fits
    BAD_INPUT = 4  # not a number, negative, or a price, strike or time out of range


class ImpliedVolatility(NamedTuple):
    """`volatility`: per year as a fraction, float64, `nan` where `reason` (int8, a `Reason`) is not `Reason.OK`."""

    volatility: Floats
    reason: NDArray[np.int8]


def solve(
    *, price: Floats, time_value: Floats, asset: Floats, cash: Floats, log_moneyness: Floats, years: Floats
) -> ImpliedVolatility:
    """Implied volatilities from what the models prepare: arrays that broadcast together.

    Parameters
    ----------
    price : as quoted.
    time_value : price less intrinsic value (the price itself out of the money).
    asset, cash : what the two legs are worth, discounted as `time_value` is.
    log_moneyness : ln(asset / cash), given apart because the models know it better than the quotient does.
    years : to expiry.
    """
    # In the money a time value within rounding of the price says nothing; out of the money the least price says all.
    noise = ROUNDING * np.abs(price)
    bound = np.minimum(asset, cash) * (1 - ROUNDING)
    good = (time_value > noise) & (time_value < bound) & positive(years) & np.isfinite(log_moneyness)
    b = time_value / np.sqrt(asset * cash)
    x = np.abs(log_moneyness)
    all_good = good.all()
    if all_good:
        reason = np.zeros(good.shape, dtype=np.int8)
    else:
        usable = (
            not_negative(price) & positive(asset) & positive(cash) & not_negative(years) & np.isfinite(log_moneyness)
        )
        reason = np.full(good.shape, Reason.NO_TIME_VALUE, dtype=np.int8)
        np.copyto(reason, Reason.ABOVE_BOUND, where=time_value >= bound)
        np.copyto(reason, Reason.BELOW_INTRINSIC, where=time_value < -noise)
        np.copyto(reason, Reason.BAD_INPUT, where=~usable)
        np.copyto(reason, Reason.OK, where=good)
        b, x = np.where(good, b, 0.01), np.where(good, x, 0.0)  # anything easy: the answer is not used
    v = _invert(_flat(b, good.shape), _flat(x, good.shape)).reshape(good.shape)
    v /= np.sqrt(years)
    if not all_good:
        v[~good] = np.nan
    return ImpliedVolatility(v, reason)


def _flat(values: Floats, shape: tuple[int, ...]) -> Floats:
    """One dimension of the full shape: the solver picks out those that need another step."""
    return (values if values.shape == shape else np.broadcast_to(values, shape)).ravel()


def _invert(b: Floats, x: Floats) -> Floats:
    """v such that b(x, v) = b, for 0 < b < e^(-x/2) and x >= 0, both 1-D."""
    ln_b = np.log(b)
    v = _start(b, x, ln_b)
    step = _halley_step(v, x, ln_b)
    v -= step
    # Not "greater": a step that is not a number has not converged either.
    rest = np.flatnonzero(~(np.abs(step) < CUBED_IS_ROUNDING * v))
    for _ in range(HALLEY_STEPS - 1):
        if not rest.size:
            return v
        step = _halley_step(v[rest], x[rest], ln_b[rest])
        v[rest] -= step
        rest = rest[~(np.abs(step) < CUBED_IS_ROUNDING * v[rest])]
    if rest.size:
        v[rest] = _invert_bracketed(b[rest], x[rest])
    return v


def _tabulate() -> tuple[Floats, Floats, Floats]:
    """Over equal steps of ln(1 + x/b): v/(b + x) in the Bachelier limit, its differences, and the next term, in v²."""
    h = np.linspace(0.0, 12.0, 1 << 17)
    slope = 1.0 - h * mills(-h)  # R'(-h): the Bachelier price is xφ(h)R'(-h)/h
    price = np.exp(-0.5 * h * h) / SQRT_2PI * slope
    node = np.log1p(h / price) * NODES_PER_UNIT
    nodes = np.arange(TABLE_SIZE + 1)
    value = np.interp(nodes, node, 1.0 / (price + h))
    correction = np.interp(nodes, node, (1.0 - h * h * slope) / 24.0)
    return value, np.diff(value, append=value[-1]), correction


_VALUE, _DIFFERENCE, _CORRECTION = _tabulate()


def _start(b: Floats, x: Floats, ln_b: Floats) -> Floats:
    total = b + x
    position = np.log(total)
    position -= ln_b
    position *= NODES_PER_UNIT
    node = position.astype(np.intp)
    position -= node
    # Beyond the table any start will do: it will not converge, and the bracketed solver takes over.
    position *= _DIFFERENCE.take(node, mode="clip")
    position += _VALUE.take(node, mode="clip")
    v = position
    v *= total
    correction = _CORRECTION.take(node, mode="clip")
    correction *= v
    correction *= v
    correction += 1.0
    v *= correction
    return v


def _halley_step(v: Floats, x: Floats, ln_b: Floats) -> Floats:
    """What to subtract from v. With f = ln b(x, v) - ln b: f' = 1/g and f''/f' = h²/v - v/4 - 1/g."""
    h = x / v
    g = mills_gap(h, v)
    h *= h
    newton = np.log(g)
    newton -= ln_b
    newton -= 0.5 * h + (0.125 * v * v + LN_SQRT_2PI)
    newton *= g
    half_bend = h / v
    half_bend -= 0.25 * v
    half_bend -= 1.0 / g
    half_bend *= 0.5 * newton
    newton /= 1.0 - half_bend
    return newton


def _invert_bracketed(b: Floats, x: Floats) -> Floats:
    """The same root without trust in a start: Newton inside a shrinking bracket, on the better conditioned side."""
    bound = np.exp(-0.5 * x)
    upper = b > 0.5 * bound
    target = np.log(np.where(upper, bound - b, b)) + LN_SQRT_2PI

    def excess(v: Floats) -> tuple[Floats, Floats]:
        """An increasing function of v with the root's sign change, and its Newton step."""
        h, t = x / v, 0.5 * v
        # bound - b = e^(-x/2) Φ(-d1) + e^(x/2) Φ(d2): the same density times a sum of two positive terms.
        g = np.where(upper, mills(h - t) + mills(-h - t), mills_gap(h, v))
        f = np.log(g) - 0.5 * h * h - 0.5 * t * t - target
        return np.where(upper, -f, f), f * g * np.where(upper, -1.0, 1.0)

    low, high = np.zeros_like(b), np.maximum(1.0, np.sqrt(2.0 * x))
    for _ in range(BRACKETED_STEPS):
        short = excess(high)[0] < 0
        if not short.any():
            break
        low, high = np.where(short, high, low), np.where(short, 2.0 * high, high)
    v = 0.5 * (low + high)
    for _ in range(BRACKETED_STEPS):
        above, step = excess(v)
        low, high = np.where(above < 0, v, low), np.where(above < 0, high, v)
        new = v - step
        new = np.where((new > low) & (new < high), new, 0.5 * (low + high))
        moved = np.abs(new - v) > 4e-16 * v
        v = new
        if not moved.any():
            break
    return v
