"""`manage.py prepare`: everything that has to be true before the processes start. Safe to repeat.

Migrations, the market calendar and, with `--demo`, the simulated broker's account, its instruments and the first
subscriptions. One command, because each start of Django costs more than most of the steps.
"""

import json
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from accounts import clock
from accounts.demo import seed_demo
from market.calendar_loading import load_calendar
from market.models import Instrument, InstrumentImport
from streaming.subscriptions import follow_chains, followed_chains

FIRST_UNDERLYINGS = ("NIFTY", "BANKNIFTY")
FIRST_EXPIRIES = 2


class Command(BaseCommand):
    help = "Migrate, load the calendar and, with --demo, set up the simulated broker's account and instruments."
    requires_system_checks: list[str] = []

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--demo", action="store_true", help="Set up the simulated broker's account; never in production."
        )
        parser.add_argument("--json", action="store_true", help="End with one line of JSON on standard output.")

    def handle(self, *args: Any, demo: bool, json: bool, **options: Any) -> None:
        if demo and settings.FEED_SOURCE != "simulated":
            raise CommandError(f"--demo needs the simulated broker, but FEED_SOURCE is {settings.FEED_SOURCE!r}")
        call_command("migrate", verbosity=0, interactive=False, stdout=self.stderr)
        load_calendar()
