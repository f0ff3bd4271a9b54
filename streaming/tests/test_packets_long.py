"""A million frames, most of them broken in some way, through both decoders and the tick table.

`TICKER_FUZZ_SEED` repeats a run and `TICKER_FUZZ_FRAMES` sets its length. Every run of the suite does a small one.
"""

import os
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC
from itertools import count
from typing import Any

import numpy as np
import pytest
from kiteconnect import KiteTicker
from numpy.typing import NDArray

from market.pricing_rules import Flag
from streaming.contracts import Instruments
from streaming.packet_fields import FULL, Fields
from streaming.packets import Block, Window, decode_window
from streaming.tests import frames
from streaming.tests.fuzzing import LATE, LENGTHS, FuzzWindow, Kind, contracts, refused_packets
from streaming.tick_dicts import decode_frame_to_dicts
from streaming.ticks import Applied, TickTable
from streaming.validation import Reason

SMALL_RUN = 3_000
OFFICIAL_EVERY = 20
DROPS = set(Reason) - {Reason.UNTRADED, Reason.CROSSED, Reason.NEGATIVE_PRICE}
official = KiteTicker("key", "token")

Columns = dict[str, NDArray[Any]]


def by_the_book(frame: bytes) -> tuple[list[bytes], int]:
    """The packets that lie whole in the frame, and how many things are wrong with it, read as the protocol says."""
    if len(frame) < 2:
        return [], int(not frame)
    packets: list[bytes] = []
    rest, wrong = memoryview(frame)[2:], 0
    for _ in range(int.from_bytes(frame[:2], "big")):
        length = int.from_bytes(rest[:2], "big")
        if len(rest) < 2 + length:
            return packets, wrong + 1
        if length in LENGTHS:
            packets.append(bytes(rest[2 : 2 + length]))
        else:
            wrong += 1
        rest = rest[2 + length :]
    return packets, wrong + bool(rest)


def expected_column(name: str, ticks: list[dict[str, Any]]) -> list[Any]:
    """What the official client's dicts have for a column."""
    match name:
        case "open" | "high" | "low" | "close":
            return [tick["ohlc"][name] for tick in ticks]
        case "change_percent":
            return [tick["change"] if tick["ohlc"]["close"] else 0 for tick in ticks]
        case "last_trade_time" | "exchange_timestamp":
            return [int(tick[name].timestamp()) for tick in ticks]
        case "bid" | "ask":
            return [tick["depth"]["buy" if name == "bid" else "sell"][0]["price"] for tick in ticks]
        case "depth_price" | "depth_quantity" | "depth_orders":
            field = name.removeprefix("depth_")
            return [[entry[field] for entry in (*t["depth"]["buy"], *t["depth"]["sell"])] for t in ticks]
    return [tick[name] for tick in ticks]


def check_decoded(window: Window, made: FuzzWindow) -> None:
    """Both decoders agree, to the last bit, on what the book says is there."""
    ticks: list[dict[str, Any]] = []
    found, wrong = 0, 0
    for frame in made.frames:
        packets, faults = by_the_book(frame)
        of_frame = decode_frame_to_dicts(frame)
        assert [tick["instrument_token"] for tick in of_frame] == [int.from_bytes(p[:4], "big") for p in packets]
        ticks += of_frame
        found += len(packets)
        wrong += faults
    assert window.packets == found == sum(len(block) for block in window.blocks)
    assert window.faults.total() == wrong
    assert window.heartbeats == sum(len(frame) == 1 for frame in made.frames)
    places = np.concatenate([block.sequence for block in window.blocks]) if found else np.array([])
    assert np.array_equal(np.sort(places), np.arange(found))
    for block in window.blocks:
        assert (np.diff(block.sequence) > 0).all()
        rows = [ticks[place] for place in block.sequence.tolist()]
        for name, column in block.columns.items():
            if name == "change_percent":
                column = np.where(block.columns["close"] == 0, 0, column)
            assert column.tolist() == expected_column(name, rows), name


def check_against_official(frame: bytes) -> None:
    theirs = official._parse_binary(frame)
    for tick in theirs:
        for name in {"last_trade_time", "exchange_timestamp"} & tick.keys():
            tick[name] = tick[name].astimezone(UTC)
    assert decode_frame_to_dicts(frame) == theirs


def check_applied(table: TickTable, before: Columns, window: Window, applied: Applied, first: int) -> None:
    """What changed is what a believed packet of this window says; nothing else moved. `first`: packets before it."""
    slots = applied.slots
    assert applied.accepted + sum(applied.counts[reason] for reason in DROPS) == window.packets
    assert 0 <= applied.conflated <= applied.accepted - len(slots)
    assert (np.diff(slots) > 0).all()
    others = np.ones(len(table), np.bool_)
    others[slots] = False
    for name, values in columns_of(table).items():
        assert np.array_equal(values[others], before[name][others], equal_nan=True), name
    places = table["arrival"][slots] - first
    explained = 0
    for block in window.blocks:
        here = np.isin(places, block.sequence)
        rows = np.searchsorted(block.sequence, places[here])
        check_rows(table, slots[here], block, rows)
        explained += len(rows)
    assert explained == len(slots)


def check_rows(table: TickTable, slots: NDArray[np.intp], block: Block, rows: NDArray[np.intp]) -> None:
    as_it_came = Fields(FULL, table.words[slots])
    for name, column in block.columns.items():
        wanted = column[rows]
        stays = np.zeros(len(slots), np.bool_)
        if name in ("last_price", "change_percent"):  # a last price of zero is none: the one before it stays
            stays = (block.columns["last_price"][rows] == 0) & is_a_price(table["last_price"][slots])
        found = as_it_came[name]
        assert np.array_equal(found[~stays], wanted[~stays], equal_nan=True), name
        if name in table.columns:
            if name in ("last_trade_time", "exchange_timestamp"):
                wanted = np.where(wanted == 0, -1, wanted)
            assert np.array_equal(table[name][slots][~stays], wanted[~stays], equal_nan=True), name
    assert np.array_equal(as_it_came["last_price"], np.nan_to_num(table["last_price"][slots]))


def is_a_price(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    return np.asarray(np.isfinite(values) & (values != 0))


def check_invariants(table: TickTable, before: Columns, market_time: float) -> None:
    """What holds for every row, whatever was sent."""
    price, flags, instruments = table["last_price"], table["flags"], table.instruments
    bid, ask = table["bid"], table["ask"]
    untraded = flags & Flag.UNTRADED != 0
    assert untraded[price == 0].all()
    assert not (untraded & is_a_price(before["last_price"]) & ~is_a_price(price)).any()
    assert np.array_equal(flags & Flag.NEGATIVE_PRICE != 0, price < 0)
    assert np.array_equal(flags & Flag.CROSSED != 0, (bid > ask) & (ask > 0))
    assert not (instruments.is_option & (price < 0)).any()
    assert not (instruments.is_option & ~instruments.is_call & (price > instruments.strike)).any()
    assert (table["exchange_timestamp"] <= market_time + LATE).all()
    assert (table["exchange_timestamp"] >= before["exchange_timestamp"]).all()
    assert (Fields(FULL, table.words)["depth_quantity"] >= 0).all()


def copied(table: TickTable) -> Columns:
    return {name: values.copy() for name, values in columns_of(table).items()}


def columns_of(table: TickTable) -> Columns:
    return {**table.columns, "words": table.words}


class Fuzz:
    """One run: a table that lives through all its windows, and what it was fed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.table = TickTable(Instruments(contracts()))
        self.packets = 0
        self.kinds: Counter[Kind] = Counter()
        self.counts: Counter[str] = Counter()

    def step(self, number: int) -> None:
        """One window through everything. Its own number and the seed are enough to see a failure again."""
        made = FuzzWindow(self.seed, number)
        try:
            window = decode_window(made.frames)
            check_decoded(window, made)
            sound = [f for f, kind in zip(made.frames, made.kinds, strict=True) if kind is Kind.SOUND]
            for frame in sound[:: OFFICIAL_EVERY if len(made.frames) > OFFICIAL_EVERY else 1]:
                check_against_official(frame)
            self.apply(window, made.market_time)
            if number % 10 == 0:
                self.apply_refused(number, made.market_time)
            if number % 100 == 99:
                self.change_instruments(number)
        except BaseException as exc:
            exc.add_note(f"window {number} of the run that TICKER_FUZZ_SEED={self.seed} repeats")
            raise
        self.kinds.update(made.kinds)

    def apply(self, window: Window, market_time: float) -> Applied:
        before = copied(self.table)
        applied = self.table.apply(window, received_at=market_time, market_time=market_time)
        check_applied(self.table, before, window, applied, self.packets)
        check_invariants(self.table, before, market_time)
        self.packets += window.packets
        self.counts += applied.counts
        self.counts["accepted"] += applied.accepted
        return applied

    def apply_refused(self, number: int, market_time: float) -> None:
        before = copied(self.table)
        packets = refused_packets(self.seed, number, market_time)
        applied = self.apply(decode_window([frames.frame(*packets)]), market_time)
        assert (applied.accepted, len(applied.slots)) == (0, 0)
        now = columns_of(self.table)
        assert all(np.array_equal(now[name], before[name], equal_nan=True) for name in before)

    def change_instruments(self, number: int) -> None:
        """Some leave, some come: those that stay keep every value."""
        before, old = copied(self.table), self.table.instruments
        keep = np.random.default_rng([self.seed, number, 1]).random(len(contracts())) < 0.9
        self.table.replace_instruments(Instruments([c for c, kept in zip(contracts(), keep, strict=True) if kept]))
        slots = old.slots_of(self.table.instruments.tokens)
        now = columns_of(self.table)
        for name, values in before.items():
            assert np.array_equal(now[name][slots >= 0], values[slots[slots >= 0]], equal_nan=True), name


def run(seed: int, size: int, say: Callable[[str], None]) -> Fuzz:
    fuzz, started, told = Fuzz(seed), time.monotonic(), 0
    for number in count():
        fuzz.step(number)
        done = fuzz.kinds.total()
        if done * 10 // size > told:
            told = done * 10 // size
            say(f"{done:,} frames, {fuzz.packets:,} packets in {time.monotonic() - started:.0f} s (seed {seed})")
        if done >= size:
            return fuzz
    raise AssertionError("unreachable")


def check_it_met_everything(fuzz: Fuzz) -> None:
    """A fuzzer that only ever sends rubbish proves nothing: every kind, every verdict, and many believed ticks."""
    assert fuzz.kinds.keys() == set(Kind)
    assert set(Reason) - {Reason.MARKET_CLOSED} <= set(fuzz.counts)  # its market is open throughout
    assert fuzz.counts["accepted"] > fuzz.packets / 10


def test_some_thousand_frames_of_every_kind_harm_neither_decoder_nor_table() -> None:
    check_it_met_everything(run(20_261_125, SMALL_RUN, lambda _: None))


@pytest.mark.long
def test_a_million_frames_of_every_kind_harm_neither_decoder_nor_table(progress: Callable[[str], None]) -> None:
    seed = int(os.environ.get("TICKER_FUZZ_SEED") or time.time_ns() % 2**32)
    fuzz = run(seed, int(os.environ.get("TICKER_FUZZ_FRAMES") or 1_000_000), progress)
    check_it_met_everything(fuzz)
