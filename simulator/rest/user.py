"""Profile and margins of the user who is logged in."""

from aiohttp import web

from simulator.options import DemoUser
from simulator.refusals import Refused
from simulator.rest.envelope import access_of, success

OPENING_CASH = 1_000_000.0


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
    access_of(request)
    return success(request, {"equity": _segment_margins(OPENING_CASH), "commodity": _segment_margins(0.0)})


async def segment_margins(request: web.Request) -> web.Response:
    access_of(request)
    segment = request.match_info["segment"]
    if segment not in {"equity", "commodity"}:
        raise Refused.input("Invalid `segment`.")
    return success(request, _segment_margins(OPENING_CASH if segment == "equity" else 0.0))


def _segment_margins(cash: float) -> dict[str, object]:
    """Margins of a segment in which nothing was bought or sold."""
    nothing = (
        "debits exposure m2m_realised m2m_unrealised option_premium payout span holding_sales turnover"
        " liquid_collateral stock_collateral delivery"
    )
    return {
        "enabled": True,
        "net": cash,
        "available": {
            "adhoc_margin": 0,
            "cash": cash,
            "opening_balance": cash,
            "live_balance": cash,
            "collateral": 0,
            "intraday_payin": 0,
        },
        "utilised": dict.fromkeys(nothing.split(), 0),
    }


def setup(app: web.Application) -> None:
    app.router.add_get("/user/profile", profile)
    app.router.add_get("/user/margins", margins)
    app.router.add_get("/user/margins/{segment}", segment_margins)
