"""Who is asking: a person or a program. Who opens a WebSocket is found in `accounts.sockets`."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.contrib.auth.models import User
from django.http import HttpRequest
from rest_framework.request import Request

from accounts.actions import Action
from accounts.exceptions import NotAuthenticated
from accounts.jwt import LEEWAY_SECONDS, Bearer, Claims
from accounts.models import ApiKey, SocketTicket

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


@dataclass(frozen=True)
class TicketPrincipal:
    """Who opened a WebSocket with a ticket: whoever made that, within the ticket's scopes."""

    ticket: SocketTicket

    @property
    def maker(self) -> UserPrincipal | ApiKeyPrincipal | TokenPrincipal:
        if self.ticket.user is not None:
            return UserPrincipal(self.ticket.user)
        if self.ticket.api_key is not None:
            return ApiKeyPrincipal(self.ticket.api_key)
        identity, ends_at = self.ticket.identity, self.ticket.maker_ends_at
        assert identity is not None and ends_at is not None  # noqa: S101, PT018  (the table's own constraint)
        return TokenPrincipal(Bearer(identity, Claims(identity.issuer, identity.subject, self.scopes, ends_at)))

    @property
    def scopes(self) -> frozenset[Action]:
        return frozenset(map(Action, self.ticket.scopes))

    @property
    def name(self) -> str:
        return self.maker.name

    @property
    def label(self) -> str:
        return self.maker.label

    @property
    def ends_at(self) -> datetime | None:
        return self.maker.ends_at


Principal = UserPrincipal | ApiKeyPrincipal | TokenPrincipal | TicketPrincipal


def user_of(principal: Principal | None) -> User:
    """The person who acts, or who answers for the key that does. Raises NotAuthenticated."""
    match principal:
        case UserPrincipal(user):
            return user
        case ApiKeyPrincipal(key):
            return key.owner
        case TokenPrincipal():
            return principal.user
        case TicketPrincipal():
            return user_of(principal.maker)
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


def bearer_token(authorization: str) -> str | None:
    """The token of an Authorization header; None for another scheme, which is for somebody else (a proxy, say)."""
    scheme, _, token = authorization.strip().partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None
