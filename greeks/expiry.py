"""Time to expiry in the unit that the formulas take."""

import numpy as np
from numpy.typing import ArrayLike

from greeks.arrays import Floats, as_floats, shape_of

SECONDS_A_YEAR = 365 * 86400


def years_between(now_seconds: ArrayLike, close_seconds: ArrayLike) -> Floats:
    """Years of 365 days from now to the contract's close, 0 at and after it.

    Parameters
    ----------
    now_seconds, close_seconds : array_like, broadcast together
        Unix times. The close is the end of the contract's session on its expiry date, by its exchange's calendar.

    Returns
    -------
    ndarray, the broadcast shape; `nan` where an input is not finite.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    """
    now, close = as_floats(now_seconds), as_floats(close_seconds)
    shape_of(now_seconds=now, close_seconds=close)
    with np.errstate(invalid="ignore"):
        seconds = close - now
        years = np.maximum(seconds, 0.0) / SECONDS_A_YEAR
    return np.asarray(np.where(np.isfinite(seconds), years, np.nan))
