from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit_chain import verify
from accounts.audit_events import AuditLink

BAR = 40


class Command(BaseCommand):
    help = (
        "Walk the audit's chain from its first row and name the first that does not hold (exit code 1). It prints the "
        "head at the end: keep that elsewhere and give it back with --head, for only so does it show that the newest "
        "rows were cut off."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--head", metavar="POSITION:HASH", help="a head that this command printed before")

    def handle(self, *args: Any, head: str | None, **options: Any) -> None:
        if head is not None and not head.partition(":")[0].isdigit():
            raise CommandError(f"--head is {head!r}; expected POSITION:HASH, as this command prints it")
        last = AuditLink.objects.order_by("-position").first()
        verdict = verify(known_head=head, report=lambda checked: self._show(checked, last.position if last else 0))
        if self.stderr.isatty():
            self.stderr.write("")
        if verdict.problem:
            raise CommandError(f"the audit does not hold: {verdict.problem}; the {verdict.checked} rows before hold")
        self.stdout.write(self.style.SUCCESS(f"{verdict.checked} rows hold; head {verdict.head}"))

    def _show(self, checked: int, total: int) -> None:
        if not self.stderr.isatty():
            return
        done = min(1.0, checked / total) if total else 1.0
        bar = "█" * round(BAR * done) + "░" * round(BAR * (1 - done))
        self.stderr.write(f"\r{bar} {checked:,} of {total:,}", ending="")
