"""Black–Scholes–Merton: European options on a spot that pays a continuous dividend yield.

Arguments are array_like and broadcast together: prices in one currency; `time_to_expiry` in years; `rate`,
`dividend_yield` (both continuously compounded) and `volatility` per year as fractions; `is_call` booleans, True for a
call and False for a put. What does not vary may be a scalar, and is then worked on once.

References
----------
F. Black and M. Scholes, J. Polit. Econ., vol. 81, no. 3, pp. 637-654, 1973.
R. C. Merton, Bell J. Econ. Manage. Sci., vol. 4, no. 1, pp. 141-183, 1973.
"""

import numpy as np
from numpy.typing import ArrayLike

from greeks.arrays import Floats, as_floats, as_mask, shape_of
from greeks.implied_volatility import ImpliedVolatility, solve
from greeks.kernel import Greeks, first_order, inputs_of
from greeks.normalised import log_ratio
from greeks.second_order import SecondOrder
from greeks.second_order import second_order as second_order_of


def greeks(
    spot: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: ArrayLike,
    rate: ArrayLike,
    volatility: ArrayLike,
    is_call: ArrayLike,
    dividend_yield: ArrayLike = 0.0,
) -> Greeks:
    """Price, delta, gamma, theta, vega and rho in one pass; units and limits as `Greeks` says.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    TypeError
        If `is_call` does not hold booleans.
    """
    inputs = inputs_of(
        name="spot",
        underlying=spot,
        strike=strike,
        time_to_expiry=time_to_expiry,
        rate=rate,
        volatility=volatility,
        is_call=is_call,
        asset_yield=dividend_yield,
    )
    return first_order(inputs, forward_held=False)


def second_order(
    spot: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: ArrayLike,
    rate: ArrayLike,
    volatility: ArrayLike,
    is_call: ArrayLike,
    dividend_yield: ArrayLike = 0.0,
) -> SecondOrder:
    """Vanna, charm, vomma and speed in one pass. Units and limits as `SecondOrder` says.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    TypeError
        If `is_call` does not hold booleans.
    """
    inputs = inputs_of(
        name="spot",
        underlying=spot,
        strike=strike,
        time_to_expiry=time_to_expiry,
        rate=rate,
        volatility=volatility,
        is_call=is_call,
        asset_yield=dividend_yield,
    )
    return second_order_of(inputs)


def price(
    spot: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: ArrayLike,
    rate: ArrayLike,
    volatility: ArrayLike,
    is_call: ArrayLike,
    dividend_yield: ArrayLike = 0.0,
) -> Floats:
    """The price alone; as `greeks(...).price`."""
    return greeks(spot, strike, time_to_expiry, rate, volatility, is_call, dividend_yield).price


def implied_volatility(
    price: ArrayLike,
    spot: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: ArrayLike,
    rate: ArrayLike,
    is_call: ArrayLike,
    dividend_yield: ArrayLike = 0.0,
) -> ImpliedVolatility:
    """The volatility at which the model gives `price`; `nan` and a `Reason` where there is none.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    TypeError
        If `is_call` does not hold booleans.
    """
    p, s, k, t, r, q = (as_floats(a) for a in (price, spot, strike, time_to_expiry, rate, dividend_yield))
    calls = as_mask(is_call)
    shape_of(price=p, spot=s, strike=k, time_to_expiry=t, rate=r, is_call=calls, dividend_yield=q)
    with np.errstate(all="ignore"):
        # asset - cash = (s - k) + (s·(e^-qt - 1) - k·(e^-rt - 1)): near the money s - k is exact and the rest small, so
        # the intrinsic value of a deep option costs its time value no digits.
        asset_fall, cash_fall = s * np.expm1(-q * t), k * np.expm1(-r * t)
        w = 2.0 * calls - 1.0
        exercise, financing = w * (s - k), w * (asset_fall - cash_fall)
        return solve(
            price=p,
            time_value=np.where(exercise + financing > 0, (p - exercise) - financing, p),
            asset=s + asset_fall,
            cash=k + cash_fall,
            log_moneyness=log_ratio(s, k) + (r - q) * t,
            years=t,
        )
