"""Who opens a WebSocket, and from which pages one may be opened.

Browsers send cookies along from any page and name that page in `Origin`, which a page cannot change. So an `Origin` has
to be one of ours, always, and what a browser sends by itself (the cookie) counts only with one.
"""

from collections.abc import MutableMapping
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.http.request import validate_host
from django.utils import timezone

from accounts.addresses import client_address
from accounts.api_keys import check_api_key, refuse_key_in_query
from accounts.audit import NOBODY, Actor, Kind, record_refusal
from accounts.exceptions import Denied, NotAuthenticated
from accounts.guesses import note_wrong
from accounts.jwt import check_jwt
from accounts.models import SocketTicket
from accounts.principals import (
    ONE_IDENTITY,
    ApiKeyPrincipal,
    Principal,
    TicketPrincipal,
    TokenPrincipal,
    UserPrincipal,
    bearer_token,
)

# A browser that brings a ticket offers two: this one, which is chosen, and the ticket.
SUBPROTOCOL = "ticker.v1"
TICKET_PREFIX = "ticket."
_REDEEMED = "ticker.redeemed"


def principal_of_scope(scope: MutableMapping[str, Any]) -> Principal:
    """Who opens a WebSocket: by a ticket, an X-API-Key or Authorization header, or a session cookie.

    It asks the database, so a consumer calls it through `database_sync_to_async`; asked again of the same scope it
    looks whether all of that still holds. `scope` has passed Channels' session middleware. A ticket is used up by the
    first call, which is noted in `scope`.

    Raises
    ------
    NotAuthenticated, TooManyTries, Denied, KeyInAddress, KeysUnavailable
    """
    refuse_key_in_query(dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)))
    keys = _header_values(scope, b"x-api-key")
    tokens = [token for value in _header_values(scope, b"authorization") if (token := bearer_token(value)) is not None]
    tickets = [
        protocol.removeprefix(TICKET_PREFIX)
        for protocol in scope.get("subprotocols", ())
        if protocol.startswith(TICKET_PREFIX)
    ]
    origins = _header_values(scope, b"origin")
    if origins and not all(is_own_origin(origin, _header_values(scope, b"host")) for origin in origins):
        raise Denied("This page's origin may not open a socket here.")
    if len(keys) + len(tokens) + len(tickets) > 1:
        raise NotAuthenticated(ONE_IDENTITY)
    address = client_address(_meta(scope))
    if tickets:
        return _ticket_principal(scope, tickets[0], origins, address)
    if keys:
        return ApiKeyPrincipal(check_api_key(keys[0], address=address))
    if tokens:
        return TokenPrincipal(check_jwt(tokens[0], address=address))
    if not origins:
        raise NotAuthenticated("Programs send an API key in the X-API-Key header; a cookie needs its page's Origin.")
    user = _user_of_session(scope)
    if user is None:
        raise NotAuthenticated
    return UserPrincipal(user)


def _ticket_principal(scope: MutableMapping[str, Any], text: str, origins: list[str], address: str) -> TicketPrincipal:
    ticket: SocketTicket | None
    if redeemed := scope.get(_REDEEMED):
        ticket = SocketTicket.objects.with_maker(redeemed)
    else:
        ticket = SocketTicket.objects.redeem(text, origins[0]) if len(origins) == 1 else None
    if ticket is None or not ticket.maker_is_good(timezone.now()):
        record_refusal(Kind.TICKET_REFUSED, actor=Actor(NOBODY.name, address=address), origin=", ".join(origins))
        note_wrong(address)
        raise NotAuthenticated("This ticket is not valid.")
    scope[_REDEEMED] = ticket
    return TicketPrincipal(ticket)


def is_own_origin(origin: str, hosts: list[str]) -> bool:
    """Whether pages of `origin` may open a socket: it is a trusted one of the settings, or the host that is asked.

    Parameters
    ----------
    hosts : the request's Host headers; more or less than one fit no origin.
    """
    if origin in settings.CSRF_TRUSTED_ORIGINS:
        return True
    try:
        parts = urlsplit(origin)
        hostname = parts.hostname or ""
    except ValueError:
        return False
    # The Host header alone proves nothing: a name that an attacker points at us would match itself.
    return (
        parts.scheme in ("http", "https")
        and [parts.netloc] == hosts
        and validate_host(f"[{hostname}]" if ":" in hostname else hostname, settings.ALLOWED_HOSTS)
    )


def _user_of_session(scope: MutableMapping[str, Any]) -> User | None:
    # Django's own look-up checks the session's hash too, so that a changed password ends it; it reads `session` only.
    user = get_user(cast(HttpRequest, SimpleNamespace(session=scope["session"])))
    return user if isinstance(user, User) and user.is_active else None


def _header_values(scope: MutableMapping[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1") for header, value in scope.get("headers", ()) if header.lower() == name]


def _meta(scope: MutableMapping[str, Any]) -> dict[str, str]:
    client = scope.get("client") or ("",)
    return {"REMOTE_ADDR": client[0], "HTTP_X_FORWARDED_FOR": ",".join(_header_values(scope, b"x-forwarded-for"))}
