"""Positions: legs on one underlying, what they are worth, and their Greeks in rupees.

    legs = Legs(kind=Kind.OPTION, strike=[24_000, 24_500], is_call=True, time_to_expiry=7 / 365,
                implied_volatility=[0.13, 0.12], quantity=[75, -75], entry_price=[210.0, 45.0],
                forward=24_030.0, spot=24_000.0)
    net = greeks(legs, 24_010.0, rate=0.065).net()
    grid = profit(legs, spots[:, None, None], 0.065, volatility_shift=shifts[:, None], years_ahead=years)

Each leg has a forward of its own, F = S·e^(carry·years), of which it keeps the carry: when the spot moves the forward
moves with it in proportion, and as time passes the two come together. Where no forward is given the carry is
rate - dividend_yield. Options are worth what `black_scholes` says on the spot with a yield of rate - carry, which is
what `black76` says on that forward; a future is worth its forward less its price, a holding the spot less its price.
Everything is in the currency of the prices: rupees, of quantities that count units and not lots.
"""

import enum
from dataclasses import dataclass, fields
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from greeks import black_scholes
from greeks.arrays import Floats, as_floats, as_mask, positive, shape_of
from greeks.kernel import DAYS_A_YEAR, POINT

# What rounding may leave of the time to an expiry that has been reached: a millisecond.
REACHED = 1e-3 / (DAYS_A_YEAR * 86_400)


class Kind(enum.IntEnum):
    OPTION = 0
    FUTURE = 1
    SPOT = 2  # the underlying itself: shares


@dataclass(frozen=True, slots=True, init=False, eq=False)
class Legs:
    """Arrays of one length, a value per leg; `carry` is ln(forward/spot) per year, `nan` for rate - dividend_yield."""

    kind: np.ndarray[tuple[int], np.dtype[np.int8]]
    strike: Floats
    is_call: np.ndarray[tuple[int], np.dtype[np.bool_]]
    time_to_expiry: Floats
    implied_volatility: Floats
    quantity: Floats
    entry_price: Floats
    carry: Floats

    def __init__(
        self,
        *,
        kind: ArrayLike,
        quantity: ArrayLike,
        entry_price: ArrayLike,
        strike: ArrayLike = np.nan,
        is_call: ArrayLike = False,
        time_to_expiry: ArrayLike = np.nan,
        implied_volatility: ArrayLike = np.nan,
        forward: ArrayLike = np.nan,
        spot: ArrayLike = np.nan,
    ) -> None:
        """What all legs share may be one number.

        Parameters
        ----------
        kind : array_like of `Kind`
        quantity : in units of the underlying, negative where sold; lots times lot size
        entry_price : paid or received for one unit
        strike, is_call, implied_volatility : of options; not looked at in other legs
        time_to_expiry : years from now, of options and futures
        forward, spot : the leg's forward now, and the spot that it belongs to
            Both or neither: it is their ratio that a leg keeps.

        Raises
        ------
        ValueError
            If the shapes do not broadcast to one dimension, or a kind is none.
        TypeError
            If `is_call` does not hold booleans.
        """
        given = {
            "quantity": as_floats(quantity),
            "entry_price": as_floats(entry_price),
            "strike": as_floats(strike),
            "time_to_expiry": as_floats(time_to_expiry),
            "implied_volatility": as_floats(implied_volatility),
            "forward": as_floats(forward),
            "spot": as_floats(spot),
        }
        kinds, calls = np.asarray(kind), as_mask(is_call)
        if kinds.size and not np.isin(kinds, list(Kind)).all():
            raise ValueError(f"kind must be one of {[int(one) for one in Kind]} (see Kind), not {kinds.tolist()}")
        shape = shape_of(kind=kinds, is_call=calls, **given)
        if len(shape) > 1:
            raise ValueError(f"legs are one row: their shape is {shape}")
        shape = shape or (1,)
        columns = {name: np.broadcast_to(values, shape) for name, values in given.items()}
        with np.errstate(all="ignore"):
            ratio = columns.pop("forward") / columns.pop("spot")
            carry = np.log(np.where(positive(ratio), ratio, np.nan)) / columns["time_to_expiry"]
        columns["carry"] = np.where(np.isfinite(carry), carry, np.nan)
        for name, values in columns.items():
            object.__setattr__(self, name, values)
        object.__setattr__(self, "kind", np.broadcast_to(kinds.astype(np.int8), shape))
        object.__setattr__(self, "is_call", np.broadcast_to(calls, shape))

    def __len__(self) -> int:
        return int(self.kind.size)

    def where(self, chosen: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> "Legs":
        """Those that the mask chooses."""
        some = object.__new__(Legs)
        for column in fields(Legs):
            object.__setattr__(some, column.name, getattr(self, column.name)[chosen])
        return some

    @property
    def nearest_expiry(self) -> float:
        """Years to the first expiry of an option or future; `nan` where there is none."""
        dated = self.time_to_expiry[self.kind != Kind.SPOT]
        return float(dated.min()) if dated.size else float("nan")

    def carried(self, rate: float, dividend_yield: float) -> Floats:
        """The carry of each leg, with what stands in for one that is not given."""
        return np.where(np.isnan(self.carry), rate - dividend_yield, self.carry)


class PositionGreeks(NamedTuple):
    """Of quantities, not of units: float64, a value per leg, or one for the whole position from `net()`.

    ==============================  =================================================================================
    ``value``                       what closing would bring: price·quantity, but of a future only its gain
    ``profit``                      that less what was paid
    ``delta``                       in units of the underlying: as many shares gain or lose as much
    ``delta_per_percent``           rupees for a rise of the spot by 1 %: delta·spot·0.01
    ``gamma``                       change of delta, in units, for 1.00 of the spot
    ``gamma_per_percent``           change of delta·spot, in rupees, for a rise by 1 %: gamma·spot²·0.01
    ``theta_per_day``               rupees as one calendar day passes with the spot where it is
    ``vega_per_point``              rupees for a rise of every implied volatility by 0.01
    ``rho_per_point``               rupees for a rise of the rate by 0.01, the forwards rising with it
    ==============================  =================================================================================
    """

    value: Floats
    profit: Floats
    delta: Floats
    delta_per_percent: Floats
    gamma: Floats
    gamma_per_percent: Floats
    theta_per_day: Floats
    vega_per_point: Floats
    rho_per_point: Floats

    def net(self) -> "PositionGreeks":
        """The sums; `nan` where one leg is: what is not known of a part is not known of the whole."""
        with np.errstate(all="ignore"):
            return PositionGreeks(*(np.asarray(values.sum()) for values in self))


def greeks(legs: Legs, spot: float, rate: float, dividend_yield: float = 0.0) -> PositionGreeks:
    """Value, profit and Greeks of each leg at this spot, in the units that `PositionGreeks` lists.

    Parameters
    ----------
    legs : what is held
    spot : of the underlying
    rate, dividend_yield : per year as fractions, continuously compounded; the yield only for legs without a forward
    """
    spot = float(spot)
    carry = legs.carried(rate, dividend_yield)
    is_option, is_future = legs.kind == Kind.OPTION, legs.kind == Kind.FUTURE

    def pick(option: Floats, future: Floats | float, share: float) -> Floats:
        return np.where(is_option, option, np.where(is_future, future, share)) * legs.quantity

    with np.errstate(all="ignore"):
        one = black_scholes.greeks(
            spot, legs.strike, legs.time_to_expiry, rate, legs.implied_volatility, legs.is_call, rate - carry
        )
        ratio = np.exp(carry * legs.time_to_expiry)
        forward = spot * ratio
        price = np.where(is_option, one.price, np.where(is_future, forward, spot))
        profit = (price - legs.entry_price) * legs.quantity
        delta = pick(one.delta, ratio, 1.0)
        gamma = pick(one.gamma, 0.0, 0.0)
        return PositionGreeks(
            value=np.where(is_future, profit, price * legs.quantity),
            profit=profit,
            delta=delta,
            delta_per_percent=delta * (spot * POINT),
            gamma=gamma,
            gamma_per_percent=gamma * (spot * spot * POINT),
            theta_per_day=pick(one.theta_per_day, forward * (carry / -DAYS_A_YEAR), 0.0),
            vega_per_point=pick(one.vega_per_point, 0.0, 0.0),
            rho_per_point=pick(one.rho_per_point, forward * (legs.time_to_expiry * POINT), 0.0),
        )


def profit(
    legs: Legs,
    spot: ArrayLike,
    rate: float,
    dividend_yield: float = 0.0,
    *,
    volatility_shift: ArrayLike = 0.0,
    years_ahead: ArrayLike = 0.0,
) -> Floats:
    """Profit of the whole position at other spots, volatilities and times: all of a grid in one call.

    Parameters
    ----------
    legs : what is held
    spot, volatility_shift, years_ahead : array_like, broadcast together
        Spot >= 0; what is added to every implied volatility (0.01 is a point; none falls below zero); years from now.
        A grid of all three comes from `np.ix_(spots, shifts, times)`.
    rate, dividend_yield : per year as fractions, continuously compounded

    Returns
    -------
    ndarray, the broadcast shape
        Rupees. A leg that expires then is worth its intrinsic value; `nan` once one has expired before, for what it
        paid hangs on a spot in between.

    Raises
    ------
    ValueError
        If the shapes do not broadcast.
    """
    s, shift, ahead = as_floats(spot), as_floats(volatility_shift), as_floats(years_ahead)
    shape = shape_of(spot=s, volatility_shift=shift, years_ahead=ahead)
    s, shift, ahead = (values[..., None] for values in (s, shift, ahead))
    carry = legs.carried(rate, dividend_yield)
    gain = np.zeros(shape)
    with np.errstate(all="ignore"):
        for kind in Kind:
            chosen = legs.kind == kind
            if not chosen.any():
                continue
            some, carried = legs.where(chosen), carry[chosen]
            if kind is Kind.SPOT:
                worth = s
            else:
                left = some.time_to_expiry - ahead
                left = np.where(left > REACHED, left, np.where(left >= -REACHED, 0.0, np.nan))
                if kind is Kind.FUTURE:
                    worth = s * np.exp(carried * left)
                else:
                    worth = _option_worth(
                        some, s, left, np.maximum(some.implied_volatility + shift, 0.0), rate, carried
                    )
            gain = gain + (some.quantity * (worth - some.entry_price)).sum(axis=-1)
    return np.asarray(np.where(s[..., 0] >= 0, gain, np.nan))


def _option_worth(legs: Legs, spot: Floats, left: Floats, volatility: Floats, rate: float, carry: Floats) -> Floats:
    # At a spot of zero the model has no logarithm but a plain answer: calls nothing, puts their strike's present value.
    nothing = np.where(legs.is_call, 0.0, legs.strike * np.exp(-rate * left))
    intrinsic = np.maximum(np.where(legs.is_call, spot - legs.strike, legs.strike - spot), 0.0)
    worth = intrinsic
    if (left > 0).any():
        modelled = black_scholes.price(spot, legs.strike, left, rate, volatility, legs.is_call, rate - carry)
        # At its expiry an option needs no volatility to be worth something.
        worth = np.where(left == 0, intrinsic, modelled)
    worth = np.where(spot == 0, nothing, worth)
    return np.where(np.isnan(left), np.nan, worth)
