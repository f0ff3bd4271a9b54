from collections.abc import Iterator
from datetime import date, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError, CommandParser

from accounts import clock
from accounts.models import KiteApp, TradingAccount
from market.exceptions import MarketError
from market.instruments import import_instruments
from market.models import Instrument
from streaming.models import Subscription

NAME = "TESTINDEX"
MOST_INSTRUMENTS = 115_000
STRIKES_AN_EXPIRY = 100
SHARE_SUBSCRIBED = 10  # one instrument in so many
HEADER = (
    b"instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,instrument_type,"
    b"segment,exchange\n"
)


class Command(BaseCommand):
    help = (
        "Fill an empty database with made-up users, accounts, instruments and subscriptions, to develop and test "
        "against. The accounts have no secrets and cannot log in anywhere."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--instruments", type=int, default=1000, metavar="N", help="how many (1000)")
        parser.add_argument("--accounts", type=int, default=2, metavar="N", help="how many (2)")

    def handle(self, *args: Any, instruments: int, accounts: int, **options: Any) -> None:
        if settings.PRODUCTION:
            raise CommandError(f"made-up data has no place here: ENVIRONMENT is {settings.ENVIRONMENT!r}")
        if not 1 <= instruments <= MOST_INSTRUMENTS or not 1 <= accounts <= 100:
            raise CommandError(f"--instruments is 1 to {MOST_INSTRUMENTS:,}, --accounts 1 to 100")
        if Instrument.objects.exclude(name__startswith=NAME).exists():
            raise CommandError("there are real instruments in this database: made-up ones would retire them")
        made = [_account(number) for number in range(1, accounts + 1)]
        try:
            imported = import_instruments(
                _dump(instruments, clock.today()), account="test", source="seed_test_data", accept_shrinking=True
            )
        except MarketError as exc:
            raise CommandError(str(exc)) from exc
        chosen = list(Instrument.objects.active().order_by("pk")[::SHARE_SUBSCRIBED])
        Subscription.objects.bulk_create(
            [Subscription(instrument=one, account=made[0]) for one in chosen], ignore_conflicts=True
        )
        self.stdout.write(
            self.style.SUCCESS(f"{len(made)} accounts, {imported.rows:,} instruments, {len(chosen):,} subscriptions")
        )


def _account(number: int) -> TradingAccount:
    owner, _ = User.objects.get_or_create(username=f"test{number}")
    app, _ = KiteApp.objects.get_or_create(api_key=f"testkey{number}", defaults={"label": f"Test app {number}"})
    account, _ = TradingAccount.objects.get_or_create(
        kite_user_id=f"TS{number:04}", defaults={"label": f"Test {number}", "app": app, "owner": owner}
    )
    return account


def _dump(rows: int, today: date) -> Iterator[bytes]:
    """A dump in the broker's form: options of one index, `STRIKES_AN_EXPIRY` strikes a week."""
    yield HEADER
    for number in range(rows):
        week, strike = divmod(number // 2, STRIKES_AN_EXPIRY)
        kind = "CE" if number % 2 == 0 else "PE"
        expiry = today + timedelta(days=7 * (week + 1))
        symbol = f"{NAME}{expiry:%y%m%d}{20_000 + 50 * strike}{kind}"
        token = 1_000_000 + 256 * number
        yield (
            f'{token},{token // 256},{symbol},"{NAME}",0,{expiry},{20_000 + 50 * strike},0.05,75,{kind},NFO-OPT,NFO\n'
        ).encode()
