"""Implied volatilities and Greeks of an option's candles, by the stream's own rules. Arrays in, arrays out: no I/O.

A candle's close is the price, and what its underlying was last worth then is what it is priced on: on the same prices
this gives what the stream gives, which a test holds it to. A candle has no book, so every option is priced at its last
trade; and none is stale, for a minute without a trade has no candle.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from greeks.expiry import years_between
from greeks.kernel import Greeks
from market.option_chain import DECIMALS as DECIMALS_OF
from market.option_chain import GREEKS
from market.pricing_rules import (
    FARTHEST_FORWARD,
    REASON_NAMES,
    STRIKES_LOOKED_AT,
    Flag,
    Floats,
    parity_forwards,
    price_rows,
    unpriceable,
)
from market.pricing_terms import PricingTerms, UnderlyingSource

DECIMALS: Final[Mapping[str, int]] = {name: DECIMALS_OF[name] for name in GREEKS} | {"underlying_price": 4}
"""Kept of each, as the stream keeps them."""
COLUMNS: Final = (*DECIMALS, "underlying_age_seconds", "underlying_source", "greeks_reason")
SOURCES: Final = tuple(UnderlyingSource)


@dataclass(frozen=True, slots=True)
class OptionTerms:
    """What is priced: one option. `expires_at` in Unix seconds, nan where the calendar does not know it."""

    strike: float
    is_call: bool
    expires_at: float


@dataclass(frozen=True, slots=True)
class UnderlyingCloses:
    """What an option's underlying was worth in each of its minutes; nan where nobody knows.

    `spot` and `future` (the one that expires with the option) are the day's newest closes, shape (minutes,), and their
    ages say by how many seconds they are older than the option's. `call` and `put`, shape (minutes, pairs), are closes
    of the very same minute: of the pairs of the option's expiry by ascending `strike`, shape (pairs,).
    """

    spot: Floats
    spot_age: Floats
    future: Floats
    future_age: Floats
    strike: Floats
    call: Floats
    put: Floats


@dataclass(frozen=True, slots=True)
class PricedCandles:
    """One row per minute: what each close was priced on (`source`: index into `SOURCES`), and what follows."""

    source: NDArray[np.intp]
    underlying_price: Floats
    underlying_age_seconds: Floats
    implied_volatility: Floats
    greeks: Greeks
    reason: NDArray[np.int8]

    def columns(self) -> list[list[Any]]:
        """`COLUMNS` as JSON has them."""
        values = {"implied_volatility": self.implied_volatility, "underlying_price": self.underlying_price}
        values |= self.greeks._asdict()
        known = np.isfinite(self.underlying_price).tolist()
        sources = [SOURCES[source].value for source in self.source.tolist()]
        return [
            *(_numbers(values[name], decimals) for name, decimals in DECIMALS.items()),
            _numbers(self.underlying_age_seconds, 0),
            [source if is_known else None for source, is_known in zip(sources, known, strict=True)],
            [REASON_NAMES[reason] for reason in self.reason.tolist()],
        ]


def price_candles(
    price: Floats, at: Floats, option: OptionTerms, closes: UnderlyingCloses, terms: PricingTerms
) -> PricedCandles:
    """One option's closes priced, each on the source that is wanted or, where that has no price, on the next one.

    Parameters
    ----------
    price, at : shape (minutes,); the option's closes, and the moments that they stand for in Unix seconds
    closes : what the underlying was worth at these moments
    terms : rates and the wanted source; `option_price` makes no difference, as only trades are known
    """
    years = years_between(at, np.full(len(price), option.expires_at))
    spot, future = _traded(closes.spot), _traded(closes.future)
    carried = spot * np.exp((terms.rate - terms.dividend_yield) * years)
    forward = _forwards(closes, carried, terms.rate * years)
    with np.errstate(invalid="ignore"):
        forward[np.abs(forward - spot) > FARTHEST_FORWARD * spot] = np.nan
    offers = np.stack([forward, future, spot])  # in the order of SOURCES
    wanted = SOURCES.index(terms.underlying_source)
    order = np.array([wanted, *(other for other in range(len(SOURCES)) if other != wanted)])
    source = order[np.argmax(np.isfinite(offers[order]), axis=0)]
    row = np.arange(len(price))
    level = offers[source, row]
    ages = np.stack([np.zeros(len(price)), closes.future_age, closes.spot_age])
    age = np.where(np.isfinite(level), ages[source, row], np.nan)

    flags = np.where(price == 0, Flag.UNTRADED, 0) | np.where(price < 0, Flag.NEGATIVE_PRICE, 0)
    reason = unpriceable(price, level, flags, np.zeros(len(price), np.bool_))
    every = np.ones(len(price))
    volatility, greeks = price_rows(
        reason,
        price=price,
        underlying=level,
        strike=option.strike * every,
        years=years,
        rate=terms.rate * every,
        dividend_yield=terms.dividend_yield * every,
        is_call=np.full(len(price), option.is_call),
        on_spot=source == SOURCES.index(UnderlyingSource.SPOT),
    )
    return PricedCandles(source, level, age, volatility, greeks, reason)


def strikes_needed(strikes: Floats, lowest: float, highest: float) -> slice:
    """Which of the ascending strikes can have a say in the forward while the spot is carried between these levels.

    All of them where the levels are not known (not finite).
    """
    if not (math.isfinite(lowest) and math.isfinite(highest)):
        return slice(None)
    first, end = np.searchsorted(strikes, (lowest, highest)).tolist()
    return slice(max(first - STRIKES_LOOKED_AT, 0), end + STRIKES_LOOKED_AT)


def _forwards(closes: UnderlyingCloses, carried: Floats, interest: Floats) -> Floats:
    """Each minute's forward by parity, of the strikes around where the spot is carried to; of all without a spot."""
    pairs = len(closes.strike)
    if not pairs:
        return np.full(len(carried), np.nan)
    difference = _traded(closes.call) - _traded(closes.put)
    place = np.searchsorted(closes.strike, carried)[:, np.newaxis]
    number = np.arange(pairs)
    around = (number >= place - STRIKES_LOOKED_AT) & (number < place + STRIKES_LOOKED_AT)
    difference[~around & np.isfinite(carried)[:, np.newaxis]] = np.nan
    return parity_forwards(np.broadcast_to(closes.strike, difference.shape), difference, interest)[0]


def _traded(closes: Floats) -> Floats:
    """A close of zero or below feeds no calculation."""
    return np.where(closes > 0, closes, np.nan)


def _numbers(values: Floats, decimals: int) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in np.round(values, decimals).tolist()]
