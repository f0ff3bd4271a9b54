"""Where an implied volatility stands among those of the past, from 0 to 100."""

import numpy as np
from numpy.typing import ArrayLike

from greeks.arrays import Floats, Mask, as_floats

LEAST_DAYS = 20  # about a month of sessions


def iv_rank(current: ArrayLike, history: ArrayLike, *, least: int = LEAST_DAYS) -> Floats:
    """How far up the past's range it stands: 100·(current - lowest)/(highest - lowest), `current` being one of them.

    One spike in the past keeps every later rank low; the percentile does not mind.

    Parameters
    ----------
    current : array_like, shape (...)
    history : array_like, shape (..., days)
        One value a day, in any order; `nan` where none was recorded. A year of sessions (252) is usual.
    least : days that must be known

    Returns
    -------
    ndarray, the shape that `current` and the history's leading dimensions broadcast to
        0 to 100; `nan` where `current` is not known, too few days are, or all are alike.

    Raises
    ------
    ValueError
        If the history has no dimension of days, the shapes do not broadcast, or `least` is below 1.
    """
    now, past, known = _broadcast(current, history, least)
    lowest = np.minimum(now, np.min(past, axis=-1, initial=np.inf, where=known))
    highest = np.maximum(now, np.max(past, axis=-1, initial=-np.inf, where=known))
    with np.errstate(invalid="ignore", divide="ignore"):
        rank = 100.0 * (now - lowest) / (highest - lowest)
    return np.asarray(np.where(np.count_nonzero(known, axis=-1) >= least, rank, np.nan))


def iv_percentile(current: ArrayLike, history: ArrayLike, *, least: int = LEAST_DAYS) -> Floats:
    """On how many of 100 past days it stood lower: 100·(days strictly below `current`)/(known days).

    Parameters, result and errors are those of `iv_rank`, but that days all alike give 0 or 100.
    """
    now, past, known = _broadcast(current, history, least)
    days = np.count_nonzero(known, axis=-1)
    below = np.count_nonzero(known & (past < now[..., None]), axis=-1)
    enough = (days >= least) & np.isfinite(now)
    return np.asarray(np.where(enough, 100.0 * below / np.maximum(days, 1), np.nan))


def _broadcast(current: ArrayLike, history: ArrayLike, least: int) -> tuple[Floats, Floats, Mask]:
    if least < 1:
        raise ValueError(f"least is {least}; at least one day is needed")
    now, past = as_floats(current), as_floats(history)
    if not past.ndim:
        raise ValueError("the history is one number; days are needed along its last axis")
    try:
        shape = np.broadcast_shapes(now.shape, past.shape[:-1])
    except ValueError:
        raise ValueError(f"shapes do not broadcast together: current {now.shape}, history {past.shape}") from None
    return np.broadcast_to(now, shape), past, np.isfinite(past)
