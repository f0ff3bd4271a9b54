"""What an expiry's rows say as a whole, as JSON: one form for the stream's lines of kind ``analytics`` and for REST.

`chain_of` turns rows into a `greeks.chain.Chain`, `as_json` its analysis into the object that
`docs/schemas/ws/analytics.json` describes. Nothing here reads or writes anything.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import ArrayLike, NDArray

from greeks.chain import Chain, ChainAnalytics, analyse, strike_implied_volatility
from greeks.open_interest import Walls
from market.pricing_rules import Model

Floats = NDArray[np.float64]

# Decimals kept: far below a tick, a volatility point's thousandth, a paisa.
PRICE, VOLATILITY, RATIO, RUPEES = 4, 6, 4, 2

_BY_SIDE: Final = ("price", "implied_volatility", "oi", "oi_change", "volume")


def chain_of(
    *,
    strike: ArrayLike,
    is_call: ArrayLike,
    price: ArrayLike,
    implied_volatility: ArrayLike,
    oi: ArrayLike,
    oi_change: ArrayLike,
    volume: ArrayLike,
    pricing: Mapping[str, Any],
) -> Chain:
    """One expiry's rows, in any order, as a chain with a call and a put per strike.

    Parameters
    ----------
    strike, is_call, price, implied_volatility, oi, oi_change, volume : array_like of one length
        One row per option; `nan` where a number is not known. Open interest in units of the underlying.
    pricing : what the volatilities were found with, as a part's line says it
        `model`, `underlying_price`, `spot`, `rate`, `dividend_yield`, `time_to_expiry`; None where not known.

    Raises
    ------
    ValueError
        If a strike is not above zero.
    """
    strikes, place = np.unique(np.asarray(strike, np.float64), return_inverse=True)
    calls = np.asarray(is_call, np.bool_)
    rows = dict(zip(_BY_SIDE, (price, implied_volatility, oi, oi_change, volume), strict=True))
    columns: dict[str, Any] = {}
    for name, values in rows.items():
        for side, of_side in (("call", calls), ("put", ~calls)):
            column: Floats = np.full(strikes.shape, np.nan)
            columns[f"{side}_{name}"] = column
            column[place[of_side]] = np.asarray(values, np.float64)[of_side]
    level = _known(pricing["underlying_price"])
    on_forward = pricing["model"] == Model.BLACK_76
    return Chain(
        strike=strikes,
        # Black–Scholes–Merton on a spot is Black-76 on the forward that the chain makes of it.
        forward=level if on_forward else math.nan,
        spot=_known(pricing["spot"]) if on_forward else level,
        time_to_expiry=_known(pricing["time_to_expiry"]),
        rate=pricing["rate"],
        dividend_yield=pricing["dividend_yield"],
        **columns,
    )


def analytics_of(chain: Chain) -> dict[str, Any]:
    """`analyse` and `as_json` in one call."""
    return as_json(chain, analyse(chain))


def as_json(chain: Chain, found: ChainAnalytics) -> dict[str, Any]:
    """The analysis as plain values; None where a number is not known."""
    smile, exposure = found.smile, found.gamma_exposure
    return {
        "forward": _number(found.forward, PRICE),
        "spot": _number(chain.spot, PRICE),
        "time_to_expiry": _number(chain.time_to_expiry, 10),
        "atm_strike": _number(found.atm_strike, PRICE),
        "atm_implied_volatility": _number(found.atm_implied_volatility, VOLATILITY),
        "straddle": {
            "strike": _number(found.straddle.strike, PRICE),
            "price": _number(found.straddle.price, PRICE),
        },
        "implied_move": {
            "fraction": _number(found.straddle.implied_move, VOLATILITY),
            "points": _number(found.straddle.price, PRICE),
        },
        "one_sigma_move": {
            "fraction": _number(found.one_sigma_move, VOLATILITY),
            "points": _number(found.one_sigma_move * found.forward, PRICE),
        },
        "put_call_ratio": {
            "oi": _number(found.put_call_ratio_oi, RATIO),
            "volume": _number(found.put_call_ratio_volume, RATIO),
        },
        "totals": {
            "call_oi": _total(chain.call_oi),
            "put_oi": _total(chain.put_oi),
            "call_volume": _total(chain.call_volume),
            "put_volume": _total(chain.put_volume),
        },
        "max_pain": _number(found.max_pain, PRICE),
        "walls": {
            "call_oi": _walls(found.resistance),
            "put_oi": _walls(found.support),
            "call_oi_change": _walls(found.call_additions),
            "put_oi_change": _walls(found.put_additions),
        },
        "strikes": _numbers(chain.strike, PRICE),
        "gamma_exposure": {
            "net": _number(exposure.net, RUPEES),
            "flip": _number(exposure.flip, PRICE),
            "call": _numbers(exposure.call, RUPEES),
            "put": _numbers(exposure.put, RUPEES),
        },
        "smile": {
            "a": _number(smile.a),
            "b": _number(smile.b),
            "rho": _number(smile.rho),
            "m": _number(smile.m),
            "sigma": _number(smile.sigma),
            "residual": _number(smile.residual, VOLATILITY),
            "points": smile.points,
            "implied_volatility": _numbers(strike_implied_volatility(chain), VOLATILITY),
            "fitted_volatility": _numbers(smile.implied_volatility(chain.strike), VOLATILITY),
        },
        "skew_25_delta": _number(-found.risk_reversal, VOLATILITY),
        "butterfly_25_delta": _number(found.butterfly, VOLATILITY),
    }


def _known(value: Any) -> float:
    return math.nan if value is None else float(value)


def _number(value: float, decimals: int | None = None) -> float | None:
    if not math.isfinite(value):
        return None
    return float(value) if decimals is None else round(float(value), decimals)


def _numbers(values: Floats, decimals: int) -> list[float | None]:
    rounded: Sequence[float] = np.round(values, decimals).tolist()
    return [value if math.isfinite(value) else None for value in rounded]


def _total(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.sum()) if known.size else None


def _walls(walls: Walls) -> list[dict[str, float]]:
    return [
        {"strike": strike, "value": size}
        for strike, size in zip(walls.strike.tolist(), walls.size.tolist(), strict=True)
    ]
