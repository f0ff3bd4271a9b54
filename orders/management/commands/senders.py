"""`manage.py senders`: which processes have sent orders, and the word that one of them has ended."""

import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from orders.models import SenderProcess
from orders.senders import note_end


class Command(BaseCommand):
    help = (
        "List the processes that send orders and have not ended, or say that one has (ended NAME): for whoever has "
        "seen it end. An account that has opted in may then send again what that process left unknown and the broker "
        "never had. Said of a process that lives, or may wake, it can buy twice."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=["list", "ended"], nargs="?", default="list")
        parser.add_argument("name", nargs="?", default="")

    def handle(self, *args: Any, action: str, name: str, **options: Any) -> None:
        if action == "list":
            for process in SenderProcess.objects.filter(ended_at=None):
                self.stdout.write(f"{process.name} since {process.started_at:%d %b %H:%M} UTC")
            return
        try:
            told_by = f"command:{getpass.getuser()}"
        except (KeyError, OSError):  # a container's user without a name
            told_by = "command:somebody"
        if not note_end(name, told_by):
            raise CommandError(f"there is no process {name!r} that has not ended; `manage.py senders` lists them")
        self.stdout.write(self.style.SUCCESS(f"{name} has ended"))
