"""From the tick table to implied volatilities and Greeks: which price stands for an option, which for its underlying.

By default options are priced by Black-76 on the forward that put–call parity implies, so that a strike's call and put
have one implied volatility. The future that expires with them is the first fallback, Black–Scholes–Merton on the spot
the last. All options of all parts asked for are priced in one call per model.
"""

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from greeks import black76, black_scholes
from greeks.expiry import years_between
from greeks.kernel import Greeks
from greeks.parity import LEAST_PAIRS
from market.pricing_rules import (
    FARTHEST_FORWARD,
    OLDEST_TRADE_SECONDS,
    PARITY_STRIKES,
    STRIKES_LOOKED_AT,
    GreeksReason,
    Model,
    middles,
    unpriceable,
)
from market.pricing_terms import OptionPrice, PricingTerms, UnderlyingSource
from streaming.contracts import UNKNOWN, Part
from streaming.packets import DEPTH_LEVELS
from streaming.ticks import MISSING, TickTable

Floats = NDArray[np.float64]
Slots = NDArray[np.intp]

SOURCES: Final = tuple(UnderlyingSource)
_ORDERS: Final = {
    chosen: (first, *(other for other in range(len(SOURCES)) if other != first)) for first, chosen in enumerate(SOURCES)
}


@dataclass(frozen=True, slots=True)
class PricingSettings:
    """How options are priced: on the terms of their underlying or, where it has none of its own, on `terms`."""

    terms: PricingTerms = field(default_factory=PricingTerms)
    terms_of_underlying: Mapping[str, PricingTerms] = field(default_factory=dict)

    def terms_of(self, underlying: str) -> PricingTerms:
        return self.terms_of_underlying.get(underlying, self.terms)


@dataclass(frozen=True, slots=True)
class Moment:
    """Now, on both clocks: market time in Unix seconds, and the monotonic clock that ages are measured on."""

    market_time: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class PartPricings:
    """What the options of each part are priced with: arrays aligned with the parts asked for; nan where unknown."""

    source: NDArray[np.intp]
    """Index into `SOURCES`."""
    underlying_price: Floats
    underlying_age_seconds: Floats
    underlying_time: Floats
    """The exchange's time of the underlying (market time where it has none), Unix seconds."""
    spot: Floats
    future: Floats
    time_to_expiry: Floats
    rate: Floats
    dividend_yield: Floats
    from_trades: NDArray[np.bool_]
    """Where the last trade stands for an option, whatever its book says."""

    @property
    def on_spot(self) -> NDArray[np.bool_]:
        """Where the model is Black–Scholes–Merton."""
        return np.asarray(self.source == SOURCES.index(UnderlyingSource.SPOT))


@dataclass(frozen=True, slots=True)
class PricedOptions:
    """Rows of options, aligned: what each is priced at, and what follows from it (nan with a `GreeksReason`)."""

    price: Floats
    at_middle: NDArray[np.bool_]
    """Where the price is the middle of bid and ask; elsewhere it is the last trade's."""
    implied_volatility: Floats
    greeks: Greeks
    reason: NDArray[np.int8]


def _middles(table: TickTable, slots: Slots) -> Floats:
    """The middle of each option's book."""
    prices = table["depth_price"]
    return middles(prices[slots, 0], prices[slots, DEPTH_LEVELS])


def price_parts(table: TickTable, parts: Sequence[Part], moment: Moment, settings: PricingSettings) -> PartPricings:
    """What the options of each part are to be priced with at this moment."""
    years = years_between(moment.market_time, [part.expires_at for part in parts])
    terms = [settings.terms_of(part.underlying) for part in parts]
    rate = np.array([one.rate for one in terms])
    dividend_yield = np.array([one.dividend_yield for one in terms])
    spots, futures = _Linked(table, [part.spot for part in parts]), _Linked(table, [part.future for part in parts])
    carried = spots.price * np.exp((rate - dividend_yield) * years)
    forward, quoted_at = _parity_forwards(table, parts, rate * years, carried)
    forward[np.abs(forward - spots.price) > FARTHEST_FORWARD * spots.price] = np.nan
    expires_too = np.array([part.future_expires_too for part in parts], np.bool_)
    price = np.stack([forward, np.where(expires_too, futures.price, np.nan), spots.price])
    received_at = np.stack([quoted_at, futures.received_at, spots.received_at])

    wanted = np.array([_ORDERS[one.underlying_source] for one in terms], np.intp).reshape(-1, len(SOURCES)).T
    every = np.arange(len(parts))
    source = wanted[np.argmax(np.isfinite(price[wanted, every]), axis=0), every]
    latest = np.maximum(spots.exchange_timestamp, futures.exchange_timestamp)
    return PartPricings(
        source=source,
        underlying_price=price[source, every],
        underlying_age_seconds=moment.monotonic - received_at[source, every],
        underlying_time=np.where(latest == MISSING, moment.market_time, latest),
        spot=spots.price,
        future=futures.price,
        time_to_expiry=years,
        rate=rate,
        dividend_yield=dividend_yield,
        from_trades=np.array([one.option_price is OptionPrice.LAST_PRICE for one in terms], np.bool_),
    )


class _Linked:
    """The spots or the futures of some parts: what may feed calculations, nan or `MISSING` where there is nothing."""

    def __init__(self, table: TickTable, linked: list[int]) -> None:
        slots = np.array(linked, np.intp)
        exists = slots != UNKNOWN
        usable = exists & (table["flags"][slots] == 0)
        self.price: Floats = np.where(usable, table["last_price"][slots], np.nan)
        self.received_at: Floats = np.where(exists, table["received_at"][slots], np.nan)
        self.exchange_timestamp: NDArray[np.int64] = np.where(exists, table["exchange_timestamp"][slots], MISSING)


def _parity_forwards(table: TickTable, parts: Sequence[Part], interest: Floats, about: Floats) -> tuple[Floats, Floats]:
    """Each part's forward by put–call parity, F = K + (C - P)·e^(rT), and when the oldest quote in it was received.

    `interest` is rT, `about` where the forward lies as far as is known (nan: not at all).

    The median over the strikes where call and put are worth most nearly the same: those are the nearest to the money,
    where books are narrowest and discounting matters least. Only good books count; nan with fewer than three. It is
    `greeks.parity` for every part at once: called part by part that would take longer than all the pricing. Where the
    forward lies is known `about` (nan: not known), which spares most strikes a look.
    """
    pairs = [_pairs_about(part, money) for part, money in zip(parts, about.tolist(), strict=True)]
    number = np.repeat(np.arange(len(parts)), [len(of_part) for of_part in pairs])
    calls, puts = np.concatenate(pairs).T if pairs else np.empty((2, 0), np.intp)
    ok = (table["flags"][calls] == 0) & (table["flags"][puts] == 0)
    difference = _middles(table, calls) - _middles(table, puts)
    usable = np.flatnonzero(ok & np.isfinite(difference))
    # Of each part the first few in order of |C - P|: nearest to the money first.
    order = usable[np.lexsort((np.abs(difference[usable]), number[usable]))]
    counts = np.bincount(number[order], minlength=len(parts))
    rank = np.arange(len(order)) - np.repeat(np.cumsum(counts) - counts, counts)
    nearest = order[rank < PARITY_STRIKES]
    of_part, rank = number[nearest], rank[rank < PARITY_STRIKES]

    forwards = np.full((len(parts), PARITY_STRIKES), np.inf)
    growth = np.exp(interest)
    forwards[of_part, rank] = table.instruments.strike[calls[nearest]] + difference[nearest] * growth[of_part]
    quoted_at = np.full(len(parts), np.inf)
    received_at = table["received_at"]
    np.minimum.at(quoted_at, of_part, np.minimum(received_at[calls[nearest]], received_at[puts[nearest]]))
    medians = _medians(forwards, np.minimum(counts, PARITY_STRIKES))
    enough = counts >= LEAST_PAIRS
    return np.where(enough, medians, np.nan), np.where(enough, quoted_at, np.nan)


def _pairs_about(part: Part, money: float) -> Slots:
    """The pairs of some strikes below `money` and as many above; all of them where it is not known."""
    if money != money:
        return part.pairs
    place = bisect_left(part.paired_strikes, money)
    return part.pairs[max(place - STRIKES_LOOKED_AT, 0) : place + STRIKES_LOOKED_AT]


def _medians(rows: Floats, counts: NDArray[np.intp]) -> Floats:
    """The median of the `counts` finite values of each row, the others being infinite."""
    ascending = np.sort(rows, axis=1)
    every = np.arange(len(rows))
    low = ascending[every, np.maximum(counts - 1, 0) // 2]
    high = ascending[every, np.minimum(counts // 2, rows.shape[1] - 1)]
    return np.asarray((low + high) / 2)


def price_options(table: TickTable, slots: Slots, of_part: NDArray[np.intp], pricings: PartPricings) -> PricedOptions:
    """Implied volatilities and Greeks of options of any parts; `of_part` tells each row's place in `pricings`."""
    middle = _middles(table, slots)
    at_middle = np.isfinite(middle)
    if pricings.from_trades.any():
        at_middle &= ~pricings.from_trades[of_part]
    price = np.where(at_middle, middle, table["last_price"][slots])
    underlying = pricings.underlying_price[of_part]
    years, rate = pricings.time_to_expiry[of_part], pricings.rate[of_part]
    on_spot = pricings.on_spot[of_part]
    traded_long_ago = _traded_long_before(table, slots, pricings.underlying_time[of_part])
    reason = unpriceable(price, underlying, table["flags"][slots], ~at_middle & traded_long_ago)
    volatility = np.full(len(slots), np.nan)
    greeks = Greeks(*np.full((len(Greeks._fields), len(slots)), np.nan))
    strike, is_call = table.instruments.strike[slots], table.instruments.is_call[slots]
    for model in Model:
        rows = np.flatnonzero((reason == GreeksReason.OK) & (on_spot == (model is Model.BLACK_SCHOLES_MERTON)))
        if not rows.size:
            continue
        terms = underlying[rows], strike[rows], years[rows], rate[rows]
        if model is Model.BLACK_76:
            solved = black76.implied_volatility(price[rows], *terms, is_call[rows])
            found = black76.greeks(*terms, solved.volatility, is_call[rows])
        else:
            carry = pricings.dividend_yield[of_part[rows]]
            solved = black_scholes.implied_volatility(price[rows], *terms, is_call[rows], carry)
            found = black_scholes.greeks(*terms, solved.volatility, is_call[rows], carry)
        volatility[rows] = solved.volatility
        reason[rows] = solved.reason
        for into, values in zip(greeks, found, strict=True):
            into[rows] = values
    return PricedOptions(price, at_middle, volatility, greeks, reason)


def _traded_long_before(table: TickTable, slots: Slots, underlying_time: Floats) -> NDArray[np.bool_]:
    """Options last traded so long before the underlying that the price says nothing about now.

    Measured against the underlying's own last time, not the clock: after the close both stand still, and still agree.
    """
    traded_at = table["last_trade_time"][slots]
    long_ago: NDArray[np.bool_] = underlying_time - traded_at > OLDEST_TRADE_SECONDS
    long_ago &= traded_at != MISSING
    return long_ago
