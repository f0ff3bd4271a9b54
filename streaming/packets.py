"""The broker's binary frames, decoded: bytes in, columns out. No I/O, and no bytes make it raise.

A frame is a 16-bit count and, for each packet, a 16-bit length and the packet; all integers are big-endian. A frame of
one byte is a heartbeat. The length of a packet tells what it holds (Kite Connect v3 documentation, "WebSocket
streaming").

The feed is many small frames, and numpy earns its keep only on many packets. So frames are kept raw until a window
closes, and then decoded together: joined into one buffer, their packets located in one pass, and each packet length
read as one matrix of numbers. `tick_dicts` is for the rest: a few packets, wanted as dicts.
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

# A packet is 32-bit numbers, and of the longest a book of orders behind them: what each of them is.
_LTP_FIELDS: Final = ("instrument_token", "last_price")
_INDEX_FIELDS: Final = (*_LTP_FIELDS, "high", "low", "open", "close", "change")
_QUOTE_FIELDS: Final = (
    *_LTP_FIELDS,
    "last_traded_quantity",
    "average_traded_price",
    "volume_traded",
    "total_buy_quantity",
    "total_sell_quantity",
    "open",
    "high",
    "low",
    "close",
)
_FULL_FIELDS: Final = (*_QUOTE_FIELDS, "last_trade_time", "oi", "oi_day_high", "oi_day_low", "exchange_timestamp")
FIELDS: Final[dict[int, tuple[str, ...]]] = {
    LTP: _LTP_FIELDS,
    INDEX_QUOTE: _INDEX_FIELDS,
    INDEX_FULL: (*_INDEX_FIELDS, "exchange_timestamp"),
    QUOTE: _QUOTE_FIELDS,
    FULL: _FULL_FIELDS,
}
_ENTRY_FIELDS: Final = 3
"""Of each entry of the order book: quantity, price, and in the upper half of the third how many orders."""
_ORDERS_HALF: Final = 5 if sys.byteorder == "little" else 4

# What packets hold, as a row of 64-bit words: prices, totals, then the order book. So a tick is one piece of memory,
# here and in the tick table, and what a packet holds of it lies side by side. Prices are signed (a spread or a
# commodity may trade below zero); totals are not: a day's volume can pass 2^31.
PRICES: Final = ("last_price", "open", "high", "low", "close", "change_percent", "average_traded_price")
TOTALS: Final = (
    "last_traded_quantity",
    "volume_traded",
    "total_buy_quantity",
    "total_sell_quantity",
    "oi",
    "oi_day_high",
    "oi_day_low",
    "last_trade_time",
    "exchange_timestamp",
)
DEPTH: Final = ("depth_price", "depth_quantity", "depth_orders")
_BOOK_AT: Final = len(PRICES) + len(TOTALS)
_BOOK_ENDS: Final = tuple(_BOOK_AT + words * DEPTH_LEVELS for words in (0, 2, 3, 4))  # numbers of 64, 32 and 32 bits
ROW_WORDS: Final = _BOOK_ENDS[-1]


def fields_of(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The fields of such rows, shape (n, `ROW_WORDS`), as views: float64 of shape (n,), `TOTALS` int64, and of the book
    shape (n, 10), prices float64, quantities and orders int32.
    """
    fields: dict[str, NDArray[Any]] = dict(zip(PRICES, rows[:, : len(PRICES)].view(np.float64).T, strict=True))
    fields |= zip(TOTALS, rows[:, len(PRICES) : _BOOK_AT].T, strict=True)
    for name, kind, begin, end in zip(
        DEPTH, (np.float64, np.int32, np.int32), _BOOK_ENDS[:-1], _BOOK_ENDS[1:], strict=True
    ):
        fields[name] = rows[:, begin:end].view(kind)
    return fields


HELD: Final[dict[int, tuple[slice, ...]]] = {
    LTP: (slice(0, 1),),
    INDEX_QUOTE: (slice(0, 6),),
    INDEX_FULL: (slice(0, 6), slice(15, 16)),
    QUOTE: (slice(0, 11),),
    FULL: (slice(0, ROW_WORDS),),
}
"""Which words of a row the packets of each length hold."""

# How many 16-bit words a packet and its length take, by the length as a native 16-bit read shows it: one dict look-up
# in the locating loop both steps over a packet and proves its length legal.
_WORDS: Final = {int.from_bytes(length.to_bytes(2, "big"), sys.byteorder): length // 2 + 1 for length in FIELDS}


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
    They are views of `rows`, of which the words in `HELD` are set.
    `change_percent` is against the previous close, as the official client computes it, but nan where there is none.
    `depth_price`, `depth_quantity` and `depth_orders` have shape (n, 10): five bids, best first, then five offers,
    best first.
    """

    length: int
    sequence: NDArray[np.int64]
    """Each packet's place in the window: blocks split what arrived in one order."""
    rows: NDArray[np.int64]
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
    if len(lengths) and (lengths == lengths[0]).all():
        length = int(lengths[0])
        blocks = [_block(length, np.arange(len(lengths)), _gathered(sound, offsets + 1, length))]
    else:
        places = ((length, np.flatnonzero(lengths == length)) for length in FIELDS)
        blocks = [
            _block(length, sequence, _gathered(sound, offsets[sequence] + 1, length))
            for length, sequence in places
            if sequence.size
        ]
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
    if length not in FIELDS:
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
        if length in FIELDS:
            packets.append(frame[place:end])
        else:
            faults[Fault.UNKNOWN_LENGTH] += 1
        place = end
    else:
        if place < size:
            faults[Fault.ODD if size - place == 1 else Fault.BAD_COUNT] += 1
    return len(packets).to_bytes(2, "big") + b"".join(packets)


def _gathered(sound: bytes, places: NDArray[np.intp], length: int) -> NDArray[np.int32]:
    """The packets of one length, gathered: a row of native 32-bit numbers for each."""
    # As plain bytes, which are gathered without a look at what they are; numpy proves that all lie in the buffer.
    packet_at_every_word = np.ndarray(((len(sound) - length) // 2 + 1,), f"V{length}", sound, 0, (2,))
    return packet_at_every_word[places].view(">i4").reshape(len(places), length // 4).astype(np.int32)


def _block(length: int, sequence: NDArray[np.int64], numbers: NDArray[np.int32]) -> Block:
    unsigned = numbers.view(np.uint32)
    rows = np.empty((len(numbers), ROW_WORDS), np.int64)
    fields = fields_of(rows)
    tokens = unsigned[:, 0].copy()
    columns: dict[str, NDArray[Any]] = {"instrument_token": tokens}
    divisor = DIVISORS.take(tokens & 0xFF)
    if (divisor == divisor[0]).all():  # as nearly always: then it is one number, which numpy is quicker to divide by
        divisor = divisor[:1]
    for place, name in enumerate(FIELDS[length]):
        if name in PRICES:
            columns[name] = np.divide(numbers[:, place], divisor, out=fields[name])
        elif name in TOTALS:
            columns[name] = fields[name]
            columns[name][:] = unsigned[:, place]
    if length != LTP:
        close, change = columns["close"], fields["change_percent"]
        above = columns["last_price"] - close
        above *= 100
        with np.errstate(divide="ignore", invalid="ignore"):
            columns["change_percent"] = np.divide(above, close, out=change)
        if np.count_nonzero(close) < len(close):
            change[close == 0] = np.nan
    if length == FULL:
        depth = numbers[:, len(_FULL_FIELDS) :].reshape(-1, 2 * DEPTH_LEVELS, _ENTRY_FIELDS)
        columns |= {name: fields[name] for name in DEPTH}
        np.divide(depth[:, :, 1], divisor[:, np.newaxis], out=columns["depth_price"])
        columns["depth_quantity"][:] = depth[:, :, 0]
        halves = numbers[:, len(_FULL_FIELDS) :].view(np.uint16).reshape(-1, 2 * DEPTH_LEVELS, 2 * _ENTRY_FIELDS)
        columns["depth_orders"][:] = halves[:, :, _ORDERS_HALF]
    return Block(length, sequence, rows, columns)
