"""Windows of frames for fuzzing: sound, damaged and hostile ones, the same for the same seed.

Built from 32-bit words by the protocol's description, not with the decoder's own tables.
"""

import random
from collections.abc import Callable
from datetime import date
from enum import StrEnum
from functools import cached_property
from typing import Final

import numpy as np
from numpy.typing import NDArray

from streaming.contracts import CALL, CASH, FUTURE, PUT, Contract
from streaming.tests import frames
from streaming.tests.chain import NOW

LTP, INDEX_QUOTE, INDEX_FULL, QUOTE, FULL = LENGTHS = (8, 28, 32, 44, 184)
LATE: Final = 5
"""How far ahead of the market's clock a tick may be, as `validation.Policy` has it, in seconds."""

INDEX_TOKEN: Final = frames.token(1, frames.INDICES)
FUTURE_TOKEN: Final = frames.token(2)
STRIKES: Final = tuple(24_000.0 + 50 * step for step in range(40))
OPTIONS: Final = {
    frames.token(1_000 + 2 * number + (kind == PUT)): (strike, kind)
    for number, strike in enumerate(STRIKES)
    for kind in (CALL, PUT)
}
OTHERS: Final = [frames.token(5_000 + segment, segment) for segment in (1, 3, 4, 6, 7, 8, 12, 200)]
"""One of every segment whose prices may have a divisor of their own."""
STRANGERS: Final = [frames.token(70_000 + number) for number in range(6)]
"""Tokens that nobody subscribed to."""
SUBSCRIBED: Final = [INDEX_TOKEN, FUTURE_TOKEN, *OPTIONS, *OTHERS]

# Where the words of a packet stand; a depth entry is quantity, price, and the orders in the upper half of a word.
_PRICES: Final = {LTP: (1,), INDEX_QUOTE: (1, 2, 3, 4, 5), INDEX_FULL: (1, 2, 3, 4, 5), QUOTE: (1, 3, 7, 8, 9, 10)}
_PRICES[FULL] = _PRICES[QUOTE]
_CLOSE: Final = {INDEX_QUOTE: 5, INDEX_FULL: 5, QUOTE: 10, FULL: 10}
_TIMES: Final = {INDEX_FULL: (7,), FULL: (11, 15)}
_QUANTITIES, _DEPTH_PRICES = slice(16, 46, 3), slice(17, 46, 3)
_EXTREMES: Final = np.array([0, 1, 2**31 - 1, 2**31, 2**32 - 1])


class Kind(StrEnum):
    """How a frame was made. Of the first two every packet is whole and known."""

    SOUND = "sound"
    SIGNED = "signed"
    """Sound, with values below zero and at the ends of what a word holds."""
    MUTATED = "mutated"
    TRUNCATED = "truncated"
    SPLICED = "spliced"
    HOSTILE = "hostile"
    HEARTBEAT = "heartbeat"


_WEIGHTS: Final = {
    Kind.SOUND: 45,
    Kind.SIGNED: 10,
    Kind.MUTATED: 12,
    Kind.TRUNCATED: 10,
    Kind.SPLICED: 8,
    Kind.HOSTILE: 10,
    Kind.HEARTBEAT: 5,
}


def contracts() -> list[Contract]:
    expiry, closes_at = date(2026, 12, 29), NOW + 30 * 86_400
    options = [
        Contract(token, f"NIFTY26DEC{strike:g}{kind}", "NIFTY", kind, expiry, strike, closes_at)
        for token, (strike, kind) in OPTIONS.items()
    ]
    future = Contract(FUTURE_TOKEN, "NIFTY26DECFUT", "NIFTY", FUTURE, expiry)
    others = [Contract(token, f"CASH{token}", f"CASH{token}", CASH) for token in OTHERS]
    return [*options, future, Contract(INDEX_TOKEN, "NIFTY 50", "NIFTY", CASH), *others]


class FuzzWindow:
    """The frames of window `number`. Only seed and number decide them, so any window can be made again alone."""

    def __init__(self, seed: int, number: int) -> None:
        self.market_time = NOW + number / 10
        self._random = random.Random(f"{seed} {number}")
        self._numbers = np.random.default_rng([seed, number])
        self._makers: dict[Kind, Callable[[], bytes]] = {
            Kind.SOUND: self._sound,
            Kind.SIGNED: self._signed,
            Kind.MUTATED: self._mutated,
            Kind.TRUNCATED: self._truncated,
            Kind.SPLICED: self._spliced,
            Kind.HOSTILE: self._hostile,
            Kind.HEARTBEAT: lambda: self._random.randbytes(1),
        }
        size = self._random.randint(1, self._random.choice((1, 3, 10, 50, 300, 1_000)))
        self.kinds = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()), k=size)
        self.frames = [self._makers[kind]() for kind in self.kinds]

    # --- packets, with their length before them -----------------------------------------------------------------------

    @cached_property
    def _pools(self) -> dict[int, list[bytes]]:
        return {length: self._pool(length, signed=False) for length in LENGTHS}

    @cached_property
    def _signed_pools(self) -> dict[int, list[bytes]]:
        return {length: self._pool(length, signed=True) for length in LENGTHS}

    def _pool(self, length: int, *, signed: bool) -> list[bytes]:
        """Half of them plausible ticks, half of them any words."""
        numbers = self._numbers
        words = np.concatenate([self._plausible(length), numbers.integers(0, 2**31, (24, length // 4))])
        if signed:
            spoilt = numbers.random(words.shape) < 0.1
            words[spoilt] = numbers.choice(_EXTREMES, np.count_nonzero(spoilt))
            words[:, _PRICES[length]] *= numbers.choice((1, -1), (len(words), len(_PRICES[length])))
            if length == FULL:
                words[numbers.random(len(words)) < 0.2, _QUANTITIES] *= -1
        words[:, 0] = numbers.choice([*SUBSCRIBED, *STRANGERS], len(words))
        words[::2, 0] = numbers.choice((INDEX_TOKEN, FUTURE_TOKEN, next(iter(OPTIONS))), len(words[::2]))
        packed = (words & 0xFFFFFFFF).astype(">u4").tobytes()
        head = length.to_bytes(2, "big")
        return [head + packed[start : start + length] for start in range(0, len(packed), length)]

    def _plausible(self, length: int) -> NDArray[np.int64]:
        """Prices around a few levels, times around now, a book that is sometimes crossed."""
        numbers, rows = self._numbers, 24
        words = numbers.integers(0, 100_000, (rows, length // 4))
        level = numbers.choice((10_000, 2_500_000), (rows, 1))
        words[:, _PRICES[length]] = level * numbers.uniform(0.6, 1.4, (rows, len(_PRICES[length])))
        words[numbers.random(rows) < 0.05, 1] = 0
        if length in _CLOSE:
            words[numbers.random(rows) < 0.3, _CLOSE[length]] = 0
        if length in _TIMES:
            shape = (rows, len(_TIMES[length]))
            words[:, _TIMES[length]] = int(self.market_time) + numbers.integers(-2, LATE + 3, shape)
        if length == FULL:
            words[:, _DEPTH_PRICES] = level + 5 * numbers.integers(-3, 4, (rows, 10))
        return words

    # --- frames -----------------------------------------------------------------------------------------------------

    def _of(self, pools: dict[int, list[bytes]]) -> bytes:
        """A frame of a few packets; every third has packets of one length only."""
        count = self._random.choice((0, 1, 1, 1, 1, 2, 2, 3, 4, 12))
        some = self._random.sample(LENGTHS, 1 if self._random.random() < 0.3 else 3)
        packets = [self._random.choice(pools[self._random.choice(some)]) for _ in range(count)]
        return count.to_bytes(2, "big") + b"".join(packets)

    def _sound(self) -> bytes:
        return self._of(self._pools)

    def _signed(self) -> bytes:
        return self._of(self._signed_pools)

    def _mutated(self) -> bytes:
        frame = bytearray(self._sound())
        for _ in range(self._random.randint(1, 4)):
            # Counts and lengths stand at the front, and are what a decoder trusts: they are hit more often.
            place = self._random.randrange(min(len(frame), self._random.choice((4, 16, 10_000))))
            frame[place] = self._random.choice((0, 255, frame[place] ^ (1 << self._random.randrange(8))))
        return bytes(frame)

    def _truncated(self) -> bytes:
        frame = self._sound()
        return frame[: self._random.randrange(len(frame))]

    def _spliced(self) -> bytes:
        first, second = self._sound(), self._signed()
        return first[: self._random.randrange(len(first) + 1)] + second[self._random.randrange(len(second) + 1) :]

    def _hostile(self) -> bytes:
        rnd, sound = self._random, self._sound()
        if rnd.random() < 0.001:
            return rnd.choice((b"\xff\xff" + b"\x00" * 131_070, b"\x00" * 1_000_000, b"\xff" * 65_537, sound * 500))
        return rnd.choice(
            (
                b"",
                rnd.randbytes(rnd.randrange(2, 400)),
                bytes([rnd.choice((0, 1, 8, 255))]) * rnd.randrange(2, 400),
                rnd.randbytes(2) + sound[2:],  # a count that lies
                sound[:2] + rnd.randbytes(2) + sound[4:],  # a length that lies
                sound + rnd.randbytes(rnd.randrange(1, 5)),
                sound + sound,
                b"\x00\x01" + len(sound).to_bytes(2, "big") + sound,  # a frame as its packet
                b"\x00\x05" + sound[2:] + b"\x00\x00" * 5,
            )
        )


def refused_packets(seed: int, number: int, market_time: float) -> list[bytes]:
    """Packets of which none may be believed, each for a reason of its own."""
    rnd = random.Random(f"refused {seed} {number}")
    now, call = int(market_time), next(iter(OPTIONS))
    put = next(token for token, (_, kind) in OPTIONS.items() if kind == PUT)
    negative = [(-1, 9_995, 1), *frames.book(9_995, 10_005)[1:]]
    some = [
        frames.ltp(rnd.choice(STRANGERS), rnd.randrange(2**31)),
        frames.full(call, 10_000, exchange_timestamp=now, depth=rnd.sample(negative, 10)),
        frames.full(call, 10_000, exchange_timestamp=now + LATE + rnd.randrange(1, 1_000)),
        frames.ltp(rnd.choice(list(OPTIONS)), -rnd.randrange(1, 2**31)),
        frames.quote(put, round(OPTIONS[put][0] * 100) + rnd.randrange(1, 1_000_000)),
        frames.full(FUTURE_TOKEN, 2_500_000, close=rnd.choice((1_900_000, 3_600_000)), exchange_timestamp=now),
        frames.index(INDEX_TOKEN, 2_500_000, close=rnd.choice((1_900_000, 3_600_000)), exchange_timestamp=now),
    ]
    return rnd.choices(some, k=rnd.randint(1, 20))
