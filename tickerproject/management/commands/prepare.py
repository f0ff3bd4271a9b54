"""`manage.py prepare`: everything that has to be true before the processes start. Safe to repeat.

Migrations, the market calendar and, with `--demo`, the simulated broker's account, its login, its instruments and the
first subscriptions. One command, because each start of Django costs more than most of the steps.
"""

import json as json_module
from argparse import ArgumentParser
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.checks import run_checks
from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, OperationalError
from django.urls import reverse

from accounts import clock
from accounts.broker.login import log_in_automatically
from accounts.demo import ADMIN_USERNAME, Demo, ensure_administrator, seed_demo
from accounts.exceptions import BrokerError, CredentialError, LoginFailed, SessionMismatch
from accounts.models import LoginLink
from market.calendar_loading import load_calendar
from market.exceptions import MarketError
from market.models import Instrument
from market.refresh import refresh_instruments
from streaming.models import Subscription
from streaming.subscriptions import follow_chain

FIRST_UNDERLYINGS = ("NIFTY", "BANKNIFTY")
FIRST_EXPIRIES = 2
LINK_LIFE = timedelta(hours=12)


class Command(BaseCommand):
    help = "Migrate, load the calendar and, with --demo, set up the simulated broker's account and instruments."
    requires_system_checks: list[str] = []  # they read tables that this command makes

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--demo", action="store_true", help="set up the simulated broker's account")
        parser.add_argument("--json", action="store_true", help="end with one line of JSON")

    def handle(self, *args: Any, demo: bool, json: bool, **options: Any) -> None:
        if demo and (settings.FEED_SOURCE != "simulated" or settings.PRODUCTION):
            raise CommandError(f"--demo needs the simulated broker: FEED_SOURCE is {settings.FEED_SOURCE!r}")
        try:
            call_command("migrate", verbosity=0, interactive=False, skip_checks=True)
            load_calendar(settings.MARKET_DATA_DIR)
            _refuse_errors()
        except (OperationalError, DatabaseError) as exc:
            raise CommandError(f"the database does not answer as it should: {exc}".strip()) from exc
        report: dict[str, Any] = {"api_key": None, "chains": [], "summary": "migrated"}
        admin, password = ensure_administrator()
        if demo:
            report |= self._demo(seed_demo())
        report |= {"admin_username": admin.username, "admin_password": password, "login_path": _login_path(admin)}
        if json:
            self.stdout.write(json_module.dumps(report))
            return
        self.stdout.write(self.style.SUCCESS(f"Ready: {report['summary']}."))
        if password:
            self.stdout.write(f"Administrator {ADMIN_USERNAME}, password {password} (shown only now)")

    def _demo(self, demo: Demo) -> dict[str, Any]:
        today = clock.today()
        try:
            log_in_automatically(demo.account)
            if _instruments_are_old(today):
                # The simulated dump is as long as its dial says; a shorter one is no accident.
                refresh_instruments(accept_shrinking=True)
        except (BrokerError, CredentialError, LoginFailed, MarketError, SessionMismatch) as exc:
            raise CommandError(f"the simulated broker refused: {exc}") from exc
        for underlying in FIRST_UNDERLYINGS:
            followed = Subscription.objects.active().filter(instrument__name=underlying, instrument__expiry__gte=today)
            if not followed.exists():
                follow_chain(underlying, expiries=FIRST_EXPIRIES, today=today)
        return {
            "api_key": demo.api_key,
            "chains": [
                {"underlying": name, "expiry": expiry.isoformat()}
                for name in FIRST_UNDERLYINGS
                for expiry in Instrument.objects.expiries(name, since=today)[:1]
            ],
            "summary": f"{Instrument.objects.filter(is_active=True).count():,} instruments, "
            f"{Subscription.objects.active().count():,} subscribed",
        }


def _refuse_errors() -> None:
    """The system checks, those of the database included; warnings are for `manage.py check --database default`."""
    errors = [message for message in run_checks(databases=["default"]) if message.is_serious()]
    if errors:
        raise CommandError("\n".join(str(error) for error in errors))


def _instruments_are_old(today: date) -> bool:
    """Whether there are none, or some have expired since the dump was taken."""
    active = Instrument.objects.filter(is_active=True)
    return not active.exists() or active.filter(expiry__lt=today).exists()


def _login_path(user: User) -> str:
    return reverse("accounts:login-link", args=[LoginLink.objects.issue(user, valid_for=LINK_LIFE)])
