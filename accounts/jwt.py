"""JWTs of the outside user service (`Authorization: Bearer …`): what has to be right about one, and whom it stands for.

The order is deliberate: what a stranger wrote is looked at with our own eyes first (size, parts, one meaning only, the
algorithm that *we* chose), and the library sees no token that failed there. Every refusal has the same words; the
reason is in the log and the audit.
"""

import base64
import binascii
import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import jwt
from django.conf import settings

from accounts.actions import Action
from accounts.audit import NOBODY, Actor, Kind, record_refusal
from accounts.exceptions import NotAuthenticated
from accounts.guesses import note_wrong
from accounts.identities import ExternalIdentity
from accounts.jwks import LONGEST_KEY_ID, enabled, key_store
from accounts.strict_json import loads

logger = logging.getLogger(__name__)

LARGEST_TOKEN = 8 * 1024
LEEWAY_SECONDS = 30
LONGEST_LIFE_SECONDS = 24 * 3600
LATEST_TIME = 2**40  # far beyond any date, well below where arithmetic ends

_PART = re.compile(r"[A-Za-z0-9_-]+")
_SUBJECT = re.compile(r"[\x21-\x7e]{1,200}")
_ACCESS_TYPE = "at+jwt"  # RFC 9068: the header itself says that it is no ID token
_PLAIN_TYPE = "jwt"  # then a claim has to say so
_TYPE_CLAIMS = ("token_use", "token_type", "typ", "type")
_ACCESS_WORDS = frozenset({"access", "access_token", "bearer", _ACCESS_TYPE})
# Headers that bring a key along or change how the rest is to be read.
_FORBIDDEN_HEADERS = frozenset({"crit", "jku", "jwk", "x5u", "x5c", "b64", "zip", "enc", "epk", "nonce"})

# What the words of the `scope` claim mean here. Whatever else stands there means nothing.
SCOPES: Mapping[str, Action] = MappingProxyType({f"ticker:{action.value}": action for action in Action})


class BadToken(Exception):
    """Why a token is not good, in words for us."""


@dataclass(frozen=True, slots=True)
class Claims:
    """What a good token says."""

    issuer: str
    subject: str
    scopes: frozenset[Action]
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class Bearer:
    """Whom a good token stands for, and what it lets them do."""

    identity: ExternalIdentity
    claims: Claims


def check_jwt(text: str, *, address: str) -> Bearer:
    """Whom `text` stands for.

    Raises
    ------
    NotAuthenticated
        Always with the same words.
    TooManyTries
        Instead, after many wrong ones from this address.
    KeysUnavailable
        If the issuer's keys could not be had for too long.
    """
    actor = Actor(NOBODY.name, address=address)
    subject = ""
    try:
        if not enabled():
            raise BadToken("tokens are not accepted here")
        claims = read_token(text)
        subject = claims.subject
        return Bearer(linked_identity(claims), claims)
    except BadToken as exc:
        logger.info("a token from %s is refused: %s", address, exc)
        record_refusal(Kind.TOKEN_REFUSED, actor=actor, reason=str(exc), subject=subject)
        note_wrong(address)
        raise NotAuthenticated("This token is not valid.") from None


def linked_identity(claims: Claims) -> ExternalIdentity:
    """The identity that an administrator linked to this subject. Raises BadToken if there is none in use."""
    identity = (
        ExternalIdentity.objects.select_related("user").filter(issuer=claims.issuer, subject=claims.subject).first()
    )
    if identity is None:
        raise BadToken("its subject is linked to nobody")
    if not identity.user.is_active:
        raise BadToken("its user is not active")
    return identity


def read_token(text: str) -> Claims:
    """What `text` says, if all is right with it. It asks no database and no network.

    Raises
    ------
    BadToken, KeysUnavailable
    """
    if not 0 < len(text) <= LARGEST_TOKEN:
        raise BadToken("its size")
    parts = text.split(".")
    if len(parts) != 3 or not all(_PART.fullmatch(part) for part in parts):
        raise BadToken("its form")
    _decoded(parts[2])
    header, claims = _object(parts[0]), _object(parts[1])
    algorithm, key_id = _checked_header(header)
    key = key_store().key(key_id)
    if key is None:
        raise BadToken("its key is not known")
    if key.algorithm != algorithm:
        raise BadToken("its algorithm is not the key's")
    _check_claims(claims, header)
    try:
        verified = jwt.decode(
            text,
            key.key,
            algorithms=[algorithm],
            audience=settings.JWT_AUDIENCE,
            issuer=settings.JWT_ISSUER,
            leeway=LEEWAY_SECONDS,
            options={"require": ["exp", "iat", "sub", "aud", "iss"], "enforce_minimum_key_length": True},
        )
    except jwt.PyJWTError as exc:
        raise BadToken(f"{type(exc).__name__}") from None
    if verified != claims:  # the library and we have read the same
        raise BadToken("it can be read in two ways")
    expires_at = datetime.fromtimestamp(claims["exp"], UTC)
    return Claims(claims["iss"], claims["sub"], _scopes(claims.get("scope")), expires_at)


def _decoded(part: str) -> bytes:
    try:
        raw = base64.urlsafe_b64decode(part + "=" * (-len(part) % 4))
    except (binascii.Error, ValueError):
        raise BadToken("its encoding") from None
    # Some bits of the last letter may be anything: a token has one spelling only.
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != part:
        raise BadToken("its encoding")
    return raw


def _object(part: str) -> dict[str, Any]:
    try:
        found = loads(_decoded(part))
    except ValueError:
        raise BadToken("its encoding") from None
    if not isinstance(found, dict):
        raise BadToken("its form")
    return found


def _checked_header(header: dict[str, Any]) -> tuple[str, str]:
    """Algorithm and key id."""
    if forbidden := _FORBIDDEN_HEADERS & header.keys():
        raise BadToken(f"its header has {min(forbidden)}")
    algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ")
    if algorithm not in settings.JWT_ALGORITHMS or not isinstance(algorithm, str):
        raise BadToken("its algorithm")
    if not isinstance(key_id, str) or not 0 < len(key_id) <= LONGEST_KEY_ID:
        raise BadToken("its key id")
    if _media_type(kind) not in (_ACCESS_TYPE, _PLAIN_TYPE):
        raise BadToken("its type")
    return algorithm, key_id


def _media_type(kind: object) -> str:
    return kind.lower().removeprefix("application/") if isinstance(kind, str) else ""


def _check_claims(claims: dict[str, Any], header: dict[str, Any]) -> None:
    """What the library does not ask, or forgives."""
    times = [claims.get(name) for name in ("iat", "exp", *(("nbf",) if "nbf" in claims else ()))]
    if not all(type(moment) is int and 0 < moment < LATEST_TIME for moment in times):
        raise BadToken("a time is no whole number of seconds")
    if not 0 < claims["exp"] - claims["iat"] <= LONGEST_LIFE_SECONDS:
        raise BadToken("its life is too long")
    if claims["iat"] > time.time() + LEEWAY_SECONDS:
        raise BadToken("it was issued in the future")
    if claims.get("iss") != settings.JWT_ISSUER:
        raise BadToken("its issuer")
    audience = claims.get("aud")
    audiences = audience if isinstance(audience, list) else [audience]
    if settings.JWT_AUDIENCE not in audiences or not all(isinstance(one, str) for one in audiences):
        raise BadToken("its audience")
    if not isinstance(claims.get("sub"), str) or not _SUBJECT.fullmatch(claims["sub"]):
        raise BadToken("its subject")
    if _media_type(header["typ"]) == _PLAIN_TYPE:
        words = [claims[name] for name in _TYPE_CLAIMS if name in claims]
        if not words or not all(isinstance(word, str) and word.lower() in _ACCESS_WORDS for word in words):
            raise BadToken("it does not say that it is an access token")


def _scopes(claim: object) -> frozenset[Action]:
    words = claim.split() if isinstance(claim, str) else claim if isinstance(claim, list) else []
    return frozenset(SCOPES[word] for word in words if isinstance(word, str) and word in SCOPES)
