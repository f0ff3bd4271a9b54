"""What a proof with a database of its own needs done in it: `python -m tests.order_steps USER_ID API_KEY TOKEN`."""

import json
import os
import sys

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")


def prepare(user_id: str, api_key: str, access_token: str) -> None:
    """An account that is logged in, contracts to trade, and a key for it; said in one JSON line."""
    from django.contrib.auth.models import User

    from accounts.actions import Action
    from accounts.api_keys import create_api_key
    from accounts.models import KiteApp, TradingAccount
    from accounts.sessions import store_session
    from orders.tests.trading import list_contracts

    owner = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key=api_key, label=api_key)
    account = TradingAccount.objects.create(kite_user_id=user_id, label=user_id, app=app, owner=owner, is_trading=True)
    store_session(account, {"user_id": user_id, "access_token": access_token})
    list_contracts()
    _, key = create_api_key(owner=owner, label="program", scopes=[Action.READ, Action.TRADE], accounts=[account])
    print(json.dumps({"account": str(account.public_id), "key": key}))  # noqa: T201


if __name__ == "__main__":
    django.setup()
    prepare(*sys.argv[1:4])
