"""The instrument dump, whole or of one exchange. The broker asks for no token here."""

from aiohttp import web

from simulator.broker import BROKER
from simulator.refusals import Refused

# Exchanges that exist but list nothing here answer with the header alone.
_KNOWN = ("NSE", "BSE", "NFO", "BFO", "CDS", "BCD", "MCX")


async def dump(request: web.Request) -> web.Response:
    universe = request.app[BROKER].market.universe
    if "gzip" not in request.headers.get("Accept-Encoding", ""):
        return _csv(universe.csv())
    response = _csv(universe.gzipped_csv)
    response.headers["Content-Encoding"] = "gzip"
    return response


async def exchange_dump(request: web.Request) -> web.Response:
    exchange = request.match_info["exchange"].upper()
    if exchange not in _KNOWN:
        raise Refused.input("Invalid `exchange`.")
    response = _csv(request.app[BROKER].market.universe.csv(exchange))
    if "gzip" in request.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    return response


def _csv(body: bytes) -> web.Response:
    return web.Response(body=body, content_type="text/csv", charset="utf-8")


def setup(app: web.Application) -> None:
    app.router.add_get("/instruments", dump)
    app.router.add_get("/instruments/{exchange}", exchange_dump)
