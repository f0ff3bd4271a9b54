"""Frames of the broker's binary protocol, built field by field: independent of the decoder they test."""

import struct
from collections.abc import Sequence

NFO, NSE, CDS, INDICES = 2, 1, 3, 9
NO_DEPTH = ((0, 0, 0),) * 10


def token(number: int, segment: int = NFO) -> int:
    return number << 8 | segment


def frame(*packets: bytes) -> bytes:
    return struct.pack(">H", len(packets)) + b"".join(struct.pack(">H", len(packet)) + packet for packet in packets)


def ltp(instrument_token: int, last_price: int) -> bytes:
    return struct.pack(">Ii", instrument_token, last_price)


def index(instrument_token: int, last_price: int, *, close: int = 0, exchange_timestamp: int | None = None) -> bytes:
    packet = struct.pack(">I6i", instrument_token, last_price, last_price, last_price, last_price, close, 0)
    return packet if exchange_timestamp is None else packet + struct.pack(">I", exchange_timestamp)


def quote(instrument_token: int, last_price: int, *, close: int = 0, volume: int = 0) -> bytes:
    ohlc = (last_price, last_price, last_price, close)
    return struct.pack(">IiIiIII4i", instrument_token, last_price, 1, last_price, volume, 0, 0, *ohlc)


def full(
    instrument_token: int,
    last_price: int,
    *,
    close: int = 0,
    volume: int = 0,
    oi: int = 0,
    last_trade_time: int = 0,
    exchange_timestamp: int = 0,
    depth: Sequence[tuple[int, int, int]] = NO_DEPTH,
) -> bytes:
    """`depth`: five bids, then five offers, each (quantity, price, orders)."""
    return (
        quote(instrument_token, last_price, close=close, volume=volume)
        + struct.pack(">5I", last_trade_time, oi, oi, oi, exchange_timestamp)
        + b"".join(struct.pack(">iiHH", *entry, 0) for entry in depth)
    )


def book(bid: int, ask: int, quantity: int = 75) -> list[tuple[int, int, int]]:
    """Five bids down from `bid` and five offers up from `ask`, in steps of 5."""
    bids = [(quantity, bid - 5 * level, 1) for level in range(5)]
    return bids + [(quantity, ask + 5 * level, 1) for level in range(5)]
