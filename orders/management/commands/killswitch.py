import getpass
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import acting_as
from accounts.models import TradingAccount
from orders import open_orders
from orders.halts import Scope, set_state, states_in_force
from orders.models import TradingState

STATES = {
    "halt": TradingState.State.HALTED,
    "reduce": TradingState.State.REDUCING,
    "resume": TradingState.State.ACTIVE,
}


class Command(BaseCommand):
    help = (
        "Stop new orders (halt: and drop those that wait; reduce: let them wait) or let them go again (resume), of "
        "everything or with --account of one. Exits and cancels always go out. Works without the web and workers."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("action", choices=[*STATES, "status"])
        parser.add_argument("--account", metavar="KITE_USER_ID")
        parser.add_argument("--strategy", default="", help="only this strategy of the account")
        parser.add_argument("--reason", default="")
        parser.add_argument("--cancel-open", action="store_true", help="of a halt: cancel our open entries too")

    def handle(
        self,
        *args: Any,
        action: str,
        account: str | None,
        strategy: str,
        reason: str,
        cancel_open: bool,
        **options: Any,
    ) -> None:
        if action == "status":
            self._show()
            return
        if action == "resume" and not reason:
            raise CommandError("say with --reason why it is safe to trade again")
        if cancel_open and action != "halt":
            raise CommandError("--cancel-open is an option of halt")
        found = None
        if account is not None:
            found = TradingAccount.objects.filter(kite_user_id=account).first()
            if found is None:
                known = ", ".join(TradingAccount.objects.values_list("kite_user_id", flat=True)) or "none"
                raise CommandError(f"there is no account {account!r}; known: {known}")
        elif strategy:
            raise CommandError("a strategy belongs to an account: name it with --account")
        with acting_as("command:killswitch"):
            actor = f"command:{_who()}"
            change = set_state(Scope(found, strategy), STATES[action], actor=actor, reason=reason)
            if cancel_open:
                key = f"halt-{change.state.pk}-{change.state.epoch}"
                cancelled = len(open_orders.cancel_open(Scope(found, strategy), actor, key=key))
                self.stdout.write(f"{cancelled} open orders are being cancelled")
        self.stdout.write(self.style.SUCCESS(f"{Scope(found, strategy)}: {change.was} → {change.state.state}"))
        if change.dropped:
            self.stdout.write(f"{change.dropped} orders that waited will not be sent")
        self._show()

    def _show(self) -> None:
        stopped = list(states_in_force())
        if not stopped:
            self.stdout.write("nothing is stopped: orders go out")
        for row in stopped:
            why = f": {row.reason}" if row.reason else ""
            self.stdout.write(self.style.WARNING(f"{row} since {row.set_at:%d %b %H:%M} UTC by {row.set_by}{why}"))


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "somebody"
