"""API keys: ``kts_<environment>_<8-character id>_<43-character secret>``, shown once, kept as a digest."""

import hashlib
import hmac
import logging
import re
import secrets
import string
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from django.conf import settings
from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.actions import Action
from accounts.addresses import is_in_networks
from accounts.audit import NOBODY, Actor, Kind, record, record_refusal
from accounts.exceptions import NotAuthenticated, Refused
from accounts.guesses import note_wrong
from accounts.models import ApiKey, Grant, TradingAccount

logger = logging.getLogger(__name__)

_FORM = re.compile(r"kts_(?P<environment>[a-z]+)_(?P<key_id>[a-z0-9]{8})_[A-Za-z0-9_-]{43}")
_ID_ALPHABET = string.ascii_lowercase + string.digits
_QUERY_NAMES = frozenset({"api_key", "apikey", "x-api-key", "x_api_key"})
_LAST_USE_IS_WRITTEN_EVERY = timedelta(minutes=1)


class KeyInAddress(Refused):
    """An API key in an address ends up in logs and histories: it is refused there even if it is good."""

    code = "api_key_in_query"
    default_message = (
        "Send the API key in the X-API-Key header, never in the address: there it ends up in logs. Replace it."
    )


@transaction.atomic
def create_api_key(
    *,
    owner: User,
    label: str,
    scopes: Iterable[Action],
    accounts: Iterable[TradingAccount],
    valid_for: timedelta = timedelta(days=90),
    networks: Iterable[str] = (),
) -> tuple[ApiKey, str]:
    """Make a key that may do `scopes` on `accounts`, and return it with its text, which cannot be had again."""
    if valid_for > ApiKey.LONGEST_LIFE:
        raise Refused(f"a key may live {ApiKey.LONGEST_LIFE.days} days at most, not {valid_for.days}")
    key_id = "".join(secrets.choice(_ID_ALPHABET) for _ in range(8))
    text = f"kts_{settings.ENVIRONMENT}_{key_id}_{secrets.token_urlsafe(32)}"
    now = timezone.now()
    key = ApiKey.objects.create(
        key_id=key_id,
        digest=_digest(text),
        label=label,
        owner=owner,
        scopes=sorted({Action(scope).value for scope in scopes}),
        networks=list(networks),
        created_at=now,
        expires_at=now + valid_for,
    )
    record(
        Kind.KEY_MADE,
        key_id=key_id,
        label=label,
        owner=owner.get_username(),
        scopes=key.scopes,
        networks=key.networks,
        expires_at=key.expires_at,
    )
    key.accounts.set(accounts)
    return key, text


@transaction.atomic
def replace_api_key(key: ApiKey, *, overlap: timedelta = timedelta(days=1)) -> tuple[ApiKey, str]:
    """A new key with the rights of `key`, which ends after `overlap`: until then both work and programs can change.

    Raises
    ------
    Refused
        If `key` has ended already: what is over is not continued.
    """
    now = timezone.now()
    if not ApiKey.objects.usable_at(now).filter(pk=key.pk).exists():
        raise Refused("a key that was revoked or has expired cannot be replaced; make a new one")
    life = key.expires_at - key.created_at
    made, text = create_api_key(
        owner=key.owner,
        label=key.label,
        scopes=[Action(scope) for scope in key.scopes],
        accounts=key.accounts.all(),
        networks=key.networks,
        valid_for=min(life, ApiKey.LONGEST_LIFE),
    )
    for grant in key.grants.all():
        Grant.objects.create(api_key=made, account=grant.account, action=grant.action)
    ends_at = min(key.expires_at, now + overlap)
    ApiKey.objects.filter(pk=key.pk).update(expires_at=ends_at)
    record(Kind.KEY_REPLACED, key_id=key.key_id, by=made.key_id, ends_at=ends_at)
    return made, text


@transaction.atomic
def revoke_api_key(key: ApiKey) -> bool:
    """End `key` for good; False if that was done before."""
    if not ApiKey.objects.filter(pk=key.pk, revoked_at__isnull=True).update(revoked_at=timezone.now()):
        return False
    record(Kind.KEY_REVOKED, key_id=key.key_id, label=key.label, owner=key.owner.get_username())
    return True


def check_api_key(text: str, *, address: str) -> ApiKey:
    """The key that `text` is, if it may be used from `address` now.

    Raises
    ------
    NotAuthenticated
        Always with the same words: what is wrong with a key is told to its owner, not to whoever tries it.
    TooManyTries
        Instead, after many wrong ones from this address.
    """
    form = _FORM.fullmatch(text)
    now = timezone.now()
    # An unknown id is compared as well, so that time tells nothing about which ids exist.
    found = ApiKey.objects.select_related("owner").filter(key_id=form["key_id"] if form else "").first()
    genuine = hmac.compare_digest(_digest(text), found.digest if found else _digest(""))
    if found is None or form is None or not genuine or form["environment"] != settings.ENVIRONMENT:
        record_refusal(
            Kind.KEY_REFUSED,
            actor=replace(NOBODY, address=address),
            key_id=form["key_id"] if form else "",
            reason="unknown" if found is None else "wrong",
        )
        note_wrong(address)
        raise NotAuthenticated("This API key is not valid.")
    if reason := _why_not(found, now, address):
        logger.warning("key %s of %s refused: %s; used from %s", found.key_id, found.owner, reason, address)
        actor = Actor(f"apikey:{found.key_id}", found.label, address)
        record_refusal(Kind.KEY_REFUSED, actor=actor, key_id=found.key_id, reason=reason)
        note_wrong(address)
        raise NotAuthenticated("This API key is not valid.")
    _note_use(found, now)
    return found


def refuse_key_in_query(parameters: Mapping[str, object]) -> None:
    """Raise `KeyInAddress` if the query string names or holds an API key."""
    for name, value in parameters.items():
        if name.lower() in _QUERY_NAMES or str(value).startswith("kts_"):
            form = _FORM.fullmatch(str(value))
            logger.warning("an API key came in an address: id %s", form["key_id"] if form else "unknown")
            record_refusal(Kind.KEY_IN_ADDRESS, actor=NOBODY, key_id=form["key_id"] if form else "")
            raise KeyInAddress


def _why_not(key: ApiKey, now: datetime, address: str) -> str:
    """Why a genuine key may not be used now, from `address`; empty if it may."""
    if key.revoked_at is not None:
        return "revoked"
    if key.expires_at <= now:
        return "expired"
    if not key.owner.is_active:
        return "owner not active"
    return "" if is_in_networks(address, key.networks) else "address not allowed"


def _note_use(key: ApiKey, now: datetime) -> None:
    if key.last_used_at is None or now - key.last_used_at > _LAST_USE_IS_WRITTEN_EVERY:
        stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now)
        ApiKey.objects.filter(stale, pk=key.pk).update(last_used_at=now)


def _digest(text: str) -> str:
    # 256 random bits need no slow hash: there is nothing to guess.
    return hashlib.sha256(text.encode()).hexdigest()
