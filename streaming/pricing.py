"""From the tick table to implied volatilities and Greeks: which price stands for an option, which for its underlying.

By default options are priced by Black-76 on the forward that put–call parity implies, so that a strike's call and put
have one implied volatility. The future that expires with them is the first fallback, Black–Scholes–Merton on the spot
the last. All options of all parts asked for are priced in one call per model.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from greeks.expiry import years_between
from greeks.kernel import Greeks
from market.pricing_rules import (
    FARTHEST_FORWARD,
    OLDEST_TRADE_SECONDS,
    STRIKES_LOOKED_AT,
    middles,
    parity_forwards,
    price_rows,
    unpriceable,
)
from market.pricing_terms import OptionPrice, PricingTerms, UnderlyingSource
from streaming.contracts import UNKNOWN, Instruments, Part
from streaming.ticks import MISSING, TickTable

Floats = NDArray[np.float64]
Slots = NDArray[np.intp]

MOST_KEPT_TERMS: Final = 200
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
    return middles(table["bid"][slots], table["ask"][slots])


@dataclass(frozen=True, slots=True)
class PartsOnTerms:
    """What does not change from tick to tick of some parts of options: arrays aligned with them. Made by `on_terms`."""

    number: Slots
    """Each part's place among those of the instruments."""
    expires_at: Floats
    spot: Slots
    future: Slots
    future_expires_too: NDArray[np.bool_]
    rate: Floats
    dividend_yield: Floats
    from_trades: NDArray[np.bool_]
    wanted: NDArray[np.intp]
    """In which order the sources are tried, shape (sources, parts)."""


def on_terms(instruments: Instruments, parts: Sequence[Part], settings: PricingSettings) -> PartsOnTerms:
    """Some parts with the terms of their underlyings."""
    terms = [settings.terms_of(part.underlying) for part in parts]
    return PartsOnTerms(
        number=np.array([instruments.number_of_part[part.name] for part in parts], np.intp),
        expires_at=np.array([part.expires_at for part in parts]),
        spot=np.array([part.spot for part in parts], np.intp),
        future=np.array([part.future for part in parts], np.intp),
        future_expires_too=np.array([part.future_expires_too for part in parts], np.bool_),
        rate=np.array([one.rate for one in terms]),
        dividend_yield=np.array([one.dividend_yield for one in terms]),
        from_trades=np.array([one.option_price is OptionPrice.LAST_PRICE for one in terms], np.bool_),
        wanted=np.array([_ORDERS[one.underlying_source] for one in terms], np.intp).reshape(-1, len(SOURCES)).T,
    )


class KeptTerms:
    """`on_terms` of the sets of parts that come again, window after window."""

    def __init__(self, instruments: Instruments, settings: PricingSettings) -> None:
        self._instruments = instruments
        self._settings = settings
        self._kept: dict[tuple[str, ...], PartsOnTerms] = {}

    def of(self, parts: Sequence[Part]) -> PartsOnTerms:
        names = tuple([part.name for part in parts])
        found = self._kept.get(names)
        if found is None:
            if len(self._kept) == MOST_KEPT_TERMS:
                self._kept.clear()
            found = self._kept[names] = on_terms(self._instruments, parts, self._settings)
        return found


def price_parts(table: TickTable, parts: PartsOnTerms, moment: Moment) -> PartPricings:
    """What the options of each part are to be priced with at this moment."""
    years = years_between(moment.market_time, parts.expires_at)
    spots, futures = _Linked(table, parts.spot), _Linked(table, parts.future)
    carried = spots.price * np.exp((parts.rate - parts.dividend_yield) * years)
    forward, quoted_at = _parity_forwards(table, parts.number, parts.rate * years, carried)
    forward[np.abs(forward - spots.price) > FARTHEST_FORWARD * spots.price] = np.nan
    price = np.stack([forward, np.where(parts.future_expires_too, futures.price, np.nan), spots.price])
    received_at = np.stack([quoted_at, futures.received_at, spots.received_at])

    every = np.arange(len(years))
    source = parts.wanted[np.argmax(np.isfinite(price[parts.wanted, every]), axis=0), every]
    latest = np.maximum(spots.exchange_timestamp, futures.exchange_timestamp)
    return PartPricings(
        source=source,
        underlying_price=price[source, every],
        underlying_age_seconds=moment.monotonic - received_at[source, every],
        underlying_time=np.where(latest == MISSING, moment.market_time, latest),
        spot=spots.price,
        future=futures.price,
        time_to_expiry=years,
        rate=parts.rate,
        dividend_yield=parts.dividend_yield,
        from_trades=parts.from_trades,
    )


class _Linked:
    """The spots or the futures of some parts: what may feed calculations, nan or `MISSING` where there is nothing."""

    def __init__(self, table: TickTable, slots: Slots) -> None:
        exists = slots != UNKNOWN
        usable = exists & (table["flags"][slots] == 0)
        self.price: Floats = np.where(usable, table["last_price"][slots], np.nan)
        self.received_at: Floats = np.where(exists, table["received_at"][slots], np.nan)
        self.exchange_timestamp: NDArray[np.int64] = np.where(exists, table["exchange_timestamp"][slots], MISSING)


def _parity_forwards(table: TickTable, parts: Slots, interest: Floats, about: Floats) -> tuple[Floats, Floats]:
    """Each part's forward by put–call parity, F = K + (C - P)·e^(rT), and when the oldest quote in it was received.

    By `parity_forwards`, for every part at once: called part by part that would take longer than all the pricing. Only
    good books count; nan with fewer than three.

    Parameters
    ----------
    parts : their numbers among the instruments' parts
    interest : rT
    about : where the forward lies as far as is known (nan: not at all); only the strikes around it are looked at
    """
    instruments = table.instruments
    if not len(instruments.pairs):
        return np.full(len(parts), np.nan), np.full(len(parts), np.nan)
    first, end = instruments.first_pair[parts], instruments.first_pair[parts + 1]
    looked_at = _pairs_around(instruments, parts, about)
    belongs = (looked_at >= first[:, np.newaxis]) & (looked_at < end[:, np.newaxis])
    pairs = np.where(belongs, looked_at, 0)
    options = instruments.pairs[pairs]  # calls and puts, shape (parts, pairs, 2)
    middle = _middles(table, options)
    difference = middle[:, :, 0] - middle[:, :, 1]
    difference[~belongs | table["flags"][options].any(axis=2)] = np.nan
    forwards, nearest = parity_forwards(instruments.pair_strike[pairs], difference, interest)
    row = np.arange(len(parts))[:, np.newaxis]
    quoted_at = table["received_at"][options[row, nearest]].min(axis=2)
    quoted_at = np.where(np.isfinite(difference[row, nearest]), quoted_at, np.inf).min(axis=1)
    return forwards, np.where(np.isfinite(forwards), quoted_at, np.nan)


def _pairs_around(instruments: Instruments, parts: Slots, about: Floats) -> NDArray[np.intp]:
    """The numbers of some pairs below a price and as many above, for each part; shape (parts, pairs).

    At a part's ends some are another part's or no pair's. Where the price is not known they reach over the whole part.
    """
    first, lift = instruments.first_pair, instruments.part_lift
    known = np.isfinite(about)
    place = np.searchsorted(instruments.lifted_strike, np.clip(np.where(known, about, 0.0), 0.0, lift) + lift * parts)
    reach = STRIKES_LOOKED_AT
    if not known.all():
        sizes = first[parts + 1] - first[parts]
        place = np.where(known, place, first[parts] + sizes // 2)
        reach = max(reach, int(sizes[~known].max() + 1) // 2)
    return np.asarray(place[:, np.newaxis] + np.arange(-reach, reach))


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
    volatility, greeks = price_rows(
        reason,
        price=price,
        underlying=underlying,
        strike=table.instruments.strike[slots],
        years=years,
        rate=rate,
        dividend_yield=pricings.dividend_yield[of_part],
        is_call=table.instruments.is_call[slots],
        on_spot=on_spot,
    )
    return PricedOptions(price, at_middle, volatility, greeks, reason)


def _traded_long_before(table: TickTable, slots: Slots, underlying_time: Floats) -> NDArray[np.bool_]:
    """Options last traded so long before the underlying that the price says nothing about now.

    Measured against the underlying's own last time, not the clock: after the close both stand still, and still agree.
    """
    traded_at = table["last_trade_time"][slots]
    long_ago: NDArray[np.bool_] = underlying_time - traded_at > OLDEST_TRADE_SECONDS
    long_ago &= traded_at != MISSING
    return long_ago
