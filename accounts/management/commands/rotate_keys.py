from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from accounts.audit import acting_as
from accounts.credentials import key_id
from accounts.key_rotation import reseal, secrets_by_key
from accounts.models import BrokerCredential


class Command(BaseCommand):
    help = (
        "Seal every stored secret with the first key of CREDENTIAL_KEYS. To change keys: put a new one in front of "
        "the list, restart, run this, then remove the keys that it says are not needed any more. Safe to break off and "
        "run again."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        newest, *others = map(key_id, settings.CREDENTIAL_KEYS)
        total = BrokerCredential.objects.exclude(key_id=newest).count()
        sealed = 0
        problems: list[str] = []
        with acting_as("command:rotate_keys"):
            for batch in reseal():
                sealed += batch.sealed
                problems += batch.problems
                self.stdout.write(f"{sealed + len(problems)} of {total}")
        self.stdout.write(self.style.SUCCESS(f"sealed with key {newest}: {sealed}"))
        left = secrets_by_key()
        for other in others:
            needed = f"is still needed for {left[other]}: keep it" if left[other] else "is not needed any more"
            self.stdout.write(f"key {other} {needed}")
        if problems:
            raise CommandError("\n".join([f"left as they are: {len(problems)}", *problems]))
