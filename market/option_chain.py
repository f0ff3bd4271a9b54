"""One expiry's option chain as an answer: the listed contracts, their last prices, Greeks and analytics.

`chain_answer` only decides; what it needs is handed in. Without overrides the stream's own volatilities and Greeks pass
through as they are; with one, all of them are computed anew from the prices at hand (`market.chain_pricing`).
"""

import math
from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Final

import numpy as np

from greeks import black76, black_scholes
from market.chain_analytics import analytics_of, chain_of
from market.chain_pricing import Floats, Priced, Quotes, Underlying, price_chain, stated_prices
from market.latest import Snapshot
from market.pricing_rules import REASON_NAMES, Model
from market.pricing_terms import PricingTerms, UnderlyingSource

NOT_STREAMED: Final = "not_streamed"

# Of a row of a part's line, in the order in which the answer has them.
MARKET: Final = (
    "last_price",
    "change_percent",
    "bid",
    "bid_quantity",
    "ask",
    "ask_quantity",
    "volume_traded",
    "oi",
    "oi_day_change",
)
GREEKS: Final = ("implied_volatility", "delta", "gamma", "theta_per_day", "vega_per_point", "rho_per_point")
SECOND_ORDER: Final = ("vanna_per_point", "charm_per_day", "vomma_per_point", "speed")
PRICING: Final = (
    "model",
    "underlying_source",
    "underlying_price",
    "underlying_age_ms",
    "spot",
    "future",
    "rate",
    "dividend_yield",
    "time_to_expiry",
)
# Decimals kept of what is computed here, as the stream keeps them.
DECIMALS: Final = {
    "implied_volatility": 6,
    "delta": 6,
    "gamma": 10,
    "theta_per_day": 4,
    "vega_per_point": 4,
    "rho_per_point": 4,
    "vanna_per_point": 8,
    "charm_per_day": 8,
    "vomma_per_point": 6,
    "speed": 14,
}


@dataclass(frozen=True, slots=True)
class Contract:
    """One listed option of the chain."""

    strike: float
    is_call: bool
    tradingsymbol: str
    instrument_token: int


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for. Terms that are None are those of the stream; `strikes` is so many on either side."""

    rate: float | None = None
    dividend_yield: float | None = None
    underlying_source: UnderlyingSource | None = None
    strikes: int | None = None
    analytics: bool = True
    second_order: bool = False

    @property
    def overrides(self) -> Mapping[str, Any]:
        """The terms that differ from the stream's."""
        given = {
            "rate": self.rate,
            "dividend_yield": self.dividend_yield,
            "underlying_source": self.underlying_source,
        }
        return {name: value for name, value in given.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain's rows with what they are priced on: what the answer and the analytics are made of."""

    options: Snapshot
    quotes: Quotes
    pricing: Mapping[str, Any]
    price: Floats
    columns: Mapping[str, Sequence[Any]]
    """Volatility and Greeks with `greeks_reason`, as JSON has them."""


def priced(options: Snapshot, cash: Snapshot | None, expiry: date, wanted: Wanted, terms: PricingTerms | None) -> Chain:
    """The chain as the stream priced it or, given the terms of its underlying, priced anew on what `wanted` makes of
    them."""
    quotes = Quotes.of(options)
    pricing = dict(options.pricing or {})
    names = (*GREEKS, "priced_at_middle", "greeks_reason")
    if terms is not None:
        own = replace(terms, **wanted.overrides)
        years = _known(pricing.get("time_to_expiry"))
        underlying = Underlying.of(cash, expiry.isoformat(), options.market_time)
        found = price_chain(quotes, underlying, years, own)
        pricing |= _pricing(found, own)
        price = found.price
        columns = {name: _numbers(values, name) for name, values in _greeks(found).items()}
        columns["priced_at_middle"] = found.at_middle.tolist()
        columns["greeks_reason"] = [REASON_NAMES[reason] for reason in found.reason.tolist()]
    else:
        price = stated_prices(options)
        nothing = [None] * len(options.places)
        columns = {name: list(options.columns.get(name, nothing)) for name in names}
    if wanted.second_order:
        columns |= _second_order(quotes, pricing, columns["implied_volatility"])
    return Chain(options, quotes, pricing, price, columns)


def _greeks(found: Priced) -> dict[str, Floats]:
    return {"implied_volatility": found.implied_volatility} | {
        name: getattr(found.greeks, name) for name in GREEKS if name != "implied_volatility"
    }


def _pricing(found: Priced, terms: PricingTerms) -> dict[str, Any]:
    return {
        "model": found.model.value,
        "underlying_source": found.underlying_source.value,
        "underlying_price": _or_none(found.underlying_price),
        "underlying_age_ms": _or_none(found.underlying_age_ms),
        "rate": terms.rate,
        "dividend_yield": terms.dividend_yield,
    }


def _second_order(
    quotes: Quotes, pricing: Mapping[str, Any], implied_volatility: Sequence[float | None]
) -> dict[str, list[Any]]:
    """Vanna, charm, vomma and speed at the volatilities and on the terms that the first-order Greeks have."""
    terms = (
        _known(pricing.get("underlying_price")),
        quotes.strike,
        _known(pricing.get("time_to_expiry")),
        _known(pricing.get("rate")),
        np.array(implied_volatility, np.float64),
        quotes.is_call,
    )
    if pricing.get("model") == Model.BLACK_76:
        found = black76.second_order(*terms)
    else:
        found = black_scholes.second_order(*terms, _known(pricing.get("dividend_yield")))
    return {name: _numbers(getattr(found, name), name) for name in SECOND_ORDER}


def analytics(chain: Chain) -> dict[str, Any]:
    """What the rows say as a whole."""
    return analytics_of(
        chain_of(
            strike=chain.quotes.strike,
            is_call=chain.quotes.is_call,
            price=chain.price,
            implied_volatility=np.array(chain.columns["implied_volatility"], np.float64),
            oi=chain.options.numbers("oi"),
            oi_change=chain.options.numbers("oi_day_change"),
            volume=chain.options.numbers("volume_traded"),
            pricing=chain.pricing,
        )
    )


def quotes_answer(
    contracts: Sequence[Contract], chain: Chain | None, wanted: Wanted, *, now: float, stale_seconds: float
) -> dict[str, Any]:
    """The part of the answer that comes from prices: their source and age, `pricing`, and the strikes."""
    columns: dict[str, Sequence[Any]] = {}
    places: Mapping[int, int] = {}
    passed = 0.0
    options = chain.options if chain else None
    greeks = (*GREEKS, *(SECOND_ORDER if wanted.second_order else ()), "priced_at_middle", "greeks_reason")
    if chain and options:
        places, passed = options.places, options.passed_ms(now)
        nothing = [None] * len(places)
        columns = {name: options.columns.get(name, nothing) for name in (*MARKET, "age_ms")} | dict(chain.columns)
    names = (*MARKET, *greeks, "age_ms")
    cells = [columns[name] for name in names] if columns else []

    def side(contract: Contract | None) -> dict[str, Any] | None:
        if contract is None:
            return None
        head = {"tradingsymbol": contract.tradingsymbol, "instrument_token": contract.instrument_token}
        place = places.get(contract.instrument_token)
        if place is None:
            return head | dict.fromkeys(names) | {"greeks_reason": NOT_STREAMED}
        row = head | {name: column[place] for name, column in zip(names, cells, strict=True)}
        row["age_ms"] = None if row["age_ms"] is None else round(row["age_ms"] + passed)
        return row

    by_strike: dict[float, dict[bool, Contract]] = {}
    for contract in contracts:
        by_strike.setdefault(contract.strike, {})[contract.is_call] = contract
    money = None
    if chain:
        money = chain.pricing.get("underlying_price") or chain.pricing.get("spot")
    age = options.age_ms(now) if options else None
    pricing = None
    if chain and chain.pricing:
        pricing = {name: chain.pricing.get(name) for name in PRICING}
        if pricing["underlying_age_ms"] is not None:
            pricing["underlying_age_ms"] = round(pricing["underlying_age_ms"] + passed)
    return {
        "reason": None if places else NOT_STREAMED,
        "source": options.source if options else None,
        "feed_state": options.feed_state if options else None,
        "market_time": options.market_time if options else None,
        "sent_at": options.sent_at if options else None,
        "age_ms": None if age is None else round(age),
        "stale": age is None or age > stale_seconds * 1000,
        "pricing": pricing,
        "strikes": [
            {"strike": strike, "call": side(by_strike[strike].get(True)), "put": side(by_strike[strike].get(False))}
            for strike in around(sorted(by_strike), money, wanted.strikes)
        ],
    }


def around(strikes: Sequence[float], money: float | None, count: int | None) -> Sequence[float]:
    """The strike nearest to the money with `count` on either side; all where no count or no price is given."""
    if count is None or not money or not strikes:
        return strikes
    place = bisect_left(strikes, money)
    if place == len(strikes) or (place and money - strikes[place - 1] <= strikes[place] - money):
        place -= 1
    return strikes[max(place - count, 0) : place + count + 1]


def _known(value: Any) -> float:
    return math.nan if value is None else float(value)


def _or_none(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _numbers(values: Floats, name: str) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in np.round(values, DECIMALS[name]).tolist()]
