"""Historical candles."""

import asyncio
from datetime import datetime, timedelta

from aiohttp import web

from simulator.broker import BROKER
from simulator.candles import Candle, candles
from simulator.clock import IST
from simulator.instruments import Kind
from simulator.refusals import Refused
from simulator.rest.envelope import access_of, success

# Days that one request may span (user reports; the documentation does not say).
MOST_DAYS = {
    "minute": 60,
    "3minute": 100,
    "5minute": 100,
    "10minute": 100,
    "15minute": 200,
    "30minute": 200,
    "60minute": 400,
    "day": 2000,
}


async def historical(request: web.Request) -> web.Response:
    """`GET /instruments/historical/{instrument_token}/{interval}`; both ends of the range belong to it."""
    access_of(request, bucket="historical", market_data=True)
    broker = request.app[BROKER]
    market = broker.market
    token, interval = request.match_info["instrument_token"], request.match_info["interval"]
    row = market.universe.row_of_token.get(int(token)) if token.isascii() and token.isdigit() else None
    if row is None:
        raise Refused.input("invalid token")
    if interval not in MOST_DAYS:
        raise Refused.input("invalid interval")
    first = _moment(request, "from")
    last = _moment(request, "to")
    if first > last:
        raise Refused.input("`from` date must be before `to` date")
    if broker.options.rules.candle_windows and last - first > timedelta(days=MOST_DAYS[interval]):
        raise Refused.input(f"interval exceeds max limit: {MOST_DAYS[interval]} days")
    continuous = request.query.get("continuous", "0") == "1"
    if continuous and (interval != "day" or market.universe.kinds[row] != Kind.FUTURE):
        raise Refused.input("continuous data is available for day candles of futures only")
    with_oi = request.query.get("oi", "0") == "1"
    now = broker.clock.timestamp()
    found = await asyncio.to_thread(candles, market, row, interval, first, last, now, continuous=continuous)
    return success(request, {"candles": [_row(candle, with_oi=with_oi) for candle in found]})


def _row(candle: Candle, *, with_oi: bool) -> list[object]:
    at, *values = candle
    return [f"{at:%Y-%m-%dT%H:%M:%S%z}", *(values if with_oi else values[:-1])]


def _moment(request: web.Request, name: str) -> datetime:
    text = request.query.get(name, "")
    for form in ("%Y-%m-%d %H:%M:%S", "%Y-%m-%d"):
        try:
            return datetime.strptime(text, form).replace(tzinfo=IST)
        except ValueError:
            continue
    raise Refused.input(f"invalid {name} date")


def setup(app: web.Application) -> None:
    app.router.add_get("/instruments/historical/{instrument_token}/{interval}", historical)
