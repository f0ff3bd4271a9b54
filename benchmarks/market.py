"""A made-up market for benchmarks: 20 underlyings, 9,000 instruments, and the frames that their ticks arrive in."""

import math
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

import numpy as np

from greeks import black76
from streaming.contracts import CALL, CASH, FUTURE, PUT, Contract

UNDERLYINGS = 20
STRIKES = 112
FIRST_EXPIRY = date(2026, 12, 1)
EXPIRIES_DAYS = (3, 31)
MARKET_TIME = 1_795_839_300.0  # 2026-11-28 09:45 IST
RATE = 0.10
NSE, NFO = 1, 2
PAISE = 100


@dataclass(frozen=True, slots=True)
class Market:
    """Contracts, and for each a price in paise that hangs together with its underlying's."""

    contracts: list[Contract]
    paise: list[int]


def market(seed: int = 5) -> Market:
    """Per underlying: its cash, one future, and calls and puts of 112 strikes in two expiries, priced off a smile."""
    rng = np.random.default_rng(seed)
    contracts: list[Contract] = []
    prices: list[float] = []
    for number in range(UNDERLYINGS):
        name, spot = f"INDEX{number}", round(float(rng.uniform(1_000, 50_000)), 2)
        step = 10 ** math.floor(math.log10(spot * 0.02))
        token = 10_000 + number * 1_000
        contracts.append(Contract(token << 8 | NSE, name, name, CASH))
        prices.append(spot)
        last = EXPIRIES_DAYS[-1]
        expiry = FIRST_EXPIRY + timedelta(days=last)
        contracts.append(Contract((token + 1) << 8 | NFO, f"{name}FUT", name, FUTURE, expiry))
        prices.append(spot * math.exp(RATE * last / 365))
        middle = round(spot / step) * step
        strikes = middle + step * (np.arange(STRIKES) - STRIKES // 2)
        token += 2
        for days in EXPIRIES_DAYS:
            expiry, years = FIRST_EXPIRY + timedelta(days=days), days / 365
            forward = spot * math.exp(RATE * years)
            volatility = 0.12 + 0.5 * np.abs(np.log(strikes / forward))
            for kind in (CALL, PUT):
                fair = black76.price(forward, strikes, years, RATE, volatility, np.full(STRIKES, kind == CALL))
                for strike, price in zip(strikes.tolist(), fair.tolist(), strict=True):
                    closes_at = MARKET_TIME + days * 86_400
                    symbol = f"{name}{expiry:%y%m%d}{strike:g}{kind}"
                    contracts.append(Contract(token << 8 | NFO, symbol, name, kind, expiry, strike, closes_at))
                    prices.append(price)
                    token += 1
    return Market(contracts, [max(round(price * 20) * 5, 5) for price in prices])


def frames_of(source: Market, rows: Sequence[int], packets_a_frame: int, *, volume: int, seed: int = 1) -> list[bytes]:
    """The given instruments' full packets, each price a few ticks from the market's, in frames."""
    rng = np.random.default_rng(seed)
    moves = rng.integers(-1, 2, len(rows)).tolist()
    packets = [
        _full_packet(source.contracts[row].instrument_token, max(source.paise[row] + 5 * move, 5), volume)
        for row, move in zip(rows, moves, strict=True)
    ]
    return [frame(packets[start : start + packets_a_frame]) for start in range(0, len(packets), packets_a_frame)]


def frame(packets: Sequence[bytes]) -> bytes:
    """Packets as the broker sends them: a count, and each behind its length."""
    body = b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)
    return struct.pack(">H", len(packets)) + body


def _full_packet(token: int, price: int, volume: int) -> bytes:
    now = int(MARKET_TIME)
    head = struct.pack(
        ">I15I", token, price, 75, price, volume, 500, 400, price, price + 5, max(price - 5, 5), price,
        now, 9_000, 9_100, 8_900, now,
    )  # fmt: skip
    bids = [(75 * level, max(price - 5 * level, 0), level) for level in range(1, 6)]
    offers = [(75 * level, price + 5 * (level - 1), level) for level in range(1, 6)]
    return head + b"".join(struct.pack(">IIHH", *entry, 0) for entry in bids + offers)
