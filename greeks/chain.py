"""One expiry's option chain, and what can be read from it.

    chain = Chain(strike=k, call_price=c, put_price=p, call_implied_volatility=cv, put_implied_volatility=pv,
                  call_oi=co, put_oi=po, spot=24_000.0, forward=24_030.0, time_to_expiry=7 / 365, rate=0.065)
    found = analyse(chain)

What is not known is `nan`, and what would need it is `nan` too: an empty chain, or one without a single quote, is
analysed like any other. The functions can be called one by one; `analyse` calls them all and works nothing out twice.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from greeks import parity, smile
from greeks.arrays import Floats, as_floats, positive
from greeks.gamma_exposure import GammaExposure, gamma_exposure
from greeks.open_interest import WALLS, Walls, max_pain, put_call_ratio, walls
from greeks.parity import ParityForward
from greeks.smile import Smile

LARGEST_EXPONENT = 700.0  # of e, in float64


@dataclass(frozen=True, slots=True, init=False, eq=False)
class Chain:
    """One expiry: float64 arrays with a value per strike, strikes ascending, `nan` for what is not known."""

    strike: Floats
    call_price: Floats
    put_price: Floats
    call_implied_volatility: Floats
    put_implied_volatility: Floats
    call_oi: Floats
    put_oi: Floats
    call_oi_change: Floats
    put_oi_change: Floats
    call_volume: Floats
    put_volume: Floats
    spot: float
    forward: float
    time_to_expiry: float
    rate: float
    dividend_yield: float
    contract_size: float

    def __init__(
        self,
        *,
        strike: ArrayLike,
        time_to_expiry: float,
        rate: float,
        spot: float = math.nan,
        forward: float = math.nan,
        call_price: ArrayLike = np.nan,
        put_price: ArrayLike = np.nan,
        call_implied_volatility: ArrayLike = np.nan,
        put_implied_volatility: ArrayLike = np.nan,
        call_oi: ArrayLike = np.nan,
        put_oi: ArrayLike = np.nan,
        call_oi_change: ArrayLike = np.nan,
        put_oi_change: ArrayLike = np.nan,
        call_volume: ArrayLike = np.nan,
        put_volume: ArrayLike = np.nan,
        dividend_yield: float = 0.0,
        contract_size: float = 1.0,
    ) -> None:
        """What all strikes share may be one number.

        Parameters
        ----------
        strike : ascending, above zero
        time_to_expiry, rate : years; per year as a fraction, continuously compounded
        spot, forward : the underlying now and for this expiry
            A forward that is `nan` becomes spot·e^((rate - dividend_yield)·years), for which alone the yield is used; a
            spot that is `nan` comes back from the forward in the same way.
        call_implied_volatility, put_implied_volatility : those of `black76` on `forward`, per year as fractions
        call_oi, … put_volume : in contracts of `contract_size`; the changes are today's
        contract_size : units of the underlying that one of them stands for
            1 at Kite, which counts units and not lots.

        Raises
        ------
        ValueError
            If the strikes are not one row of ascending numbers above zero, or another array has another length.
        """
        k = as_floats(strike)
        if k.ndim != 1:
            raise ValueError(f"one expiry at a time: strikes have shape {k.shape}, not one dimension")
        if not positive(k).all():
            raise ValueError(f"a strike is not a number above zero: {k[~positive(k)][0]}")
        if (falls := np.flatnonzero(k[1:] <= k[:-1])).size:
            first, second = k[falls[0] : falls[0] + 2].tolist()
            raise ValueError(f"strikes must ascend: {first:g} is followed by {second:g}")
        quotes = {
            "call_price": call_price,
            "put_price": put_price,
            "call_implied_volatility": call_implied_volatility,
            "put_implied_volatility": put_implied_volatility,
            "call_oi": call_oi,
            "put_oi": put_oi,
            "call_oi_change": call_oi_change,
            "put_oi_change": put_oi_change,
            "call_volume": call_volume,
            "put_volume": put_volume,
        }
        columns = {"strike": k} | {name: _column(name, values, k) for name, values in quotes.items()}
        growth = _growth((rate - dividend_yield) * time_to_expiry)
        numbers = {
            "spot": forward / growth if math.isnan(spot) else spot,
            "forward": spot * growth if math.isnan(forward) else forward,
            "time_to_expiry": time_to_expiry,
            "rate": rate,
            "dividend_yield": dividend_yield,
            "contract_size": contract_size,
        }
        for name, column in columns.items():
            object.__setattr__(self, name, column)
        for name, number in numbers.items():
            object.__setattr__(self, name, float(number))


def _column(name: str, values: ArrayLike, strike: Floats) -> Floats:
    column = as_floats(values)
    if column.shape == strike.shape:
        return column
    if column.ndim:
        raise ValueError(f"{name} has shape {column.shape}, the strikes have {strike.shape}")
    return np.full(strike.shape, column)


def _growth(exponent: float) -> float:
    """e^exponent; `nan` where that is no number to multiply or divide by."""
    return math.exp(exponent) if abs(exponent) < LARGEST_EXPONENT else math.nan


class Straddle(NamedTuple):
    """The call and the put of one strike, bought together."""

    strike: float
    price: float
    implied_move: float  # price / forward: how far, as a fraction, the forward must go for the straddle to pay


def strike_implied_volatility(chain: Chain) -> Floats:
    """One volatility for each strike: of the option out of the money, or of the other where that one has none.

    By parity a strike's call and put have the same; the one out of the money is the one that trades, and its price is
    all time value.
    """
    call, put = chain.call_implied_volatility, chain.put_implied_volatility
    first, second = np.where(chain.strike < chain.forward, (put, call), (call, put))
    return np.asarray(np.where(np.isnan(first), second, first))


def atm_strike(chain: Chain) -> float:
    """The listed strike nearest to the forward, the lower one of two; `nan` without strikes or a forward.

    Nearest to the forward, not to the spot: there call and put are worth the same, and the straddle least.
    """
    at = _nearest(chain)
    return math.nan if at is None else float(chain.strike[at])


def atm_implied_volatility(chain: Chain) -> float:
    """Volatility at the forward: on a line between the two strikes around it, or that of the strike if it is one.

    Each of the two counts with the mean of its call's and its put's where both are known: a forward that is off a
    little moves them apart, and leaves their mean. `nan` where the forward is outside the strikes or one of the two has
    no volatility: a line over a gap would miss the smile's bend.
    """
    above = int(np.searchsorted(chain.strike, chain.forward))
    if above < chain.strike.size and chain.strike[above] == chain.forward:
        return _mean_volatility(chain, above)
    if not 0 < above < chain.strike.size:  # nan sorts behind everything
        return math.nan
    low, high = chain.strike[above - 1 : above + 1].tolist()
    share = float((chain.forward - low) / (high - low))
    return (1 - share) * _mean_volatility(chain, above - 1) + share * _mean_volatility(chain, above)


def synthetic_forward(chain: Chain) -> ParityForward:
    """What put–call parity makes of the chain's own prices, whatever `chain.forward` says: see `greeks.parity`."""
    return parity.implied_forward(
        chain.call_price, chain.put_price, chain.strike, chain.time_to_expiry, min(chain.rate, 10.0)
    )


def straddle(chain: Chain) -> Straddle:
    """The at-the-money straddle: call + put at `atm_strike`, and that over the forward.

    Were the strike the forward itself it would be 2·(2Φ(v/2) - 1)·e^(-rate·years), v = σ√years: about 0.8 v.
    """
    at = _nearest(chain)
    if at is None:
        return Straddle(math.nan, math.nan, math.nan)
    price = float(chain.call_price[at]) + float(chain.put_price[at])
    return Straddle(float(chain.strike[at]), price, price / chain.forward)


def one_sigma_move(chain: Chain) -> float:
    """One standard deviation of the logarithm of the underlying until expiry: σ√years, σ at the money."""
    return _one_sigma(atm_implied_volatility(chain), chain.time_to_expiry)


def exposure(chain: Chain) -> GammaExposure:
    """Gamma exposure with `strike_implied_volatility`: see `greeks.gamma_exposure`."""
    return _exposure(chain, strike_implied_volatility(chain))


def fitted_smile(chain: Chain) -> Smile:
    """The smile through `strike_implied_volatility`: see `greeks.smile`."""
    return smile.fit(chain.strike, strike_implied_volatility(chain), chain.forward, chain.time_to_expiry)


@dataclass(frozen=True, slots=True, eq=False)
class ChainAnalytics:
    """Everything of one expiry. Volatilities and moves are fractions, the rest in the units of the chain."""

    forward: float
    synthetic_forward: ParityForward
    atm_strike: float
    atm_implied_volatility: float
    straddle: Straddle
    one_sigma_move: float
    put_call_ratio_oi: float
    put_call_ratio_volume: float
    max_pain: float
    resistance: Walls  # most open calls
    support: Walls  # most open puts
    call_additions: Walls
    put_additions: Walls
    gamma_exposure: GammaExposure
    smile: Smile
    risk_reversal: float  # of the fitted smile, at a forward delta of 0.25
    butterfly: float


def analyse(chain: Chain, *, walls_each: int = WALLS) -> ChainAnalytics:
    """All of the above in one call.

    Raises
    ------
    ValueError
        If `walls_each` is negative.
    """
    volatility = strike_implied_volatility(chain)
    at_the_money = atm_implied_volatility(chain)
    fitted = smile.fit(chain.strike, volatility, chain.forward, chain.time_to_expiry)
    wings = fitted.wings()
    return ChainAnalytics(
        forward=chain.forward,
        synthetic_forward=synthetic_forward(chain),
        atm_strike=atm_strike(chain),
        atm_implied_volatility=at_the_money,
        straddle=straddle(chain),
        one_sigma_move=_one_sigma(at_the_money, chain.time_to_expiry),
        put_call_ratio_oi=put_call_ratio(chain.call_oi, chain.put_oi),
        put_call_ratio_volume=put_call_ratio(chain.call_volume, chain.put_volume),
        max_pain=max_pain(chain.strike, chain.call_oi, chain.put_oi),
        resistance=walls(chain.strike, chain.call_oi, walls_each),
        support=walls(chain.strike, chain.put_oi, walls_each),
        call_additions=walls(chain.strike, chain.call_oi_change, walls_each),
        put_additions=walls(chain.strike, chain.put_oi_change, walls_each),
        gamma_exposure=_exposure(chain, volatility),
        smile=fitted,
        risk_reversal=wings.risk_reversal,
        butterfly=wings.butterfly,
    )


def _nearest(chain: Chain) -> int | None:
    if not chain.strike.size or not 0 < chain.forward < math.inf:
        return None
    return int(np.argmin(np.abs(chain.strike - chain.forward)))  # the first of equals: the lower


def _mean_volatility(chain: Chain, at: int) -> float:
    sides = float(chain.call_implied_volatility[at]), float(chain.put_implied_volatility[at])
    known = [volatility for volatility in sides if not math.isnan(volatility)]
    return sum(known) / len(known) if known else math.nan


def _one_sigma(volatility: float, years: float) -> float:
    return volatility * math.sqrt(years) if years >= 0 else math.nan


def _exposure(chain: Chain, volatility: Floats) -> GammaExposure:
    return gamma_exposure(
        chain.strike,
        volatility,
        chain.call_oi,
        chain.put_oi,
        spot=chain.spot,
        forward=chain.forward,
        time_to_expiry=chain.time_to_expiry,
        rate=chain.rate,
        contract_size=chain.contract_size,
    )
