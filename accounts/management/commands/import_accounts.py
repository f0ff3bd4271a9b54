from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.account_file import FileRefused, import_accounts, read_environment, read_file
from accounts.audit import acting_as
from accounts.exceptions import Refused
from accounts.user_service import UserServiceAway, read_user_service


class Command(BaseCommand):
    help = (
        "Take on the trading accounts of FILE (YAML, with ${VARIABLE} from the environment), with --env the one of "
        "KITE_USER_ID, KITE_API_KEY, KITE_API_SECRET and KITE_ACCESS_TOKEN, or with --user-service those of the "
        "outside user service. All or none; safe to repeat."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        source = parser.add_mutually_exclusive_group(required=True)
        source.add_argument("file", nargs="?", type=Path)
        source.add_argument("--user-service", action="store_true", help="from the user service of USER_SERVICE_URL")
        source.add_argument("--env", action="store_true", help="from the environment instead of a file")
        parser.add_argument("--owner", default="admin", help="the user who owns accounts that name nobody (admin)")

    def handle(self, *args: Any, file: Path | None, env: bool, user_service: bool, owner: str, **options: Any) -> None:
        if user_service and not settings.USER_SERVICE_URL:
            raise CommandError("USER_SERVICE_URL is not set: there is no user service to ask")
        person = User.objects.filter(username=owner, is_active=True).first()
        if person is None:
            raise CommandError(f"there is no active user {owner!r}; name one with --owner")
        try:
            if user_service:
                accounts = read_user_service()
            else:
                accounts = read_environment() if env or file is None else read_file(file)
            with acting_as("command:import_accounts"):
                imported = import_accounts(accounts, owner=person)
        except FileRefused as exc:
            raise CommandError("\n".join(["nothing was imported:", *exc.problems])) from exc
        except (Refused, UserServiceAway) as exc:
            raise CommandError(f"nothing was imported: {exc}") from exc
        for one in imported:
            done = "taken on" if one.is_new else "brought up to date"
            self.stdout.write(self.style.SUCCESS(f"{one.account}: {done}"))
        failures = [f"{one.account}: not logged in: {one.login_failure}" for one in imported if one.login_failure]
        if failures:
            raise CommandError("\n".join(failures))
