"""What is wrong with one socket for the time being: it stands between the market and the frames."""

import random
from collections import deque
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from simulator.faults.socket_kinds import (
    Blank,
    Distort,
    Distortion,
    Duplicate,
    HeartbeatsOnly,
    Lasting,
    LoseSubscriptions,
    Mute,
    Slow,
    Stale,
    Withhold,
)
from simulator.market import Market
from simulator.packets import encode_frame

_Tokens = NDArray[np.uint32]


class Disturbance:
    """Faults add up: a socket may be slow and stale at once."""

    def __init__(self) -> None:
        self.is_mute = False
        self.answers_pings = True
        self.pause_seconds = 0.0  # after each frame
        self._copies = 1
        self._has_data = True
        self._is_stale = False
        self._frozen: tuple[Market, NDArray[np.void]] | None = None
        self._blank: _Tokens = np.empty(0, np.uint32)
        self._withheld: _Tokens = np.empty(0, np.uint32)
        self._distortions: deque[Distortion] = deque()
        self._loses = 0.0
        self._lost: set[int] = set()
        self._chance = random.Random()  # noqa: S311 - a fault's own

    def add(self, fault: Distort | Lasting, market: Market) -> None:
        match fault:
            case Distort(distortion, frames):
                self._distortions.extend([distortion] * frames)
            case Mute(pongs):
                self.is_mute, self.answers_pings = True, pongs
            case HeartbeatsOnly():
                self._has_data = False
            case Stale():
                self._is_stale, self._frozen = True, (market, market.packets.copy())
            case Blank(tokens):
                self._blank = _with(self._blank, tokens)
            case Withhold(tokens):
                self._withheld = _with(self._withheld, tokens)
            case LoseSubscriptions(chance, seed):
                self._loses, self._chance = chance, random.Random(seed)  # noqa: S311
            case Slow(seconds):
                self.pause_seconds = seconds
            case Duplicate(copies):
                self._copies = copies

    def admitted(self, tokens: Iterable[int], *, are_new: bool) -> list[int]:
        """Those of a request's instruments that the broker notes: `are_new` of one to subscribe, not of a mode's."""
        asked = list(tokens)
        if are_new:
            self._lost.difference_update(asked)
            self._lost.update(token for token in asked if self._loses and self._chance.random() < self._loses)
        return [token for token in asked if token not in self._lost]

    def encode(self, market: Market, rows: NDArray[np.int64], modes: NDArray[np.uint8]) -> bytes | None:
        """The frame with the packets of `rows` as this socket is to see them; None when it is to see nothing."""
        if self.is_mute or not self._has_data:
            return None
        if len(self._withheld):
            rows = rows[~np.isin(market.packets["instrument_token"][rows], self._withheld)]
        if not len(rows):
            return None
        packets = self._packets(market)[rows]
        if len(self._blank):
            self._blank_out(packets)
        frame = encode_frame(packets, np.arange(len(rows)), modes[rows], market.is_index[rows])
        return self._distortions.popleft()(frame) if self._distortions else frame

    def copies(self, frame: bytes) -> tuple[bytes, ...]:
        """What is sent for a frame or heartbeat."""
        return () if self.is_mute else (frame,) * self._copies

    def _packets(self, market: Market) -> NDArray[np.void]:
        if not self._is_stale:
            return market.packets
        if self._frozen is None or self._frozen[0] is not market:
            self._frozen = (market, market.packets.copy())  # a new day has other rows: they stand still from here on
        return self._frozen[1]

    def _blank_out(self, packets: NDArray[np.void]) -> None:
        tokens = packets["instrument_token"].copy()
        packets[np.isin(tokens, self._blank)] = np.zeros((), packets.dtype)
        packets["instrument_token"] = tokens


def _with(tokens: _Tokens, more: frozenset[int]) -> _Tokens:
    return np.union1d(tokens, np.array(sorted(more), np.uint32))
