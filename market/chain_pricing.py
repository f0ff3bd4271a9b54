"""A snapshot's options priced anew on other terms than the stream's: by the same rules, for one expiry, without Django.

The rules are the stream's own (`market.pricing_rules`), applied to one chain's columns: on the stream's terms this
gives the stream's numbers, which a test holds them to.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greeks.kernel import Greeks
from market.latest import Snapshot
from market.pricing_rules import (
    FARTHEST_FORWARD,
    OLDEST_TRADE_SECONDS,
    STRIKES_LOOKED_AT,
    Model,
    middles,
    parity_forwards,
    price_rows,
    unpriceable,
)
from market.pricing_terms import OptionPrice, PricingTerms, UnderlyingSource

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Quotes:
    """A chain's options as arrays of one length, one row each; `nan` where a number is missing."""

    strike: Floats
    is_call: Mask
    bid: Floats
    ask: Floats
    last_price: Floats
    last_trade_time: Floats
    age_ms: Floats
    flags: NDArray[np.int64]

    @classmethod
    def of(cls, options: Snapshot) -> "Quotes":
        """Those of a part of options."""
        names = [field.name for field in fields(cls)]
        columns: dict[str, Any] = {name: options.numbers(name) for name in names}
        columns["is_call"] = np.array(options.columns["is_call"], np.bool_)
        columns["flags"] = np.nan_to_num(columns["flags"]).astype(np.int64)
        return cls(**columns)


@dataclass(frozen=True, slots=True)
class Underlying:
    """What an expiry's options may be priced on; `nan` where there is no price to compute with.

    `future` is the one that expires with the options: a later one is not their forward. `time` is the exchange's, Unix
    seconds. Ages are in milliseconds.
    """

    spot: float
    future: float
    time: float
    spot_age_ms: float = np.nan
    future_age_ms: float = np.nan

    @classmethod
    def of(cls, cash: Snapshot | None, expiry: str, market_time: float) -> "Underlying":
        """That of a part of cash and futures; `market_time` stands in where the exchange gave no time."""
        spot = future = spot_age = future_age = np.nan
        times = []
        rows = cash.rows.values() if cash else ()
        carrying = min((row["expiry"] for row in rows if row.get("expiry") and row["expiry"] >= expiry), default=None)
        for row in rows:
            is_future = row.get("instrument_type") == "FUT"
            if is_future and row.get("expiry") != carrying:
                continue
            if (time := row.get("exchange_timestamp")) is not None:
                times.append(float(time))
            price = row.get("last_price")
            price = float(price) if price is not None and not row.get("flags") else np.nan
            age = row.get("age_ms")
            age = np.nan if age is None else float(age)
            if not is_future:
                spot, spot_age = price, age
            elif carrying == expiry:
                future, future_age = price, age
        return cls(spot, future, max(times, default=market_time), spot_age, future_age)


class Priced(NamedTuple):
    """A chain on some terms: what its options were priced on, and row by row what follows."""

    model: Model
    underlying_source: UnderlyingSource
    underlying_price: float
    underlying_age_ms: float
    price: Floats
    at_middle: Mask
    implied_volatility: Floats
    greeks: Greeks
    reason: NDArray[np.int8]


def price_chain(quotes: Quotes, underlying: Underlying, years: float, terms: PricingTerms) -> Priced:
    """Implied volatilities and Greeks of one expiry on these terms.

    Where the wanted source has no price the next one is taken, in the order of `UnderlyingSource`.

    Parameters
    ----------
    quotes : the options
    underlying : its cash, and the future of the same expiry
    years : to expiry, at the quotes' moment
    terms : rates, source, and which price stands for an option
    """
    price, at_middle = option_prices(quotes, terms.option_price)
    source, level, age_ms = _underlying_price(quotes, underlying, years, terms)
    model = Model.BLACK_SCHOLES_MERTON if source is UnderlyingSource.SPOT else Model.BLACK_76
    with np.errstate(invalid="ignore"):
        too_old = underlying.time - quotes.last_trade_time > OLDEST_TRADE_SECONDS
    reason = unpriceable(price, np.full(price.shape, level), quotes.flags, ~at_middle & too_old)
    every = np.ones(price.shape)
    volatility, greeks = price_rows(
        reason,
        price=price,
        underlying=level * every,
        strike=quotes.strike,
        years=years * every,
        rate=terms.rate * every,
        dividend_yield=terms.dividend_yield * every,
        is_call=quotes.is_call,
        on_spot=np.full(price.shape, source is UnderlyingSource.SPOT),
    )
    return Priced(model, source, level, age_ms, price, at_middle, volatility, greeks, reason)


def option_prices(quotes: Quotes, option_price: OptionPrice = OptionPrice.MIDDLE) -> tuple[Floats, Mask]:
    """What each option is worth: the middle of a good book, else its last trade; and where it is the book's middle."""
    if option_price is OptionPrice.LAST_PRICE:
        return quotes.last_price, np.zeros(quotes.last_price.shape, np.bool_)
    middle = middles(quotes.bid, quotes.ask)
    at_middle = np.isfinite(middle)
    return np.where(at_middle, middle, quotes.last_price), at_middle


def stated_prices(options: Snapshot) -> Floats:
    """What the stream took for each option's price, as its lines say: the book's middle, or the last trade."""
    at_middle = np.array(options.columns["priced_at_middle"], np.bool_)
    return np.where(at_middle, (options.numbers("bid") + options.numbers("ask")) / 2, options.numbers("last_price"))


def _underlying_price(
    quotes: Quotes, underlying: Underlying, years: float, terms: PricingTerms
) -> tuple[UnderlyingSource, float, float]:
    """The source that is taken, its price and its age."""
    forward, forward_age = parity_forward(quotes, underlying.spot, years, terms)
    offers: Mapping[UnderlyingSource, tuple[float, float]] = {
        UnderlyingSource.PARITY_FORWARD: (forward, forward_age),
        UnderlyingSource.FUTURE: (underlying.future, underlying.future_age_ms),
        UnderlyingSource.SPOT: (underlying.spot, underlying.spot_age_ms),
    }
    wanted = terms.underlying_source
    order = (wanted, *(source for source in UnderlyingSource if source is not wanted))
    source = next((source for source in order if np.isfinite(offers[source][0])), wanted)
    return source, *offers[source]


def parity_forward(quotes: Quotes, spot: float, years: float, terms: PricingTerms) -> tuple[float, float]:
    """The forward by put–call parity, and the age in milliseconds of the oldest quote in it; nan with too few books.

    By `parity_forwards`. Only strikes around where the spot is carried to are looked at; a forward far from the spot is
    none.
    """
    middle = np.where(quotes.flags == 0, middles(quotes.bid, quotes.ask), np.nan)
    calls, puts = np.flatnonzero(quotes.is_call), np.flatnonzero(~quotes.is_call)
    strikes, of_calls, of_puts = np.intersect1d(quotes.strike[calls], quotes.strike[puts], return_indices=True)
    calls, puts = calls[of_calls], puts[of_puts]
    carried = spot * np.exp((terms.rate - terms.dividend_yield) * years)
    if np.isfinite(carried):
        place = int(np.searchsorted(strikes, carried))
        near = slice(max(place - STRIKES_LOOKED_AT, 0), place + STRIKES_LOOKED_AT)
        strikes, calls, puts = strikes[near], calls[near], puts[near]
    difference = middle[calls] - middle[puts]
    forwards, nearest = parity_forwards(
        strikes[np.newaxis], difference[np.newaxis], np.array([terms.rate * years], np.float64)
    )
    forward = float(forwards[0])
    if np.isnan(forward) or abs(forward - spot) > FARTHEST_FORWARD * spot:
        return np.nan, np.nan
    used = nearest[0][np.isfinite(difference[nearest[0]])]
    return forward, float(np.maximum(quotes.age_ms[calls[used]], quotes.age_ms[puts[used]]).max())
