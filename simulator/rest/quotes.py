"""Quotes of many instruments in one call."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

import numpy as np
from aiohttp import web

from simulator.bands import circuit_limits
from simulator.broker import BROKER
from simulator.clock import IST
from simulator.market import Market
from simulator.refusals import Refused
from simulator.rest.envelope import Handler, access_of, success

MOST_QUOTES, MOST_PRICES = 500, 1_000

Quote = dict[str, Any]


def _handler(shape: Callable[[Market, int], Quote], most: int) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        access_of(request, bucket="quote", market_data=True)
        asked = request.query.getall("i", [])
        if len(asked) > most:
            raise Refused.input(f"Too many instruments: {len(asked)}, at most {most} in one request.")
        market = request.app[BROKER].market
        # An unknown instrument is left out without a word.
        rows = {key: row for key in asked if (row := _row(market, key)) is not None}
        return success(request, {key: shape(market, row) for key, row in rows.items()})

    return handler


def _row(market: Market, key: str) -> int | None:
    """The row of `EXCHANGE:TRADINGSYMBOL` or of a bare instrument_token."""
    if key.isascii() and key.isdigit():
        return market.universe.row_of_token.get(int(key))
    return market.universe.row_of_symbol.get(key)


def _ltp(market: Market, row: int) -> Quote:
    packet = market.packets[row]
    return {"instrument_token": int(packet["instrument_token"]), "last_price": _rupees(packet["last_price"])}


def _ohlc(market: Market, row: int) -> Quote:
    packet = market.packets[row]
    return _ltp(market, row) | {"ohlc": {name: _rupees(packet[name]) for name in ("open", "high", "low", "close")}}


def _quote(market: Market, row: int) -> Quote:
    packet = market.packets[row]
    is_index = bool(market.is_index[row])
    lower, upper = (0, 0) if is_index else circuit_limits(market, row)
    return {
        "instrument_token": int(packet["instrument_token"]),
        "timestamp": _time(packet["exchange_timestamp"]),
        "last_trade_time": None if is_index else _time(packet["last_trade_time"]),
        "last_price": _rupees(packet["last_price"]),
        "last_quantity": int(packet["last_quantity"]),
        "buy_quantity": int(packet["buy_quantity"]),
        "sell_quantity": int(packet["sell_quantity"]),
        "volume": int(packet["volume"]),
        "average_price": _rupees(packet["average_price"]),
        "oi": int(packet["oi"]),
        "oi_day_high": int(packet["oi_day_high"]),
        "oi_day_low": int(packet["oi_day_low"]),
        "net_change": _rupees(int(packet["last_price"]) - int(packet["close"])),
        "lower_circuit_limit": _rupees(lower),
        "upper_circuit_limit": _rupees(upper),
        "ohlc": {name: _rupees(packet[name]) for name in ("open", "high", "low", "close")},
        "depth": {"buy": _depth(packet["bids"]), "sell": _depth(packet["offers"])},
    }


def _depth(levels: np.ndarray[Any, np.dtype[np.void]]) -> list[Quote]:
    return [
        {"price": _rupees(level["price"]), "quantity": int(level["quantity"]), "orders": int(level["orders"])}
        for level in levels
    ]


def _rupees(paise: int) -> float:
    return int(paise) / 100


def _time(timestamp: int) -> str:
    return f"{datetime.fromtimestamp(int(timestamp), IST):%Y-%m-%d %H:%M:%S}"


def setup(app: web.Application) -> None:
    app.router.add_get("/quote", _handler(_quote, MOST_QUOTES))
    app.router.add_get("/quote/ohlc", _handler(_ohlc, MOST_PRICES))
    app.router.add_get("/quote/ltp", _handler(_ltp, MOST_PRICES))
