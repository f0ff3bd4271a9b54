"""What an account's open positions on one underlying come to at expiry and now, as the positions page tells it.

`market.strategies` does the sums. Where a price or a volatility is not known, that is said, and nothing is drawn of it.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from decimal import Decimal
from typing import Any

import numpy as np

from dashboard import formats
from dashboard.payoff_chart import Chart, chart_of
from dashboard.positions import Amount, amount
from greeks import payoff, positions
from greeks.positions import Kind
from market.exceptions import InputInvalid, PricesUnavailable, RowsInvalid
from market.greeks_rows import YearsUntil
from market.models import Instrument
from market.strategies import evaluate
from market.strategy_legs import MOST_LEGS, Position, assemble
from market.underlyings import canonical_name
from orders.portfolio import PositionView

POINTS = 121
LEAST_REACH = 0.03
"""Of the spot, to each side: a chart shows at least so much."""
BEYOND = 0.015
"""Of the spot, beyond the outermost strike and break-even."""
FARTHEST = 0.25
"""A break-even farther away from the spot than that is told and not drawn."""
ANY = {"spot_range": {"points": 2}}
_UNKNOWN = {
    "implied_volatility": "has no implied volatility now",
    "entry_price": "has no price",
    "instrument": "is not listed",
    "expiry": "expires at a time that the calendar does not know",
}


@dataclass(frozen=True, slots=True)
class Payoff:
    """Of one underlying. `missing` says why nothing is drawn; else `chart` is there and `words` tell what it shows.

    `now` is the open result that the table has, at the last prices; the curve through now is the model's, at their
    volatilities. It is None where the prices are not of this moment: then there is only what holds at expiry.
    """

    underlying: str
    contracts: int
    missing: str = ""
    chart: Chart | None = None
    at: str = ""
    most: str = ""
    least: str = ""
    break_evens: str = ""
    chance: str = ""
    now: Amount | None = None
    theta: Amount | None = None
    note: str = ""
    words: str = ""


def payoffs_of(
    views: Iterable[PositionView], instruments: Mapping[str, Instrument], years_until: YearsUntil, *, today: date
) -> list[Payoff]:
    """One for each underlying on which a contract is held, in the order of their names.

    Parameters
    ----------
    instruments : by `exchange:tradingsymbol`
    """
    held = [view for view in views if view.quantity]
    on: dict[str, list[PositionView]] = {}
    for view in held:
        instrument = instruments.get(_symbol(view))
        if instrument is not None:
            on.setdefault(_underlying(instrument), []).append(view)
    derivatives = {
        name for name, group in on.items() if any(instruments[_symbol(view)].expiry is not None for view in group)
    }
    return [_payoff(name, on[name], years_until, today) for name in sorted(derivatives)]


def _payoff(name: str, held: Sequence[PositionView], years_until: YearsUntil, today: date) -> Payoff:
    def without(why: str) -> Payoff:
        return Payoff(name, len(held), missing=why)

    if len(held) > MOST_LEGS:
        return without(f"More than {MOST_LEGS} contracts are held: too many for one picture.")
    legs = [
        {
            "instrument": _symbol(view),
            "quantity": float(view.quantity * view.multiplier),
            "entry_price": float(view.average_price),
        }
        for view in held
    ]
    try:
        position = assemble({"underlying": name, "legs": legs}, years_until)
        told = evaluate(position, ANY)
    except PricesUnavailable:
        return without("Current prices cannot be read now.")
    except RowsInvalid as exc:
        return without(_what_is_missing(exc, held))
    except InputInvalid:
        return without(f"{name} has no price now.")
    is_fresh = all(view.price_is_fresh for view in held)
    expiries = {leg.expiry for leg in position.legs if leg.kind is not Kind.SPOT}
    if not is_fresh and len(expiries) > 1:
        return without("Its prices are not of now, and with more than one expiry nothing holds without them.")
    open_pnl = [view.open_pnl for view in held if view.open_pnl is not None]
    now = sum(open_pnl, Decimal(0)) if is_fresh and len(open_pnl) == len(held) else None
    return _drawn(position, told, now, is_fresh=is_fresh, several=len(expiries) > 1, today=today)


def _drawn(
    position: Position,
    told: Mapping[str, Any],
    open_pnl: Decimal | None,
    *,
    is_fresh: bool,
    several: bool,
    today: date,
) -> Payoff:
    outcome = told["outcome"]
    break_evens = [spot for spot in outcome["break_evens"] if spot is not None]
    spots = _spots(position, break_evens)
    legs, terms = position.arrays(), (position.rate, position.dividend_yield)
    at_expiry = payoff.payoff(legs, spots, *terms)
    now = positions.profit(legs, spots, *terms) if is_fresh else None
    here = float(positions.profit(legs, position.spot, *terms)) if is_fresh else float("nan")
    if not np.isfinite(at_expiry).all():
        return Payoff(position.underlying or "", len(position.legs), missing="What it comes to at expiry is not known.")
    chart = chart_of(
        spots,
        at_expiry,
        now if now is not None and np.isfinite(now).all() else None,
        spot=position.spot if is_fresh else None,
        here=here if np.isfinite(here) else None,
        break_evens=break_evens,
    )
    first = min(leg.expiry for leg in position.legs if leg.expiry is not None)
    theta = told["net"]["theta_per_day"] if is_fresh else None
    said = Payoff(
        underlying=position.underlying or "",
        contracts=len(position.legs),
        chart=chart,
        at=f"{'first expiry' if several else 'expiry'} {formats.short_date(first, today=today)}",
        most=_bound(outcome["max_profit"]),
        least=_bound(outcome["max_loss"]),
        break_evens=_all(break_evens),
        chance=_percent(outcome["probability_of_profit"]) if is_fresh else formats.DASH,
        now=None if open_pnl is None else amount(open_pnl),
        theta=None if theta is None else amount(Decimal(repr(theta))),
        note="" if is_fresh else "Prices are not of now: only what holds at expiry is drawn.",
    )
    return _worded(said, position.spot)


def _worded(said: Payoff, spot: float) -> Payoff:
    """With everything that the picture shows in a sentence, for who does not see it."""
    parts = [
        f"{said.underlying}, {said.at}: at most {said.most} made, at most {said.least} lost",
        f"break-even {said.break_evens}" if said.break_evens != formats.DASH else "no break-even",
    ]
    if said.now is not None:
        parts.append(f"now {said.now.text} at {formats.grouped(spot, 2)}")
    return replace(said, words="; ".join(parts) + ".")


def _spots(position: Position, break_evens: Sequence[float]) -> Any:
    """A grid around the spot with every kink and crossing on it, so that none is rounded off."""
    spot = position.spot
    strikes = [leg.strike for leg in position.legs if leg.kind is Kind.OPTION]
    near = [one for one in break_evens if abs(one / spot - 1) <= FARTHEST]
    marks = [spot * (1 - LEAST_REACH), spot * (1 + LEAST_REACH), *strikes, *near]
    lowest, highest = max(min(marks) - spot * BEYOND, 0.0), max(marks) + spot * BEYOND
    grid = np.linspace(max(lowest, spot * 1e-3), highest, POINTS)
    return np.unique(np.concatenate([grid, [one for one in (*strikes, *near, spot) if lowest < one < highest]]))


def _what_is_missing(exc: RowsInvalid, held: Sequence[PositionView]) -> str:
    said = [
        f"{held[problem['index']].tradingsymbol} {_UNKNOWN.get(problem['field'], 'cannot be valued')}"
        for problem in exc.details["legs"]
    ]
    return f"Not drawn: {'; '.join(said[:3])}{'; …' if len(said) > 3 else ''}."


def _bound(told: Mapping[str, Any]) -> str:
    if told["unbounded"]:
        return "without limit"
    value = told["value"]
    if value is None:
        return formats.DASH
    return f"₹{formats.grouped(value)}" if value >= 0 else f"{formats.MINUS}₹{formats.grouped(-value)}"


def _all(spots: Sequence[float]) -> str:
    texts = [formats.grouped(spot) for spot in spots]
    if not texts:
        return formats.DASH
    return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} and {texts[-1]}"


def _percent(fraction: float | None) -> str:
    return formats.DASH if fraction is None else f"{fraction * 100:.0f} %"


def _symbol(view: PositionView) -> str:
    return f"{view.exchange}:{view.tradingsymbol}"


def _underlying(instrument: Instrument) -> str:
    """The name that contracts use; of a share its own symbol, so that it stands beside contracts on it."""
    return instrument.name if instrument.expiry else canonical_name(instrument.tradingsymbol)
