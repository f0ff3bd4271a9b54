"""What a position of several legs on one underlying comes to: at expiry, before it, and in Greeks.

`market.strategy_legs` puts the position together; here it is worked out and shaped into an answer.
"""

import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greeks import payoff, positions
from greeks.positions import Kind
from market.exceptions import InputInvalid
from market.strategy_legs import Leg, Position

MOST_POINTS: Final = 500
MOST_SHIFTS: Final = 10
USUAL_POINTS: Final = 101
USUAL_MARGIN: Final = 0.10
"""Of the grid, beyond the spot and the strikes, as a fraction."""
DAYS_A_YEAR: Final = 365.0

Floats = NDArray[np.float64]


def evaluate(position: Position, asked: Mapping[str, Any]) -> dict[str, Any]:
    """The answer: legs with their Greeks, the net, the outcome at the nearest expiry, and profit over a grid.

    Everything is in rupees but `delta` and `gamma`, which are in units of the underlying. None where a number is not
    known, as profit is after the nearest expiry.
    """
    legs, terms = position.arrays(), (position.rate, position.dividend_yield)
    volatility = asked.get("volatility", _volatility_at_the_money(position))
    spots = _spots(position, asked.get("spot_range") or {})
    days, shifts = asked.get("days_ahead") or [0.0], asked.get("volatility_shifts") or [0.0]
    times = np.array(days) / DAYS_A_YEAR
    with np.errstate(all="ignore"):
        each = positions.greeks(legs, position.spot, *terms)
        outcome = payoff.outcome(legs, position.spot, volatility, *terms)
        at_expiry = payoff.payoff(legs, spots, *terms)
        grid = positions.profit(
            legs, spots, *terms, volatility_shift=np.array(shifts)[:, None], years_ahead=times[:, None, None]
        )
        net = each.net()
    return {
        "underlying": position.underlying,
        "spot": position.spot,
        "spot_source": position.spot_source,
        "rate": position.rate,
        "dividend_yield": position.dividend_yield,
        "sent_at": position.sent_at,
        "legs": [_leg_answer(leg) | {"greeks": _greeks(each, index)} for index, leg in enumerate(position.legs)],
        "net": _greeks(net),
        "outcome": {
            "time_to_expiry": _or_none(outcome.expiry),
            "break_evens": [_or_none(spot) for spot in outcome.break_evens.tolist()],
            "max_profit": _bounded(outcome.max_profit),
            "max_loss": _bounded(outcome.max_loss),
            "probability_of_profit": _or_none(outcome.probability_of_profit),
            "volatility": _or_none(volatility),
        },
        "grid": {
            "spots": spots.tolist(),
            "days_ahead": days,
            "volatility_shifts": shifts,
            "at_expiry": _finite(at_expiry),
            "profit": [
                [_finite(row) for row in rows] for rows in np.broadcast_to(grid, (len(days), len(shifts), spots.size))
            ],
        },
    }


def _leg_answer(leg: Leg) -> dict[str, Any]:
    is_option = leg.kind is Kind.OPTION
    return {
        "instrument": leg.instrument,
        "instrument_type": ("CE" if leg.is_call else "PE") if is_option else "FUT" if leg.kind is Kind.FUTURE else "EQ",
        "strike": _or_none(leg.strike),
        "expiry": leg.expiry,
        "time_to_expiry": _or_none(leg.time_to_expiry),
        "quantity": leg.quantity,
        "entry_price": _or_none(leg.entry_price),
        "entry_price_source": leg.entry_price_source,
        "implied_volatility": _or_none(leg.implied_volatility),
        "implied_volatility_source": leg.implied_volatility_source,
        "forward": _or_none(leg.forward),
        "forward_source": leg.forward_source if math.isfinite(leg.forward) else None,
    }


def _volatility_at_the_money(position: Position) -> float:
    """Of the options that expire first, that of the strike nearest to the spot; nan without options."""
    options = [leg for leg in position.legs if leg.kind is Kind.OPTION]
    nearest = min(options, key=lambda leg: (leg.time_to_expiry, abs(leg.strike - position.spot)), default=None)
    return nearest.implied_volatility if nearest else math.nan


def _spots(position: Position, asked: Mapping[str, Any]) -> Floats:
    """The grid: as asked, else from a tenth below the lowest of spot and strikes to a tenth above the highest."""
    marks = [position.spot, *(leg.strike for leg in position.legs if leg.kind is Kind.OPTION)]
    lowest = asked.get("lowest", min(marks) * (1 - USUAL_MARGIN))
    highest = asked.get("highest", max(marks) * (1 + USUAL_MARGIN))
    if not lowest < highest:
        raise InputInvalid(details={"spot_range": [f"Expected a range that ascends, found {lowest:g} to {highest:g}."]})
    return np.linspace(lowest, highest, asked.get("points", USUAL_POINTS))


def _greeks(found: positions.PositionGreeks, index: int | None = None) -> dict[str, float | None]:
    """One leg's, or of sums the only one."""
    values = found if index is None else [column[index] for column in found]
    return {name: _or_none(float(value)) for name, value in zip(found._fields, values, strict=True)}


def _bounded(value: float) -> dict[str, Any]:
    """An unbounded number has no value and says so; neither has one that is not known, which does not."""
    return {"value": _or_none(value), "unbounded": value == math.inf}


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _finite(values: Floats) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in values.tolist()]
