"""What a soak needs done inside the service: `python -m benchmarks.soak.steps prepare|books NUMBER…`.

The soak itself stays outside: it knows the service by REST, its rows by SQL, and shares no code with it.
"""

import json
import os
import sys
from collections.abc import Sequence

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")

SYMBOL = "INFY"
BELOW_MARKET = 0.97  # a purchase that waits in the book, where it can be changed and cancelled


def prepare(numbers: Sequence[int]) -> None:
    """Accounts that are logged in, the share that they trade, and a key for all of them; says so in one JSON line."""
    from django.contrib.auth.models import User

    from accounts.actions import Action
    from accounts.api_keys import create_api_key
    from accounts.broker import data_client
    from accounts.broker.words import Exchange
    from accounts.credentials import Kind, store_secret
    from accounts.models import KiteApp, TradingAccount
    from accounts.token_refresh import log_in_now
    from benchmarks.soak.broker_users import TOTP_SEED, Trader
    from market.instruments import import_instruments
    from market.models import Instrument

    owner, _ = User.objects.get_or_create(username="soak")
    accounts = {}
    for trader in map(Trader, numbers):
        app = KiteApp.objects.create(api_key=trader.api_key, label=f"Soak {trader.number}")
        account = TradingAccount.objects.create(
            kite_user_id=trader.user_id, label=trader.user_id, app=app, owner=owner, is_trading=True,
            is_data=False, automated_login=True,
        )  # fmt: skip
        store_secret(app, Kind.API_SECRET, trader.api_secret)
        store_secret(account, Kind.PASSWORD, trader.password)
        store_secret(account, Kind.TOTP_SEED, TOTP_SEED)
        log_in_now(account)
        accounts[trader.user_id] = account
    _, key = create_api_key(
        owner=owner, label="soak", scopes=[Action.READ, Action.TRADE], accounts=list(accounts.values())
    )
    client = data_client(next(iter(accounts.values())))
    if not Instrument.objects.filter(exchange=Exchange.NSE, tradingsymbol=SYMBOL).exists():
        import_instruments(client.instruments_csv(Exchange.NSE))
    last_price = client.ltp([f"NSE:{SYMBOL}"])[f"NSE:{SYMBOL}"]["last_price"]
    price = round(float(last_price) * BELOW_MARKET)
    ids = {user_id: str(account.public_id) for user_id, account in accounts.items()}
    print(json.dumps({"key": key, "accounts": ids, "symbol": SYMBOL, "price": price}))


def books(numbers: Sequence[int]) -> None:
    """Read each account's order book once more: what was given up and is there after all comes to light."""
    from accounts.models import TradingAccount
    from benchmarks.soak.broker_users import Trader
    from orders.book import read_book

    users = [Trader(number).user_id for number in numbers]
    for account in TradingAccount.objects.filter(kite_user_id__in=users).select_related("app"):
        read_book(account)


if __name__ == "__main__":
    django.setup()
    steps = {"prepare": prepare, "books": books}
    steps[sys.argv[1]]([int(number) for number in sys.argv[2:]])
