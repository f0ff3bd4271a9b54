"""The rules by which quotes become Greeks, for the stream's tick table, for one chain's snapshot and for candles of the
past. No Django.
"""

from enum import IntEnum, IntFlag, StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greeks import black76, black_scholes
from greeks.implied_volatility import Reason
from greeks.kernel import Greeks
from greeks.parity import LEAST_PAIRS

Floats = NDArray[np.float64]

WIDEST_SPREAD: Final = 0.5
"""As a fraction of the middle: a wider book says nothing…"""
ALWAYS_NARROW: Final = 0.25
"""…unless it is this narrow in currency, as the book of an option worth a few ticks is."""
OLDEST_TRADE_SECONDS: Final = 300.0
"""How long before the underlying's last time a trade may lie and still be taken for the option's price."""
PARITY_STRIKES: Final = 5
"""How many strikes, the nearest to the money, the forward is the median of."""
STRIKES_LOOKED_AT: Final = 10
"""On either side of where the spot puts the forward."""
FARTHEST_FORWARD: Final = 0.2
"""A forward this far (a fraction) from the spot is no forward: the book is broken."""


class Model(StrEnum):
    """Black-76 on a forward, or Black–Scholes–Merton on a spot."""

    BLACK_76 = "black-76"
    BLACK_SCHOLES_MERTON = "black-scholes-merton"


class Flag(IntFlag):
    """Bits of a row's `flags`: the row is shown, and nothing is computed from it."""

    UNTRADED = 1
    """The last price is zero: not traded yet, or before the open."""
    CROSSED = 2
    """The best bid is above the best offer."""
    NEGATIVE_PRICE = 4
    """A price below zero, as a commodity's may be."""


class GreeksReason(IntEnum):
    """Why a row has no Greeks; lower case on the wire, where a row that has them says null."""

    OK = Reason.OK
    BELOW_INTRINSIC = Reason.BELOW_INTRINSIC
    ABOVE_BOUND = Reason.ABOVE_BOUND
    NO_TIME_VALUE = Reason.NO_TIME_VALUE
    BAD_INPUT = Reason.BAD_INPUT
    STALE = 5
    """The only price is a trade long before the underlying's."""
    UNTRADED = 6
    CROSSED = 7
    NEGATIVE_PRICE = 8
    NO_PRICE = 9
    NO_UNDERLYING = 10


REASON_NAMES: Final = [None, *(reason.name.lower() for reason in GreeksReason if reason)]
"""By the reason's number."""


def middles(bid: Floats, ask: Floats) -> Floats:
    """The middle of each book; nan where one side is missing or they are crossed or too far apart."""
    with np.errstate(invalid="ignore"):
        middle = (bid + ask) / 2
        spread = ask - bid
        good = (bid > 0) & (spread >= 0) & (spread <= np.maximum(WIDEST_SPREAD * middle, ALWAYS_NARROW))
    return np.where(good, middle, np.nan)


def unpriceable(price: Floats, underlying: Floats, flags: NDArray[Any], stale: NDArray[np.bool_]) -> NDArray[np.int8]:
    """Why an option is not even tried, as `GreeksReason`; the last that applies. Arrays of one length."""
    reason = np.zeros(price.shape, np.int8)
    reason[stale] = GreeksReason.STALE
    reason[~(underlying > 0)] = GreeksReason.NO_UNDERLYING
    reason[~(price > 0)] = GreeksReason.NO_PRICE
    if flags.any():
        reason[(flags & Flag.UNTRADED) != 0] = GreeksReason.UNTRADED
        reason[(flags & Flag.CROSSED) != 0] = GreeksReason.CROSSED
        reason[(flags & Flag.NEGATIVE_PRICE) != 0] = GreeksReason.NEGATIVE_PRICE
    return reason


def parity_forwards(strike: Floats, difference: Floats, interest: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """The forward that each row of call–put pairs names by parity, F = K + (C - P)·e^(rT); nan with fewer than three.

    The median over the few strikes where call and put are worth most nearly the same: those are the nearest to the
    money, where books are narrowest and discounting matters least. It is `greeks.parity` for every row at once.

    Parameters
    ----------
    strike, difference : shape (rows, pairs); what the call is worth above the put, nan where one is not known
    interest : rT, shape (rows,)

    Returns
    -------
    forwards, shape (rows,), and the places of the pairs nearest to the money, shape (rows, `PARITY_STRIKES` at most);
    those whose difference is nan come last and take no part.
    """
    good = np.isfinite(difference)
    nearest = np.argsort(np.where(good, np.abs(difference), np.inf), axis=1, kind="stable")[:, :PARITY_STRIKES]
    row = np.arange(len(difference))[:, np.newaxis]
    counts = np.minimum(np.count_nonzero(good, axis=1), PARITY_STRIKES)
    named = strike[row, nearest] + difference[row, nearest] * np.exp(interest)[:, np.newaxis]
    medians = _medians(np.where(good[row, nearest], named, np.inf), counts)
    return np.where(counts >= LEAST_PAIRS, medians, np.nan), nearest


def _medians(rows: Floats, counts: NDArray[np.intp]) -> Floats:
    """The median of the `counts` finite values of each row, the others being infinite."""
    if not rows.shape[1]:
        return np.full(len(rows), np.nan)
    ascending = np.sort(rows, axis=1)
    every = np.arange(len(rows))
    low = ascending[every, np.maximum(counts - 1, 0) // 2]
    high = ascending[every, np.minimum(counts // 2, rows.shape[1] - 1)]
    return np.asarray((low + high) / 2)


def price_rows(
    reason: NDArray[np.int8],
    *,
    price: Floats,
    underlying: Floats,
    strike: Floats,
    years: Floats,
    rate: Floats,
    dividend_yield: Floats,
    is_call: NDArray[np.bool_],
    on_spot: NDArray[np.bool_],
) -> tuple[Floats, Greeks]:
    """Implied volatilities and Greeks of options, arrays of one length; nan where there is a reason.

    Parameters
    ----------
    reason : as `unpriceable` has it; where there is no implied volatility, the solver's reason is written into it
    price, underlying, strike : in one currency
    years, rate, dividend_yield : to expiry; per year as fractions
    on_spot : where the model is Black–Scholes–Merton and `underlying` a spot; elsewhere Black-76 on a forward
    """
    volatility = np.full(len(price), np.nan)
    greeks = Greeks(*np.full((len(Greeks._fields), len(price)), np.nan))
    priceable = reason == GreeksReason.OK
    for model in Model:
        mask = priceable & (on_spot if model is Model.BLACK_SCHOLES_MERTON else ~on_spot)
        if not mask.any():
            continue
        # In most calls it is all of them: then nothing needs gathering.
        rows = slice(None) if mask.all() else np.flatnonzero(mask)
        terms = underlying[rows], strike[rows], years[rows], rate[rows]
        if model is Model.BLACK_76:
            solved = black76.implied_volatility(price[rows], *terms, is_call[rows])
        else:
            solved = black_scholes.implied_volatility(price[rows], *terms, is_call[rows], dividend_yield[rows])
        volatility[rows] = solved.volatility
        reason[rows] = solved.reason
        if solved.reason.any():  # what has no volatility would only take the formulas to their limits
            rows = np.flatnonzero(mask & (reason == GreeksReason.OK))
            terms = underlying[rows], strike[rows], years[rows], rate[rows]
        if model is Model.BLACK_76:
            found = black76.greeks(*terms, volatility[rows], is_call[rows])
        else:
            found = black_scholes.greeks(*terms, volatility[rows], is_call[rows], dividend_yield[rows])
        for into, values in zip(greeks, found, strict=True):
            into[rows] = values
    return volatility, greeks
