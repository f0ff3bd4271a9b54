"""Sealing every stored secret with the newest key of the ring, so that an older key can be taken out of it."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from django.conf import settings
from django.db import transaction
from django.db.models import Count

from accounts.credentials import key_id, open_credential, reseal_secret
from accounts.exceptions import CredentialMisplaced, CredentialUnreadable
from accounts.models import BrokerCredential

BATCH = 100


@dataclass(frozen=True)
class Batch:
    """What became of some secrets."""

    sealed: int
    problems: tuple[str, ...]
    """Of each secret that does not open, why; it stays as it was."""


def reseal() -> Iterator[Batch]:
    """Seal what another key than the newest one sealed, a hundred secrets a transaction.

    Two may run at once: each leaves alone what the other holds, and also what a login is storing just then. Broken off
    at any moment it goes on where it stood when it is run again.
    """
    newest = key_id(settings.CREDENTIAL_KEYS[0])
    last = 0
    while True:
        with transaction.atomic():
            credentials = list(
                BrokerCredential.objects.exclude(key_id=newest)
                .filter(pk__gt=last)
                .select_for_update(skip_locked=True, of=("self",))
                .select_related("account", "app")
                .order_by("pk")[:BATCH]
            )
            if not credentials:
                return
            problems = []
            for credential in credentials:
                try:
                    secret = open_credential(credential)
                except (CredentialUnreadable, CredentialMisplaced) as exc:
                    problems.append(str(exc))
                else:
                    reseal_secret(credential.holder, BrokerCredential.Kind(credential.kind), secret)
            last = credentials[-1].pk
        yield Batch(len(credentials) - len(problems), tuple(problems))


def secrets_by_key() -> Counter[str]:
    """How many secrets each key, by its id, still has to open."""
    rows = BrokerCredential.objects.values_list("key_id").annotate(Count("pk")).order_by()
    return Counter(dict(rows))
