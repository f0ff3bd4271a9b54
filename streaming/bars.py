"""One-second and one-minute bars of every instrument, made of ticks. Arrays in, arrays out: no I/O, no clock.

    ticks of a window ─► trades ─► second bars (one open per instrument) ─► closed seconds ─► minute bars

A *trade* is a tick whose day's volume is above the highest seen; what was traded since is its quantity. An index, or
an instrument that is streamed without volume, trades with each of its ticks. Rules, which the tests hold against a
plain loop:

- A trade belongs to the second of its exchange time, or of market time where the packet has none.
- Seconds close together, `LATE_SECONDS` after their end. What comes later, or behind a later trade of its instrument,
  counts in the first second that is still open: a volume is never lost, and a bar that was handed out never changes.
- The first volume seen of an instrument, after `forget` too, is where counting starts and no trade: what was traded
  while nobody looked belongs to no bar of ours. A new day's volume counts from zero.
- Who begins to follow an instrument within a minute, or ends, has a part of that minute's bar. Each part says of what
  (`Span`), so that whoever keeps the bars can put the parts of two processes together, in whatever order they come.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

MISSING: Final = -1
LATE_SECONDS: Final = 1
MINUTE: Final = 60
_IST_SECONDS: Final = 19_800
_DAY_SECONDS: Final = 86_400
_NEVER: Final = np.int64(-(2**62))
_NEVER_ENDS: Final = 2**62

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Slots = NDArray[np.intp]


@dataclass(frozen=True, slots=True)
class Ticks:
    """Accepted ticks in order of arrival, as columns: `volume`, `oi` and `time` (Unix seconds) may be `MISSING`."""

    slots: Slots
    price: Floats
    volume: Ints
    oi: Ints
    time: Ints

    def __len__(self) -> int:
        return len(self.slots)

    def only(self, rows: NDArray[np.bool_] | NDArray[np.intp]) -> "Ticks":
        """Those of a mask, or these in this order."""
        return Ticks(self.slots[rows], self.price[rows], self.volume[rows], self.oi[rows], self.time[rows])


@dataclass(frozen=True, slots=True)
class Span:
    """What bars are made of: the seconds of their first and last trade (Unix), and the day's volume before the first
    and after the last, `MISSING` where an instrument has none.

    `is_partial` where somebody else may have seen the rest of the bar's time; only there does the span matter.
    """

    is_partial: NDArray[np.bool_]
    first: Ints
    last: Ints
    volume_from: Ints
    volume_until: Ints


@dataclass(frozen=True, slots=True)
class BarColumns:
    """Bars that begin at one time (`start`, Unix seconds), one per instrument, by slot.

    `turnover` is price times quantity, summed over the trades; `oi` may be `MISSING`.
    """

    start: int
    seconds: int
    slots: Slots
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Ints
    turnover: Floats
    oi: Ints
    span: Span

    def __len__(self) -> int:
        return len(self.slots)

    @property
    def vwap(self) -> Floats:
        """Nan where nothing with a quantity was traded."""
        return np.where(self.volume > 0, self.turnover / np.maximum(self.volume, 1), np.nan)


class _Open:
    """One open bar per slot."""

    def __init__(self, size: int) -> None:
        self.start = np.full(size, MISSING, np.int64)
        self.open = np.full(size, np.nan)
        self.high = np.full(size, np.nan)
        self.low = np.full(size, np.nan)
        self.close = np.full(size, np.nan)
        self.volume = np.zeros(size, np.int64)
        self.turnover = np.zeros(size)
        self.oi = np.full(size, MISSING, np.int64)
        self.first = np.full(size, MISSING, np.int64)
        self.last = np.full(size, MISSING, np.int64)
        self.volume_from = np.full(size, MISSING, np.int64)
        self.volume_until = np.full(size, MISSING, np.int64)

    def add(self, pieces: "_Pieces", rows: NDArray[np.intp]) -> None:
        """Take these rows in, of which no two have one slot; a slot's bar is empty or begins when its row does."""
        slots = pieces.slots[rows]
        new = self.start[slots] == MISSING
        fresh, old = slots[new], slots[~new]
        first, more = rows[new], rows[~new]
        self.start[fresh] = pieces.start[first]
        for name in ("open", "high", "low", "volume", "turnover", "first", "volume_from"):
            getattr(self, name)[fresh] = getattr(pieces, name)[first]
        self.high[old] = np.maximum(self.high[old], pieces.high[more])
        self.low[old] = np.minimum(self.low[old], pieces.low[more])
        self.volume[old] += pieces.volume[more]
        self.turnover[old] += pieces.turnover[more]
        for name in ("close", "oi", "last", "volume_until"):
            getattr(self, name)[slots] = getattr(pieces, name)[rows]

    def take(self, slots: Slots) -> "_Pieces":
        """These slots' bars, which are empty afterwards."""
        taken = _Pieces(slots, *(getattr(self, name)[slots] for name in _COLUMNS))
        self.start[slots] = MISSING
        return taken

    def moved(self, size: int, to: Slots, stays: Slots) -> "_Open":
        """The bars of the slots that stay, at their new places."""
        new = _Open(size)
        for name, values in vars(self).items():
            getattr(new, name)[to] = values[stays]
        return new


@dataclass(frozen=True, slots=True)
class _Pieces:
    """Bars, or parts of them, of many slots and times."""

    slots: Slots
    start: Ints
    open: Floats
    high: Floats
    low: Floats
    close: Floats
    volume: Ints
    turnover: Floats
    oi: Ints
    first: Ints
    last: Ints
    volume_from: Ints
    volume_until: Ints


_COLUMNS: Final = tuple(name for name in _Pieces.__dataclass_fields__ if name != "slots")


class BarMaker:
    """The bars of one process: `take` ticks as they come, `close` once a second."""

    def __init__(self, size: int) -> None:
        self._closed_until = 0
        self._allocate(size)

    def _allocate(self, size: int) -> None:
        self._seconds, self._minutes = _Open(size), _Open(size)
        self._ended: list[_Pieces] = []
        self._volume = np.full(size, MISSING, np.int64)
        self._day = np.full(size, _NEVER, np.int64)
        self._oi = np.full(size, MISSING, np.int64)
        self._since = np.full(size, -np.inf)

    def __len__(self) -> int:
        return len(self._volume)

    def follow(self, size: int, old: Slots, new: Slots, *, since: float = -np.inf) -> None:
        """Make `size` slots of what there is: what was in `old[n]` is in `new[n]`; what is in neither is dropped
        (`finish` it before), or new, and seen from `since` on (market time, Unix seconds).
        """
        seconds, minutes, ended = self._seconds, self._minutes, self._ended
        volume, day, oi, seen_since = self._volume, self._day, self._oi, self._since
        self._allocate(size)
        self._since[:] = since
        self._seconds, self._minutes = seconds.moved(size, new, old), minutes.moved(size, new, old)
        place = np.full(len(volume), MISSING, np.intp)
        place[old] = new
        for pieces in ended:
            rows = np.flatnonzero(place[pieces.slots] != MISSING)
            self._ended.append(_at(pieces, rows, place[pieces.slots[rows]]))
        self._volume[new], self._day[new], self._oi[new] = volume[old], day[old], oi[old]
        self._since[new] = seen_since[old]

    def forget(self, slots: Slots | None = None) -> None:
        """The feed was interrupted, or these slots' session begins: what was traded meanwhile is in no bar."""
        self._volume[slice(None) if slots is None else slots] = MISSING

    def take(self, ticks: Ticks, market_time: float) -> None:
        """Take in one window's ticks; `market_time` (Unix seconds) is theirs where they have none."""
        if not len(ticks):
            return
        time = np.where(ticks.time == MISSING, np.int64(market_time), ticks.time)
        seen = np.zeros(len(self), np.bool_)
        seen[ticks.slots] = True
        if np.count_nonzero(seen) < len(ticks):  # else no instrument came twice, and there is nothing to put in order
            order = np.lexsort((ticks.volume, time, ticks.slots))  # stable: ties stay in order of arrival
            ticks, time = ticks.only(order), time[order]
        slots, price = ticks.slots, ticks.price
        traded, quantity, before = self._traded(slots, ticks.volume, time)
        oi = self._follow_oi(slots, ticks.oi)
        rows = np.flatnonzero(traded & (price != 0) & np.isfinite(price))
        if not rows.size:
            return
        start = np.maximum(np.maximum(time[rows], self._closed_until), self._seconds.start[slots[rows]])
        self._add(_reduced(slots[rows], start, price[rows], quantity[rows], oi[rows], before[rows]))

    def close(self, market_time: float) -> Iterator[BarColumns]:
        """The bars whose time is over, in order of time, a minute's behind those of its last second."""
        until = int(market_time) - LATE_SECONDS
        if until <= self._closed_until:
            return
        self._closed_until = until
        self._end(np.flatnonzero((self._seconds.start != MISSING) & (self._seconds.start < until)))
        for start, pieces in _by_start(self._ended_where(lambda ended: ended.start < until)):
            yield from self._minutes_before(start - start % MINUTE)
            self._add_to_minutes(pieces, start)
            yield self._columns(pieces, start, 1)
        yield from self._minutes_before(until - until % MINUTE)

    def finish(self, slots: Slots) -> Iterator[BarColumns]:
        """The minutes of these slots as far as they went, in order of time: nobody here will see the rest of them."""
        self._end(slots[self._seconds.start[slots] != MISSING])
        ours = np.zeros(len(self), np.bool_)
        ours[slots] = True
        for start, pieces in _by_start(self._ended_where(lambda ended: ours[ended.slots])):
            yield from self._minutes_before(start - start % MINUTE, ours)
            self._add_to_minutes(pieces, start)
        yield from self._minutes_before(_NEVER_ENDS, ours)

    def _add_to_minutes(self, pieces: "_Pieces", start: int) -> None:
        count = len(pieces.slots)
        minute = np.full(count, start - start % MINUTE)
        self._minutes.add(_at(pieces, slice(None), pieces.slots, minute), np.arange(count))

    def _minutes_before(self, minute: int, ours: NDArray[np.bool_] | None = None) -> Iterator[BarColumns]:
        """Those that are over; of `ours`, as far as they went."""
        minutes = self._minutes
        is_over = (minutes.start != MISSING) & (minutes.start < minute)
        slots = np.flatnonzero(is_over if ours is None else is_over & ours)
        for start, pieces in _by_start(minutes.take(slots)):
            yield self._columns(pieces, start, MINUTE, is_cut_short=ours is not None)

    def _columns(self, pieces: "_Pieces", start: int, seconds: int, *, is_cut_short: bool = False) -> BarColumns:
        is_partial = (self._since[pieces.slots] > start) | is_cut_short
        span = Span(is_partial, pieces.first, pieces.last, pieces.volume_from, pieces.volume_until)
        values = (pieces.open, pieces.high, pieces.low, pieces.close, pieces.volume, pieces.turnover, pieces.oi)
        return BarColumns(start, seconds, pieces.slots, *values, span)

    def _traded(self, slots: Slots, volume: Ints, time: Ints) -> tuple[NDArray[np.bool_], Ints, Ints]:
        """Which ticks are trades, of how much, and the day's volume before them. A slot's ticks stand one behind the
        other, in order of time, then volume.
        """
        day = (time + _IST_SECONDS) // _DAY_SECONDS
        counts = volume != MISSING
        traded, quantity, before = ~counts, np.zeros(len(slots), np.int64), np.full(len(slots), MISSING, np.int64)
        rows = np.flatnonzero(counts)
        if not rows.size:
            return traded, quantity, before
        slots, volume, day = slots[rows], volume[rows], day[rows]
        first = _begins(slots)
        new_day = day > self._day[slots]
        kept = self._volume[slots]
        # What is above this was traded since: the highest of the day, of the window and of before it.
        highest = np.where(kept == MISSING, volume, np.where(new_day, 0, kept))
        if not first.all():
            new_day = np.where(first, new_day, day > np.append(_NEVER, day[:-1]))
            base = np.where(first, highest, np.where(new_day, 0, np.append(MISSING, volume[:-1])))
            highest = _running_maximum(base, np.cumsum(first | new_day) - 1)
        quantity[rows] = grown = np.maximum(volume - highest, 0)
        traded[rows] = grown > 0
        before[rows] = highest
        last = np.ones(len(slots), np.bool_)
        last[:-1] = first[1:]
        self._volume[slots[last]] = np.maximum(highest, volume)[last]
        self._day[slots[last]] = day[last]
        return traded, quantity, before

    def _follow_oi(self, slots: Slots, oi: Ints) -> Ints:
        """The open interest as of each tick: its own, else the last one that came."""
        is_known, first = oi != MISSING, _begins(slots)
        followed = np.where(is_known, oi, self._oi[slots])
        if not first.all():
            begins = np.flatnonzero(first)[np.cumsum(first) - 1]
            newest = np.maximum.accumulate(np.where(is_known, np.arange(len(oi)), MISSING))
            followed = np.where(newest >= begins, oi[np.maximum(newest, 0)], followed)
        self._oi[slots] = followed  # of two for one slot the later one stays
        return followed

    def _add(self, pieces: _Pieces) -> None:
        """Into the open seconds: each slot's earliest piece first, then its next."""
        first = _begins(pieces.slots)
        begins = np.flatnonzero(first)
        rank = np.arange(len(first)) - np.repeat(begins, np.diff(np.append(begins, len(first))))
        for number in range(int(rank.max()) + 1):
            rows = np.flatnonzero(rank == number)
            opened = self._seconds.start[pieces.slots[rows]]
            behind = (opened != MISSING) & (opened < pieces.start[rows])
            self._end(pieces.slots[rows[behind]])
            self._seconds.add(pieces, rows)

    def _end(self, slots: Slots) -> None:
        if slots.size:
            self._ended.append(self._seconds.take(slots))

    def _ended_where(self, wanted: "Callable[[_Pieces], NDArray[np.bool_]]") -> "_Pieces":
        ended = _joined(self._ended)
        now = wanted(ended)
        self._ended = [] if now.all() else [_at(ended, ~now, ended.slots[~now])]
        return _at(ended, now, ended.slots[now])


def _begins(keys: NDArray[np.signedinteger]) -> NDArray[np.bool_]:
    """Where a run of equal keys begins; there is one key at least."""
    begins = np.ones(len(keys), np.bool_)
    np.not_equal(keys[1:], keys[:-1], out=begins[1:])
    return begins


def _running_maximum(values: Ints, group: NDArray[np.intp]) -> Ints:
    """The highest so far within each group. Groups ascend; values lie above -2 and below 2^33."""
    lift = group.astype(np.int64) << 33
    return np.asarray(np.maximum.accumulate(values + lift) - lift)


def _reduced(slots: Slots, start: Ints, price: Floats, quantity: Ints, oi: Ints, before: Ints) -> _Pieces:
    """Trades in order of slot and time as one piece per slot and second."""
    begins = np.flatnonzero(_begins(slots) | _begins(start))
    last = np.append(begins[1:], len(slots)) - 1
    return _Pieces(
        slots[begins],
        start[begins],
        price[begins],
        np.maximum.reduceat(price, begins),
        np.minimum.reduceat(price, begins),
        price[last],
        np.add.reduceat(quantity, begins),
        np.add.reduceat(price * quantity, begins),
        oi[last],
        start[begins],
        start[last],
        before[begins],
        np.where(before[last] == MISSING, MISSING, before[last] + quantity[last]),
    )


def _at(
    pieces: _Pieces, rows: "NDArray[np.intp] | NDArray[np.bool_] | slice", slots: Slots, start: Ints | None = None
) -> _Pieces:
    """These rows, with other slots, and with another start if one is given."""
    changed = {} if start is None else {"start": start}
    return _Pieces(slots, *(changed.get(name, getattr(pieces, name)[rows]) for name in _COLUMNS))


def _joined(some: list[_Pieces]) -> _Pieces:
    if not some:
        return _Open(0).take(np.empty(0, np.intp))
    return _Pieces(*(np.concatenate([getattr(pieces, name) for pieces in some]) for name in ("slots", *_COLUMNS)))


def _by_start(pieces: _Pieces) -> Iterator[tuple[int, _Pieces]]:
    """Pieces of one start each, the earliest first, in order of slots."""
    if not len(pieces.slots):
        return
    order = np.lexsort((pieces.slots, pieces.start))
    begins = np.flatnonzero(_begins(pieces.start[order]))
    for rows in np.split(order, begins[1:]):
        yield int(pieces.start[rows[0]]), _at(pieces, rows, pieces.slots[rows])
