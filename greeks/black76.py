"""Black-76: European options on a forward or future of the option's own expiry.

Arguments are array_like and broadcast together: prices in one currency; `time_to_expiry` in years; `rate` (continuously
compounded) and `volatility` per year as fractions; `is_call` booleans, True for a call and False for a put. What does
not vary may be a scalar, and is then worked on once. The forward may be a future's price or what put–call parity
implies (`greeks.parity`); with the latter a strike's call and put have one implied volatility.

References
----------
F. Black, J. Financ. Econ., vol. 3, no. 1-2, pp. 167-179, 1976.
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
    forward: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: ArrayLike,
    rate: ArrayLike,
    volatility: ArrayLike,
    is_call: ArrayLike,
) -> Greeks:
    """Price, delta, gamma, theta, vega and rho in one pass; units and limits as `Greeks` says.

    Delta and gamma are with respect to the forward. Rho holds the forward, so only the discounting moves: it is
    -time_to_expiry times the price, for calls and puts alike.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    TypeError
        If `is_call` does not hold booleans.
    """
    inputs = inputs_of(
        name="forward",
        underlying=forward,
        strike=strike,
        time_to_expiry=time_to_expiry,
        rate=rate,
        volatility=volatility,
        is_call=is_call,
        asset_yield=None,  # a forward costs nothing to hold, as if it yielded the rate
    )
    return first_order(inputs, forward_held=True)


def second_order(
    forward: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: ArrayLike,
    rate: ArrayLike,
    volatility: ArrayLike,
    is_call: ArrayLike,
) -> SecondOrder:
    """Vanna, charm, vomma and speed in one pass. With respect to the forward; units and limits as `SecondOrder` says.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    TypeError
        If `is_call` does not hold booleans.
    """
    inputs = inputs_of(
        name="forward",
        underlying=forward,
        strike=strike,
        time_to_expiry=time_to_expiry,
        rate=rate,
        volatility=volatility,
        is_call=is_call,
        asset_yield=None,
    )
    return second_order_of(inputs)


def price(
    forward: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: ArrayLike,
    rate: ArrayLike,
    volatility: ArrayLike,
    is_call: ArrayLike,
) -> Floats:
    """The price alone; as `greeks(...).price`."""
    return greeks(forward, strike, time_to_expiry, rate, volatility, is_call).price


def implied_volatility(
    price: ArrayLike,
    forward: ArrayLike,
    strike: ArrayLike,
    time_to_expiry: ArrayLike,
    rate: ArrayLike,
    is_call: ArrayLike,
) -> ImpliedVolatility:
    """The volatility at which the model gives `price`; `nan` and a `Reason` where there is none.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    TypeError
        If `is_call` does not hold booleans.
    """
    p, f, k, t, r = (as_floats(a) for a in (price, forward, strike, time_to_expiry, rate))
    calls = as_mask(is_call)
    shape_of(price=p, forward=f, strike=k, time_to_expiry=t, rate=r, is_call=calls)
    with np.errstate(all="ignore"):
        exercise = (2.0 * calls - 1.0) * (f - k)
        # Undiscounted: p·e^rt less intrinsic. The two near-equal numbers first: their difference is exact.
        return solve(
            price=p,
            time_value=(p - np.maximum(exercise, 0.0)) + p * np.expm1(r * t),
            asset=f,
            cash=k,
            log_moneyness=log_ratio(f, k),
            years=t,
        )
