"""`manage.py import_instruments`: take over the broker's instrument dump."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.exceptions import BrokerError, CredentialError
from market.exceptions import MarketError
from market.instruments import import_instruments
from market.models import InstrumentImport
from market.refresh import refresh_instruments

PROBLEMS_SHOWN = 10
CHUNK_BYTES = 1 << 20


class Command(BaseCommand):
    help = "Import the broker's instrument dump: from the broker, or from a file."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--file", type=Path, help="a dump on disk, instead of asking the broker")
        parser.add_argument(
            "--accept-shrinking", action="store_true", help="believe a dump with less than half of what was listed"
        )

    def handle(self, *_: Any, file: Path | None, accept_shrinking: bool, **__: Any) -> None:
        try:
            if file is None:
                report = refresh_instruments(accept_shrinking=accept_shrinking, on_step=self._step)
            else:
                report = import_instruments(
                    _chunks(file), source=file.name, accept_shrinking=accept_shrinking, on_step=self._step
                )
        except (MarketError, BrokerError, CredentialError) as exc:
            raise CommandError(f"Nothing was imported: {exc}") from exc
        except OSError as exc:
            raise CommandError(f"Nothing was imported: cannot read {file}: {exc.strerror}") from exc
        self._show(report)

    def _step(self, what: str) -> None:
        self.stdout.write(self.style.MIGRATE_LABEL("· ") + what)

    def _show(self, report: InstrumentImport) -> None:
        self.stdout.write(
            self.style.SUCCESS(f"{report.rows:,} instruments in {report.duration_seconds:.1f} s: ")
            + f"{report.added:,} added, {report.changed:,} changed, {report.retired:,} retired"
        )
        if report.rejected:
            self.stdout.write(self.style.WARNING(f"{report.rejected:,} rows were left out:"))
            for problem in report.problems[:PROBLEMS_SHOWN]:
                self.stdout.write(f"  line {problem['line']}: {problem['reason']}")
            if report.rejected > PROBLEMS_SHOWN:
                self.stdout.write("  … (more in the admin, under Instrument imports)")


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
