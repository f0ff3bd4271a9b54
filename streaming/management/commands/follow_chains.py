"""`manage.py follow_chains NIFTY BANKNIFTY --expiries 2`: stream whole option chains."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import clock
from streaming.exceptions import CapacityExceeded
from streaming.models import Subscription
from streaming.subscriptions import follow_chain


class Command(BaseCommand):
    help = "Subscribe all strikes of the nearest expiries of the named underlyings. Safe to repeat."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("underlyings", nargs="+", metavar="UNDERLYING", help="such as NIFTY")
        parser.add_argument("--expiries", type=int, default=2, help="how many, the nearest first (default 2)")
        parser.add_argument("--mode", choices=Subscription.Mode.values, default=Subscription.Mode.FULL)

    def handle(self, *args: Any, **options: Any) -> None:
        if options["expiries"] < 1:
            raise CommandError("--expiries must be 1 or more")
        for underlying in options["underlyings"]:
            try:
                count = follow_chain(
                    underlying, expiries=options["expiries"], today=clock.today(), mode=options["mode"]
                )
            except CapacityExceeded as exc:
                raise CommandError(str(exc)) from None
            if not count:
                raise CommandError(f"{underlying} has no living option contracts; are the instruments loaded?")
            self.stdout.write(f"{underlying}: {count} option contracts are streamed")
