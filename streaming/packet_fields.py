"""What the broker's packets hold, number by number, and how these are read as columns.

A packet is 32-bit numbers, and the longest has a book of orders behind them (Kite Connect v3 documentation, "WebSocket
streaming"). Prices come as whole numbers: what is passed on stays one, and is what the broker sent however often it is
copied; what is computed with becomes a float.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

DEPTH_LEVELS: Final = 5
CURRENCY, BSE_CURRENCY, INDICES, NSE_COMMODITY = 3, 6, 9, 12
"""Segments (the low byte of a token) whose prices have another divisor, and the one that cannot be traded."""

DIVISORS: Final[NDArray[np.float64]] = np.full(256, 100.0)
DIVISORS[CURRENCY] = 10_000_000.0
DIVISORS[[BSE_CURRENCY, NSE_COMMODITY]] = 10_000.0
PRICE_DECIMALS: Final[frozenset[int]] = frozenset(np.rint(np.log10(DIVISORS)).astype(int).tolist())

LTP, INDEX_QUOTE, INDEX_FULL, QUOTE, FULL = 8, 28, 32, 44, 184
"""The packets, by their length in bytes."""

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
WORDS: Final = FULL // 4
"""Of 32 bits in the longest packet."""

# Of each entry of the order book: quantity, price, and in the upper half of the third word how many orders.
_BOOK_AT: Final = len(_FULL_FIELDS)
_ENTRY_FIELDS: Final = ("depth_quantity", "depth_price", "depth_orders")
_ENTRY: Final = len(_ENTRY_FIELDS)
DEPTH: Final = {name: slice(_BOOK_AT + place, WORDS, _ENTRY) for place, name in enumerate(_ENTRY_FIELDS)}
"""The words of the book: of five bids, best first, then of five offers, best first."""
ORDERS_SHIFT: Final = 16

_PRICES: Final = frozenset({"last_price", "average_traded_price", "open", "high", "low", "close", "bid", "ask"})
_PLACES: Final = {
    length: {name: place for place, name in enumerate(fields) if name != "change"} for length, fields in FIELDS.items()
}
_PLACES[FULL] |= {"bid": _BOOK_AT + 1, "ask": _BOOK_AT + 1 + _ENTRY * DEPTH_LEVELS}
PLACES: Final[Mapping[str, int]] = _PLACES[FULL]
"""Where a field stands in the longest packet."""
WORDS_HELD: Final = {
    length: {place: PLACES[name] for name, place in places.items()} for length, places in _PLACES.items()
}
"""By their places in a packet, the places that its words have in the longest one; but for an index's change."""

# What is computed with, as a row of 64-bit numbers: one piece of memory of a tick, in which lies side by side what a
# packet holds of it. Prices are signed (a spread or a commodity may trade below zero); totals are not: a day's volume
# can pass 2^31.
NUMBERS: Final = ("last_price", "close", "volume_traded", "bid", "ask", "oi", "last_trade_time", "exchange_timestamp")
NUMBERS_HELD: Final[dict[int, tuple[slice, ...]]] = {
    LTP: (slice(0, 1),),
    INDEX_QUOTE: (slice(0, 2),),
    INDEX_FULL: (slice(0, 2), slice(7, 8)),
    QUOTE: (slice(0, 3),),
    FULL: (slice(0, 8),),
}
"""Which of them the packets of each length hold."""
_NAMES: Final = {
    length: (*places, *(["change_percent"] if "close" in places else []), *(DEPTH if length == FULL else []))
    for length, places in _PLACES.items()
}


def numbers_of(rows: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    """The columns of such rows, shape (n, 8), as views of shape (n,): prices float64, totals and times int64."""
    doubles = rows.view(np.float64)
    return {name: (doubles if name in _PRICES else rows)[:, place] for place, name in enumerate(NUMBERS)}


class Fields(Mapping[str, NDArray[Any]]):
    """The fields of packets of one length as columns, each made of the packets' words when it is first asked for.

    Prices are float64 in currency; quantities, totals and Unix times are int64, depth's quantities and orders int32.
    `change_percent` is against the previous close, as the official client computes it, but nan where there is none.
    `depth_price`, `depth_quantity` and `depth_orders` have shape (n, 10): five bids, best first, then five offers, best
    first; `bid` and `ask` are the prices of the best. Prices are bit for bit those of the official client, which
    divides (multiplying by an inverse would differ in the last bit), except below zero: it reads them as unsigned.
    """

    def __init__(self, length: int, words: NDArray[np.int32]) -> None:
        self._names = _NAMES[length]
        self._places = _PLACES[length]
        self._words = words
        self._unsigned = words.view(np.uint32)
        divisor = DIVISORS.take(words[:, 0] & 0xFF)
        # Nearly always they are the same: then it is one number, which numpy is quicker to divide by.
        self._divisor = divisor[:1] if (divisor == divisor[:1]).all() else divisor
        self.numbers = np.empty((len(words), len(NUMBERS)), np.int64)
        """`NUMBERS`, of which those in `NUMBERS_HELD` are set."""
        self._made = {name: self._read(name, out) for name, out in numbers_of(self.numbers).items() if name in self}

    def __getitem__(self, name: str) -> NDArray[Any]:
        found = self._made.get(name)
        if found is None:
            found = self._made[name] = self._make(name)
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._names

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def _make(self, name: str) -> NDArray[Any]:
        if name not in self._names:
            raise KeyError(name)
        match name:
            case "change_percent":
                return change_percent(self["last_price"], self["close"])
            case "depth_price":
                return np.divide(self._words[:, DEPTH[name]], self._divisor[:, np.newaxis])
            case "depth_quantity":
                return self._words[:, DEPTH[name]]
            case "depth_orders":
                return (self._unsigned[:, DEPTH[name]] >> ORDERS_SHIFT).view(np.int32)
            case "instrument_token":
                return self._unsigned[:, 0]
        return self._read(name, np.empty(len(self._words), np.float64 if name in _PRICES else np.int64))

    def _read(self, name: str, out: NDArray[Any]) -> NDArray[Any]:
        place = self._places[name]
        if name in _PRICES:
            np.divide(self._words[:, place], self._divisor, out=out)
        else:
            out[:] = self._unsigned[:, place]
        return out


def change_percent(last_price: NDArray[np.float64], close: NDArray[np.float64]) -> NDArray[np.float64]:
    """Against the previous close, nan where there is none."""
    change = last_price - close
    change *= 100
    with np.errstate(divide="ignore", invalid="ignore"):
        change /= close
    if np.count_nonzero(close) < len(close):
        change[close == 0] = np.nan
    return change
