import json as json_module
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import acting_as
from accounts.demo import seed_demo


class Command(BaseCommand):
    help = "Set up the simulated broker's account, an administrator and an API key. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print one line of JSON")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        if settings.FEED_SOURCE != "simulated" or settings.PRODUCTION:
            raise CommandError(
                "the demo's password is public, so it is set up beside the simulator only: "
                f"FEED_SOURCE is {settings.FEED_SOURCE!r}, ENVIRONMENT is {settings.ENVIRONMENT!r}"
            )
        with acting_as("command:seed_demo"):
            demo = seed_demo()
        found = {
            "account": demo.account.kite_user_id,
            "admin_username": demo.admin.get_username(),
            "admin_password": demo.admin_password,
            "api_key": demo.api_key,
        }
        if json:
            self.stdout.write(json_module.dumps(found))
            return
        for name, value in found.items():
            self.stdout.write(f"{name.replace('_', ' ')}: {value or '(shown on the first run only)'}")
