"""`manage.py import_holidays`: take over an exchange's own list of a year's holidays."""

from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from market import calendar
from market.calendar_lists import import_list
from market.exceptions import HolidayListInvalid


class Command(BaseCommand):
    help = "Import an exchange's list of one year's holidays (CSV, or the NSE's JSON). Days entered by hand stay."
    requires_system_checks = []  # the check of the calendar would stop the very command that mends it

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", type=Path, help="the list, of one year and whole")
        parser.add_argument(
            "--exchange",
            dest="exchanges",
            action="append",
            required=True,
            choices=list(calendar.SEGMENTS),
            help="whose list it is; once for each market that it holds for",
        )

    def handle(self, *_: Any, file: Path, exchanges: list[str], **__: Any) -> None:
        try:
            done = import_list(file.read_bytes(), exchanges=exchanges, name=file.name)
        except HolidayListInvalid as exc:
            raise CommandError(f"Nothing was imported: {file.name}: {exc}") from exc
        except OSError as exc:
            raise CommandError(f"Nothing was imported: cannot read {file}: {exc.strerror}") from exc
        self.stdout.write(self.style.SUCCESS(f"Imported {done}."))
