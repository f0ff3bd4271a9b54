"""At-the-money volatility over the expiries, and what lies between them.

Total variance w = volatility²·years adds up over time, which volatility does not: what lies between two expiries is the
difference of theirs, and between them it is drawn as a line. It can only rise; where quotes say that it falls, they
contradict each other (a calendar spread would cost less than nothing), and there is no forward volatility.

References
----------
J. Gatheral, The Volatility Surface, Wiley, 2006, ch. 1 and 3.
Cboe, Volatility Index Methodology: Cboe Volatility Index: the line in total variance at 30 days.
"""

import numpy as np
from numpy.typing import ArrayLike

from greeks.arrays import Floats, as_floats, not_negative, positive
from greeks.kernel import DAYS_A_YEAR

DAYS = 30.0


def forward_volatility(time_to_expiry: ArrayLike, volatility: ArrayLike) -> Floats:
    """The volatility from each expiry to the next: √((w₂ - w₁)/(t₂ - t₁)).

    Parameters
    ----------
    time_to_expiry, volatility : array_like of one length, n
        Years, ascending; per year as fractions, `nan` where it is not known.

    Returns
    -------
    ndarray, n - 1 values (none of a single expiry)
        Per year as fractions; `nan` where total variance falls or one of the two is not known.

    Raises
    ------
    ValueError
        If the lengths differ or the times do not ascend.
    """
    years, variance = _total_variance(time_to_expiry, volatility)
    with np.errstate(invalid="ignore"):
        between = np.diff(variance) / np.diff(years)
        return np.sqrt(np.where(between >= 0, between, np.nan))


def constant_maturity(time_to_expiry: ArrayLike, volatility: ArrayLike, days: ArrayLike = DAYS) -> Floats:
    """The volatility at a maturity between two expiries: total variance on a line between the nearest known ones.

    Parameters
    ----------
    time_to_expiry, volatility : array_like of one length
        Years, ascending; per year as fractions. Expiries without a volatility are passed over.
    days : calendar days

    Returns
    -------
    ndarray, the shape of `days`
        Per year as a fraction; `nan` before the first known expiry and after the last, where it would be a guess.

    Raises
    ------
    ValueError
        If the lengths differ or the times do not ascend.
    """
    years, variance = _total_variance(time_to_expiry, volatility)
    wanted = as_floats(days) / DAYS_A_YEAR
    known = positive(years) & np.isfinite(variance)
    if not known.any():
        return np.full(wanted.shape, np.nan)
    with np.errstate(invalid="ignore", divide="ignore"):
        found = np.interp(wanted, years[known], variance[known], left=np.nan, right=np.nan) / wanted
        return np.asarray(np.sqrt(found))


def _total_variance(time_to_expiry: ArrayLike, volatility: ArrayLike) -> tuple[Floats, Floats]:
    years, sigma = as_floats(time_to_expiry), as_floats(volatility)
    if years.ndim != 1 or years.shape != sigma.shape:
        raise ValueError(f"one volatility per expiry is needed: time_to_expiry {years.shape}, volatility {sigma.shape}")
    if not (years[1:] > years[:-1]).all():
        raise ValueError(f"times to expiry must ascend: {years.tolist()}")
    with np.errstate(invalid="ignore"):
        return years, np.where(not_negative(sigma) & (years >= 0), sigma * sigma * years, np.nan)
