"""Profile and margins of the user who is logged in."""

from typing import Any

from aiohttp import web

from simulator.broker import BROKER
from simulator.logins import Access
from simulator.options import DemoUser
from simulator.refusals import Refused
from simulator.rest.envelope import access_of, success
from simulator.trading.funds import Funds

_SEGMENTS = ("equity", "commodity")


def profile_of(user: DemoUser) -> dict[str, object]:
    return {
        "user_id": user.user_id,
        "user_type": "individual",
        "email": user.email,
        "user_name": user.name,
        "user_shortname": user.name.split()[0],
        "broker": "ZERODHA",
        "exchanges": ["NSE", "BSE", "NFO", "BFO"],
        "products": ["CNC", "NRML", "MIS", "MTF"],
        "order_types": ["MARKET", "LIMIT", "SL", "SL-M"],
        "avatar_url": None,
        "meta": {"demat_consent": "consent"},
    }


async def profile(request: web.Request) -> web.Response:
    return success(request, profile_of(access_of(request).user))


async def margins(request: web.Request) -> web.Response:
    """`GET /user/margins`: both segments."""
    access = access_of(request)
    return success(request, {segment: _funds(request, access, segment) for segment in _SEGMENTS})


async def segment_margins(request: web.Request) -> web.Response:
    """`GET /user/margins/{segment}`."""
    access = access_of(request)
    segment = request.match_info["segment"]
    if segment not in _SEGMENTS:
        raise Refused.input("Invalid `segment`.")
    return success(request, _funds(request, access, segment))


def _funds(request: web.Request, access: Access, segment: str) -> dict[str, Any]:
    """All trading here is in the equity segment; the commodity segment is empty."""
    desk = request.app[BROKER].desk
    return (desk.account_of(access).funds(desk.listings) if segment == "equity" else Funds(0)).as_json()


def setup(app: web.Application) -> None:
    app.router.add_get("/user/profile", profile)
    app.router.add_get("/user/margins", margins)
    app.router.add_get("/user/margins/{segment}", segment_margins)
