"""For the fault rows of orders: a simulated broker with several users, their accounts here, and processes for them."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from pytest_django import Settings

from accounts import clock
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from orders.ledger import NewTask, accept
from orders.models import OrderTask
from orders.states import Operation
from simulator.control import SimulatorControl
from simulator.options import DEMO_USER, DemoApp
from simulator.tests.running import RunningSimulator, options_for_tests, running, with_control
from tests.order_processes import STRICT, OrderProcesses

TRADERS = [replace(DEMO_USER, user_id=f"OF000{number}", cash=1e11, holdings={}) for number in range(4)]
APPS = [DemoApp(f"orderkey{number}", f"ordersecret{number}", "http://127.0.0.1:1/") for number in range(4)]
ORDER: dict[str, Any] = {
    "variety": "regular",
    "exchange": "NSE",
    "tradingsymbol": "INFY",
    "transaction_type": "BUY",
    "quantity": 1,
    "product": "MIS",
    "order_type": "LIMIT",
    "price": "1500.00",
    "validity": "DAY",
}
Place = Callable[..., OrderTask]


@pytest.fixture(scope="module")
def order_simulator() -> Iterator[RunningSimulator]:
    options = with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))
    options = replace(options, users=tuple(TRADERS), apps=tuple(APPS), order_ms=0, activity=0.05, frame_ms=1000)
    with running(options) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def access_tokens(order_simulator: RunningSimulator) -> dict[str, str]:
    """The login of the day of each user at the simulated broker."""
    return {
        user.user_id: order_simulator.logged_in(user, app).access_token for user, app in zip(TRADERS, APPS, strict=True)
    }


@pytest.fixture
def control(order_simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = order_simulator.control()
    control.clear()
    control.reset_orders()
    control.reset_counters()
    yield control
    control.clear()
    control.close()


@pytest.fixture
def strict(settings: Settings, order_simulator: RunningSimulator) -> dict[str, str]:
    """Short times, here and as an environment for other processes."""
    for name, value in STRICT.items():
        setattr(settings, name, value)
    settings.KITE_API_ROOT = order_simulator.http_root
    return {name: str(value) for name, value in STRICT.items()} | {"KITE_API_ROOT": order_simulator.http_root}


@pytest.fixture
def traders(
    transactional_db: None, valkey: "redis.Redis", access_tokens: dict[str, str], strict: dict[str, str]
) -> list[TradingAccount]:
    """Four accounts that may trade, and are logged in at the simulated broker."""
    owner = User.objects.create_user("asha")
    made = []
    for user, app in zip(TRADERS, APPS, strict=True):
        kite_app = KiteApp.objects.create(api_key=app.api_key, label=app.api_key)
        account = TradingAccount.objects.create(
            kite_user_id=user.user_id, label=user.user_id, app=kite_app, owner=owner, is_trading=True
        )
        store_session(account, {"user_id": user.user_id, "access_token": access_tokens[user.user_id]})
        made.append(account)
    return made


@pytest.fixture
def trader(traders: list[TradingAccount]) -> TradingAccount:
    return traders[0]


@pytest.fixture
def place() -> Place:
    """Take an order on, without a bell."""
    numbers = count(1)

    def take_on(
        account: TradingAccount,
        *,
        operation: Operation = Operation.PLACE,
        valid_for: timedelta = timedelta(minutes=10),
        serial_key: str = "",
        params: dict[str, Any] | None = None,
        **changes: Any,
    ) -> OrderTask:
        key = f"order-{next(numbers)}"
        new = NewTask(
            account=account,
            principal="user:1",
            operation=operation,
            params=ORDER | changes if params is None else params,
            idempotency_key=key,
            fingerprint=hashlib.sha256(key.encode()).hexdigest(),
            valid_until=datetime.now(UTC) + valid_for,
            trading_date=clock.today(),
            serial_key=serial_key,
        )
        return accept(new)[0]

    return take_on


@pytest.fixture
def processes(tmp_path: Path, strict: dict[str, str], traders: list[TradingAccount]) -> Iterator[OrderProcesses]:
    with OrderProcesses(tmp_path, strict) as processes:
        yield processes


def taken_by_tag(control: SimulatorControl) -> Counter[str]:
    """How many orders the broker really took, by tag; slices and legs of one request are one."""
    roots = {(order.tag or "", order.root) for order in control.orders()}
    return Counter(tag for tag, _ in roots)
