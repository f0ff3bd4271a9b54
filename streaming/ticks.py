"""The tick table: the newest believed value of every subscribed instrument, one array per field.

A window of packets is applied at once. Within a window the newest tick of an instrument wins (conflation): nothing
queues up here however fast the feed is.
"""

from collections import Counter
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from market.pricing_rules import Flag
from streaming.bars import Ticks
from streaming.contracts import UNKNOWN, Instruments
from streaming.hours import Closed
from streaming.packet_fields import FULL, NUMBERS, NUMBERS_HELD, PLACES, WORDS, WORDS_HELD, numbers_of
from streaming.packets import Block, Window
from streaming.validation import Known, Policy, Reason, judge

MISSING: Final = -1
"""In integer columns, what nan is in the others: never received."""

_MORE_TOTALS: Final = ("previous_oi", "previous_oi_day", "arrival")
_TIMES: Final = ("last_trade_time", "exchange_timestamp")
_LASTING: Final = ("oi", "previous_oi", "previous_oi_day", "arrival")
"""What a new session goes on from."""
_TOTALS: Final = (
    "last_traded_quantity",
    "volume_traded",
    "total_buy_quantity",
    "total_sell_quantity",
    "oi",
    "oi_day_high",
    "oi_day_low",
)
_EMPTY_WORDS: Final = np.zeros(WORDS, np.int32)
_EMPTY_WORDS[[PLACES[name] for name in _TOTALS]] = MISSING
_FORGOTTEN_WORDS: Final = np.array(
    [place for place in range(WORDS) if place not in (PLACES["instrument_token"], PLACES["oi"])]
)
_IST_SECONDS: Final = 19_800
_DAY_SECONDS: Final = 86_400


class Example(NamedTuple):
    """Where a tick stands that was dropped or flagged."""

    reason: Reason
    block: Block
    row: int


@dataclass(frozen=True, slots=True)
class Applied:
    """What a window changed: the slots with a new value, ascending, and how many ticks went which way."""

    slots: NDArray[np.intp]
    accepted: int
    conflated: int
    """Accepted, but not the newest of their instrument in the window."""
    counts: Counter[str]
    """Dropped and flagged ticks by `validation.Reason`."""
    examples: list[Example]
    """Of each of them one at least."""
    ticks: Ticks
    """Every accepted tick, those that were conflated too."""


class TickTable:
    """One row (a slot of `instruments`) per instrument, which callers read and do not write.

    What packets bring stands twice. In `words` it is as it came: a row as the longest packet has it, in the broker's
    own whole numbers. A price of zero is how the broker says that there is none, and what never came is zero too; of
    totals, which may be zero, it is `MISSING`.
    What is computed with has a column (`packet_fields.NUMBERS`) besides. Integers that never came are `MISSING`, prices
    nan; a time of zero, which the broker sends for "never", is `MISSING` too.
    `received_at` is when the last tick without a flag came, on the monotonic clock: what is flagged grows old.
    `previous_oi` is the open interest at the end of the day before, where it is known: the wire does not carry it, but
    until something trades it is today's.
    """

    def __init__(self, instruments: Instruments, policy: Policy | None = None) -> None:
        self._policy = policy or Policy()
        self._bands = self._policy.bands()
        self._packets = 0
        self._allocate(instruments)

    def __len__(self) -> int:
        return len(self.instruments)

    def _allocate(self, instruments: Instruments) -> None:
        size = len(instruments)
        self.instruments = instruments
        self.words = np.tile(_EMPTY_WORDS, (size, 1))
        self.words[:, PLACES["instrument_token"]] = instruments.tokens.view(np.int32)
        self._numbers = np.full((size, len(NUMBERS)), MISSING, np.int64)
        self.columns: dict[str, NDArray[Any]] = numbers_of(self._numbers)
        for values in self.columns.values():
            values[:] = _empty(values)
        # `arrival` is the place of a row's last tick in the whole stream of packets, to order those of two lengths.
        self.columns |= {name: np.full(size, MISSING, np.int64) for name in _MORE_TOTALS}
        self.columns["received_at"] = np.full(size, np.nan)
        self.columns["flags"] = np.zeros(size, np.uint8)

    def __getitem__(self, field: str) -> NDArray[Any]:
        return self.columns[field]

    def replace_instruments(self, instruments: Instruments) -> None:
        """Follow a change of subscriptions. Instruments that stay keep their values; new ones start empty."""
        before, words, columns = self.instruments, self.words, self.columns
        self._allocate(instruments)
        old = before.slots_of(instruments.tokens)
        stays = old != UNKNOWN
        self.words[stays] = words[old[stays]]
        for name, values in columns.items():
            self.columns[name][stays] = values[old[stays]]

    def set_previous_oi(self, tokens: NDArray[np.unsignedinteger], oi: NDArray[np.int64], day_of: float) -> None:
        """Tell the open interest at the end of the day before the IST day that holds `day_of` (Unix seconds)."""
        slots = self.instruments.slots_of(tokens)
        subscribed = slots != UNKNOWN
        self.columns["previous_oi"][slots[subscribed]] = oi[subscribed]
        self.columns["previous_oi_day"][slots[subscribed]] = _ist_day(day_of)

    def forget(self, slots: NDArray[np.intp]) -> None:
        """A session begins: what these rows showed was of another one. Open interest is the same as at its end."""
        self.words[np.ix_(slots, _FORGOTTEN_WORDS)] = _EMPTY_WORDS[_FORGOTTEN_WORDS]
        for name, values in self.columns.items():
            if name not in _LASTING:
                values[slots] = _empty(values)

    def apply(self, window: Window, *, received_at: float, market_time: float, closed: Closed | None = None) -> Applied:
        """Check the window's ticks and keep the newest good one of each instrument.

        Parameters
        ----------
        window : the decoded frames.
        received_at : when they were received, on the monotonic clock.
        market_time : the market's clock, Unix seconds: a tick from its future is not believed.
        closed : which markets are; None if none is.
        """
        counts: Counter[str] = Counter()
        changed = np.zeros(len(self), np.bool_)
        examples: list[Example] = []
        accepted = winners = 0
        kept: list[tuple[Block, NDArray[np.intp], NDArray[np.intp]]] = []
        for block in window.blocks:
            slots = self.instruments.slots_of(block.columns["instrument_token"])
            verdict = judge(
                block.columns,
                self._known(slots, None if closed is None else self._shut_out(block, slots, closed, market_time)),
                bands=self._bands,
                latest_time=market_time + self._policy.future_tolerance_seconds,
            )
            counts += verdict.counts
            examples += [Example(reason, block, row) for reason, row in verdict.examples.items()]
            rows = self._newest(block, slots, verdict.keep)
            stays = self._last_known(block, rows, slots, verdict.keep) if Reason.UNTRADED in verdict.examples else None
            self._write(block, rows, slots[rows], verdict.flags[rows])
            if stays is not None:
                self._keep_last_price(*stays)
            self.columns["received_at"][slots[verdict.keep & (verdict.flags == 0)]] = received_at
            keep = np.flatnonzero(verdict.keep)
            kept.append((block, keep, slots[keep]))
            accepted += len(keep)
            winners += len(rows)
            changed[slots[rows]] = True
        self._packets += window.packets
        return Applied(np.flatnonzero(changed), accepted, accepted - winners, counts, examples, _accepted(kept))

    def _shut_out(self, block: Block, slots: NDArray[np.intp], closed: Closed, market_time: float) -> NDArray[np.bool_]:
        """Which ticks are of no session, by their own time if they have one. An unknown token is dropped anyway."""
        if not len(self):
            return np.zeros(len(slots), np.bool_)
        times = np.full(len(slots), market_time)
        if "exchange_timestamp" in block.columns:
            own = block.columns["exchange_timestamp"]
            times = np.where(own > 0, own, times)
        return closed.shuts_out(np.maximum(slots, 0), times)

    def _known(self, slots: NDArray[np.intp], shut_out: NDArray[np.bool_] | None = None) -> Known:
        """What the checks compare with. A token that is not subscribed gets row 0's: it is dropped all the same."""
        subscribed = slots != UNKNOWN
        if not len(self):
            nothing = np.full(len(slots), np.nan)
            never = np.full(len(slots), MISSING, np.int64)
            return Known(subscribed, subscribed, nothing, nothing, never, never)
        rows = np.where(subscribed, slots, 0)
        instruments = self.instruments
        spots = instruments.spot[rows]
        spot_price = np.where(spots != UNKNOWN, self.columns["last_price"][spots], np.nan)
        spot_price[spot_price == 0] = np.nan
        return Known(
            subscribed=subscribed,
            is_option=instruments.is_option[rows],
            price_bound=np.where(instruments.is_call[rows], spot_price, instruments.strike[rows]),
            close=self.columns["close"][rows],
            exchange_timestamp=self.columns["exchange_timestamp"][rows],
            volume_traded=self.columns["volume_traded"][rows],
            shut_out=shut_out,
        )

    def _newest(self, block: Block, slots: NDArray[np.intp], keep: NDArray[np.bool_]) -> NDArray[np.intp]:
        """The row of each instrument's newest kept tick, ascending.

        None where a later tick of another length is in already. Of two lengths in one window the later packet wins
        whole. Both come only in the instant a mode changes.
        """
        rows = np.flatnonzero(keep)
        if not rows.size:
            return rows
        ticked = np.zeros(len(self), np.bool_)
        ticked[slots[rows]] = True
        if np.count_nonzero(ticked) == len(rows):  # the usual case: no instrument came twice
            return rows[self._is_last(block, rows, slots)]
        keys = [slots[rows]]
        keys[:0] = [
            block.columns[name][rows] for name in ("volume_traded", "exchange_timestamp") if name in block.columns
        ]
        ordered = rows[np.lexsort(keys)]  # stable: ties stay in order of arrival
        owners = slots[ordered]
        newest: NDArray[np.intp] = ordered[np.append(owners[1:] != owners[:-1], True)]
        return np.sort(newest[self._is_last(block, newest, slots)])

    def _is_last(self, block: Block, rows: NDArray[np.intp], slots: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Where no tick of another packet length that arrived later is in already."""
        return np.asarray(self._packets + block.sequence[rows] > self.columns["arrival"][slots[rows]])

    def _last_known(
        self, block: Block, rows: NDArray[np.intp], slots: NDArray[np.intp], keep: NDArray[np.bool_]
    ) -> tuple[NDArray[np.intp], NDArray[np.float64]]:
        """A last price of zero is none, so the one before it stays: the slots of those of `rows` that have it, and what
        it was, in this window or before it. Call it before the rows are written.
        """
        price = block.columns["last_price"]
        known = self.columns["last_price"].copy()
        before = self._newest(block, slots, keep & (price != 0))
        known[slots[before]] = price[before]
        untraded = slots[rows[price[rows] == 0]]
        last = known[untraded]
        has_one = np.isfinite(last) & (last != 0)
        return untraded[has_one], last[has_one]

    def _keep_last_price(self, slots: NDArray[np.intp], price: NDArray[np.float64]) -> None:
        self.columns["last_price"][slots] = price
        self.words[slots, PLACES["last_price"]] = np.rint(price * self.instruments.divisor[slots])
        self.columns["flags"][slots[price < 0]] |= np.uint8(Flag.NEGATIVE_PRICE)

    def _write(self, block: Block, rows: NDArray[np.intp], slots: NDArray[np.intp], flags: NDArray[np.uint8]) -> None:
        columns = self.columns
        words, numbers = block.words, block.columns.numbers
        if len(rows) < len(block):  # else nothing was dropped, and no instrument came twice: the usual case
            words, numbers = words.take(rows, axis=0), numbers.take(rows, axis=0)
        if block.length == FULL:
            self.words[slots] = words
        else:
            held = WORDS_HELD[block.length]
            self.words[slots[:, np.newaxis], list(held.values())] = words[:, list(held)]
        for held_numbers in NUMBERS_HELD[block.length]:
            self._numbers[:, held_numbers][slots] = numbers[:, held_numbers]
        for name in _TIMES:
            if name in block.columns and not (times := columns[name][slots]).all():
                columns[name][slots[times == 0]] = MISSING
        if block.length != FULL:
            flags |= columns["flags"][slots] & np.uint8(Flag.CROSSED)  # the book is still the one seen before
        columns["flags"][slots] = flags
        columns["arrival"][slots] = self._packets + block.sequence[rows]
        if "oi" in block.columns:
            self._follow_previous_oi(slots)

    def _follow_previous_oi(self, slots: NDArray[np.intp]) -> None:
        """Before an instrument's first trade of the day its open interest is still the day before's."""
        columns = self.columns
        day = _ist_day(columns["exchange_timestamp"][slots])
        untraded = columns["volume_traded"][slots] == 0
        of_another_day = columns["previous_oi_day"][slots] != day
        columns["previous_oi"][slots[of_another_day]] = MISSING
        columns["previous_oi"][slots[untraded]] = columns["oi"][slots[untraded]]
        columns["previous_oi_day"][slots] = day


def _accepted(kept: list[tuple[Block, NDArray[np.intp], NDArray[np.intp]]]) -> Ticks:
    """The ticks of these rows and slots, in order of arrival. A trade's own time counts, if it is told."""

    def total(name: str, block: Block, rows: NDArray[np.intp]) -> NDArray[np.int64]:
        values = block.columns.get(name)
        return np.full(len(rows), MISSING, np.int64) if values is None else values[rows]

    columns = []
    for block, rows, slots in kept:
        sent, traded = total("exchange_timestamp", block, rows), total("last_trade_time", block, rows)
        time = np.where(traded > 0, traded, np.where(sent > 0, sent, MISSING))
        volume, oi = total("volume_traded", block, rows), total("oi", block, rows)
        columns.append((slots, block.columns["last_price"][rows], volume, oi, time, block.sequence[rows]))
    if not columns:
        none = np.empty(0, np.int64)
        return Ticks(np.empty(0, np.intp), np.empty(0), none, none, none)
    if len(columns) == 1:
        return Ticks(*columns[0][:-1])
    *joined, sequence = (np.concatenate(values) for values in zip(*columns, strict=True))
    order = np.argsort(sequence, kind="stable")
    return Ticks(*(values[order] for values in joined))


def _empty(values: NDArray[Any]) -> Any:
    """What stands in a column where nothing came."""
    return {"f": np.nan, "i": MISSING, "u": 0}[values.dtype.kind]


def _ist_day(timestamp: Any) -> Any:
    return (timestamp + _IST_SECONDS) // _DAY_SECONDS
