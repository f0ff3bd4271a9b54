"""Frames that no client should trust, made of good ones.

A frame is a 16-bit count and, for each packet, a 16-bit length and the packet.
"""

import random

_STRANGE_LENGTH = 13  # of no packet the broker sends


def truncated(frame: bytes) -> bytes:
    """The frame without its last five bytes: its last packet breaks off."""
    return frame[:-5]


def with_unknown_length(frame: bytes) -> bytes:
    """One more packet in front, of a length that stands for nothing; the others are good."""
    count = int.from_bytes(frame[:2], "big") + 1
    return count.to_bytes(2, "big") + _STRANGE_LENGTH.to_bytes(2, "big") + bytes(_STRANGE_LENGTH) + frame[2:]


def with_wrong_count(frame: bytes) -> bytes:
    """The good packets, said to be 65,535."""
    return b"\xff\xff" + frame[2:]


def garbage(size: int, seed: int) -> bytes:
    """`size` random bytes, the same for the same seed."""
    return random.Random(seed).randbytes(size)  # noqa: S311 - repeatable on purpose
