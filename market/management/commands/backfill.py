"""`manage.py backfill NIFTY --days 30 --with-options`: fetch and keep the minutes of an underlying."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from market.backfill import backfill, instruments_of
from market.candle_views import MOST_DAYS_OF_MINUTES
from market.models import Instrument

BAR_WIDTH = 30
SHOWN = 10


class Command(BaseCommand):
    help = "Fetch the minute candles of an underlying, its futures and options. Start it again: it goes on."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("underlying", help="NIFTY, or RELIANCE")
        parser.add_argument("--days", type=int, default=30, help="how many days back; 30 by default")
        parser.add_argument("--with-options", action="store_true", help="living options too: hundreds of instruments")

    def handle(self, *_: Any, underlying: str, days: int, with_options: bool, **__: Any) -> None:
        if not 1 <= days <= MOST_DAYS_OF_MINUTES:
            raise CommandError(f"--days takes 1 to {MOST_DAYS_OF_MINUTES}")
        instruments = instruments_of(underlying, with_options=with_options)
        if not instruments:
            raise CommandError(f"Nothing is called {underlying}; `manage.py import_instruments` takes over the list.")
        result = backfill(instruments, days, on_progress=self._show)
        self.stdout.write(f"\r{self._bar(1, 1)} {result.instruments} instruments".ljust(80))
        for symbol, missing in list(result.missing.items())[:SHOWN]:
            first, last, why = missing[0]
            self.stdout.write(self.style.WARNING(f"{symbol} lacks {first} to {last}: {why}"))
        if result.missing:
            raise CommandError(f"{len(result.missing)} instruments are not complete: start this command again.")

    def _show(self, done: int, of: int, instrument: Instrument) -> None:
        self.stdout.write(f"\r{self._bar(done, of)} {done}/{of} {instrument.symbol}".ljust(80), ending="")
        self.stdout.flush()

    @staticmethod
    def _bar(done: int, of: int) -> str:
        full = BAR_WIDTH * done // of
        return "█" * full + "░" * (BAR_WIDTH - full)
