"""Secrets at rest: sealed with the newest key of the ring, bound to their holder and kind, opened only where used.

Fernet cannot bind a ciphertext to the row it stands in. So the plaintext names its holder and its kind, and opening
checks both: whoever can write to the database still cannot make one account log in with another one's secret.
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator
from typing import Any

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import transaction
from django.db.models import F

from accounts.audit import Kind as Event
from accounts.audit import record
from accounts.exceptions import CredentialMisplaced, CredentialMissing, CredentialUnreadable
from accounts.models import BrokerCredential, KiteApp, TradingAccount

Holder = KiteApp | TradingAccount
Kind = BrokerCredential.Kind


def store_secret(holder: Holder, kind: Kind, secret: str) -> None:
    """Seal `secret` and keep it, replacing the one before."""
    with transaction.atomic():
        _keep(holder, kind, secret)
        record(Event.CREDENTIAL_STORED, account=_account_of(holder), **_audited(holder, kind))


def reseal_secret(holder: Holder, kind: Kind, secret: str) -> None:
    """Seal a secret that is stored already with the newest key."""
    with transaction.atomic():
        _keep(holder, kind, secret)
        record(Event.CREDENTIAL_RESEALED, account=_account_of(holder), **_audited(holder, kind))


def _keep(holder: Holder, kind: Kind, secret: str) -> None:
    newest = _ring()[0]
    sealed = {"ciphertext": Fernet(newest).encrypt(_bound(holder, kind, secret)), "key_id": key_id(newest)}
    credential, created = BrokerCredential.objects.of(holder).get_or_create(
        kind=kind, defaults=sealed | _holder_fields(holder)
    )
    if not created:
        for field, value in sealed.items():
            setattr(credential, field, value)
        credential.version = F("version") + 1
        credential.save(update_fields=[*sealed, "version", "updated_at"])


def read_secret(holder: Holder, kind: Kind) -> str:
    """The secret in the clear. Keep it no longer than the call that needs it.

    Raises
    ------
    CredentialMissing, CredentialUnreadable, CredentialMisplaced
    """
    credential = BrokerCredential.objects.of(holder).filter(kind=kind).first()
    if credential is None:
        raise CredentialMissing(f"{holder} has no {kind.label} stored")
    # By whom it was found is whose it is; the row need not be asked for that once more.
    if isinstance(holder, KiteApp):
        credential.app = holder
    else:
        credential.account = holder
    return open_credential(credential)


def has_secret(holder: Holder, kind: Kind) -> bool:
    return BrokerCredential.objects.of(holder).filter(kind=kind).exists()


def forget_secret(holder: Holder, kind: Kind) -> None:
    with transaction.atomic():
        deleted, _ = BrokerCredential.objects.of(holder).filter(kind=kind).delete()
        if deleted:
            record(Event.CREDENTIAL_FORGOTTEN, account=_account_of(holder), **_audited(holder, kind))


def open_credential(credential: BrokerCredential) -> str:
    ring = _ring()
    try:
        plaintext = MultiFernet([Fernet(key) for key in ring]).decrypt(bytes(credential.ciphertext))
    except InvalidToken:
        # `from None`: the traceback of a failed decryption has nothing to add, and its locals should not travel.
        raise CredentialUnreadable(
            f"the {credential.kind} of {credential.holder} was sealed with key {credential.key_id}, and none of the "
            f"{len(ring)} in CREDENTIAL_KEYS ({', '.join(map(key_id, ring))}) opens it; put that key back into the list"
        ) from None
    sealed = json.loads(plaintext)
    secret = str(sealed.pop("secret"))
    if sealed != _binding(credential.holder, credential.kind):
        raise CredentialMisplaced(
            f"the {credential.kind} of {credential.holder} was sealed for another holder or kind: its row was moved or "
            "copied; store the secret anew, and find out who writes to the database"
        )
    return secret


def unreadable_secrets() -> Iterator[str]:
    """What is wrong with each stored secret that does not open; nothing if all is well."""
    for credential in BrokerCredential.objects.select_related("account", "app").iterator():
        try:
            open_credential(credential)
        except (CredentialUnreadable, CredentialMisplaced) as exc:
            yield str(exc)


def key_id(key: str) -> str:
    """A name for a key that gives nothing away: the beginning of its SHA-256."""
    return hashlib.sha256(key.encode()).hexdigest()[:8]


def ring_problems(keys: list[str], secret_key: str) -> list[str]:
    """What is wrong with a key ring, in words; empty if nothing is."""
    if not keys:
        return ["CREDENTIAL_KEYS is empty: stored broker secrets cannot be sealed or opened"]
    digest = hashlib.sha256(secret_key.encode()).digest()
    derived = {secret_key.encode(), secret_key.encode()[:32], digest, digest.hex().encode()[:32]}
    problems = []
    for position, key in enumerate(keys, start=1):
        try:
            raw = base64.urlsafe_b64decode(key)
        except (binascii.Error, ValueError):
            raw = b""
        if len(raw) != 32:
            problems.append(f"key {position} of CREDENTIAL_KEYS is not a Fernet key (32 bytes in URL-safe base64)")
        elif raw in derived or key == secret_key:
            problems.append(
                f"key {position} of CREDENTIAL_KEYS ({key_id(key)}) is derived from SECRET_KEY: make a random one"
            )
    if len(set(keys)) != len(keys):
        problems.append("CREDENTIAL_KEYS holds the same key twice")
    return problems


def _ring() -> list[str]:
    keys = list(settings.CREDENTIAL_KEYS)
    if not keys:
        raise ImproperlyConfigured("CREDENTIAL_KEYS is empty: stored broker secrets cannot be sealed or opened")
    return keys


def _bound(holder: Holder, kind: str, secret: str) -> bytes:
    return json.dumps(_binding(holder, kind) | {"secret": secret}).encode()


def _binding(holder: Holder, kind: str) -> dict[str, object]:
    return {"v": 1, "app" if isinstance(holder, KiteApp) else "acct": holder.pk, "kind": str(kind)}


def _holder_fields(holder: Holder) -> dict[str, Holder]:
    return {"app": holder} if isinstance(holder, KiteApp) else {"account": holder}


def _audited(holder: Holder, kind: Kind) -> dict[str, Any]:
    said = {"kind": str(kind), "key": key_id(_ring()[0])}
    return said | {"app": holder.label} if isinstance(holder, KiteApp) else said


def _account_of(holder: Holder) -> str:
    return "" if isinstance(holder, KiteApp) else holder.kite_user_id
