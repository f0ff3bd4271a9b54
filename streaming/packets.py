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
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.packet_fields import FIELDS, Fields

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
    """All packets of one length of a window, in order of arrival."""

    length: int
    sequence: NDArray[np.int64]
    """Each packet's place in the window: blocks split what arrived in one order."""
    words: NDArray[np.int32]
    """The packets themselves, shape (n, `length` / 4)."""
    columns: Fields

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
    """Decode all frames of a window at once. Never raises: what cannot be read is counted, and the rest is kept."""
    faults: Counter[Fault] = Counter()
    sound, offsets, heartbeats = _locate(frames, faults)
    words = np.frombuffer(sound, np.uint16)
    lengths = words[offsets].byteswap() if sys.byteorder == "little" else words[offsets]
    if len(lengths) and (lengths == lengths[0]).all():
        length = int(lengths[0])
        blocks = [_block(length, np.arange(len(lengths)), sound, offsets)]
    else:
        places = ((length, np.flatnonzero(lengths == length)) for length in FIELDS)
        blocks = [_block(length, sequence, sound, offsets[sequence]) for length, sequence in places if sequence.size]
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


def _block(length: int, sequence: NDArray[np.int64], sound: bytes, offsets: NDArray[np.intp]) -> Block:
    """The packets of one length, gathered from where their lengths stand."""
    # As plain bytes, which are gathered without a look at what they are; numpy proves that all lie in the buffer.
    packet_at_every_word = np.ndarray(((len(sound) - length) // 2 + 1,), f"V{length}", sound, 0, (2,))
    words = packet_at_every_word[offsets + 1].view(">i4").reshape(len(offsets), length // 4).astype(np.int32)
    return Block(length, sequence, words, Fields(length, words))
