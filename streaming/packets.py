"""The broker's binary frames, decoded: bytes in, columns out. No I/O, and no bytes make it raise.

A frame is a 16-bit count and, for each packet, a 16-bit length and the packet; all integers are big-endian. A frame of
one byte is a heartbeat. The length of a packet tells what it holds (Kite Connect v3 documentation, "WebSocket
streaming").

The feed is many small frames, and numpy earns its keep only on many packets. So frames are kept raw until a window
closes, and then decoded together: joined into one buffer, their packets located in one pass, and each packet length
read as one structured array. `tick_dicts` is for the rest: a few packets, wanted as dicts.
"""

import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DEPTH_LEVELS: Final = 5
CURRENCY, BSE_CURRENCY, INDICES, NSE_COMMODITY = 3, 6, 9, 12
"""Segments (the low byte of a token) whose prices have another divisor, and the one that cannot be traded."""

DIVISORS: Final[NDArray[np.float64]] = np.full(256, 100.0)
DIVISORS[CURRENCY] = 10_000_000.0
DIVISORS[[BSE_CURRENCY, NSE_COMMODITY]] = 10_000.0

LTP, INDEX_QUOTE, INDEX_FULL, QUOTE, FULL = 8, 28, 32, 44, 184

# Prices are signed (a spread or a commodity may trade below zero); totals are not: a day's volume can pass 2^31.
_LTP_FIELDS: Final = [("instrument_token", ">u4"), ("last_price", ">i4")]
_INDEX_FIELDS: Final = [
    *_LTP_FIELDS,
    ("high", ">i4"),
    ("low", ">i4"),
    ("open", ">i4"),
    ("close", ">i4"),
    ("_change", ">i4"),
]
_QUOTE_FIELDS: Final = [
    *_LTP_FIELDS,
    ("last_traded_quantity", ">u4"),
    ("average_traded_price", ">i4"),
    ("volume_traded", ">u4"),
    ("total_buy_quantity", ">u4"),
    ("total_sell_quantity", ">u4"),
    ("open", ">i4"),
    ("high", ">i4"),
    ("low", ">i4"),
    ("close", ">i4"),
]
_DEPTH_ENTRY: Final = np.dtype([("quantity", ">i4"), ("price", ">i4"), ("orders", ">u2"), ("_padding", ">u2")])
_FULL_FIELDS: Final = [
    *_QUOTE_FIELDS,
    ("last_trade_time", ">u4"),
    ("oi", ">u4"),
    ("oi_day_high", ">u4"),
    ("oi_day_low", ">u4"),
    ("exchange_timestamp", ">u4"),
    ("depth", _DEPTH_ENTRY, (2 * DEPTH_LEVELS,)),
]

LAYOUTS: Final[dict[int, np.dtype[np.void]]] = {
    LTP: np.dtype(_LTP_FIELDS),
    INDEX_QUOTE: np.dtype(_INDEX_FIELDS),
    INDEX_FULL: np.dtype([*_INDEX_FIELDS, ("exchange_timestamp", ">u4")]),
    QUOTE: np.dtype(_QUOTE_FIELDS),
    FULL: np.dtype(_FULL_FIELDS),
}
PRICES: Final = ("last_price", "average_traded_price", "open", "high", "low", "close")

_PRICES_OF: Final = {length: tuple(n for n in layout.names or () if n in PRICES) for length, layout in LAYOUTS.items()}
_TOTALS_OF: Final = {
    length: tuple(n for n in layout.names or () if n not in (*PRICES, "instrument_token", "depth", "_change"))
    for length, layout in LAYOUTS.items()
}

# How many 16-bit words a packet and its length take, by the length as a native 16-bit read shows it: one dict look-up
# in the locating loop both steps over a packet and proves its length legal.
_WORDS: Final = {int.from_bytes(length.to_bytes(2, "big"), sys.byteorder): length // 2 + 1 for length in LAYOUTS}


class Fault(StrEnum):
    """What may be wrong with a frame. Counted once per frame, an unknown length once per packet."""

    EMPTY = "empty"
    UNKNOWN_LENGTH = "unknown_length"
    TRUNCATED = "truncated"
    BAD_COUNT = "bad_count"
    ODD = "odd"


@dataclass(frozen=True, slots=True)
class Block:
    """All packets of one length of a window, one array per field, in order of arrival.

    Prices are float64 in currency; quantities, totals and Unix times are int64, depth's quantities and orders int32.
    `change_percent` is against the previous close, as the official client computes it, but nan where there is none.
    `depth_price`, `depth_quantity` and `depth_orders` have shape (n, 10): five bids, best first, then five offers,
    best first.
    """

    length: int
    sequence: NDArray[np.int64]
    """Each packet's place in the window: blocks split what arrived in one order."""
    columns: dict[str, NDArray[Any]]

    def __len__(self) -> int:
        return len(self.sequence)


@dataclass(frozen=True, slots=True)
class Window:
    """What a window's frames held: a block per packet length met, and what was not right with them, by reason."""

    blocks: tuple[Block, ...]
    packets: int
    heartbeats: int
    faults: Counter[Fault]


def decode_window(frames: Sequence[bytes]) -> Window:
    """Decode all frames of a window at once. Never raises: what cannot be read is counted, and the rest is kept.

    Prices are bit for bit those of the official client, which divides (multiplying by an inverse would differ in the
    last bit), except below zero: the official client reads prices as unsigned.
    """
    faults: Counter[Fault] = Counter()
    sound, offsets, heartbeats = _locate(frames, faults)
    words = np.frombuffer(sound, np.uint16)
    lengths = words[offsets].byteswap() if sys.byteorder == "little" else words[offsets]
    blocks = []
    for length in LAYOUTS:
        sequence = np.flatnonzero(lengths == length)
        if sequence.size:
            rows = _rows(sound, offsets[sequence] + 1, length)
            blocks.append(Block(length, sequence, _columns(rows, length)))
    return Window(tuple(blocks), len(offsets), heartbeats, faults)


def _locate(frames: Sequence[bytes], faults: Counter[Fault]) -> tuple[bytes, NDArray[np.intp], int]:
    """One buffer of all sound packets, and where each packet's length stands in it, counted in 16-bit words."""
    sound: list[bytes] = []
    heartbeats = 0
    for frame in frames:
        if len(frame) > 1:
            sound.append(frame)
        elif frame:
            heartbeats += 1
        else:
            faults[Fault.EMPTY] += 1
    if (even := _even_window(sound)) is not None:
        return *even, heartbeats
    offsets: list[int] = []
    base = 0
    for number, frame in enumerate(sound):
        mark = len(offsets)
        if not _step_over(frame, base, offsets):
            del offsets[mark:]
            sound[number] = frame = salvage(frame, faults)
            _step_over(frame, base, offsets)
        base += len(frame) >> 1
    return b"".join(sound), np.array(offsets, np.intp), heartbeats


def _even_window(frames: Sequence[bytes]) -> tuple[bytes, NDArray[np.intp]] | None:
    """The frames joined and the places of their packets, without a loop over these, if all have one length."""
    if not frames:
        return None
    length = int.from_bytes(frames[0][2:4], "big")
    if length not in LAYOUTS:
        return None
    counts = [frame[0] << 8 | frame[1] for frame in frames]
    if any(len(frame) != 2 + count * (length + 2) for frame, count in zip(frames, counts, strict=True)):
        return None
    joined = b"".join(frames)
    # Before each packet lie the packets before it, and a word for each frame up to its own.
    places = np.repeat(np.arange(1, len(frames) + 1), counts)
    places += np.arange(len(places)) * (length // 2 + 1)
    return (joined, places) if (np.frombuffer(joined, ">u2")[places] == length).all() else None


def _step_over(frame: bytes, base: int, offsets: list[int]) -> bool:
    """Append the place of every packet of a frame that starts at word `base`. False if the frame is not sound."""
    if len(frame) & 1:
        return False
    words = memoryview(frame).cast("H")
    place = 1
    try:
        for _ in range(frame[0] << 8 | frame[1]):
            offsets.append(base + place)
            place += _WORDS[words[place]]
    except (IndexError, KeyError):
        return False
    return place == len(words)


def salvage(frame: bytes, faults: Counter[Fault]) -> bytes:
    """The good packets of a damaged frame as a sound frame, and why the others are lost."""
    count, size, place = int.from_bytes(frame[:2], "big"), len(frame), 2
    packets: list[bytes] = []
    for _ in range(count):
        if place == size:
            faults[Fault.BAD_COUNT] += 1
            break
        length = int.from_bytes(frame[place : place + 2], "big")
        end = place + 2 + length
        if end > size:
            faults[Fault.TRUNCATED] += 1
            break
        if length in LAYOUTS:
            packets.append(frame[place:end])
        else:
            faults[Fault.UNKNOWN_LENGTH] += 1
        place = end
    else:
        if place < size:
            faults[Fault.ODD if size - place == 1 else Fault.BAD_COUNT] += 1
    return len(packets).to_bytes(2, "big") + b"".join(packets)


def _rows(sound: bytes, places: NDArray[np.intp], length: int) -> NDArray[np.void]:
    """The packets of one length as a structured array: a view where they stand side by side, else one gather."""
    layout, stride = LAYOUTS[length], length // 2 + 1
    # Packets do not overlap, so only where nothing stands between them is the last one so near to the first.
    if places[-1] - places[0] == stride * (len(places) - 1):
        return np.ndarray((len(places),), layout, sound, int(places[0]) * 2, (stride * 2,))
    # As plain bytes, which are gathered without a look at the fields; numpy proves that all lie in the buffer.
    packet_at_every_word = np.ndarray(((len(sound) - length) // 2 + 1,), f"V{length}", sound, 0, (2,))
    return packet_at_every_word[places].view(layout)


def _columns(rows: NDArray[np.void], length: int) -> dict[str, NDArray[Any]]:
    """One contiguous native array per field; see `Block`."""
    tokens = rows["instrument_token"].astype(np.uint32)
    columns: dict[str, NDArray[Any]] = {"instrument_token": tokens}
    for name in _TOTALS_OF[length]:
        columns[name] = rows[name].astype(np.int64)
    divisor = DIVISORS[tokens & 0xFF]
    for name in _PRICES_OF[length]:
        columns[name] = rows[name] / divisor
    if length != LTP:
        close = columns["close"]
        above = (columns["last_price"] - close) * 100
        columns["change_percent"] = np.divide(above, close, out=np.full(len(rows), np.nan), where=close != 0)
    if length == FULL:
        depth = rows["depth"]
        columns["depth_price"] = depth["price"] / divisor[:, np.newaxis]
        columns["depth_quantity"] = depth["quantity"].astype(np.int32)
        columns["depth_orders"] = depth["orders"].astype(np.int32)
    return columns
