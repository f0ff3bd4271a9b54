"""Part lines: the rows of one part, priced and encoded as one line of binary columns (`market.lines`).

An update has the rows that changed and a snapshot (the part's blob) has all of them; the shape is one, described by
`docs/schemas/ws/part-line.json` as the JSON that is made of it. All rows asked for, of all parts, are gathered, priced
and rounded together into one block of memory; a part's line is cut out of it. A line's Greeks follow from the line
itself: all its rows are priced with its `pricing`.
When a part is priced on something else than before (its books came, its future went), it goes out whole: whoever holds
its other rows would compare Greeks of two models.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from market.lines import MISSING_I4, MISSING_I8, MISSING_U4, Block, Column, Layout, Shape, in_decimals
from market.pricing_rules import REASON_NAMES, Model
from streaming.contracts import UNKNOWN, Instruments, Part
from streaming.depth import book_of
from streaming.packet_fields import ORDERS_SHIFT, PLACES, PRICE_DECIMALS, change_percent
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

SCHEMA: Final = 1

# Decimals kept of each, so that what is dropped is far below a tick (gamma is small where the underlying is large).
_GREEKS: Final = {"delta": 6, "theta_per_day": 4, "vega_per_point": 4, "rho_per_point": 4}
GAMMA_DECIMALS: Final = 10
_VOLATILITY_DECIMALS: Final = 6
_CHANGE_DECIMALS: Final = 4
# Numbers with so few decimals go as scaled whole numbers, half as long; prices go as the broker sent them, with the
# decimals of their segment. Where a Greek is too large for that, or the instruments are of two segments, the part's
# line has doubles instead. Gamma, with ten decimals, hardly ever would fit.
_MARKET_COLUMNS: Final = (
    Column("instrument_token", "u4"),
    Column("last_price", "i4"),
    Column("change_percent", "i4", decimals=_CHANGE_DECIMALS, is_rounded=True),
    Column("bid", "i4"),
    Column("ask", "i4"),
    Column("bid_quantity", "u4"),
    Column("ask_quantity", "u4"),
    Column("volume_traded", "u4"),
    Column("oi", "u4"),
    Column("oi_day_change", "i8"),
    Column("average_traded_price", "i4"),
    Column("open", "i4"),
    Column("high", "i4"),
    Column("low", "i4"),
    Column("close", "i4"),
    Column("last_trade_time", "u4"),
    Column("exchange_timestamp", "u4"),
    Column("age_ms", "u4"),
    Column("flags", "u1"),
)
_OPTION_COLUMNS: Final = (
    Column("strike", "i4"),
    Column("is_call", "b1"),
    Column("implied_volatility", "i4", decimals=_VOLATILITY_DECIMALS, is_rounded=True),
    Column("delta", "i4", decimals=_GREEKS["delta"], is_rounded=True),
    Column("gamma", "f8"),
    Column("theta_per_day", "i4", decimals=_GREEKS["theta_per_day"], is_rounded=True),
    Column("vega_per_point", "i4", decimals=_GREEKS["vega_per_point"], is_rounded=True),
    Column("rho_per_point", "i4", decimals=_GREEKS["rho_per_point"], is_rounded=True),
    Column("priced_at_middle", "b1"),
    Column("greeks_reason", "u1", REASON_NAMES),
)


_PASSED_PRICES: Final = ("last_price", "average_traded_price", "open", "high", "low", "close")
_PASSED: Final = ("instrument_token", "volume_traded", "oi", "last_trade_time", "exchange_timestamp")
_TIMES: Final = 2  # the last ones of them


class Form:
    """The columns of lines with so many levels of the order book, how they are laid out, and which come as they are.

    The market's columns come first in the option's too: one block holds the rows of both.
    """

    def __init__(self, depth_levels: int) -> None:
        book = book_of(depth_levels)
        of_market = (*_MARKET_COLUMNS, *book.further_columns)
        columns = (*of_market, *_OPTION_COLUMNS)
        self.shape = Shape(columns)
        self.layouts = {  # by whether it is an underlying's, and the decimals of its prices
            (is_underlying, decimals): Layout(in_decimals(columns, decimals))
            for is_underlying, columns in ((False, columns), (True, of_market))
            for decimals in (*PRICE_DECIMALS, None)
        }
        # The words of a tick that are passed on, in one order: prices, the book's behind the others; quantities and
        # orders of the book; the rest, times last.
        passed = {name: PLACES[name] for name in _PASSED_PRICES}
        passed |= book.prices | book.quantities | book.orders | {name: PLACES[name] for name in _PASSED}
        self.words = np.array(list(passed.values()))
        self.rows = [self.shape.fours[name] for name in passed]
        entries, alone = len(book.prices), len(_PASSED_PRICES)
        self.prices = slice(0, alone + entries)
        self.book = slice(alone, alone + entries)
        self.quantities = slice(alone + entries, alone + 2 * entries)
        self.orders = slice(self.quantities.stop, self.quantities.stop + len(book.orders))
        self.beside_prices = [self.quantities, self.orders] if book.orders else [self.quantities]
        self.times = slice(len(passed) - _TIMES, len(passed))


OPTION_COLUMNS: Final = Form(1).shape.columns
"""Of a line of options with the best level of the book."""
_ROUNDED_OPTION_COLUMNS: Final = [column.name for column in _OPTION_COLUMNS if column.is_rounded]
_LONGEST_AGE_MS: Final = MISSING_U4 - 1  # 49 days
_MODELS: Final = {False: Model.BLACK_76, True: Model.BLACK_SCHOLES_MERTON}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What every line of one flush says about itself.

    `source` is live, simulated or replay; `epoch` tells the writer, and `seq` counts its flushes; `sent_at` is system
    time in Unix seconds. `stale_parts` are stale also where `feed_state`, of all together, is live.
    """

    source: str
    feed_state: str
    epoch: int
    seq: int
    sent_at: float
    stale_parts: frozenset[str] = frozenset()

    def feed_state_of(self, part: str) -> str:
        return "stale" if part in self.stale_parts else self.feed_state


class Line(NamedTuple):
    """One part's encoded line (`market.lines`), and whether it has all of the part's rows."""

    data: bytes
    is_whole: bool


class PartEncoder:
    """Encodes parts of one tick table. Call `follow` when its instruments were replaced."""

    def __init__(self, table: TickTable, settings: PricingSettings, *, depth_levels: int = 1) -> None:
        """Raises ValueError if the broker does not send so many levels of the book."""
        self.table = table
        self._form = Form(depth_levels)
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
        self._of_parts = {
            (part.name, is_whole): orjson.dumps(_of_part(part.name, part, "snapshot" if is_whole else "update"))[:-1]
            for part in self._instruments.parts.values()
            for is_whole in (False, True)
        }
        self._strikes, fits = _whole(self._instruments.strike, self._instruments.divisor)
        self._decimals = {
            name: part.decimals if fits[part.slots].all() else None for name, part in self._instruments.parts.items()
        }
        self._priced_on = np.full(len(self._instruments.parts), UNKNOWN)  # index into `SOURCES`, by the part's number
        self._terms = KeptTerms(self._instruments, self.settings)

    def encode_snapshot(self, parts: Iterable[str], moment: Moment, stamp: Stamp) -> dict[str, Line]:
        """One line per part with all of its rows, those that never ticked included."""
        rows = {name: self._instruments.parts[name].slots for name in parts}
        return self._encode(rows, set(rows), moment, stamp)

    def encode_flush(
        self, changed: Mapping[str, Slots], whole: Collection[str], moment: Moment, stamp: Stamp
    ) -> dict[str, Line]:
        """One line per part: those named in `whole` with all of their rows, the others with the rows that changed."""
        rows = {**changed, **{name: self._instruments.parts[name].slots for name in whole}}
        return self._encode(rows, set(whole), moment, stamp)

    def _encode(self, rows: dict[str, Slots], whole: set[str], moment: Moment, stamp: Stamp) -> dict[str, Line]:
        if not rows:
            return {}
        every = [self._instruments.parts[name] for name in rows]
        options = [part for part in every if part.expiry is not None]
        parts = options + [part for part in every if part.expiry is None]
        on_terms = self._terms.of(options)
        pricings = price_parts(self.table, on_terms, moment)
        for part in self._switched(options, on_terms.number, pricings):
            rows[part.name] = part.slots
            whole.add(part.name)
        sizes = [len(rows[part.name]) for part in parts]
        ends = [0, *accumulate(sizes)]
        slots = np.concatenate([rows[part.name] for part in parts])
        block = Block(self._form.shape, len(slots))
        self._write_market(block, slots, moment)
        of_part = np.repeat(np.arange(len(options)), sizes[: len(options)])
        self._write_options(block, slots[: ends[len(options)]], of_part, pricings)  # options come first
        fits = block.seal()
        all_fit = bool(fits.all())
        wide: Block | None = None

        # What `head_of` gives, put together from pieces: of a part only its pricing is encoded anew.
        of_all = {
            feed_state: b"," + orjson.dumps(_of_all(moment, stamp, feed_state))[1:-1] + b',"pricing":'
            for feed_state in {stamp.feed_state_of(part.name) for part in parts}
        }
        heads: list[dict[str, Any] | None] = [*pricing_heads(pricings), *[None] * (len(parts) - len(options))]
        lines = {}
        for part, pricing, start, end in zip(parts, heads, ends[:-1], ends[1:], strict=True):
            is_whole = part.name in whole
            of_this = b"".join(
                (
                    self._of_parts[part.name, is_whole],
                    of_all[stamp.feed_state_of(part.name)],
                    orjson.dumps(pricing),
                    b"}",
                )
            )
            held, decimals = block, self._decimals[part.name]
            if decimals is None or not (all_fit or fits[start:end].all()):
                wide = wide or self._wide(block, slots)
                held, decimals = wide, None
            names = self._names(rows[part.name]) if part.expiry is None else {}
            layout = self._form.layouts[part.expiry is None, decimals]
            lines[part.name] = Line(layout.line(of_this, held, start, end, names), is_whole)
        return lines

    def _switched(self, options: Sequence[Part], numbers: Slots, pricings: PartPricings) -> list[Part]:
        """The parts, of these numbers, that are priced on another source than when they were last encoded."""
        now = pricings.source
        before, self._priced_on[numbers] = self._priced_on[numbers], now
        return [options[place] for place in np.flatnonzero((before != now) & (before != UNKNOWN)).tolist()]

    def _wide(self, block: Block, slots: Slots) -> Block:
        wide = block.wide(self._instruments.divisor[slots])
        wide["strike"][:] = self._instruments.strike[slots]
        return wide

    def _write_market(self, block: Block, slots: Slots, moment: Moment) -> None:
        """What every kind of instrument has, gathered for all rows at once: prices and totals as they came."""
        table, form = self.table, self._form
        words = table.words.take(slots, axis=0)
        passed = words.T[form.words]
        # A price of zero is how the broker says that there is none; a level without one is one that nobody fills.
        is_none = passed[form.prices] == 0
        np.copyto(passed[form.prices], MISSING_I4, where=is_none)
        passed[form.orders].view(np.uint32)[:] >>= ORDERS_SHIFT
        for of_book in form.beside_prices:
            np.copyto(passed[of_book], MISSING, where=is_none[form.book])
        np.copyto(passed[form.times], MISSING, where=passed[form.times] == 0)  # MISSING, read as u4, is MISSING_U4
        block.fours[form.rows] = passed
        last_price, close = (words[:, PLACES[name]].astype(np.float64) for name in ("last_price", "close"))
        last_price[last_price == 0] = np.nan
        block["change_percent"][:] = change_percent(last_price, close)  # a ratio: in whatever unit both are
        oi, previous_oi = table["oi"][slots], table["previous_oi"][slots]
        both = (oi != MISSING) & (previous_oi != MISSING)
        block["oi_day_change"][:] = np.where(both, oi - previous_oi, MISSING_I8)
        age = _milliseconds(moment.monotonic - table["received_at"][slots])
        block["age_ms"][:] = np.minimum(age, _LONGEST_AGE_MS)
        block["flags"][:] = table["flags"][slots]

    def _write_options(self, block: Block, slots: Slots, of_part: NDArray[np.intp], pricings: PartPricings) -> None:
        count = len(slots)
        priced = price_options(self.table, slots, of_part, pricings)
        block["strike"][:count] = self._strikes[slots]
        block["is_call"][:count] = self._instruments.is_call[slots]
        block["implied_volatility"][:count] = priced.implied_volatility
        for name in _GREEKS:
            block[name][:count] = getattr(priced.greeks, name)
        block["gamma"][:count] = np.round(priced.greeks.gamma, GAMMA_DECIMALS)
        block["priced_at_middle"][:count] = priced.at_middle
        block["greeks_reason"][:count] = priced.reason
        for name in _ROUNDED_OPTION_COLUMNS:  # of what is none; the line of an underlying does not have them
            block[name][count:] = np.nan

    def _names(self, slots: Slots) -> dict[str, list[Any]]:
        rows = slots.tolist()
        return {
            "tradingsymbol": [self._symbols[row] for row in rows],
            "instrument_type": [self._types[row] for row in rows],
            "expiry": [self._expiries[row] for row in rows],
        }


def head_of(name: str, part: Part, kind: str, moment: Moment, stamp: Stamp) -> dict[str, Any]:
    """A line's first keys, in the order readers may rely on: they find part, epoch and seq without parsing the rest."""
    return _of_part(name, part, kind) | _of_all(moment, stamp, stamp.feed_state_of(part.name))


def head_bytes(name: str, underlying: str, kind: str, moment: Moment, stamp: Stamp, **more: Any) -> bytes:
    """The same, encoded, for what belongs to an underlying and no expiry; `more` comes last."""
    of_part = {"schema": SCHEMA, "part": name, "underlying": underlying, "expiry": None, "kind": kind}
    return orjson.dumps(of_part | _of_all(moment, stamp, stamp.feed_state) | more)


def _of_part(name: str, part: Part, kind: str) -> dict[str, Any]:
    return {"schema": SCHEMA, "part": name, "underlying": part.underlying, "expiry": part.expiry, "kind": kind}


def _of_all(moment: Moment, stamp: Stamp, feed_state: str) -> dict[str, Any]:
    return {
        "source": stamp.source,
        "feed_state": feed_state,
        "epoch": stamp.epoch,
        "seq": stamp.seq,
        "sent_at": stamp.sent_at,
        "market_time": moment.market_time,
    }


def pricing_heads(pricings: PartPricings) -> list[dict[str, Any]]:
    """What each line says about its pricing: not rounded, so that a reader's own calculation gives the same Greeks."""
    columns: dict[str, Any] = {
        "model": [_MODELS[on_spot] for on_spot in pricings.on_spot.tolist()],
        "underlying_source": [SOURCES[source] for source in pricings.source.tolist()],
        "underlying_price": pricings.underlying_price,
        "underlying_age_ms": [
            None if age == MISSING else age for age in _milliseconds(pricings.underlying_age_seconds).tolist()
        ],
        "spot": pricings.spot,
        "future": pricings.future,
        "rate": pricings.rate,
        "dividend_yield": pricings.dividend_yield,
        "time_to_expiry": pricings.time_to_expiry,
    }
    rows = zip(*(values if isinstance(values, list) else values.tolist() for values in columns.values()), strict=True)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def _whole(prices: NDArray[np.float64], divisor: NDArray[np.float64]) -> tuple[NDArray[np.int32], NDArray[np.bool_]]:
    """The whole numbers as which the broker would send these prices, and where there are such; nan, being none, is."""
    with np.errstate(invalid="ignore"):
        whole = np.rint(prices * divisor)
        fits = np.isnan(prices) | ((whole / divisor == prices) & (np.abs(whole) <= -(MISSING_I4 + 1)))
        return np.where(fits & ~np.isnan(prices), whole, MISSING_I4).astype(np.int32), fits


def _milliseconds(seconds: NDArray[np.float64]) -> NDArray[np.int64]:
    """Whole milliseconds, `MISSING` where there are none."""
    with np.errstate(invalid="ignore"):
        return np.where(np.isnan(seconds), MISSING, np.rint(seconds * 1000)).astype(np.int64)
