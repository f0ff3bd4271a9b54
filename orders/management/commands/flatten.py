import getpass
import re
import secrets
from decimal import Decimal, InvalidOperation
from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts.audit import acting_as
from accounts.models import TradingAccount
from orders import flatten
from orders.flatten import Key, PositionsUnknown, Wish

_KEY = re.compile(r"[A-Za-z0-9._:-]{1,80}")


class Command(BaseCommand):
    help = (
        "Exit all positions of an account, or some: what was sold first, in slices that the exchange takes. The orders "
        "are written down here, and sent by the workers or the order pump."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--account", metavar="KITE_USER_ID", required=True)
        parser.add_argument(
            "--position", action="append", metavar="EXCHANGE:SYMBOL:PRODUCT", help="only this one; may be repeated"
        )
        parser.add_argument("--limit-percent", help="limits, so far through the last price; else at the market")
        parser.add_argument("--keep-open", action="store_true", help="do not cancel our entries there first")
        parser.add_argument("--key", help="of an earlier call that is to be repeated")
        parser.add_argument("--dry-run", action="store_true", help="say what would be sent, and send nothing")

    def handle(self, *args: Any, **options: Any) -> None:
        account = TradingAccount.objects.select_related("app").filter(kite_user_id=options["account"]).first()
        if account is None:
            known = ", ".join(TradingAccount.objects.values_list("kite_user_id", flat=True)) or "none"
            raise CommandError(f"there is no account {options['account']!r}; known: {known}")
        wish = Wish(_keys(options["position"]), _percent(options["limit_percent"]), not options["keep_open"])
        key = options["key"] or f"flatten-{secrets.token_hex(8)}"
        if not _KEY.fullmatch(key):
            raise CommandError("a key has 1 to 80 of A-Z a-z 0-9 . _ : -")
        try:
            if options["dry_run"]:
                for request in flatten.preview(account, wish):
                    self.stdout.write(_words(request))
                return
            with acting_as("command:flatten"):
                done = flatten.flatten(f"command:{_who()}", account, wish, key=key)
        except PositionsUnknown as exc:
            raise CommandError(str(exc)) from exc
        self._tell(done, key)

    def _tell(self, done: flatten.Flattened, key: str) -> None:
        for one in done.cancels:
            self.stdout.write(f"cancel of {one.task.params.get('target') or one.task.params.get('order_id')}")
        for one in done.exits:
            asked = one.task.params
            words = " ".join(str(asked[name]) for name in ("transaction_type", "quantity", "tradingsymbol"))
            self.stdout.write(f"{words} {asked['order_type']}: {one.task.status}")
        for refused in done.refused:
            why = " ".join(check.message for check in refused.checks)
            self.stdout.write(self.style.ERROR(f"refused: {_words(refused.request)}: {why}"))
        for position, reason in done.left_alone:
            self.stdout.write(self.style.WARNING(f"left alone: {':'.join(position)}: {reason}"))
        if not (done.exits or done.refused):
            self.stdout.write("there is nothing to exit")
        self.stdout.write(f"to repeat this call: --key {key}")


def _words(request: Any) -> str:
    price = f" at {request.price}" if request.price else ""
    return f"{request.transaction_type} {request.quantity} {request.symbol} {request.order_type}{price}"


def _keys(texts: list[str] | None) -> frozenset[Key] | None:
    if texts is None:
        return None
    found = []
    for text in texts:
        exchange, _, rest = text.partition(":")
        tradingsymbol, _, product = rest.rpartition(":")
        if not (exchange and tradingsymbol and product):
            raise CommandError(f"{text!r} is not EXCHANGE:SYMBOL:PRODUCT")
        found.append((exchange, tradingsymbol, product))
    return frozenset(found)


def _percent(text: str | None) -> Decimal | None:
    if text is None:
        return None
    try:
        percent = Decimal(text)
    except InvalidOperation:
        percent = Decimal(0)
    if not Decimal(0) < percent <= 20:
        raise CommandError(f"--limit-percent is above 0 and up to 20, not {text}")
    return percent


def _who() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        return "somebody"
