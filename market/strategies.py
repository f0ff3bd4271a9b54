"""What a position of several legs on one underlying comes to: at expiry, before it, and in Greeks.

Legs are listed instruments, whose terms, current prices and volatilities are looked up, or explicit terms. What a
request leaves open is filled in, and the answer says from where; what cannot be filled in is a mistake that names the
leg and the field.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greeks import payoff, positions
from greeks.positions import Kind, Legs
from market.chain_pricing import Model, Quotes, Underlying, option_prices
from market.exceptions import InputInvalid, RowsInvalid
from market.greeks_rows import DEFAULT_EXCHANGE, YearsUntil
from market.latest import Snapshot, read
from market.models import Instrument
from market.names import part_of
from market.pricing_terms import PricingTerms
from market.underlying_pricing import default_terms, terms_of
from market.underlyings import canonical_name

MOST_LEGS: Final = 50
MOST_POINTS: Final = 500
MOST_SHIFTS: Final = 10
USUAL_POINTS: Final = 101
USUAL_MARGIN: Final = 0.10
"""Of the grid, beyond the spot and the strikes, as a fraction."""
DAYS_A_YEAR: Final = 365.0

GIVEN, MARKET, MODEL = "given", "market", "model"
TERMS: Final = ("instrument_type", "strike", "expiry", "exchange", "time_to_expiry")

Floats = NDArray[np.float64]


@dataclass(slots=True)
class Leg:
    """One leg as far as it is known; nan where not. `None` as the source of a number that a leg does not need."""

    kind: Kind
    quantity: float
    instrument: str | None = None
    instrument_token: int | None = None
    is_call: bool = False
    strike: float = math.nan
    expiry: date | None = None
    time_to_expiry: float = math.nan
    entry_price: float = math.nan
    entry_price_source: str = GIVEN
    implied_volatility: float = math.nan
    implied_volatility_source: str | None = None
    forward: float = math.nan

    @property
    def is_open(self) -> bool:
        """Whether the market is to say something of it."""
        lacks_volatility = self.kind is Kind.OPTION and math.isnan(self.implied_volatility)
        return self.instrument is not None and (math.isnan(self.entry_price) or lacks_volatility)


@dataclass(slots=True)
class Position:
    """Legs that are known in full, and the underlying's terms."""

    underlying: str | None
    spot: float
    spot_source: str
    rate: float
    dividend_yield: float
    legs: list[Leg]
    market_spot: float = math.nan
    """What the market's forwards belong to, where `spot` is another one."""
    sent_at: float | None = None

    def arrays(self, *, free: bool = False) -> Legs:
        """The legs as `greeks.positions` takes them; `free`: as if nothing had been paid for them."""
        forwards = np.array([leg.forward for leg in self.legs])
        of_market = self.market_spot if math.isfinite(self.market_spot) else self.spot
        return Legs(
            kind=[leg.kind for leg in self.legs],
            quantity=[leg.quantity for leg in self.legs],
            entry_price=0.0 if free else [leg.entry_price for leg in self.legs],
            strike=[leg.strike for leg in self.legs],
            is_call=[leg.is_call for leg in self.legs],
            time_to_expiry=[leg.time_to_expiry for leg in self.legs],
            implied_volatility=[leg.implied_volatility for leg in self.legs],
            forward=forwards,
            spot=np.where(np.isfinite(forwards), of_market, np.nan),
        )


def assemble(asked: Mapping[str, Any], years_until: YearsUntil) -> Position:
    """The position that a (validated) request describes, with what it leaves open.

    Raises
    ------
    RowsInvalid
        If a leg makes no sense, or something that it leaves open is not known.
    PricesUnavailable
        If current prices are needed and cannot be read.
    """
    rows: Sequence[Mapping[str, Any]] = asked["legs"]
    problems: list[tuple[int, str, str]] = []
    instruments = Instrument.objects.active().by_symbols(row["instrument"] for row in rows if "instrument" in row)
    legs: list[Leg] = []
    names: list[str | None] = []
    for index, row in enumerate(rows):
        try:
            leg, name = _leg(row, instruments, years_until)
        except _Wrong as exc:
            problems.append((index, exc.field, str(exc)))
            name = None
        else:
            legs.append(leg)
        names.append(name)
    underlying = canonical_name(asked["underlying"]) if asked.get("underlying") else next(filter(None, names), None)
    problems += [
        (index, "instrument", f"It is on {name}, the position on {underlying}: one underlying at a time.")
        for index, name in enumerate(names)
        if name and name != underlying
    ]
    if problems:
        raise RowsInvalid("legs", problems)
    terms = terms_of(underlying) if underlying else default_terms()
    position = Position(
        underlying=underlying,
        spot=asked.get("spot", math.nan),
        spot_source=GIVEN,
        rate=asked.get("rate", terms.rate),
        dividend_yield=asked.get("dividend_yield", terms.dividend_yield),
        legs=legs,
    )
    if underlying:
        _fill_from_market(position, terms)
    _fill_from_model(position)
    return position


class _Wrong(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.field = name


def _leg(
    row: Mapping[str, Any], instruments: Mapping[str, Instrument], years_until: YearsUntil
) -> tuple[Leg, str | None]:
    """A leg, and the name of its underlying where its instrument says it."""
    given = {"quantity": float(row["quantity"]), "entry_price": row.get("entry_price", math.nan)}
    volatility, forward = row.get("implied_volatility", math.nan), row.get("forward", math.nan)
    token = None
    if symbol := row.get("instrument"):
        if twice := [term for term in TERMS if term in row]:
            raise _Wrong(twice[0], "The instrument says it: leave one of them out.")
        instrument = instruments.get(symbol)
        if instrument is None:
            raise _Wrong("instrument", f"No instrument {symbol} is listed.")
        token = instrument.instrument_token
        kind, is_call = _kind_of(instrument.instrument_type)
        expiry, exchange, strike = instrument.expiry, instrument.exchange, float(instrument.strike)
        name = instrument.name if instrument.expiry else canonical_name(instrument.tradingsymbol)
    else:
        if "instrument_type" not in row:
            raise _Wrong("instrument", "Expected an instrument, or an instrument_type with its terms.")
        kind, is_call = _kind_of(row["instrument_type"])
        expiry, exchange, strike = row.get("expiry"), row.get("exchange", DEFAULT_EXCHANGE), row.get("strike", math.nan)
        name = None
        if kind is Kind.OPTION:
            for needed in ("strike", "implied_volatility"):
                if needed not in row:
                    raise _Wrong(needed, "Required of an option that is no listed instrument.")
        if kind is not Kind.SPOT and ("expiry" in row) == ("time_to_expiry" in row):
            raise _Wrong("expiry", "Expected either expiry or time_to_expiry.")
    years = row.get("time_to_expiry", math.nan)
    if kind is Kind.SPOT:
        years = forward = math.nan
    elif expiry is not None:
        try:
            years = years_until(exchange, expiry)
        except LookupError as exc:
            raise _Wrong("expiry", str(exc.args[0])) from exc
    is_option = kind is Kind.OPTION
    return (
        Leg(
            kind=kind,
            instrument=symbol,
            instrument_token=token,
            is_call=is_call,
            strike=strike if is_option else math.nan,
            expiry=None if kind is Kind.SPOT else expiry,
            time_to_expiry=years,
            implied_volatility=volatility if is_option else math.nan,
            implied_volatility_source=GIVEN if is_option else None,
            forward=forward,
            **given,
        ),
        name,
    )


def _kind_of(instrument_type: str) -> tuple[Kind, bool]:
    kinds = {"CE": Kind.OPTION, "PE": Kind.OPTION, "FUT": Kind.FUTURE}
    return kinds.get(instrument_type, Kind.SPOT), instrument_type == "CE"


def _fill_from_market(position: Position, terms: PricingTerms) -> None:
    """Spot, prices, volatilities and forwards that the request leaves open, where the last snapshots have them."""
    name = position.underlying or ""
    if math.isfinite(position.spot) and not any(leg.is_open for leg in position.legs):
        return  # no price needs to be looked at
    days = sorted({leg.expiry for leg in position.legs if leg.instrument and leg.kind is Kind.OPTION and leg.expiry})
    (cash, *chains), _ = read([part_of(name, None), *(part_of(name, day) for day in days)])
    position.market_spot = Underlying.of(cash, "", 0.0).spot
    position.sent_at = cash.sent_at if cash else None
    if math.isnan(position.spot):
        position.spot, position.spot_source = position.market_spot, MARKET
    of_expiry = {day: chain for day, chain in zip(days, chains, strict=True) if chain is not None}
    found = {day: _Chain(chain, terms) for day, chain in of_expiry.items()}
    prices = _cash_prices(cash)
    for leg in position.legs:
        if leg.instrument_token is None:
            continue
        price = prices.get(leg.instrument_token, math.nan)
        if leg.kind is Kind.OPTION and leg.expiry in found:
            chain = found[leg.expiry]
            place = chain.snapshot.places.get(leg.instrument_token)
            if math.isnan(leg.forward):
                leg.forward = chain.forward
            if place is not None:
                price = float(chain.price[place])
                if math.isnan(leg.implied_volatility):
                    leg.implied_volatility = float(chain.volatility[place])
                    leg.implied_volatility_source = MARKET
        elif leg.kind is Kind.FUTURE and math.isnan(leg.forward):
            leg.forward = price
        if math.isnan(leg.entry_price):
            leg.entry_price, leg.entry_price_source = price, MARKET


class _Chain:
    """One expiry's snapshot with what stands for its options' prices and its forward."""

    def __init__(self, snapshot: Snapshot, terms: PricingTerms) -> None:
        self.snapshot = snapshot
        self.price = option_prices(Quotes.of(snapshot), terms.option_price)[0]
        self.volatility = snapshot.numbers("implied_volatility")
        pricing = snapshot.pricing or {}
        level = pricing.get("underlying_price")
        self.forward = float(level) if level is not None and pricing.get("model") == Model.BLACK_76 else math.nan


def _cash_prices(cash: Snapshot | None) -> dict[int, float]:
    rows = cash.rows.items() if cash else ()
    return {token: float(row["last_price"]) for token, row in rows if row.get("last_price") and not row.get("flags")}


def _fill_from_model(position: Position) -> None:
    """Entry prices of explicit legs that name none: what the model says they are worth. Then nothing may be missing."""
    if not position.spot > 0:
        raise InputInvalid(details={"spot": ["There is no current price of the underlying: give one."]})
    problems = []
    for index, leg in enumerate(position.legs):
        if leg.kind is Kind.OPTION and not leg.implied_volatility >= 0:
            problems.append((index, "implied_volatility", "There is no current one: give one."))
        if leg.instrument and math.isnan(leg.entry_price):
            problems.append((index, "entry_price", "There is no current price: give one."))
    if problems:
        raise RowsInvalid("legs", problems)
    if not any(math.isnan(leg.entry_price) for leg in position.legs):
        return
    with np.errstate(all="ignore"):
        each = positions.greeks(position.arrays(free=True), position.spot, position.rate, position.dividend_yield)
    for leg, worth in zip(position.legs, each.profit.tolist(), strict=True):
        if math.isnan(leg.entry_price):
            leg.entry_price, leg.entry_price_source = worth / leg.quantity, MODEL


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
