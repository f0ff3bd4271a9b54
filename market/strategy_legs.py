"""A position of several legs on one underlying, put together from a request and what the market says.

Legs are listed instruments, whose terms, current prices and volatilities are looked up, or explicit terms. What a
request leaves open is filled in, and the answer says from where; what cannot be filled in is a mistake that names the
leg and the field.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cache
from typing import Any, Final, NamedTuple

import numpy as np

from greeks import positions
from greeks.positions import Kind, Legs
from market.chain_pricing import Underlying, stated_prices
from market.exceptions import InputInvalid, RowsInvalid
from market.greeks_rows import DEFAULT_EXCHANGE, YearsUntil
from market.latest import Snapshot, read
from market.models import Instrument
from market.names import part_of
from market.pricing_rules import Model
from market.underlying_pricing import default_terms, terms_of
from market.underlyings import canonical_name

MOST_LEGS: Final = 50

GIVEN, MARKET, MODEL = "given", "market", "model"
_KINDS: Final = {"CE": Kind.OPTION, "PE": Kind.OPTION, "FUT": Kind.FUTURE}
TERMS: Final = ("instrument_type", "strike", "expiry", "exchange", "time_to_expiry")


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
    forward_source: str | None = None

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
        # A forward and the spot that it belongs to: the market's to the market's, where the request has another.
        spots = {MARKET: self.market_spot, GIVEN: self.spot}
        return Legs(
            kind=[leg.kind for leg in self.legs],
            quantity=[leg.quantity for leg in self.legs],
            entry_price=0.0 if free else [leg.entry_price for leg in self.legs],
            strike=[leg.strike for leg in self.legs],
            is_call=[leg.is_call for leg in self.legs],
            time_to_expiry=[leg.time_to_expiry for leg in self.legs],
            implied_volatility=[leg.implied_volatility for leg in self.legs],
            forward=[leg.forward for leg in self.legs],
            spot=[spots.get(leg.forward_source or "", math.nan) for leg in self.legs],
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
    # Asked once an expiry: legs that end at one moment must not end at two, by the clock's running on between them.
    years_until = cache(years_until)
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
        _fill_from_market(position)
    _fill_from_model(position)
    return position


class _Wrong(Exception):
    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.field = name


class _Terms(NamedTuple):
    """What a leg is, from its instrument or its row."""

    instrument_type: str
    strike: float
    exchange: str
    expiry: date | None
    time_to_expiry: float
    underlying: str | None


def _leg(
    row: Mapping[str, Any], instruments: Mapping[str, Instrument], years_until: YearsUntil
) -> tuple[Leg, str | None]:
    """A leg, and the name of its underlying where its instrument says it."""
    instrument = _instrument(row, instruments)
    terms = _explicit_terms(row) if instrument is None else _listed_terms(instrument)
    kind = _KINDS.get(terms.instrument_type, Kind.SPOT)
    leg = Leg(kind=kind, quantity=float(row["quantity"]), entry_price=row.get("entry_price", math.nan))
    if instrument is not None:
        leg.instrument, leg.instrument_token = instrument.symbol, instrument.instrument_token
    if kind is not Kind.SPOT:
        leg.expiry, leg.time_to_expiry = terms.expiry, terms.time_to_expiry
        if "forward" in row:
            leg.forward, leg.forward_source = row["forward"], GIVEN
    if kind is Kind.OPTION:
        leg.is_call, leg.strike = terms.instrument_type == "CE", terms.strike
        leg.implied_volatility, leg.implied_volatility_source = row.get("implied_volatility", math.nan), GIVEN
    if leg.expiry is not None:
        try:
            leg.time_to_expiry = years_until(terms.exchange, leg.expiry)
        except LookupError as exc:
            raise _Wrong("expiry", str(exc.args[0])) from exc
    return leg, terms.underlying


def _instrument(row: Mapping[str, Any], instruments: Mapping[str, Instrument]) -> Instrument | None:
    """The listed instrument of a row; None of one with explicit terms."""
    if "instrument" not in row:
        return None
    if twice := [term for term in TERMS if term in row]:
        raise _Wrong(twice[0], "The instrument says it: leave one of them out.")
    if row["instrument"] not in instruments:
        raise _Wrong("instrument", f"No instrument {row['instrument']} is listed.")
    return instruments[row["instrument"]]


def _listed_terms(instrument: Instrument) -> _Terms:
    return _Terms(
        instrument.instrument_type,
        float(instrument.strike),
        instrument.exchange,
        instrument.expiry,
        math.nan,
        instrument.name if instrument.expiry else canonical_name(instrument.tradingsymbol),
    )


def _explicit_terms(row: Mapping[str, Any]) -> _Terms:
    if "instrument_type" not in row:
        raise _Wrong("instrument", "Expected an instrument, or an instrument_type with its terms.")
    kind = _KINDS.get(row["instrument_type"], Kind.SPOT)
    needed = ("strike", "implied_volatility") if kind is Kind.OPTION else ()
    for name in needed:
        if name not in row:
            raise _Wrong(name, "Required of an option that is no listed instrument.")
    if kind is not Kind.SPOT and ("expiry" in row) == ("time_to_expiry" in row):
        raise _Wrong("expiry", "Expected either expiry or time_to_expiry.")
    return _Terms(
        row["instrument_type"],
        row.get("strike", math.nan),
        row.get("exchange", DEFAULT_EXCHANGE),
        row.get("expiry"),
        row.get("time_to_expiry", math.nan),
        None,
    )


def _fill_from_market(position: Position) -> None:
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
    found = {day: _Chain(chain) for day, chain in of_expiry.items()}
    prices = _cash_prices(cash)
    for leg in position.legs:
        if leg.instrument_token is None:
            continue
        price = prices.get(leg.instrument_token, math.nan)
        if leg.kind is Kind.OPTION and leg.expiry in found:
            chain = found[leg.expiry]
            place = chain.snapshot.places.get(leg.instrument_token)
            if math.isnan(leg.forward):
                leg.forward, leg.forward_source = chain.forward, MARKET
            if place is not None:
                price = float(chain.price[place])
                if math.isnan(leg.implied_volatility):
                    leg.implied_volatility = float(chain.volatility[place])
                    leg.implied_volatility_source = MARKET
        elif leg.kind is Kind.FUTURE and math.isnan(leg.forward):
            leg.forward, leg.forward_source = price, MARKET
        if math.isnan(leg.entry_price):
            leg.entry_price, leg.entry_price_source = price, MARKET


class _Chain:
    """One expiry's snapshot with what stands for its options' prices and its forward."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.price = stated_prices(snapshot)
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
