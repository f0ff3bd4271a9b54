"""Parts of the orders benchmark that live in the service: `python -m benchmarks.order_roles poll|fill|ring …`."""

import os
import secrets
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")

POLL_SECONDS = 1.0


def poll() -> None:
    """The peer: a worker that looks into the table each second, and carries out what it finds as ours does."""
    from orders import sweep
    from orders.execute import drain, may_send

    while True:
        for account in sweep.accounts_with_work():
            if may_send(account):
                drain(account)
        time.sleep(POLL_SECONDS)


def fill(each: int, price: int, users: Sequence[str]) -> None:
    """Take on so many orders for each of these users, without ringing for a worker."""
    from accounts import clock
    from accounts.models import TradingAccount
    from benchmarks.soak.steps import SYMBOL
    from orders.ledger import NewTask, accept
    from orders.states import Operation

    params = {
        "variety": "regular", "exchange": "NSE", "tradingsymbol": SYMBOL, "transaction_type": "BUY", "quantity": 1,
        "product": "MIS", "order_type": "LIMIT", "price": str(price), "validity": "DAY",
    }  # fmt: skip
    for account in TradingAccount.objects.filter(kite_user_id__in=users):
        for _ in range(each):
            accept(
                NewTask(
                    account=account,
                    principal="benchmark",
                    operation=Operation.PLACE,
                    params=params,
                    idempotency_key=secrets.token_hex(8),
                    fingerprint="",
                    valid_until=datetime.now(UTC) + timedelta(hours=1),
                    trading_date=clock.today(),
                )
            )


def ring(users: Sequence[str]) -> None:
    """Ring once for each of these users; by ourselves, since the thread that rings would end with this process."""
    from accounts.models import TradingAccount
    from orders import tasks

    for account in TradingAccount.objects.filter(kite_user_id__in=users):
        tasks.wake.apply_async((account.pk,), ignore_result=True)


if __name__ == "__main__":
    django.setup()
    match sys.argv[1:]:
        case ["poll"]:
            poll()
        case ["fill", each, price, *users]:
            fill(int(each), int(price), users)
        case ["ring", *users]:
            ring(users)
