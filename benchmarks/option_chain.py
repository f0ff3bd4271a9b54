"""A NIFTY-like chain as it is quoted: 3,000 options of four expiries, each price a whole number of ticks."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from greeks import black76
from greeks.arrays import Floats, Mask

CASE = "chain-3000"
OPTIONS = 3_000
SUBSET = 200
"""Of the options, for peers that take one at a time; the first of a random order stand for all."""
SPOT, RATE, DIVIDEND_YIELD = 24_000.0, 0.065, 0.012
EXPIRIES_DAYS = (2, 9, 30, 65)
REACH = 0.15
STRIKE_STEP, TICK = 50.0, 0.05


@dataclass(frozen=True, slots=True)
class OptionChain:
    """One row per option. The volatility is the one that the tick-rounded price implies."""

    price: Floats
    spot: Floats
    forward: Floats
    strike: Floats
    years: Floats
    volatility: Floats
    is_call: Mask

    def flags(self) -> list[str]:
        """As vollib writes calls and puts."""
        return np.where(self.is_call, "c", "p").tolist()  # type: ignore[no-any-return]


def option_chain(seed: int = 7) -> OptionChain:
    rng = np.random.default_rng(seed)
    spot = np.full(OPTIONS, SPOT)
    strike = np.round(SPOT * rng.uniform(1 - REACH, 1 + REACH, OPTIONS) / STRIKE_STEP) * STRIKE_STEP
    years = rng.choice(EXPIRIES_DAYS, OPTIONS) / 365
    is_call: NDArray[np.bool_] = rng.random(OPTIONS) < 0.5
    forward = spot * np.exp((RATE - DIVIDEND_YIELD) * years)
    smile = 0.11 + 0.8 * np.abs(np.log(strike / SPOT)) + rng.uniform(0.0, 0.03, OPTIONS)
    fair = black76.price(forward, strike, years, RATE, smile, is_call)
    intrinsic = np.exp(-RATE * years) * np.maximum(np.where(is_call, forward - strike, strike - forward), 0.0)
    # Nobody sells an option for less than a tick over what exercising it is worth.
    price = np.maximum(np.round(fair / TICK), np.ceil(intrinsic / TICK) + 1) * TICK
    volatility = black76.implied_volatility(price, forward, strike, years, RATE, is_call).volatility
    if not np.isfinite(volatility).all():
        raise AssertionError("an option of the made-up chain has no volatility")
    return OptionChain(price, spot, forward, strike, years, volatility, is_call)
