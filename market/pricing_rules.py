"""The rules by which quotes become Greeks, for the stream's tick table and for one chain's snapshot. No Django."""

from enum import IntEnum, IntFlag, StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greeks.implied_volatility import Reason

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
        good = (bid > 0) & (spread >= 0) & ((spread <= WIDEST_SPREAD * middle) | (spread <= ALWAYS_NARROW))
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
