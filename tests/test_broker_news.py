"""What the simulated broker tells of orders by three ways at once: each fact is known once, and none goes back.

Its postbacks come to a listening web server of ours, its text frames through a socket of ours; both into PostgreSQL.
"""

import asyncio
import itertools
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.core.cache import cache
from django.db import connection
from django.db.models import Sum
from django.db.models.functions import Now
from kiteconnect import KiteConnect
from pytest_django import Settings
from pytest_django.live_server_helper import LiveServer

from accounts import clock
from accounts.credentials import Kind, store_secret
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from orders import postbacks
from orders.drift import drift
from orders.execute import drain, may_send
from orders.ledger import NewTask, accept, settle
from orders.models import BrokerOrder, OrderTask, PortfolioReading, Position, Postback, Trade
from orders.portfolio import open_quantity
from orders.reconcile import reconcile
from orders.states import Operation, Status
from orders.trade_sync import sync, sync_due
from simulator.control import SimulatorControl
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator, options_for_tests, running, with_control
from streaming.broker_messages import Reader
from streaming.connection import AccessToken, DialGuard, TickerConnection, Timing, kite_dial
from streaming.inbox import Inbox
from streaming.order_updates import OrderUpdates
from streaming.tests.fake_broker import standing_slot

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.usefixtures("valkey", "news_read")]

SLUG = "S" * 43
PLACING = {"method": "POST", "path": "/orders/{variety}"}
FAR, CROSSING = 100.0, 20.0  # rupees below the last price, where nothing trades; and above it, where all does


@pytest.fixture(scope="module")
def simulator(live_server: LiveServer) -> Iterator[RunningSimulator]:
    options = with_control(options_for_tests(Path(django_settings.MARKET_DATA_DIR)))
    app = replace(DEMO_APP, postback_url=f"{live_server.url}/hooks/kite/{SLUG}")
    with running(replace(options, order_ms=0, apps=(app,))) as simulator:
        yield simulator


@pytest.fixture(scope="module")
def kite(simulator: RunningSimulator) -> KiteConnect:
    """The account's owner at the broker's own page, so to say: the same token."""
    return simulator.logged_in()


@pytest.fixture
def control(simulator: RunningSimulator) -> Iterator[SimulatorControl]:
    control = simulator.control()
    control.clear()
    control.reset_orders()
    yield control
    control.clear()
    control.close()


@pytest.fixture
def account(
    simulator: RunningSimulator,
    kite: KiteConnect,
    control: SimulatorControl,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> TradingAccount:
    settings.KITE_API_ROOT = simulator.http_root
    settings.ORDER_DOUBT_SECONDS = 0.0
    cache.clear()
    day = datetime(2026, 11, 25, tzinfo=UTC).date()
    monkeypatch.setattr(clock, "today", lambda: day)
    monkeypatch.setattr("orders.postback_views.ring_for_news", lambda account_id: None)
    owner = User.objects.create_user("asha")
    app = KiteApp.objects.create(api_key=DEMO_APP.api_key, label="App", hook_slug=SLUG)
    store_secret(app, Kind.API_SECRET, DEMO_APP.api_secret)
    account = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner, is_trading=True)
    store_session(account, {"user_id": "AB1234", "access_token": kite.access_token})
    assert may_send(account)
    return account


@pytest.fixture
def news_read() -> Iterator[None]:
    """One worker that looks into postbacks, as a Celery worker would."""
    stopping = threading.Event()

    def work() -> None:
        try:
            while not stopping.wait(0.02):
                PortfolioReading.objects.update(news_read_at=None)
                postbacks.read_all_waiting(waiting_seconds=0)
        finally:
            connection.close()

    worker = threading.Thread(target=work, name="news")
    worker.start()
    yield
    stopping.set()
    worker.join(30)


@contextmanager
def listening(simulator: RunningSimulator, kite: KiteConnect, account: TradingAccount) -> Iterator["Counter[str]"]:
    """One socket of the stream's, in a thread of its own; what it counts."""
    loop, counters, opened = asyncio.new_event_loop(), Counter[str](), threading.Event()
    token = AccessToken(DEMO_APP.api_key, str(kite.access_token))

    class Tokens:
        async def current(self) -> AccessToken:
            return token

        async def changed(self, since: AccessToken | None) -> AccessToken:
            return token

        async def is_dead(self, token: AccessToken) -> bool:
            return False

    async def listen() -> None:
        updates = OrderUpdates(account.pk, "AB1234", counters)

        def note_open() -> None:
            updates.opened()
            opened.set()

        socket = TickerConnection(
            "AB1234 socket 1",
            dial=kite_dial(simulator.websocket_root, Timing()),
            tokens=Tokens(),
            inbox=Inbox(),
            on_text=Reader("AB1234", counters, updates.put),
            guard=DialGuard(),
            slot=standing_slot(),
            on_open=note_open,
        )
        async with asyncio.TaskGroup() as group:
            group.create_task(socket.run())
            group.create_task(updates.run())

    def run() -> None:
        asyncio.set_event_loop(loop)
        task = loop.create_task(listen())
        stopping.append(lambda: loop.call_soon_threadsafe(task.cancel))
        started.set()
        try:
            loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
            loop.run_until_complete(loop.shutdown_default_executor())
        finally:
            loop.close()

    stopping: list[Callable[[], Any]] = []
    started = threading.Event()
    thread = threading.Thread(target=run, name="socket")
    thread.start()
    assert started.wait(5)
    try:
        assert opened.wait(10)
        yield counters
    finally:
        stopping[0]()
        thread.join(20)


def until(condition: Callable[[], Any], what: str = "") -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, what or "it never came"
        time.sleep(0.02)


def last_price(kite: KiteConnect, symbol: str = "NSE:INFY") -> float:
    return float(kite.ltp([symbol])[symbol]["last_price"])


def submit(account: TradingAccount, kite: KiteConnect, quantity: int = 10, *, above: float = CROSSING) -> OrderTask:
    """A purchase of INFY that trades at once, or that rests."""
    price = f"{round(last_price(kite) + above):.2f}"
    params = {
        "variety": "regular", "exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY",
        "quantity": quantity, "product": "MIS", "order_type": "LIMIT", "price": price, "validity": "DAY",
    }  # fmt: skip
    new = NewTask(
        account=account,
        principal="user:1",
        operation=Operation.PLACE,
        params=params,
        idempotency_key=uuid4().hex,
        fingerprint=uuid4().hex * 2,
        valid_until=datetime.now(UTC) + timedelta(minutes=10),
        trading_date=clock.today(),
    )
    return accept(new)[0]


def by_hand(kite: KiteConnect, *, above: float = CROSSING, **fields: Any) -> str:
    """Place an order past the service. Its id."""
    price = round(last_price(kite) + above)
    shared = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "quantity": 10, "product": "MIS"}
    return str(kite.place_order("regular", order_type="LIMIT", price=price, validity="DAY", **shared | fields))


def known(order_id: str) -> tuple[str, int]:
    found: tuple[str, int] = BrokerOrder.objects.values_list("status", "filled_quantity").get(order_id=order_id)
    return found


def answers(control: SimulatorControl, order_id: str) -> "Counter[str]":
    """What the postbacks about an order were answered."""
    return Counter(one["answer"] for one in control.postbacks() if one["order_id"] == order_id)


def test_f35_an_order_placed_by_hand_is_shown_as_such_and_belongs_to_no_task(
    account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    order_id = by_hand(kite)
    until(lambda: Postback.objects.exclude(read_at=None).exists())
    assert known(order_id) == ("COMPLETE", 10)
    order = BrokerOrder.objects.get()
    assert (order.task, order.orphan_since, order.tag) == (None, None, "")
    assert order.variety == "regular"
    assert order.exchange_timestamp is not None
    assert sync(account)
    assert [one.kind for one in drift(account)] == ["external"]
    assert open_quantity(account, "NSE", "INFY", "MIS") == 10


def test_f36_the_same_postback_a_hundred_times_is_one_change(
    account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    control.add("duplicate", on="postback", copies=100, status="COMPLETE")
    task = submit(account, kite)
    drain(account)
    task.refresh_from_db()
    until(lambda: answers(control, task.broker_order_id).total() >= 100)
    until(lambda: not postbacks.accounts_waiting())
    assert set(answers(control, task.broker_order_id)) == {"200"}
    assert Postback.objects.filter(status="COMPLETE").count() == 1
    order = BrokerOrder.objects.get()
    assert (order.status, order.filled_quantity, order.task_id) == ("COMPLETE", 10, task.pk)
    task.refresh_from_db()
    assert task.status == Status.COMPLETED
    assert list(task.events.values_list("to_status", flat=True)) == ["pending", "running", "completed"]


def test_f37_news_in_the_wrong_order_end_where_the_broker_does(
    simulator: RunningSimulator, account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    control.script(
        *(
            {"on": road, "kind": "late", "seconds": seconds, "probability": 0.5, "seed": seed}
            for seed, (road, seconds) in enumerate(itertools.product(("update", "postback"), (0.3, 0.1)))
        )
    )
    with listening(simulator, kite, account):
        resting = [by_hand(kite, above=-FAR) for _ in range(6)]
        for order_id in resting[:3]:
            kite.cancel_order("regular", order_id)
        for order_id in resting[3:]:
            kite.modify_order("regular", order_id, price=round(last_price(kite) + CROSSING))
        ends = {row["order_id"]: (row["status"], row["filled_quantity"]) for row in kite.orders()}
        assert set(ends) == set(resting)
        until(lambda: all(answers(control, one)["200"] for one in resting))
        until(lambda: not postbacks.accounts_waiting())
        until(lambda: {one: known(one) for one in resting} == ends, f"not {ends}")
        time.sleep(0.5)  # the last that were held up
        assert {one: known(one) for one in resting} == ends


def test_f38_a_forged_postback_is_refused_or_leads_to_the_truth(
    account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    control.add("forge", on="postback", claims="COMPLETE", valid_checksum=False, times=1)
    control.add("forge", on="postback", claims="COMPLETE", valid_checksum=True, times=1)
    order_id = by_hand(kite, above=-FAR)
    kite.modify_order("regular", order_id, quantity=11)
    mine = Postback.objects.filter(order_id=order_id)
    until(lambda: answers(control, order_id)["400"] == 1)
    assert not mine.exists()
    kite.modify_order("regular", order_id, quantity=12)
    until(lambda: mine.exclude(read_at=None).exists())
    assert mine.get().status == "COMPLETE"
    assert known(order_id) == ("OPEN", 0)
    order = BrokerOrder.objects.get(order_id=order_id)
    assert (order.quantity, order.modifications) == (12, 2)


def test_f39_news_that_come_before_our_own_answer_neither_wait_for_it_nor_hold_it_up(
    simulator: RunningSimulator, account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    control.script({"kind": "delay", "seconds": 3, "after_work": True, **PLACING})
    with listening(simulator, kite, account):
        task = submit(account, kite)
        worker = threading.Thread(target=_drain, args=(account,))
        worker.start()
        until(lambda: BrokerOrder.objects.filter(task=task, status="COMPLETE").exists())
        until(lambda: Postback.objects.exclude(read_at=None).exists())
        task.refresh_from_db()
        assert task.status == Status.RUNNING, "our own answer has not come yet"
        worker.join(10)
    task.refresh_from_db()
    order = BrokerOrder.objects.get()
    assert (task.status, task.broker_order_id) == (Status.COMPLETED, order.order_id)
    assert (order.status, order.filled_quantity) == ("COMPLETE", 10)


def test_f40_a_fill_that_comes_by_socket_postback_and_poll_is_counted_once(
    simulator: RunningSimulator, account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    with listening(simulator, kite, account) as counters:
        for quantity in (10, 25, 40):
            submit(account, kite, quantity)
            drain(account)
            assert sync(account)
        until(lambda: counters["order_updates"] >= 3)
        until(lambda: Postback.objects.count() >= 3)
        until(lambda: not postbacks.accounts_waiting())
        for _ in range(3):
            assert sync(account)
    filled = BrokerOrder.objects.aggregate(sum=Sum("filled_quantity"))["sum"]
    traded = Trade.objects.aggregate(sum=Sum("quantity"))["sum"]
    assert filled == traded == Position.objects.get().quantity == 75
    shown = kite.positions()["net"]
    assert [(row["tradingsymbol"], row["quantity"]) for row in shown] == [("INFY", 75)]
    assert open_quantity(account, "NSE", "INFY", "MIS") == 75
    assert drift(account) == []


def test_a_fill_between_two_readings_is_held_at_once_and_read_soon(
    simulator: RunningSimulator, account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    assert sync(account)
    with listening(simulator, kite, account):
        submit(account, kite, 30)
        drain(account)
        until(lambda: open_quantity(account, "NSE", "INFY", "MIS") == 30)
    assert not Position.objects.exists(), "nobody has read it yet"
    PortfolioReading.objects.update(tried_at=Now() - timedelta(seconds=4))
    sync_due(waiting_seconds=0)
    assert Position.objects.get().quantity == 30
    assert open_quantity(account, "NSE", "INFY", "MIS") == 30


def test_an_order_of_unknown_outcome_is_settled_as_soon_as_news_of_it_come(
    simulator: RunningSimulator,
    account: TradingAccount,
    kite: KiteConnect,
    control: SimulatorControl,
    settings: Settings,
) -> None:
    settings.ORDER_RECONCILE_FIRST_SECONDS = 3600.0
    control.script(
        {"kind": "html", "status": 502, "after_work": True, "times": 1, **PLACING},
        {"on": "update", "kind": "late", "seconds": 0.5},
        {"on": "postback", "kind": "drop"},
    )
    with listening(simulator, kite, account):
        task = submit(account, kite)
        drain(account)
        until(lambda: OrderTask.objects.filter(recon_after__lte=Now()).exists())
    reconcile(account)
    task.refresh_from_db()
    assert task.status == Status.COMPLETED


def test_b9_what_was_given_up_and_is_there_after_all_is_adopted_by_the_next_reading(
    account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    control.script({"kind": "html", "status": 502, "after_work": True, "times": 1, **PLACING})
    task = submit(account, kite)
    drain(account)
    task.refresh_from_db()
    assert settle(task, Status.FAILED, actor="test", reason="absent_at_broker", evidence={})
    assert sync(account)
    task.refresh_from_db()
    assert (task.status, task.is_late_arrival) == (Status.COMPLETED, True)
    assert open_quantity(account, "NSE", "INFY", "MIS") == 10


def test_b9_an_order_with_a_tag_of_ours_that_no_task_has_is_told_by_the_next_reading(
    account: TradingAccount, kite: KiteConnect, control: SimulatorControl
) -> None:
    orphan = by_hand(kite, tag="T" + "Z" * 19)
    assert sync(account)
    assert BrokerOrder.objects.get(order_id=orphan).orphan_since is not None
    assert [one.kind for one in drift(account)] == ["orphan"]


@pytest.mark.parametrize("kind", ["empty_book", "short_book", "stale_book"])
def test_an_answer_that_lacks_what_is_known_wipes_nothing(
    account: TradingAccount, kite: KiteConnect, control: SimulatorControl, settings: Settings, kind: str
) -> None:
    settings.ORDER_DOUBT_SECONDS = 60.0
    submit(account, kite)
    drain(account)
    assert sync(account)
    control.script(
        *({"kind": kind, "method": "GET", "path": path} for path in ("/orders", "/trades", "/portfolio/positions"))
    )
    for _ in range(3):
        assert not sync(account)
    reading = PortfolioReading.objects.get()
    assert reading.doubts
    assert (Position.objects.get().quantity, Trade.objects.count() > 0) == (10, True)
    assert open_quantity(account, "NSE", "INFY", "MIS") == 10
    control.clear()
    assert sync(account)
    assert PortfolioReading.objects.get().doubts == []


def _drain(account: TradingAccount) -> None:
    try:
        drain(account)
    finally:
        connection.close()
