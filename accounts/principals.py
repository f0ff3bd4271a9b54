"""Who is asking: a person or a program, from a request or from a socket's scope."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import parse_qsl, urlsplit

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.auth.models import User
from django.http import HttpRequest
from django.http.request import validate_host
from rest_framework.request import Request

from accounts.actions import Action
from accounts.addresses import client_address
from accounts.api_keys import check_api_key, refuse_key_in_query
from accounts.exceptions import Denied, NotAuthenticated
from accounts.jwt import LEEWAY_SECONDS, Bearer, check_jwt
from accounts.models import ApiKey

ONE_IDENTITY = "Send one X-API-Key or Authorization header, not several."


@dataclass(frozen=True)
class UserPrincipal:
    """A person, known by a session cookie."""

    user: User

    @property
    def name(self) -> str:
        return f"user:{self.user.pk}"

    @property
    def label(self) -> str:
        return self.user.get_username()

    @property
    def ends_at(self) -> datetime | None:
        """From when on this is nobody any more, whatever else happens; None if that is not known beforehand."""
        return None


@dataclass(frozen=True)
class ApiKeyPrincipal:
    """A program, known by its API key. It acts within what its key and the key's owner may do."""

    key: ApiKey

    @property
    def name(self) -> str:
        return f"apikey:{self.key.key_id}"

    @property
    def label(self) -> str:
        return self.key.label

    @property
    def ends_at(self) -> datetime | None:
        return self.key.expires_at


@dataclass(frozen=True)
class TokenPrincipal:
    """Whom a JWT of the outside user service stands for. It acts within its scopes and its user's rights."""

    bearer: Bearer

    @property
    def user(self) -> User:
        return self.bearer.identity.user

    @property
    def scopes(self) -> frozenset[Action]:
        return self.bearer.claims.scopes

    @property
    def name(self) -> str:
        return f"jwt:{self.bearer.claims.subject}"

    @property
    def label(self) -> str:
        return self.user.get_username()

    @property
    def ends_at(self) -> datetime | None:
        return self.bearer.claims.expires_at + timedelta(seconds=LEEWAY_SECONDS)


Principal = UserPrincipal | ApiKeyPrincipal | TokenPrincipal


def user_of(principal: Principal | None) -> User:
    """The person who acts, or who answers for the key that does. Raises NotAuthenticated."""
    match principal:
        case UserPrincipal(user):
            return user
        case ApiKeyPrincipal(key):
            return key.owner
    raise NotAuthenticated


def principal_of(request: HttpRequest | Request) -> Principal | None:
    """Who sent `request`, after authentication; None if nobody we know."""
    proof = getattr(request, "auth", None)
    if isinstance(proof, ApiKey):
        return ApiKeyPrincipal(proof)
    if isinstance(proof, Bearer):
        return TokenPrincipal(proof)
    user = request.user
    return UserPrincipal(user) if isinstance(user, User) and user.is_active else None


def principal_of_scope(scope: Mapping[str, Any]) -> Principal:
    """Who opens a WebSocket: an X-API-Key or Authorization header, or the session cookie of a page of ours.

    It asks the database, so a consumer calls it through `database_sync_to_async`. `scope` has passed Channels' session
    middleware. Browsers send cookies along from any page and name that page in `Origin`: a cookie without an `Origin`,
    or with a foreign one, is refused.

    Raises
    ------
    NotAuthenticated, Denied, KeyInAddress, KeysUnavailable
    """
    refuse_key_in_query(dict(parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)))
    keys = _header_values(scope, b"x-api-key")
    tokens = [token for value in _header_values(scope, b"authorization") if (token := bearer_token(value)) is not None]
    origins = _header_values(scope, b"origin")
    if origins and not all(_is_own_origin(origin, scope) for origin in origins):
        raise Denied("This page's origin may not open a socket here.")
    if len(keys) + len(tokens) > 1:
        raise NotAuthenticated(ONE_IDENTITY)
    if keys:
        return ApiKeyPrincipal(check_api_key(keys[0], address=client_address(_meta(scope))))
    if tokens:
        return TokenPrincipal(check_jwt(tokens[0], address=client_address(_meta(scope))))
    if not origins:
        raise NotAuthenticated("Programs send an API key in the X-API-Key header; a cookie needs its page's Origin.")
    user = _user_of_session(scope)
    if user is None:
        raise NotAuthenticated
    return UserPrincipal(user)


def bearer_token(authorization: str) -> str | None:
    """The token of an Authorization header; None for another scheme, which is for somebody else (a proxy, say)."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _user_of_session(scope: Mapping[str, Any]) -> User | None:
    # Django's own look-up checks the session's hash too, so that a changed password ends it; it reads `session` only.
    user = get_user(cast(HttpRequest, SimpleNamespace(session=scope["session"])))
    return user if isinstance(user, User) and user.is_active else None


def _is_own_origin(origin: str, scope: Mapping[str, Any]) -> bool:
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
        and [parts.netloc] == _header_values(scope, b"host")
        and validate_host(f"[{hostname}]" if ":" in hostname else hostname, settings.ALLOWED_HOSTS)
    )


def _header_values(scope: Mapping[str, Any], name: bytes) -> list[str]:
    return [value.decode("latin-1") for header, value in scope.get("headers", ()) if header.lower() == name]


def _meta(scope: Mapping[str, Any]) -> dict[str, str]:
    client = scope.get("client") or ("",)
    return {"REMOTE_ADDR": client[0], "HTTP_X_FORWARDED_FOR": ",".join(_header_values(scope, b"x-forwarded-for"))}
