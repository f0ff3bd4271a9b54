"""Request token in, access token out; and logging out."""

import hashlib
from datetime import datetime

from aiohttp import web

from simulator.broker import BROKER
from simulator.clock import IST
from simulator.logins import Access
from simulator.refusals import Refused
from simulator.rest.envelope import success
from simulator.rest.user import profile_of


async def create(request: web.Request) -> web.Response:
    """`POST /session/token`."""
    form = await request.post()
    fields = {name: str(form.get(name, "")) for name in ("api_key", "request_token", "checksum")}
    if missing := [name for name, value in fields.items() if not value]:
        raise Refused.input(f"Missing or empty field `{missing[0]}`.")
    access = request.app[BROKER].logins.exchange(fields["api_key"], fields["request_token"], fields["checksum"])
    return success(request, _session(access))


async def renew(request: web.Request) -> web.Response:
    """`POST /session/refresh_token`: only approved platforms have refresh tokens, and none is approved here."""
    raise Refused.token("Token is invalid or has expired.")


async def end(request: web.Request) -> web.Response:
    """`DELETE /session/token`: ends an access token; a refresh token, which nobody has, is accepted and ignored."""
    logins = request.app[BROKER].logins
    api_key, access_token = request.query.get("api_key", ""), request.query.get("access_token", "")
    if "refresh_token" not in request.query:
        if logins.access(api_key, access_token) is None:
            raise Refused.token("Incorrect `api_key` or `access_token`.")
        logins.end(access_token)
    return success(request, True)


def _session(access: Access) -> dict[str, object]:
    derived = hashlib.sha256(access.token.encode()).hexdigest()
    return profile_of(access.user) | {
        "api_key": access.app.api_key,
        "access_token": access.token,
        "public_token": derived[:32],
        "enctoken": derived,
        "refresh_token": "",
        "silo": "",
        "login_time": f"{datetime.fromtimestamp(access.logged_in_at, IST):%Y-%m-%d %H:%M:%S}",
    }


def setup(app: web.Application) -> None:
    app.router.add_post("/session/token", create)
    app.router.add_post("/session/refresh_token", renew)
    app.router.add_delete("/session/token", end)
