"""Frames in, batches out: decode, check, price and encode one window. Pure computation, on the event loop, no I/O."""

import time
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from streaming.analytics import MOST_AT_ONCE, ChainAnalyser
from streaming.bar_lines import BarEncoder
from streaming.bars import MINUTE, BarColumns, BarMaker
from streaming.contracts import UNKNOWN, Contract, Instruments
from streaming.hours import MarketHours
from streaming.packets import decode_window
from streaming.pricing import Moment, PricingSettings
from streaming.publisher import Batch, PartPayload
from streaming.quarantine import Quarantine
from streaming.snapshots import Line, PartEncoder, Stamp
from streaming.state import PartState
from streaming.ticks import TickTable
from streaming.turns import Turns
from streaming.validation import Policy

Slots = NDArray[np.intp]

# What every line says of the feed: whether prices come, as far as they should at this hour.
LIVE, STALE = "live", "stale"
KEYFRAME_SECONDS = 5.0
"""How often a part that changes is sent whole."""


@dataclass(frozen=True, slots=True)
class Flushed:
    """What became of one window."""

    batch: Batch
    packets: int
    conflated: int
    """Believed, but not the newest of their instrument in the window."""
    heartbeats: int
    faults: Counter[str]
    rejected: Counter[str]
    decode_seconds: float
    encode_seconds: float


class Minute(NamedTuple):
    """A minute's bars, to be kept, and the tokens of all slots they may lie in."""

    bars: BarColumns
    tokens: NDArray[np.uint32]


@dataclass(slots=True)
class TickPipeline:
    """The tick table of a process and the encoder that reads it.

    Parameters
    ----------
    source : live, simulated or replay; written on every line
    epoch : greater than that of any process before; with `seq` it orders the lines of a part
    market_time : the market's clock, Unix seconds
    depth_levels : of the order book in every line, 1 to 5; ValueError for another number
    """

    source: str
    epoch: int
    market_time: Callable[[], float]
    pricing: PricingSettings = field(default_factory=PricingSettings)
    policy: Policy = field(default_factory=Policy)
    depth_levels: int = 1
    feed_state: str = STALE
    stale_parts: frozenset[str] = frozenset()  # also while others are live
    seq: int = 0
    table: TickTable = field(init=False)
    encoder: PartEncoder = field(init=False)
    analyser: ChainAnalyser = field(init=False)
    bars: BarMaker = field(init=False)
    bar_encoder: BarEncoder = field(init=False)
    quarantine: Quarantine = field(default_factory=Quarantine)
    cut_short: list[Minute] = field(default_factory=list)
    hours: MarketHours = field(default_factory=MarketHours)
    encode_seconds: float = 0.0
    """What pricing and encoding the last window took."""
    part_updates: Counter[str] = field(default_factory=Counter)
    part_stamps: dict[str, tuple[int, float]] = field(default_factory=dict)
    keyframes: Turns = field(default_factory=lambda: Turns(KEYFRAME_SECONDS))
    monotonic: Callable[[], float] = time.monotonic

    def __post_init__(self) -> None:
        self.table = TickTable(Instruments([]), self.policy)
        self.encoder = PartEncoder(self.table, self.pricing, depth_levels=self.depth_levels)
        self.analyser = ChainAnalyser(self.table, self.pricing)
        self.bars = BarMaker(0)
        self.bar_encoder = BarEncoder(self.table.instruments)

    @property
    def parts(self) -> frozenset[str]:
        return frozenset(self.table.instruments.parts)

    @property
    def underlyings(self) -> frozenset[str]:
        return frozenset(part.underlying for part in self.table.instruments.parts.values())

    @property
    def part_of_token(self) -> dict[int, str]:
        instruments = self.table.instruments
        return {
            token: part.name for part in instruments.parts.values() for token in instruments.tokens[part.slots].tolist()
        }

    @property
    def ticked_at(self) -> dict[int, float]:
        """When each instrument last had a valid tick, by the monotonic clock; those without one are left out."""
        received = self.table["received_at"]
        ticked = np.flatnonzero(~np.isnan(received))
        return dict(zip(self.table.instruments.tokens[ticked].tolist(), received[ticked].tolist(), strict=True))

    def symbol_of(self, token: int) -> str:
        """What the instrument is called; empty if it is not streamed."""
        instruments = self.table.instruments
        slot = int(instruments.slots_of(np.array([token], np.uint32))[0])
        return instruments.contracts[slot].tradingsymbol if slot != UNKNOWN else ""

    def follow(self, contracts: Iterable[Contract]) -> None:
        """Make these the instruments; those that stay keep their values, the bars of those that leave end here."""
        before = self.table.instruments
        self.table.replace_instruments(Instruments(contracts))
        instruments = self.table.instruments
        old = before.slots_of(instruments.tokens)
        stays = np.flatnonzero(old != UNKNOWN)
        leaves = np.setdiff1d(np.arange(len(before)), old[stays])
        self.cut_short += [Minute(bars, before.tokens) for bars in self.bars.finish(leaves)]
        self.bars.follow(len(instruments), old[stays], stays, since=self.market_time())
        self.bar_encoder = BarEncoder(instruments)
        self.hours.follow([contract.exchange for contract in instruments.contracts])
        self.encoder.follow()
        self.analyser.follow()
        self.keyframes.follow(self.parts)
        self.part_updates = Counter({name: self.part_updates[name] for name in self.parts})
        self.part_stamps = {name: stamp for name, stamp in self.part_stamps.items() if name in self.parts}

    def part_states(self) -> list[PartState]:
        """What is streamed, part by part, and when something last came for each."""
        never = (0, None)
        return [
            PartState(
                name=name,
                rows=len(part.slots),
                updates=self.part_updates[name],
                seq=self.part_stamps.get(name, never)[0],
                last_tick_at=self.part_stamps.get(name, never)[1],
            )
            for name, part in sorted(self.table.instruments.parts.items())
        ]

    def price_on(self, pricing: PricingSettings) -> None:
        """Price on these terms from now on."""
        self.pricing = pricing
        self.encoder.price_on(pricing)
        self.analyser.price_on(pricing)

    def flush(self, frames: Sequence[bytes], received_wall: float) -> Flushed:
        """Take in one window's frames; `received_wall` is when the newest of them came (Unix seconds)."""
        began = time.perf_counter()
        window = decode_window(frames)
        moment = self._moment()
        look = self.hours.look(moment.market_time)
        begun = self._begin_session(look.opened)
        applied = self.table.apply(
            window, received_at=moment.monotonic, market_time=moment.market_time, closed=look.closed
        )
        self.quarantine.take(applied, self.table, at=received_wall, monotonic=moment.monotonic)
        ticks = applied.ticks
        if look.closed is not None:
            ticks = ticks.only(~look.closed.is_over(ticks.slots, ticks.time, moment.market_time))
        self.bars.take(ticks, moment.market_time)
        decoded = time.perf_counter()
        batch = self._encode(applied.slots, moment, begun)
        self.encode_seconds = time.perf_counter() - decoded
        return Flushed(
            batch=batch,
            packets=window.packets,
            conflated=applied.conflated,
            heartbeats=window.heartbeats,
            faults=Counter({str(fault): count for fault, count in window.faults.items()}),
            rejected=applied.counts,
            decode_seconds=decoded - began,
            encode_seconds=self.encode_seconds,
        )

    def whole(self, parts: Iterable[str] | None = None) -> Batch:
        """These parts (all, if none are named) with every row: after a change of the feed's state or of the rows."""
        return _payloads(
            self.encoder.encode_snapshot(self.parts if parts is None else parts, self._moment(), self._stamp())
        )

    def analytics(self, *, most: int = MOST_AT_ONCE) -> Batch:
        """The analytics of the expiries whose turn it is, at most so many."""
        return _payloads(self.analyser.take(self._moment(), self._stamp(), most=most))

    def take_bars(self) -> tuple[Batch, list[Minute]]:
        """The bars that are over, to be published, and the minutes' bars, to be kept.

        Of an instrument that left within a minute its part of it is kept; whoever has it now publishes the rest.
        """
        moment = self._moment()
        minutes, self.cut_short = self.cut_short, []
        lines: dict[str, tuple[bytes, ...]] = {}
        for columns in self.bars.close(moment.market_time):
            if columns.seconds == MINUTE:
                minutes.append(Minute(columns, self.table.instruments.tokens))
            # All of them: a minute's bar does not take the place of its last second's.
            for part, line in self.bar_encoder.encode(columns, moment, self._stamp()).items():
                lines[part] = (*lines.get(part, ()), line.data)
        return {part: PartPayload(of_part, is_whole=True) for part, of_part in lines.items()}, minutes

    def end_bars(self) -> list[Minute]:
        """The minutes as far as they went, to be kept: another process goes on where this one stops."""
        ended, self.cut_short = self.cut_short, []
        tokens = self.table.instruments.tokens
        return ended + [Minute(bars, tokens) for bars in self.bars.finish(np.arange(len(self.bars)))]

    def forget_bars(self, parts: Iterable[str]) -> None:
        """The feed of these parts was interrupted: what was traded meanwhile is in no bar."""
        found = self.table.instruments.parts
        slots = [found[part].slots for part in parts]
        self.bars.forget(np.concatenate(slots) if slots else np.empty(0, np.intp))

    def _begin_session(self, slots: Slots) -> Collection[str]:
        """Forget what these instruments showed in another session; returns their parts, which are to be sent whole.

        What stayed from before would be priced with what is new: an option of yesterday on today's spot.
        """
        if not slots.size:
            return ()
        self.table.forget(slots)
        self.bars.forget(slots)
        return self.table.instruments.parts_of(slots).keys()

    def _encode(self, slots: Slots, moment: Moment, begun: Collection[str]) -> Batch:
        changed = self.table.instruments.parts_of(slots)
        self.keyframes.changed(changed)
        self.analyser.changed(changed)
        whole = [*self.keyframes.take_due(moment.monotonic), *begun]
        if not (whole or len(slots)):
            return {}
        stamp = self._stamp()
        self.part_updates.update(changed.keys())
        self.part_stamps |= dict.fromkeys(changed, (stamp.seq, stamp.sent_at))
        return _payloads(self.encoder.encode_flush(changed, whole, moment, stamp))

    def _moment(self) -> Moment:
        return Moment(self.market_time(), self.monotonic())

    def _stamp(self) -> Stamp:
        self.seq += 1
        return Stamp(self.source, self.feed_state, self.epoch, self.seq, time.time(), self.stale_parts)


def _payloads(lines: Mapping[str, Line]) -> Batch:
    return {part: PartPayload((line.data,), line.is_whole) for part, line in lines.items()}
