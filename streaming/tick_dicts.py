"""One small frame, decoded to dicts like the official client's: for scripts, tests and a few packets at a time.

A window of many frames is decoded by `packets.decode_window`, into columns.
"""

import struct
from collections import Counter
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from streaming.packet_fields import DEPTH_LEVELS, DIVISORS, FULL, INDEX_FULL, INDEX_QUOTE, INDICES, LTP, QUOTE
from streaming.packets import salvage

_COUNT = struct.Struct(">H")
_COUNT_AND_LENGTH = struct.Struct(">HH")
_ONE_LTP = struct.Struct(">Ii")
_ONE_INDEX_QUOTE = struct.Struct(">I6i")
_ONE_INDEX_FULL = struct.Struct(">I6iI")
_ONE_QUOTE = struct.Struct(">IiIiIIIiiii")
_ONE_FULL = struct.Struct(">IiIiIIIiiiiIIIII" + "iiHxx" * (2 * DEPTH_LEVELS))
_DIVISORS_LIST: Final[list[float]] = DIVISORS.tolist()


@lru_cache(maxsize=512)
def _aware(timestamp: int) -> datetime:
    """Cached, since the packets of a second share their times."""
    return datetime.fromtimestamp(timestamp, UTC)


def decode_frame_to_dicts(frame: bytes) -> list[dict[str, Any]]:
    """Decode one frame to the dicts of the official client. Never raises; damaged parts are left out.

    Same keys and values as `KiteTicker`'s ticks, except that times are aware UTC datetimes (the official client gives
    naive ones in the machine's own zone), and that prices and depth quantities below zero are read as such.
    """
    size = len(frame)
    if size < 4:
        return []
    try:
        count, length = _COUNT_AND_LENGTH.unpack_from(frame)
        if count == 1 and length == size - 4:  # what a quiet feed sends most
            return [_READERS[length](frame, 4)]
        ticks, end = _ticks(frame, count)
        if end == size:
            return ticks
    except (struct.error, KeyError):
        pass
    whole = salvage(frame, Counter())
    return _ticks(whole, _COUNT.unpack_from(whole)[0])[0]


def _ticks(frame: bytes, count: int) -> tuple[list[dict[str, Any]], int]:
    """The ticks of its `count` packets, and where the last one ends."""
    unpack_length = _COUNT.unpack_from
    place, ticks = 2, []
    for _ in range(count):
        length = unpack_length(frame, place)[0]
        ticks.append(_READERS[length](frame, place + 2))
        place += 2 + length
    return ticks, place


def _ltp_tick(frame: bytes, place: int) -> dict[str, Any]:
    token, last_price = _ONE_LTP.unpack_from(frame, place)
    return {
        "tradable": token & 0xFF != INDICES,
        "mode": "ltp",
        "instrument_token": token,
        "last_price": last_price / _DIVISORS_LIST[token & 0xFF],
    }


def _index_tick(values: tuple[int, ...], mode: str) -> dict[str, Any]:
    token = values[0]
    divisor = _DIVISORS_LIST[token & 0xFF]
    last_price, close = values[1] / divisor, values[5] / divisor
    return {
        "tradable": token & 0xFF != INDICES,
        "mode": mode,
        "instrument_token": token,
        "last_price": last_price,
        "ohlc": {"high": values[2] / divisor, "low": values[3] / divisor, "open": values[4] / divisor, "close": close},
        "change": (last_price - close) * 100 / close if close else 0,
    }


def _index_quote_tick(frame: bytes, place: int) -> dict[str, Any]:
    return _index_tick(_ONE_INDEX_QUOTE.unpack_from(frame, place), "quote")


def _index_full_tick(frame: bytes, place: int) -> dict[str, Any]:
    values = _ONE_INDEX_FULL.unpack_from(frame, place)
    tick = _index_tick(values, "full")
    tick["exchange_timestamp"] = _aware(values[7])
    return tick


def _quote_tick(frame: bytes, place: int) -> dict[str, Any]:
    return _tradable_tick(_ONE_QUOTE.unpack_from(frame, place), "quote")


def _tradable_tick(values: tuple[int, ...], mode: str) -> dict[str, Any]:
    token = values[0]
    divisor = _DIVISORS_LIST[token & 0xFF]
    last_price, close = values[1] / divisor, values[10] / divisor
    return {
        "tradable": token & 0xFF != INDICES,
        "mode": mode,
        "instrument_token": token,
        "last_price": last_price,
        "last_traded_quantity": values[2],
        "average_traded_price": values[3] / divisor,
        "volume_traded": values[4],
        "total_buy_quantity": values[5],
        "total_sell_quantity": values[6],
        "ohlc": {"open": values[7] / divisor, "high": values[8] / divisor, "low": values[9] / divisor, "close": close},
        "change": (last_price - close) * 100 / close if close else 0,
    }


_BIDS = range(16, 31, 3)
_OFFERS = range(31, 46, 3)


def _full_tick(frame: bytes, place: int) -> dict[str, Any]:
    values = _ONE_FULL.unpack_from(frame, place)
    divisor = _DIVISORS_LIST[values[0] & 0xFF]
    tick = _tradable_tick(values, "full")
    tick["last_trade_time"] = _aware(values[11])
    tick["oi"] = values[12]
    tick["oi_day_high"] = values[13]
    tick["oi_day_low"] = values[14]
    tick["exchange_timestamp"] = _aware(values[15])
    tick["depth"] = {
        "buy": [{"quantity": values[i], "price": values[i + 1] / divisor, "orders": values[i + 2]} for i in _BIDS],
        "sell": [{"quantity": values[i], "price": values[i + 1] / divisor, "orders": values[i + 2]} for i in _OFFERS],
    }
    return tick


_READERS: Final = {
    LTP: _ltp_tick,
    INDEX_QUOTE: _index_quote_tick,
    INDEX_FULL: _index_full_tick,
    QUOTE: _quote_tick,
    FULL: _full_tick,
}
