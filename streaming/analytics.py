"""What is made of each expiry once a second: at-the-money volatility, smile, max pain, gamma exposure and the rest.

An expiry's analytics are a part of their own (`nifty:2026-12-01:analytics`) of one line and no rows, so they go the way
of every line: one PUBLISH per channel, a blob with the latest, the hub, the clients. The formulas are `greeks.chain`'s,
the form is `market.chain_analytics`'. Once a minute the latest of each expiry goes to `market.chain_history`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from market.chain_analytics import analytics_of, chain_of
from market.lines import encode
from market.names import analytics_part
from market.pricing_rules import GreeksReason
from streaming.contracts import Part
from streaming.pricing import KeptTerms, Moment, PricingSettings, price_options, price_parts
from streaming.snapshots import Line, Stamp, head_of, pricing_heads
from streaming.ticks import MISSING, TickTable
from streaming.turns import Turns

EVERY_SECONDS: Final = 1.0
MOST_AT_ONCE: Final = 4
"""Expiries a window: each takes some milliseconds, and a hundred of them must not hold up the ticks."""
KIND: Final = "analytics"


@dataclass(frozen=True, slots=True)
class Analysed:
    """The latest of one expiry, and when it was made (market time, Unix seconds)."""

    part: Part
    analytics: dict[str, Any]
    market_time: float
    pricing: dict[str, Any]
    columns: dict[str, NDArray[Any]]
    """Its options, a row each: what `market.chain_snapshots` keeps."""


class ChainAnalyser:
    """Analyses the expiries of one tick table in turns. Call `follow` when its instruments were replaced."""

    def __init__(self, table: TickTable, settings: PricingSettings) -> None:
        self.table = table
        self.settings = settings
        self.latest: dict[str, Analysed] = {}
        self._turns = Turns(EVERY_SECONDS)
        self.follow()

    def price_on(self, settings: PricingSettings) -> None:
        """Price on these terms from now on."""
        self.settings = settings
        self._terms = KeptTerms(self.table.instruments, settings)

    def follow(self) -> None:
        """Take over the table's expiries; those that stay keep their turn."""
        self._expiries = {part.name: part for part in self.table.instruments.parts.values() if part.expiry is not None}
        self._turns.follow(self._expiries.keys())
        self._terms = KeptTerms(self.table.instruments, self.settings)
        self.latest = {name: found for name, found in self.latest.items() if name in self._expiries}

    def changed(self, parts: Iterable[str]) -> None:
        """Rows of these parts changed. The underlying's price counts for none: its options follow it in no time."""
        self._turns.changed(part for part in parts if part in self._expiries)

    def take(self, moment: Moment, stamp: Stamp, *, most: int = MOST_AT_ONCE) -> dict[str, Line]:
        """A line for each expiry whose turn it is, at most so many."""
        due = [self._expiries[name] for name in self._turns.take_due(moment.monotonic, most=most)]
        if not due:
            return {}
        lines = {}
        for found in self._analyse(due, moment):
            part = found.part
            self.latest[part.name] = found
            name = analytics_part(part.name)
            head = head_of(name, part, KIND, moment, stamp)
            lines[name] = Line(encode(head | {"analytics": found.analytics}), is_whole=True)
        return lines

    def _analyse(self, due: list[Part], moment: Moment) -> Iterable[Analysed]:
        """Price all rows of all these expiries in one call, then take them one by one."""
        table, instruments = self.table, self.table.instruments
        sizes = [len(part.slots) for part in due]
        slots = np.concatenate([part.slots for part in due])
        pricings = price_parts(table, self._terms.of(due), moment)
        priced = price_options(table, slots, np.repeat(np.arange(len(due)), sizes), pricings)
        oi, previous_oi = _known(table["oi"][slots]), _known(table["previous_oi"][slots])
        columns = {
            "strike": instruments.strike[slots],
            "is_call": instruments.is_call[slots],
            # From STALE on, a reason says that the price is not to be believed; before, that it has no volatility.
            "price": np.where(priced.reason < GreeksReason.STALE, priced.price, np.nan),
            "implied_volatility": priced.implied_volatility,
            "oi": oi,
            "oi_change": oi - previous_oi,
            "volume": _known(table["volume_traded"][slots]),
        }
        kept = {
            "strike": columns["strike"],
            "is_call": columns["is_call"],
            "last_price": table["last_price"][slots],
            "bid": table["bid"][slots],
            "ask": table["ask"][slots],
            "oi": oi,
            "implied_volatility": priced.implied_volatility,
            **priced.greeks._asdict(),
            "greeks_reason": priced.reason,
        }
        end = 0
        for part, size, pricing in zip(due, sizes, pricing_heads(pricings), strict=True):
            start, end = end, end + size
            rows = {name: values[start:end] for name, values in columns.items()}
            analytics = analytics_of(chain_of(**rows, pricing=pricing))
            own = {name: values[start:end] for name, values in kept.items()}
            yield Analysed(part, analytics, moment.market_time, pricing, own)


def _known(totals: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.where(totals == MISSING, np.nan, totals)
