import sys
from getpass import getpass
from typing import Any
from urllib.parse import parse_qs, urlsplit

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import Kind, acting_as, record
from accounts.broker.login import (
    accept_access_token,
    exchange_request_token,
    log_in_automatically,
    log_out,
    login_page_address,
)
from accounts.clock import IST
from accounts.exceptions import BrokerError, CredentialError, LoginFailed, SessionMismatch
from accounts.models import BrokerSession, TradingAccount


class Command(BaseCommand):
    help = (
        "Log ACCOUNT (a Kite user id) in at the broker: prints the login page's address and takes the address that it "
        "leads back to. Secrets are asked for or read from the standard input; they never stand in the command."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("account")
        way = parser.add_mutually_exclusive_group()
        way.add_argument("--automatic", action="store_true", help="with the stored password and TOTP seed")
        way.add_argument("--access-token", action="store_true", help="take over an access token made elsewhere")
        way.add_argument("--logout", action="store_true", help="end the session instead")

    def handle(self, *args: Any, account: str, **options: Any) -> None:
        found = TradingAccount.objects.select_related("app").filter(kite_user_id=account).first()
        if found is None:
            known = ", ".join(TradingAccount.objects.values_list("kite_user_id", flat=True)) or "none"
            raise CommandError(f"there is no account {account!r}; known: {known}")
        try:
            with acting_as("command:kite_login"):
                if options["logout"]:
                    log_out(found)
                    self.stdout.write(f"{found} is logged out")
                    return
                session = self._log_in(found, **options)
        except (BrokerError, CredentialError, LoginFailed, SessionMismatch) as exc:
            with acting_as("command:kite_login"):
                record(Kind.BROKER_LOGIN_FAILED, account=found.kite_user_id, reason=str(exc))
            raise CommandError(str(exc)) from exc
        assert session.expires_at is not None  # noqa: S101  (an active session has it, by the table's constraint)
        until = session.expires_at.astimezone(IST)
        self.stdout.write(self.style.SUCCESS(f"{found} is logged in until {until:%d %b %Y %H:%M} IST"))

    def _log_in(self, account: TradingAccount, *, automatic: bool, access_token: bool, **_: Any) -> BrokerSession:
        if automatic:
            return log_in_automatically(account)
        if access_token:
            return accept_access_token(account, _ask("Access token: "))
        self.stdout.write(f"Log in as {account.kite_user_id} at\n\n  {login_page_address(account, state='terminal')}\n")
        return exchange_request_token(account, _request_token(_ask("The address it leads to, or its request_token: ")))


def _ask(prompt: str) -> str:
    """One line that is shown nowhere, from the terminal or the standard input."""
    line = getpass(prompt) if sys.stdin.isatty() else sys.stdin.readline()
    if not line.strip():
        raise CommandError("nothing was given")
    return line.strip()


def _request_token(pasted: str) -> str:
    if "request_token" not in pasted:
        return pasted
    tokens = parse_qs(urlsplit(pasted).query).get("request_token")
    if not tokens:
        raise CommandError("that address has no request_token: the login did not succeed")
    return tokens[0]
