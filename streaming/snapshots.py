"""Part lines: the rows of one part, priced and encoded as one line of columnar JSON.

An update has the rows that changed and a snapshot (the part's blob) has all of them; the shape is one, described by
`docs/schemas/ws/part-line.json`. All rows asked for, of all parts, are gathered, priced and rounded together; only the
encoding goes part by part. A line's Greeks follow from the line itself: all its rows are priced with its `pricing`.
When a part is priced on something else than before (its books came, its future went), it goes out whole: whoever holds
its other rows would compare Greeks of two models.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from market.pricing_rules import REASON_NAMES, Model
from streaming.contracts import Instruments, Part
from streaming.packets import DEPTH_LEVELS
from streaming.pricing import (
    SOURCES,
    KeptTerms,
    Moment,
    PartPricings,
    PricingSettings,
    price_options,
    price_parts,
)
from streaming.ticks import MISSING, TickTable

Slots = NDArray[np.intp]
Column = NDArray[Any] | list[Any]

SCHEMA: Final = 1

_REASON_NAMES: Final = np.array(REASON_NAMES, object)
# Decimals kept of each, so that what is dropped is far below a tick (gamma is small where the underlying is large).
_GREEKS: Final = {"delta": 6, "gamma": 10, "theta_per_day": 4, "vega_per_point": 4, "rho_per_point": 4}
_MODELS: Final = {False: Model.BLACK_76, True: Model.BLACK_SCHOLES_MERTON}
_VOLATILITY_DECIMALS: Final = 6
_CHANGE_DECIMALS: Final = 4


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every line of one flush says about itself.

    `source` is live, simulated or replay; `epoch` tells the writer, and `seq` counts its flushes; `sent_at` is system
    time in Unix seconds.
    """

    source: str
    feed_state: str
    epoch: int
    seq: int
    sent_at: float


class Line(NamedTuple):
    """One part's encoded line, and whether it has all of the part's rows."""

    data: bytes
    is_whole: bool


class PartEncoder:
    """Encodes parts of one tick table. Call `follow` when its instruments were replaced."""

    def __init__(self, table: TickTable, settings: PricingSettings) -> None:
        self.table = table
        self.settings = settings
        self.follow()

    def price_on(self, settings: PricingSettings) -> None:
        """Price on these terms from now on."""
        self.settings = settings
        self._terms = KeptTerms(self._instruments, settings)

    def follow(self) -> None:
        """Take what does not change from tick to tick out of the table's instruments."""
        self._instruments: Instruments = self.table.instruments
        contracts = self._instruments.contracts
        self._symbols = [contract.tradingsymbol for contract in contracts]
        self._types = [contract.instrument_type for contract in contracts]
        self._expiries = [contract.expiry.isoformat() if contract.expiry else None for contract in contracts]
        self._priced_on: dict[str, int] = {}
        self._terms = KeptTerms(self._instruments, self.settings)

    def encode_snapshot(self, parts: Iterable[str], moment: Moment, stamp: Stamp) -> dict[str, Line]:
        """One line per part with all of its rows, those that never ticked included."""
        rows = {name: self._instruments.parts[name].slots for name in parts}
        return self._encode(rows, set(rows), moment, stamp)

    def encode_flush(self, slots: Slots, whole: Collection[str], moment: Moment, stamp: Stamp) -> dict[str, Line]:
        """One line per part: the parts named in `whole` with all of their rows, the others with those of `slots`."""
        rows = self._instruments.parts_of(slots) | {name: self._instruments.parts[name].slots for name in whole}
        return self._encode(rows, set(whole), moment, stamp)

    def _encode(self, rows: dict[str, Slots], whole: set[str], moment: Moment, stamp: Stamp) -> dict[str, Line]:
        if not rows:
            return {}
        parts = sorted((self._instruments.parts[name] for name in rows), key=lambda part: part.expiry is None)
        options = [part for part in parts if part.expiry is not None]
        pricings = price_parts(self.table, self._terms.of(options), moment)
        for part in self._switched(options, pricings):
            rows[part.name] = part.slots
            whole.add(part.name)
        sizes = [len(rows[part.name]) for part in parts]
        slots = np.concatenate([rows[part.name] for part in parts])
        cut = sum(sizes[: len(options)])  # options come first

        of_part = np.repeat(np.arange(len(options)), sizes[: len(options)])
        market = self._market_columns(slots, moment)
        option_columns = {name: values[:cut] for name, values in market.items()}
        option_columns |= self._option_columns(slots[:cut], of_part, pricings)
        cash_columns = {name: values[cut:] for name, values in market.items()}
        cash_columns |= self._underlying_columns(slots[cut:])

        head = head_of(moment, stamp)
        heads: list[dict[str, Any] | None] = [*pricing_heads(pricings)]
        lines = _lines(options, sizes[: len(options)], option_columns, heads, whole, head)
        cash = parts[len(options) :]
        return lines | _lines(cash, sizes[len(options) :], cash_columns, [None] * len(cash), whole, head)

    def _switched(self, options: Sequence[Part], pricings: PartPricings) -> list[Part]:
        """The parts that are priced on another source than when they were last encoded."""
        sources = dict(zip((part.name for part in options), pricings.source.tolist(), strict=True))
        before, self._priced_on = self._priced_on, self._priced_on | sources
        return [part for part in options if before.get(part.name, sources[part.name]) != sources[part.name]]

    def _market_columns(self, slots: Slots, moment: Moment) -> dict[str, Column]:
        """What every kind of instrument has, gathered and rounded for all rows at once."""
        table = self.table
        prices, quantities = table["depth_price"], table["depth_quantity"]
        oi, previous_oi = table["oi"][slots], table["previous_oi"][slots]
        return {
            "instrument_token": self._instruments.tokens[slots],
            "last_price": _price(table["last_price"][slots]),
            "change_percent": np.round(table["change_percent"][slots], _CHANGE_DECIMALS),
            "bid": (bid := _price(prices[slots, 0])),
            "ask": (ask := _price(prices[slots, DEPTH_LEVELS])),
            "bid_quantity": _whole(quantities[slots, 0], ~np.isnan(bid)),
            "ask_quantity": _whole(quantities[slots, DEPTH_LEVELS], ~np.isnan(ask)),
            "volume_traded": _whole(table["volume_traded"][slots]),
            "oi": _whole(oi),
            "oi_day_change": _whole(oi - previous_oi, (oi != MISSING) & (previous_oi != MISSING)),
            "average_traded_price": _price(table["average_traded_price"][slots]),
            "open": _price(table["open"][slots]),
            "high": _price(table["high"][slots]),
            "low": _price(table["low"][slots]),
            "close": _price(table["close"][slots]),
            "last_trade_time": _whole(table["last_trade_time"][slots]),
            "exchange_timestamp": _whole(table["exchange_timestamp"][slots]),
            "age_ms": _milliseconds(moment.monotonic - table["received_at"][slots]),
            "flags": table["flags"][slots],
        }

    def _option_columns(self, slots: Slots, of_part: NDArray[np.intp], pricings: PartPricings) -> dict[str, Column]:
        priced = price_options(self.table, slots, of_part, pricings)
        greeks = {name: np.round(getattr(priced.greeks, name), decimals) for name, decimals in _GREEKS.items()}
        return {
            "strike": self._instruments.strike[slots],
            "is_call": self._instruments.is_call[slots],
            "implied_volatility": np.round(priced.implied_volatility, _VOLATILITY_DECIMALS),
            **greeks,
            "priced_at_middle": priced.at_middle,
            "greeks_reason": _REASON_NAMES[priced.reason].tolist(),
        }

    def _underlying_columns(self, slots: Slots) -> dict[str, Column]:
        rows = slots.tolist()
        return {
            "tradingsymbol": [self._symbols[row] for row in rows],
            "instrument_type": [self._types[row] for row in rows],
            "expiry": [self._expiries[row] for row in rows],
        }


def head_of(moment: Moment, stamp: Stamp) -> dict[str, Any]:
    """A line's first keys, in the order readers may rely on: they find part, epoch and seq without parsing the rest."""
    return {
        "schema": SCHEMA,
        "part": None,
        "underlying": None,
        "expiry": None,
        "kind": None,
        "source": stamp.source,
        "feed_state": stamp.feed_state,
        "epoch": stamp.epoch,
        "seq": stamp.seq,
        "sent_at": stamp.sent_at,
        "market_time": moment.market_time,
    }


def _lines(
    parts: Sequence[Part],
    sizes: Sequence[int],
    columns: Mapping[str, Column],
    pricings: Sequence[dict[str, Any] | None],
    whole: Collection[str],
    head: dict[str, Any],
) -> dict[str, Line]:
    """Each part's share of the columns, which hold the parts one after the other, as its line."""
    lines = {}
    end = 0
    for part, size, pricing in zip(parts, sizes, pricings, strict=True):
        start, end = end, end + size
        is_whole = part.name in whole
        line = head | {
            "part": part.name,
            "underlying": part.underlying,
            "expiry": part.expiry,
            "kind": "snapshot" if is_whole else "update",
            "pricing": pricing,
            "columns": {name: values[start:end] for name, values in columns.items()},
        }
        lines[part.name] = Line(orjson.dumps(line, option=orjson.OPT_SERIALIZE_NUMPY), is_whole)
    return lines


def pricing_heads(pricings: PartPricings) -> list[dict[str, Any]]:
    """What each line says about its pricing: not rounded, so that a reader's own calculation gives the same Greeks."""
    columns: dict[str, Any] = {
        "model": [_MODELS[on_spot] for on_spot in pricings.on_spot.tolist()],
        "underlying_source": [SOURCES[source] for source in pricings.source.tolist()],
        "underlying_price": pricings.underlying_price,
        "underlying_age_ms": _milliseconds(pricings.underlying_age_seconds),
        "spot": pricings.spot,
        "future": pricings.future,
        "rate": pricings.rate,
        "dividend_yield": pricings.dividend_yield,
        "time_to_expiry": pricings.time_to_expiry,
    }
    rows = zip(*(values if isinstance(values, list) else values.tolist() for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _price(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """A price of zero is how the broker says that there is none."""
    return np.where(values == 0, np.nan, values)


def _whole(values: NDArray[np.int64], known: NDArray[np.bool_] | None = None) -> Column:
    """Whole numbers: an array if all are known, else a list with None for those that are not."""
    if known is None:
        known = values != MISSING
    if known.all():
        return values
    objects = values.astype(object)
    objects[~known] = None
    return list(objects)


def _milliseconds(seconds: NDArray[np.float64]) -> Column:
    known = ~np.isnan(seconds)
    return _whole(np.where(known, seconds * 1000, 0).round().astype(np.int64), known)
