"""Ticks on the wire: the four packet forms, and frames of them. All integers big-endian.

The market keeps one full packet per instrument as its state, so encoding is copying rows.
"""

import numpy as np
from numpy.typing import NDArray

_LEVEL = np.dtype([("quantity", ">i4"), ("price", ">i4"), ("orders", ">i2"), ("padding", ">i2")])

FULL = np.dtype(
    [
        ("instrument_token", ">u4"),
        ("last_price", ">i4"),
        ("last_quantity", ">i4"),
        ("average_price", ">i4"),
        ("volume", ">i4"),
        ("buy_quantity", ">i4"),
        ("sell_quantity", ">i4"),
        ("open", ">i4"),
        ("high", ">i4"),
        ("low", ">i4"),
        ("close", ">i4"),
        ("last_trade_time", ">i4"),
        ("oi", ">i4"),
        ("oi_day_high", ">i4"),
        ("oi_day_low", ">i4"),
        ("exchange_timestamp", ">i4"),
        ("bids", _LEVEL, 5),
        ("offers", _LEVEL, 5),
    ]
)
# Indices have a form of their own, in another order: high, low, open, close.
_INDEX = np.dtype(
    [
        ("instrument_token", ">u4"),
        ("last_price", ">i4"),
        ("high", ">i4"),
        ("low", ">i4"),
        ("open", ">i4"),
        ("close", ">i4"),
        ("change", ">i4"),
        ("exchange_timestamp", ">i4"),
    ]
)
NOT_SUBSCRIBED, LTP, QUOTE, FULL_MODE = range(4)
MODES = {"ltp": LTP, "quote": QUOTE, "full": FULL_MODE}
_LENGTHS = {LTP: 8, QUOTE: 44, FULL_MODE: 184}
_INDEX_LENGTHS = {QUOTE: 28, FULL_MODE: 32}

HEARTBEAT = b"\x00"


def encode_frame(
    packets: NDArray[np.void], rows: NDArray[np.int64], modes: NDArray[np.uint8], is_index: NDArray[np.bool_]
) -> bytes:
    """One binary frame with the packets of `rows`.

    `packets` (dtype FULL), `modes` and `is_index` have one element per instrument; rows whose mode is NOT_SUBSCRIBED
    are left out. At most 32,767 rows fit a frame.
    """
    pieces = []
    count = 0
    row_modes, row_is_index = modes[rows], is_index[rows]
    for mode, length in _LENGTHS.items():
        chosen = row_modes == mode
        if mode != LTP:
            index_rows = rows[chosen & row_is_index]
            if len(index_rows):
                pieces.append(_with_length(_bytes(_index_packets(packets[index_rows])), _INDEX_LENGTHS[mode]))
                count += len(index_rows)
                chosen &= ~row_is_index
        if len(tradable := rows[chosen]):
            pieces.append(_with_length(_bytes(packets)[tradable], length))
            count += len(tradable)
    return b"".join((count.to_bytes(2, "big"), *pieces))


def _index_packets(packets: NDArray[np.void]) -> NDArray[np.void]:
    index = np.zeros(len(packets), dtype=_INDEX)
    for name in ("instrument_token", "last_price", "high", "low", "open", "close", "exchange_timestamp"):
        index[name] = packets[name]
    index["change"] = packets["last_price"].astype(np.int64) - packets["close"]
    return index


def _bytes(packets: NDArray[np.void]) -> NDArray[np.uint8]:
    return packets.view(np.uint8).reshape(len(packets), packets.dtype.itemsize)


def _with_length(packets: NDArray[np.uint8], length: int) -> bytes:
    framed = np.empty((len(packets), 2 + length), dtype=np.uint8)
    framed[:, :2] = (length >> 8, length & 0xFF)
    framed[:, 2:] = packets[:, :length]
    return framed.tobytes()
