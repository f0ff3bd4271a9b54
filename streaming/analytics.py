"""What is made of each expiry once a second: at-the-money volatility, smile, max pain, gamma exposure and the rest.

An expiry's analytics are a part of their own (`nifty:2026-12-01:analytics`) of one line and no rows, so they go the way
of every line: one PUBLISH per channel, a blob with the latest, the hub, the clients. The formulas are `greeks.chain`'s,
the form is `market.chain_analytics`'. Once a minute the latest of each expiry goes to `market.chain_history`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import numpy as np
import orjson
from greeks.chain import Chain, ChainAnalytics, analyse
from market.chain_analytics import as_json
from numpy.typing import NDArray

from market.names import analytics_part
from streaming.contracts import UNKNOWN, Part
from streaming.pricing import (
    GreeksReason,
    Moment,
    PartPricings,
    PricedOptions,
    PricingSettings,
    price_options,
    price_parts,
)
from streaming.snapshots import Line, Stamp, head_of
from streaming.ticks import MISSING, TickTable
from streaming.turns import Turns

Floats = NDArray[np.float64]
Slots = NDArray[np.intp]

EVERY_SECONDS: Final = 1.0
MOST_AT_ONCE: Final = 4
"""Expiries a flush: each takes about a millisecond, and a hundred of them must not hold up the ticks."""
KIND: Final = "analytics"


@dataclass(frozen=True, slots=True)
class Analysed:
    """The latest of one expiry, and when it was made (market time, Unix seconds)."""

    part: Part
    chain: Chain
    analytics: ChainAnalytics
    market_time: float


class ChainAnalyser:
    """Analyses the expiries of one tick table in turns. Call `follow` when its instruments were replaced."""

    def __init__(self, table: TickTable, settings: PricingSettings) -> None:
        self.table = table
        self.settings = settings
        self.latest: dict[str, Analysed] = {}
        self._turns = Turns(EVERY_SECONDS)
        self.follow()

    def follow(self) -> None:
        """Lay out each expiry's strikes: which option stands where."""
        instruments = self.table.instruments
        self._layouts = {
            part.name: _Layout(part, instruments.strike, instruments.is_call)
            for part in instruments.parts.values()
            if part.expiry is not None
        }
        self._turns.follow(self._layouts.keys())
        self.latest = {name: found for name, found in self.latest.items() if name in self._layouts}

    def changed(self, parts: Iterable[str]) -> None:
        """Rows of these parts changed. The underlying's price counts for none: its options follow it in no time."""
        self._turns.changed(part for part in parts if part in self._layouts)

    def take(self, moment: Moment, stamp: Stamp) -> dict[str, Line]:
        """A line for each expiry whose turn it is."""
        due = [self._layouts[name] for name in self._turns.take_due(moment.monotonic, most=MOST_AT_ONCE)]
        if not due:
            return {}
        pricings = price_parts(self.table, [layout.part for layout in due], moment, self.settings)
        of_part = np.repeat(np.arange(len(due)), [len(layout.part.slots) for layout in due])
        slots = np.concatenate([layout.part.slots for layout in due])
        priced = price_options(self.table, slots, of_part, pricings, self.settings)
        lines = {}
        end = 0
        for number, layout in enumerate(due):
            start, end = end, end + len(layout.part.slots)
            chain = _chain(self.table, layout, number, slice(start, end), pricings, priced)
            found = Analysed(layout.part, chain, analyse(chain), moment.market_time)
            self.latest[layout.part.name] = found
            lines[analytics_part(layout.part.name)] = Line(_encode(found, moment, stamp), is_whole=True)
        return lines


class _Layout:
    """The strikes of one expiry, and where each one's call and put stand among the part's rows."""

    def __init__(self, part: Part, strike: Floats, is_call: NDArray[np.bool_]) -> None:
        self.part = part
        self.strikes, place = np.unique(strike[part.slots], return_inverse=True)
        calls = is_call[part.slots]
        self.call_rows, self.put_rows = (
            _rows_of(place[side], np.flatnonzero(side), len(self.strikes)) for side in (calls, ~calls)
        )


def _rows_of(places: Slots, rows: Slots, strikes: int) -> Slots:
    found = np.full(strikes, UNKNOWN, np.intp)
    found[places] = rows
    return found


def _chain(
    table: TickTable, layout: _Layout, number: int, rows: slice, pricings: PartPricings, priced: PricedOptions
) -> Chain:
    """One expiry as `greeks.chain` takes it: a value per strike and side, nan where there is none."""
    slots = layout.part.slots
    # From STALE on, a reason says that the price itself is not to be believed; before, that it has no volatility.
    price = np.where(priced.reason[rows] < GreeksReason.STALE, priced.price[rows], np.nan)
    oi = table["oi"][slots]
    previous = table["previous_oi"][slots]
    columns = {
        "price": price,
        "implied_volatility": priced.implied_volatility[rows],
        "oi": _known(oi),
        "oi_change": np.where((oi == MISSING) | (previous == MISSING), np.nan, oi - previous),
        "volume": _known(table["volume_traded"][slots]),
    }
    sides = {
        f"{side}_{name}": np.where(places == UNKNOWN, np.nan, values[places])
        for side, places in (("call", layout.call_rows), ("put", layout.put_rows))
        for name, values in columns.items()
    }
    years, rate, carry = (
        float(values[number]) for values in (pricings.time_to_expiry, pricings.rate, pricings.dividend_yield)
    )
    underlying, spot = float(pricings.underlying_price[number]), float(pricings.spot[number])
    if pricings.on_spot[number]:  # the forward that Black–Scholes–Merton sees from there
        underlying *= float(np.exp((rate - carry) * years))
    return Chain(
        strike=layout.strikes,
        **sides,
        spot=spot,
        forward=underlying,
        time_to_expiry=years,
        rate=rate,
        dividend_yield=carry,
    )


def _known(totals: NDArray[np.int64]) -> Floats:
    return np.where(totals == MISSING, np.nan, totals)


def _encode(found: Analysed, moment: Moment, stamp: Stamp) -> bytes:
    line = head_of(moment, stamp) | {
        "part": analytics_part(found.part.name),
        "underlying": found.part.underlying,
        "expiry": found.part.expiry,
        "kind": KIND,
        "analytics": as_json(found.chain, found.analytics),
    }
    return orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY)
