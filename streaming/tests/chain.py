"""A small market for tests: an index, its future, and five strikes of one expiry, at prices that belong together."""

from datetime import date

import numpy as np

from greeks import black76
from streaming.contracts import CALL, CASH, FUTURE, PUT, Contract, Instruments
from streaming.packets import decode_window
from streaming.tests import frames
from streaming.ticks import Applied, TickTable

NOW = 1_795_839_300  # 2026-11-28 09:45 IST
EXPIRY = date(2026, 12, 1)
CLOSES_AT = NOW + 3 * 86_400
YEARS = 3 / 365
RATE = 0.10
SPOT, FORWARD = 25_000.0, 25_020.55
INDEX_TOKEN, FUTURE_TOKEN = frames.token(1, frames.INDICES), frames.token(2)
STRIKES = (24_900.0, 24_950.0, 25_000.0, 25_050.0, 25_100.0)


def option_token(strike: float, kind: str) -> int:
    return frames.token(1_000 + 2 * STRIKES.index(strike) + (kind == PUT))


def contracts() -> list[Contract]:
    options = [
        Contract(option_token(strike, kind), f"NIFTY26D01{strike:g}{kind}", "NIFTY", kind, EXPIRY, strike, CLOSES_AT)
        for strike in STRIKES
        for kind in (CALL, PUT)
    ]
    future = Contract(FUTURE_TOKEN, "NIFTY26DECFUT", "NIFTY", FUTURE, date(2026, 12, 29))
    return [*options, Contract(INDEX_TOKEN, "NIFTY 50", "NIFTY", CASH), future]


def paise_of(strike: float, kind: str, volatility: float = 0.14) -> int:
    """A fair price in paise, rounded to the tick."""
    fair = black76.price(FORWARD, strike, YEARS, RATE, volatility, np.bool_(kind == CALL))
    return round(float(fair) * 20) * 5


def option_packet(strike: float, kind: str, *, time: int = NOW, volume: int = 100) -> bytes:
    price = paise_of(strike, kind)
    depth = frames.book(price - 5, price + 5)
    return frames.full(
        option_token(strike, kind),
        price,
        volume=volume,
        oi=900,
        last_trade_time=time,
        exchange_timestamp=time,
        depth=depth,
    )


def underlying_packets(*, time: int = NOW) -> list[bytes]:
    spot = frames.index(INDEX_TOKEN, round(SPOT * 100), close=2_490_000, exchange_timestamp=time)
    return [spot, frames.full(FUTURE_TOKEN, 2_515_000, close=2_500_000, exchange_timestamp=time)]


def packets(*, time: int = NOW) -> list[bytes]:
    """One tick of everything."""
    return underlying_packets(time=time) + [option_packet(k, kind, time=time) for k in STRIKES for kind in (CALL, PUT)]


def tick(table: TickTable, *some: bytes, at: float = 1_000.0, market_time: float = NOW) -> Applied:
    window = decode_window([frames.frame(*some)])
    return table.apply(window, received_at=at, market_time=market_time)


def table() -> TickTable:
    return TickTable(Instruments(contracts()))


def slot(of: TickTable, instrument_token: int) -> int:
    return int(of.instruments.slots_of(np.array([instrument_token], np.uint32))[0])
