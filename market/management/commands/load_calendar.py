"""`manage.py load_calendar`: bring the trading sessions in line with the project's files."""

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import clock
from market.calendar_loading import load_calendar
from market.exceptions import SessionsFileInvalid


class Command(BaseCommand):
    help = "Load the trading sessions from the project's files. Again changes nothing; rows set by hand stay."
    requires_system_checks = []  # the check of the calendar would stop the very command that mends it

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument(
            "--folder", type=Path, default=Path(settings.MARKET_DATA_DIR), help="where the two CSV files are"
        )

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            loaded = load_calendar(options["folder"])
        except SessionsFileInvalid as exc:
            raise CommandError(str(exc)) from exc
        self.stdout.write(self.style.SUCCESS(f"Market calendar {loaded}."))
        ahead = [day for day in loaded.unverified if day >= clock.today()]
        if ahead:
            days = ", ".join(f"{day:%d %b %Y}" for day in sorted(set(ahead)))
            self.stdout.write(self.style.WARNING(f"Not checked against an exchange's own list: {days}."))
