"""`manage.py watch NIFTY --expiry 2026-12-01`: a live chain in the terminal."""

import os
import sys
import time
from contextlib import suppress
from datetime import date
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.db import OperationalError
from django.utils.dateparse import parse_date

from accounts import clock
from accounts.exceptions import NotFound
from market.chain_reading import read_chain
from market.chain_text import chain_text
from market.exceptions import PricesUnavailable
from market.models import Instrument
from market.option_chain import Wanted
from market.underlyings import canonical_name

REDRAW = "\x1b[H\x1b[J"  # to the upper left corner, and clear what is below


class Command(BaseCommand):
    help = "Show a live option chain around the money, again and again until Ctrl-C."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("underlying", help="NIFTY, or RELIANCE")
        parser.add_argument("--expiry", help="2026-12-01; the nearest without it")
        parser.add_argument("--strikes", type=int, default=10, help="on either side of the money (default 10)")
        parser.add_argument("--seconds", type=float, default=1.0, help="from one look to the next (default 1)")
        parser.add_argument("--once", action="store_true", help="look once and end")

    def handle(
        self, *_: Any, underlying: str, expiry: str | None, strikes: int, seconds: float, once: bool, **__: Any
    ) -> None:
        if strikes < 0 or not 0.1 <= seconds <= 3600:
            raise CommandError("--strikes must be 0 or more, and --seconds from 0.1 to 3600")
        name = canonical_name(underlying)
        day = _expiry(name, expiry)
        try:
            while True:
                self._show(self._look(name, day, strikes, once))
                if once:
                    return
                time.sleep(seconds)
        except KeyboardInterrupt:
            return
        except BrokenPipeError:  # whoever reads has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _look(self, name: str, day: date, strikes: int, once: bool) -> str:
        is_coloured = self.stdout.isatty() and not os.environ.get("NO_COLOR")
        try:
            answer = read_chain(name, day, Wanted(strikes=strikes, analytics=False))
        except NotFound as exc:
            raise CommandError(str(exc)) from exc
        except OperationalError as exc:
            raise CommandError(f"the database does not answer: {exc}") from exc
        except PricesUnavailable as exc:
            if once:
                raise CommandError(f"no prices: {exc.__cause__}") from exc
            return f"{name} {day}: no prices, Redis does not answer; trying again"
        return chain_text(answer, is_coloured=is_coloured)

    def _show(self, text: str) -> None:
        self.stdout.write(f"{REDRAW}{text}" if self.stdout.isatty() else f"{text}\n")
        self.stdout.flush()


def _expiry(name: str, asked: str | None) -> date:
    """The day that was asked for, or the nearest that has not passed."""
    if asked is None:
        days = Instrument.objects.expiries(name, since=clock.today())
        if not days:
            raise CommandError(f"{name} has no living option contracts; are the instruments loaded?")
        return days[0]
    with suppress(ValueError):
        if (day := parse_date(asked)) is not None:
            return day
    raise CommandError(f"--expiry takes a date like 2026-12-01, not {asked!r}")
