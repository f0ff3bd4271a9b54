"""Orders through a broker that fails in every way it can: each is there once or not at all, and the rows know which.

Workers are threads here, which cannot be killed; what a killed worker leaves is made by taking its lease away.
"""

import hashlib
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import connection
from django.db.models import QuerySet
from django.db.models.functions import Now
from pytest_django import Settings

from accounts import clock
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from orders.book import read_book
from orders.execute import drain, may_send
from orders.ledger import NewTask, accept
from orders.models import OrderTask, TradingState
from orders.reconcile import reconcile
from orders.states import RUNNABLE, Operation, Status
from orders.sweep import sweep
from simulator.control import SimulatorControl
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator, options_for_tests, running, with_control

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey")]

ORDERS = 40
WORKERS = 2  # as many calls as an account may have at once
PLACING = {"method": "POST", "path": "/orders/{variety}"}
# What befalls the calls that place an order, each as likely as the others.
FAULTS: list[dict[str, Any]] = [
    {"kind": "html", "status": 502, "after_work": True},
    {"kind": "error", "status": 503, "after_work": True},
    {
        "kind": "error",
        "status": 400,
        "error_type": "OrderException",
        "message": "Request timed out",
        "after_work": True,
    },
    {"kind": "reset", "after_work": True},
    {"kind": "hang", "after_work": True},
    {"kind": "html", "status": 502},
    {"kind": "error", "status": 503},
    {"kind": "reset"},
    {"kind": "hang"},
    {"kind": "truncate"},
    {"kind": "error", "status": 429},
]


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    options = with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))
    with running(replace(options, order_ms=0)) as simulator:
        yield simulator


@pytest.fixture
def control(simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = simulator.control()
    control.reset_orders()
    yield control
    control.clear()
    control.close()


@pytest.fixture
def account(simulator: RunningSimulator, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> TradingAccount:
    """Short times all over, so that no budget is the clock."""
    settings.KITE_API_ROOT = simulator.http_root
    settings.KITE_TIMEOUT_SECONDS = 1.0
    settings.ORDER_LEASE_SECONDS, settings.ORDER_ABSENCE_SECONDS = 4.0, 1.0
    settings.ORDER_BUDGET_PER_SECOND, settings.ORDER_BUDGET_RESERVE_PER_SECOND = 10, 1
    settings.ORDER_BUDGET_WINDOW_SECONDS = 1.0
    settings.BREAKER_FAILURES, settings.BREAKER_OPEN_SECONDS = 1000, 0.2
    settings.ORDER_TRIP_UNKNOWN = 0  # so many of them are the point here
    today = datetime(2026, 11, 25, tzinfo=UTC).date()
    monkeypatch.setattr(clock, "today", lambda: today)
    owner = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key=DEMO_APP.api_key, label="App")
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner, is_trading=True)
    store_session(account, {"user_id": "AB1234", "access_token": simulator.logged_in().access_token})
    return account


def submit(account: TradingAccount, key: str) -> OrderTask:
    params = {
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
    new = NewTask(
        account=account,
        principal="user:1",
        operation=Operation.PLACE,
        params=params,
        idempotency_key=key,
        fingerprint=hashlib.sha256(key.encode()).hexdigest(),
        valid_until=datetime.now(UTC) + timedelta(minutes=10),
        trading_date=clock.today(),
    )
    return accept(new)[0]


def work(account: TradingAccount, stopping: threading.Event, dice: random.Random) -> None:
    """One worker: carries out, sweeps, looks outcomes up; now and then it loses its lease in the middle."""
    try:
        while not stopping.is_set():
            drain(account, seconds=1)
            if dice.random() < 0.2:
                OrderTask.objects.filter(status=Status.RUNNING).update(lease_until=Now() - timedelta(seconds=1))
            sweep()
            reconcile(account)
            stopping.wait(0.02)
    finally:
        connection.close()


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_whatever_the_broker_does_each_order_is_there_once_or_not_at_all(
    account: TradingAccount, control: SimulatorControl, seed: int
) -> None:
    assert may_send(account)
    control.script(
        *(
            fault | PLACING | {"probability": 0.3 / len(FAULTS), "seed": seed * 100 + number}
            for number, fault in enumerate(FAULTS)
        ),
        {"on": "order", "kind": "late", "seconds": 2, "probability": 0.05, "seed": seed},
        {"kind": "html", "status": 502, "method": "GET", "path": "/orders", "probability": 0.2, "seed": seed},
        {"kind": "empty_book", "method": "GET", "path": "/orders", "probability": 0.1, "seed": seed},
        {"kind": "short_book", "orders": 3, "method": "GET", "path": "/orders", "probability": 0.1, "seed": seed},
    )
    for number in range(ORDERS):
        submit(account, f"{seed}:{number}")
    stopping = threading.Event()
    workers = [
        threading.Thread(target=work, args=(account, stopping, random.Random(seed * 10 + number)))
        for number in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    try:
        _wait_until_none(OrderTask.objects.filter(status__in=[*RUNNABLE, Status.RUNNING]), seconds=60)
        control.clear()
        # That an order is absent is proven by one that was sent after it and is there.
        submit(account, f"{seed}:last")
        _wait_until_none(OrderTask.objects.open(), seconds=60)
    finally:
        stopping.set()
        for worker in workers:
            worker.join(30)
    read_book(account)  # what was given up and is there after all
    _compare(account, control)


def _wait_until_none(tasks: QuerySet[OrderTask], *, seconds: float) -> None:
    passing = threading.Event()
    for _ in range(int(seconds / 0.1)):
        if not tasks.all().exists():
            return
        passing.wait(0.1)
    left = Counter(tasks.all().values_list("status", "error_code"))
    pytest.fail(f"not at an end: {left}")


def _compare(account: TradingAccount, control: SimulatorControl) -> None:
    """Rows against what the broker really took."""
    taken = Counter(order.tag for order in control.orders(user_id="AB1234"))
    tasks = {task.tag: task for task in OrderTask.objects.all()}
    assert len(tasks) == ORDERS + 1
    duplicates = {tag: number for tag, number in taken.items() if number > 1}
    assert duplicates == {}
    assert set(taken) <= set(tasks)
    lost = [tag for tag, task in tasks.items() if task.status == Status.COMPLETED and tag not in taken]
    assert lost == []
    denied = [tag for tag, task in tasks.items() if task.status == Status.FAILED and tag in taken]
    assert denied == []
    ids = {order.tag: order.order_id for order in control.orders(user_id="AB1234")}
    assert all(ids[tag] == task.broker_order_id for tag, task in tasks.items() if task.status == Status.COMPLETED)
    assert not TradingState.objects.exclude(state=TradingState.State.ACTIVE).exists()
    assert not OrderTask.objects.filter(events__isnull=True).exists()
