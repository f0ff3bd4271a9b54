"""An account that may trade, at a broker on a local socket that answers what it is told to."""

import hashlib
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import count
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from pytest_django import Settings

from accounts import clock
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from accounts.tests.fakes import Answer, ScriptedBroker, running_broker
from orders.ledger import NewTask, accept
from orders.models import OrderTask
from orders.states import Operation
from orders.tests.trading import NOON, Trader, list_contracts

ORDER: dict[str, Any] = {
    "variety": "regular",
    "exchange": "NFO",
    "tradingsymbol": "NIFTY26DEC26000CE",
    "transaction_type": "BUY",
    "quantity": 75,
    "product": "NRML",
    "order_type": "LIMIT",
    "price": "120.50",
    "validity": "DAY",
}
ORDER_ID = "1511220000000001"


@pytest.fixture
def broker(settings: Settings, valkey: "redis.Redis") -> Iterator[ScriptedBroker]:
    """It accepts every order, until it is told otherwise."""
    with running_broker() as running:
        settings.KITE_API_ROOT = running.root
        numbers = count(int(ORDER_ID))
        running.answer("POST /orders/regular", Answer(lambda: {"order_id": str(next(numbers))}))
        running.answer("GET /orders", Answer([]))
        yield running


@pytest.fixture
def account(db: None, broker: ScriptedBroker) -> TradingAccount:
    """An account that may trade, and is logged in."""
    app = KiteApp.objects.create(api_key="appkey1", label="App")
    owner = User.objects.create_user("asha")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner, is_trading=True)
    store_session(account, {"user_id": "AB1234", "access_token": "token-of-the-day"})
    return account


Submit = Callable[..., OrderTask]


@pytest.fixture
def submit(account: TradingAccount) -> Submit:
    """Take a task on. The first argument is its key."""

    def take_on(
        key: str = "k1",
        *,
        operation: Operation = Operation.PLACE,
        valid_for: timedelta = timedelta(minutes=5),
        serial_key: str = "",
        of: TradingAccount | None = None,
        params: dict[str, Any] | None = None,
        **changes: Any,
    ) -> OrderTask:
        params = ORDER | changes if params is None else params
        task, _ = accept(
            NewTask(
                account=of or account,
                principal="user:1",
                operation=operation,
                params=params,
                idempotency_key=key,
                fingerprint=hashlib.sha256(repr(sorted(params.items())).encode()).hexdigest(),
                valid_until=datetime.now(UTC) + valid_for,
                trading_date=date(2026, 11, 25),
                serial_key=serial_key,
            )
        )
        return task

    return take_on


def posts(broker: ScriptedBroker) -> int:
    """How many orders arrived."""
    return sum(asked.method == "POST" and asked.path.startswith("/orders/") for asked in broker.asked)


@pytest.fixture
def market(db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Contracts to trade, on a Wednesday at noon."""
    monkeypatch.setattr(clock, "now", lambda: NOON)
    list_contracts()


@pytest.fixture
def trader(account: TradingAccount, market: None) -> Trader:
    """A program that sends orders over REST."""
    return Trader(account)
