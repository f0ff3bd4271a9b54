"""What each contract is worth, given where the underlyings are: futures with basis, options off a smile."""

import numpy as np
from numpy.typing import NDArray

from greeks import black76

CARRY_RATE = 0.065  # per year: futures stand above spot by it
_SKEW, _CURVATURE = -0.09, 0.022  # of the smile, per standard deviation of log-moneyness
_SMILE_ENDS = 4.0
_LEVERAGE = 4.0  # volatility rises by 4 % when spot falls by 1 %
YEAR_SECONDS = 365 * 86_400.0

Floats = NDArray[np.float64]


def forward(spot: Floats, years: Floats) -> Floats:
    return spot * np.exp(CARRY_RATE * years)


def moneyness(forward_price: Floats, strike: Floats, years: Floats, at_the_money: Floats) -> Floats:
    """Log distance of the strike from the forward, in standard deviations until expiry."""
    return np.asarray(np.log(strike / forward_price) / (at_the_money * np.sqrt(np.maximum(years, 1e-5))))


def smile(at_the_money: Floats, distance: Floats) -> Floats:
    """Volatility at a standardised moneyness: dearer puts, rising wings, flat beyond four standard deviations."""
    x = np.clip(distance, -_SMILE_ENDS, _SMILE_ENDS)
    return at_the_money * (1 + _SKEW * x + _CURVATURE * x * x)


def at_the_money_volatility(opening: Floats, spot: Floats, opening_spot: Floats, years: Floats) -> Floats:
    """Today's at-the-money volatility per year: moves against spot, and is higher for short expiries."""
    term = 1 + 0.12 * np.exp(-years * 30)
    return np.asarray(opening * term * (spot / opening_spot) ** -_LEVERAGE)


def option_price(
    forward_price: Floats, strike: Floats, years: Floats, volatility: Floats, is_call: NDArray[np.bool_]
) -> Floats:
    """European option on a forward, in the currency of the strike; intrinsic value at expiry."""
    return black76.price(forward_price, strike, years, CARRY_RATE, volatility, is_call)
