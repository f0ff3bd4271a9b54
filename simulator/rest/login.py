"""The login page, and the two calls its form makes."""

from html import escape
from pathlib import Path
from string import Template
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

import pyotp
from aiohttp import web

from simulator.broker import BROKER
from simulator.refusals import Refused
from simulator.rest.envelope import success

COOKIE = "kf_session"
_PAGE = Template((Path(__file__).parent.parent / "pages" / "login.html").read_text(encoding="utf-8"))


async def connect_login(request: web.Request) -> web.Response:
    """`GET /connect/login?v=3&api_key=…`: the form, or once logged in, the way back to the app with a request token."""
    logins = request.app[BROKER].logins
    app = logins.apps.get(request.query.get("api_key", ""))
    if app is None:
        raise Refused.input("Invalid `api_key`.")
    user = logins.user_of_cookie(request.cookies.get(COOKIE))
    if user is None:
        return _form(request)
    answer = {
        "action": "login",
        "type": "login",
        "status": "success",
        "request_token": logins.request_token(user, app),
    }
    extra = parse_qsl(request.query.get("redirect_params", ""))
    response = web.HTTPFound(_with_query(app.redirect_url, [*answer.items(), *extra]))
    # Once per visit to the form: the next morning's click shall ask for the password again.
    response.del_cookie(COOKIE)
    raise response


async def login(request: web.Request) -> web.Response:
    """`POST /api/login` with user_id and password."""
    form = await request.post()
    user_id = str(form.get("user_id", ""))
    request_id = request.app[BROKER].logins.check_password(user_id, str(form.get("password", "")))
    data = {
        "user_id": user_id.strip().upper(),
        "request_id": request_id,
        "twofa_type": "totp",
        "twofa_types": ["totp"],
        "twofa_status": "active",
        "profile": {"user_name": request.app[BROKER].logins.users[user_id.strip().upper()].name, "avatar_url": None},
    }
    return success(request, data)


async def twofa(request: web.Request) -> web.Response:
    """`POST /api/twofa` with user_id, request_id and twofa_value; sets the session cookie."""
    form = await request.post()
    cookie = request.app[BROKER].logins.check_code(
        str(form.get("user_id", "")), str(form.get("request_id", "")), str(form.get("twofa_value", ""))
    )
    response = success(request, {"profile": {}})
    response.set_cookie(COOKIE, cookie, httponly=True, samesite="Lax", max_age=600)
    return response


def _form(request: web.Request) -> web.Response:
    broker = request.app[BROKER]
    user = broker.options.users[0]
    page = _PAGE.substitute(
        user_id=escape(user.user_id),
        password=escape(user.password),
        code=pyotp.TOTP(user.totp_secret).now(),
        api_key=escape(request.query["api_key"]),
    )
    return web.Response(text=page, content_type="text/html", headers={"Cache-Control": "no-store"})


def _with_query(url: str, pairs: list[tuple[str, str]]) -> str:
    """The URL with these parameters added after the ones it has."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(query=urlencode([*parse_qsl(parts.query), *pairs])))


def setup(app: web.Application) -> None:
    app.router.add_get("/connect/login", connect_login)
    app.router.add_post("/api/login", login)
    app.router.add_post("/api/twofa", twofa)
