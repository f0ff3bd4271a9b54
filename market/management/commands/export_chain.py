"""`manage.py export_chain NIFTY --expiry 2026-12-01 --from 2026-11-24 --to 2026-12-01 --output nifty.csv`."""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from datetime import date, datetime, time
from itertools import chain
from pathlib import Path
from typing import Any, Final

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils.dateparse import parse_date, parse_datetime

from accounts.clock import IST
from market.chain_export import Written, snapshots, write_csv, write_parquet
from market.chain_models import ChainSnapshot
from market.exceptions import ParquetUnavailable
from market.underlyings import canonical_name

FORMATS: Final = ("csv", "parquet")


class Command(BaseCommand):
    help = "Write the option chains that were kept of one expiry: a line per minute, strike and side."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("underlying", help="NIFTY, or RELIANCE")
        parser.add_argument("--expiry", required=True, help="2026-12-01")
        parser.add_argument("--from", dest="start", required=True, help="a date, or 2026-11-24T10:30; Indian time")
        parser.add_argument("--to", dest="end", required=True, help="likewise; a date is all of that day")
        parser.add_argument("--format", choices=FORMATS, default="csv", help="parquet needs pyarrow")
        parser.add_argument("--output", type=Path, help="a file; to the terminal (csv) without it")
        parser.add_argument("--source", default=settings.FEED_SOURCE, help="live, simulated or replay")

    def handle(self, *_: Any, underlying: str, format: str, output: Path | None, source: str, **asked: str) -> None:  # noqa: A002
        name, expiry = canonical_name(underlying), _date(asked["expiry"])
        start, end = _moment("--from", asked["start"], time()), _moment("--to", asked["end"], time.max)
        if start > end:
            raise CommandError("--from lies after --to")
        if format == "parquet" and output is None:
            raise CommandError("parquet needs a file: --output chain.parquet")
        rows = snapshots(name, expiry, source=source, start=start, end=end)
        first = next(rows, None)
        if first is None:
            span = f"{start:%Y-%m-%d %H:%M} and {end:%Y-%m-%d %H:%M}"
            raise CommandError(f"No {source} chain of {name} {expiry} was kept between {span}; see --source.")
        found = chain([first], rows)
        written = self._to_terminal(found) if output is None else self._to_file(found, format, output)
        self.stderr.write(f"{written.lines} lines of {written.minutes} minutes", str)

    def _to_terminal(self, rows: Iterable[ChainSnapshot]) -> Written:
        try:
            return write_csv(rows, lambda text: self.stdout.write(text, ending=""))
        except BrokenPipeError:  # whoever reads has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise SystemExit(0) from None

    def _to_file(self, rows: Iterable[ChainSnapshot], kind: str, output: Path) -> Written:
        """Under another name until it is whole: half an export must not be taken for one."""
        part = output.with_name(f"{output.name}.part")
        try:
            if kind == "parquet":
                written = write_parquet(rows, part)
            else:
                with part.open("w", encoding="utf-8", newline="") as file:
                    written = write_csv(rows, file.write)
            part.replace(output)
        except ParquetUnavailable as exc:
            raise CommandError(str(exc)) from exc
        except OSError as exc:
            raise CommandError(f"{output} cannot be written: {exc.strerror or exc}") from exc
        finally:
            with suppress(OSError):
                part.unlink(missing_ok=True)
        return written


def _date(text: str) -> date:
    with suppress(ValueError):
        if (found := parse_date(text)) is not None:
            return found
    raise CommandError(f"--expiry takes a date like 2026-12-01, not {text!r}")


def _moment(option: str, text: str, at: time) -> datetime:
    """A moment in Indian time unless it has a zone; of a date alone, this time of that day."""
    with suppress(ValueError):
        if (day := parse_date(text)) is not None:
            return datetime.combine(day, at, IST)
    with suppress(ValueError):
        if (moment := parse_datetime(text)) is not None:
            return moment if moment.tzinfo else moment.replace(tzinfo=IST)
    raise CommandError(f"{option} takes a date like 2026-11-24, or 2026-11-24T10:30, not {text!r}")
