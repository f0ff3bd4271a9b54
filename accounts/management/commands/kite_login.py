from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.broker.login import log_in_automatically
from accounts.clock import IST
from accounts.exceptions import BrokerError, CredentialError, LoginFailed, SessionMismatch
from accounts.models import TradingAccount


class Command(BaseCommand):
    help = "Log ACCOUNT (a Kite user id) in at the broker with its stored password and TOTP seed."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("account")

    def handle(self, *args: Any, account: str, **options: Any) -> None:
        found = TradingAccount.objects.select_related("app").filter(kite_user_id=account).first()
        if found is None:
            known = ", ".join(TradingAccount.objects.values_list("kite_user_id", flat=True)) or "none"
            raise CommandError(f"there is no account {account!r}; known: {known}")
        try:
            session = log_in_automatically(found)
        except (BrokerError, CredentialError, LoginFailed, SessionMismatch) as exc:
            raise CommandError(str(exc)) from exc
        assert session.expires_at is not None  # noqa: S101  (an active session has it, by the table's constraint)
        until = session.expires_at.astimezone(IST)
        self.stdout.write(f"{found} is logged in until {until:%d %b %Y %H:%M} IST")
