"""Orders and trades."""

import gzip
from collections.abc import Iterable

from aiohttp import web

from simulator.broker import BROKER
from simulator.logins import Access
from simulator.refusals import Refused
from simulator.rest.book_views import view_of
from simulator.rest.envelope import ARRIVED_AT, access_of, form_of, success
from simulator.trading.desk import Desk
from simulator.trading.terms import Variety, read_change, read_terms, read_variety

_COMPRESS_FROM_BYTES, _FASTEST = 2_000, 1
_LONGEST_ID = 40


async def place(request: web.Request) -> web.Response:
    """`POST /orders/{variety}`. The path counts, not what the form repeats of it."""
    access, desk, variety = _order_access(request)
    terms = read_terms(variety, await form_of(request))
    arrived_at = request.get(ARRIVED_AT) or request.app[BROKER].system_clock()
    placed = desk.place(access, terms, arrived_at)
    if placed.children is None:
        return success(request, {"order_id": placed.order_id})
    children = [_child(child) for child in placed.children]
    return success(request, {"order_id": placed.order_id, "children": children})


def _child(child: str | Refused) -> dict[str, object]:
    if isinstance(child, str):
        return {"order_id": child}
    error = {"code": child.status, "error_type": child.error_type, "message": child.message, "data": None}
    return {"error": error}


async def modify(request: web.Request) -> web.Response:
    """`PUT /orders/{variety}/{order_id}`."""
    access, desk, variety = _order_access(request)
    change = read_change(await form_of(request))
    return success(request, {"order_id": desk.modify(access, variety, _order_id(request), change)})


async def cancel(request: web.Request) -> web.Response:
    """`DELETE /orders/{variety}/{order_id}`, its parameters in the query."""
    access, desk, variety = _order_access(request)
    parent = request.query.get("parent_order_id")
    return success(request, {"order_id": desk.cancel(access, variety, _order_id(request), parent)})


async def book(request: web.Request) -> web.Response:
    """`GET /orders`: the day's orders, the oldest first."""
    access = access_of(request)
    rows = view_of(request).book(request.app[BROKER].desk.account_of(access))
    return _rows(request, (row.encoded for row in rows))


async def order_history(request: web.Request) -> web.Response:
    """`GET /orders/{order_id}`: every state the order has been in."""
    access = access_of(request)
    order = request.app[BROKER].desk.find(access, _order_id(request))
    return _rows(request, (row.encoded for row in order.history))


async def trades(request: web.Request) -> web.Response:
    """`GET /trades`."""
    access = access_of(request)
    seen = view_of(request).trades(request.app[BROKER].desk.account_of(access))
    return success(request, [trade.as_json() for trade in seen])


async def order_trades(request: web.Request) -> web.Response:
    """`GET /orders/{order_id}/trades`."""
    access = access_of(request)
    desk = request.app[BROKER].desk
    order = desk.find(access, _order_id(request))
    seen = view_of(request).trades(desk.account_of(access))
    return success(request, [trade.as_json() for trade in seen if trade.order is order])


def _order_access(request: web.Request) -> tuple[Access, Desk, Variety]:
    """Who asks for something about orders; counted for the user, also when it is refused later. Raises Refused."""
    access, desk = access_of(request, bucket=None), request.app[BROKER].desk
    desk.count_request(access)
    return access, desk, read_variety(request.match_info["variety"])


def _order_id(request: web.Request) -> str:
    return request.match_info["order_id"][:_LONGEST_ID]


def _rows(request: web.Request, rows: Iterable[bytes]) -> web.Response:
    """Rows that are JSON already, in the envelope. A book is large and read often, hence the quick compression."""
    body = b'{"status":"success","data":[' + b",".join(rows) + b"]}"
    headers = {}
    if len(body) >= _COMPRESS_FROM_BYTES and "gzip" in request.headers.get("Accept-Encoding", ""):
        body, headers = gzip.compress(body, compresslevel=_FASTEST, mtime=0), {"Content-Encoding": "gzip"}
    return web.Response(body=body, content_type="application/json", headers=headers)


def setup(app: web.Application) -> None:
    app.router.add_get("/orders", book)
    app.router.add_get("/trades", trades)
    app.router.add_post("/orders/{variety}", place)
    app.router.add_get("/orders/{order_id}", order_history)
    app.router.add_get("/orders/{order_id}/trades", order_trades)
    app.router.add_put("/orders/{variety}/{order_id}", modify)
    app.router.add_delete("/orders/{variety}/{order_id}", cancel)
