"""What the open interest of one expiry says: its balance, where it stands thickest, and where it pays out least.

Open interest and volumes are arrays of one value per strike, in any one unit, `nan` where it is not known. Sums leave
out what is not known; a sum of nothing known is `nan`, not zero.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from greeks.arrays import Floats, as_floats, shape_of

WALLS = 3


class Walls(NamedTuple):
    """The strikes with the most, the greatest first; there may be fewer than were asked for, or none."""

    strike: Floats
    size: Floats


def put_call_ratio(call: ArrayLike, put: ArrayLike) -> float:
    """Puts for one call, by open interest or by volume: Σ put / Σ call.

    Above 1 there are more puts. `nan` where nothing is known of a side, or the calls sum to nothing.

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    calls, puts = columns(call=call, put=put)
    below = known_sum(calls)
    return known_sum(puts) / below if below > 0 else float("nan")


def pain(strike: ArrayLike, call_oi: ArrayLike, put_oi: ArrayLike) -> Floats:
    """What all holders would receive if the underlying settled at each strike.

    At a settlement S it is Σ call_oi·max(S - strike, 0) + put_oi·max(strike - S, 0); by running sums, so that it takes
    as long as there are strikes, not their square.

    Parameters
    ----------
    strike, call_oi, put_oi : array_like of one length, strikes ascending

    Returns
    -------
    ndarray, one value per strike
        In currency, if open interest is in units of the underlying; all `nan` where no open interest is known.

    Raises
    ------
    ValueError
        If the shapes differ or the strikes do not ascend.
    """
    k, calls, puts = columns(strike=strike, call_oi=call_oi, put_oi=put_oi)
    if k.size and not (k[1:] > k[:-1]).all():
        raise ValueError("strikes must ascend")
    if np.isnan(calls).all() and np.isnan(puts).all():
        return np.full(k.shape, np.nan)
    calls, puts = (np.where(np.isnan(values), 0.0, values) for values in (calls, puts))
    # From one strike to the next, every call at or below pays the step more and every put above pays it less.
    steps = np.diff(k)
    found = np.zeros(k.shape)
    with np.errstate(all="ignore"):
        np.cumsum(np.cumsum(calls)[:-1] * steps, out=found[1:])
        found[:-1] += np.cumsum(np.cumsum(puts[:0:-1]) * steps[::-1])[::-1]
    return found


def max_pain(strike: ArrayLike, call_oi: ArrayLike, put_oi: ArrayLike) -> float:
    """The strike at which holders would receive least: `pain` at its minimum.

    `pain` is convex, so only neighbours can share the minimum; of these it is the lowest. `nan` where no open interest
    is known or all of it is zero. Arguments and errors are those of `pain`.
    """
    k, calls, puts = columns(strike=strike, call_oi=call_oi, put_oi=put_oi)
    # Where nothing is open nothing is paid anywhere, and every strike would do.
    if not ((calls > 0).any() or (puts > 0).any()):
        return float("nan")
    return float(k[np.argmin(pain(k, calls, puts))])


def walls(strike: ArrayLike, oi: ArrayLike, count: int = WALLS) -> Walls:
    """The strikes with the greatest open interest: of calls where sellers resist a rise, of puts where they support.

    Given the day's changes of open interest instead, the greatest additions.

    Parameters
    ----------
    strike, oi : array_like of one length
        Only what is above zero counts; of equals the one given first comes first.
    count : at most so many

    Raises
    ------
    ValueError
        If the shapes differ, or `count` is negative.
    """
    if count < 0:
        raise ValueError(f"count is {count}; it cannot be negative")
    k, sizes = columns(strike=strike, oi=oi)
    standing = np.flatnonzero(sizes > 0)
    greatest = standing[np.argsort(-sizes[standing], kind="stable")[:count]]
    return Walls(k[greatest], sizes[greatest])


def columns(**columns: ArrayLike) -> list[Floats]:
    arrays = {name: np.atleast_1d(as_floats(values)) for name, values in columns.items()}
    if len(shape_of(**arrays)) > 1 or len({array.shape for array in arrays.values()}) > 1:
        shapes = ", ".join(f"{name} {array.shape}" for name, array in arrays.items())
        raise ValueError(f"one value per strike of one expiry is needed: {shapes}")
    return list(arrays.values())


def known_sum(values: Floats) -> float:
    known = values[~np.isnan(values)]
    with np.errstate(all="ignore"):
        return float(known.sum()) if known.size else float("nan")
