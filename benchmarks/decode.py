"""Decoding frames, against the official client's parser. Both give the same values: checked before the timing."""

import struct
from collections.abc import Callable, Iterator
from datetime import UTC
from functools import partial
from typing import Any

import numpy as np
from kiteconnect import KiteTicker
from numpy.typing import NDArray

from benchmarks.harness import Result, compare
from benchmarks.market import frame
from streaming.packet_fields import DEPTH_LEVELS, FULL, INDEX_FULL, INDEX_QUOTE, INDICES, LTP, QUOTE
from streaming.packets import Window, decode_window
from streaming.tick_dicts import decode_frame_to_dicts

PEER = "kiteticker"
ALL_FULL = {FULL: 1.0}
MIXED = {FULL: 0.70, QUOTE: 0.15, LTP: 0.10, INDEX_FULL: 0.03, INDEX_QUOTE: 0.02}
NFO = 2
official = KiteTicker("key", "token")


def run(rounds: int) -> Iterator[Result]:
    """Windows to columns, and single small frames to dicts; microseconds per tick."""
    windows = {
        "full-3000": [_frame(3_000, ALL_FULL, seed=1)],
        "mixed-3000": [_frame(3_000, MIXED, seed=2)],
        "window-30x30": [_frame(30, MIXED, seed=3 + number) for number in range(30)],
    }
    for case, frames in windows.items():
        _check_columns(decode_window(frames), _parse(frames))
        yield _compare(case, partial(_columns, frames), frames, rounds)
    for count in (1, 8):
        single = _frame(count, MIXED, seed=40 + count)
        _check_dicts(decode_frame_to_dicts(single), _parse([single]))
        yield _compare(f"single-{count}", partial(decode_frame_to_dicts, single), [single], rounds)


def _columns(frames: list[bytes]) -> list[dict[str, NDArray[Any]]]:
    """All of them: the service makes those that it computes with."""
    return [dict(block.columns) for block in decode_window(frames).blocks]


def _compare(case: str, ours: Callable[[], object], frames: list[bytes], rounds: int) -> Result:
    ticks = len(_parse(frames))
    timing = compare(ours, lambda: _parse(frames), rounds=rounds)
    micro = 1e6 / ticks
    return Result("decode", case, timing.ours * micro, "us/tick", PEER, timing.peer * micro, timing.ratio)


def _parse(frames: list[bytes]) -> list[dict[str, Any]]:
    return [tick for one in frames for tick in official._parse_binary(one)]


def _frame(count: int, mix: dict[int, float], seed: int) -> bytes:
    rng = np.random.default_rng(seed)
    lengths = rng.choice(list(mix), count, p=list(mix.values())).tolist()
    return frame([_packet((1_000 + n) << 8, length, rng) for n, length in enumerate(lengths)])


def _packet(token: int, length: int, rng: np.random.Generator) -> bytes:
    token |= INDICES if length in (INDEX_QUOTE, INDEX_FULL) else NFO
    words = rng.integers(1, 5_000_000, 35).tolist()
    if length == FULL:
        depth = [struct.pack(">IIHH", *rng.integers(1, 60_000, 3).tolist(), 0) for _ in range(10)]
        return struct.pack(">16I", token, *words[:10], 1_764_562_499, *words[11:14], 1_764_562_500) + b"".join(depth)
    return struct.pack(f">{length // 4}I", token, *words[: length // 4 - 1])


def _check_columns(window: Window, ticks: list[dict[str, Any]]) -> None:
    if window.packets != len(ticks):
        raise AssertionError(f"{window.packets} packets decoded, {len(ticks)} by {PEER}")
    for block in window.blocks:
        columns = {name: values.tolist() for name, values in block.columns.items()}
        for row, place in enumerate(block.sequence.tolist()):
            ours, theirs = {name: values[row] for name, values in columns.items()}, _flat(ticks[place])
            if ours != theirs:
                raise AssertionError(f"packet {place}: {ours} is not {theirs}")


def _flat(tick: dict[str, Any]) -> dict[str, Any]:
    """A tick of the official client with the names that our columns have."""
    flat = {name: value for name, value in tick.items() if name not in ("tradable", "mode", "ohlc", "depth", "change")}
    flat |= tick.get("ohlc", {})
    if "change" in tick:
        flat["change_percent"] = tick["change"]
    for name in ("last_trade_time", "exchange_timestamp"):
        if name in flat:
            flat[name] = int(flat[name].timestamp())
    if "depth" in tick:
        entries = tick["depth"]["buy"] + tick["depth"]["sell"]
        flat |= {f"depth_{name}": [entry[name] for entry in entries] for name in ("price", "quantity", "orders")}
        flat |= {"bid": entries[0]["price"], "ask": entries[DEPTH_LEVELS]["price"]}
    return flat


def _check_dicts(ours: list[dict[str, Any]], theirs: list[dict[str, Any]]) -> None:
    for tick in theirs:  # the official client's times are naive, in the machine's zone
        for name in ("last_trade_time", "exchange_timestamp"):
            if name in tick:
                tick[name] = tick[name].astimezone(UTC)
    if ours != theirs:
        raise AssertionError(f"{ours} is not {theirs}")
