"""Fault rows of orders in which the simulated broker fails: what is sent, how often, and what rows say at the end."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from django.db import connection
from django.db.models.functions import Now
from pytest_django import Settings

from accounts.models import TradingAccount
from accounts.sessions import store_session
from orders.book import read_book
from orders.execute import drain, may_send
from orders.models import BrokerOrder, OrderTask, TradingState
from orders.reconcile import reconcile
from orders.states import Operation, Status
from orders.sweep import sweep
from simulator.control import SimulatorControl
from simulator.tests.running import RunningSimulator
from tests.conftest import APPS, TRADERS, Place, taken_by_tag
from tests.order_processes import wait_until

PLACING = {"method": "POST", "path": "/orders/{variety}"}
BOOK = {"method": "GET", "path": "/orders"}
OPTION, SLICE = "NIFTY26D0126000CE", 65 * 27  # the largest order in whole lots below the freeze quantity


@contextmanager
def workers(account: TradingAccount, number: int = 2) -> Iterator[None]:
    """Threads that do what worker processes do, until the block ends."""
    stopping = threading.Event()

    def work() -> None:
        try:
            while not stopping.is_set():
                if may_send(account):
                    drain(account, seconds=1)
                sweep()
                reconcile(account)
                stopping.wait(0.02)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(number)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stopping.set()
        for thread in threads:
            thread.join(20)


def all_at_an_end(seconds: float = 20) -> None:
    open_tasks = OrderTask.objects.open()
    wait_until(lambda: not open_tasks.exists(), seconds, "not at an end")


def status_of(task: OrderTask) -> str:
    return OrderTask.objects.get(pk=task.pk).status


def is_(task: OrderTask, status: Status) -> Callable[[], bool]:
    return lambda: status_of(task) == status


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html", "status": 502},
        {"kind": "error", "status": 503},
        {"kind": "html", "status": 504},
    ],
    ids=lambda fault: f"{fault['kind']} {fault['status']}",
)
def test_f07_a_gateway_error_without_an_order_is_never_answered_by_a_second_try(
    trader: TradingAccount, place: Place, control: SimulatorControl, fault: dict[str, Any]
) -> None:
    """F07: it ends as absent, after several books and a later order."""
    control.script(fault | PLACING | {"times": 1})
    task = place(trader)
    with workers(trader):
        wait_until(is_(task, Status.UNKNOWN), 10)
        later = place(trader)
        all_at_an_end()
    task.refresh_from_db()
    assert (task.status, task.error_code) == (Status.FAILED, "absent_at_broker")
    assert taken_by_tag(control) == {later.tag: 1}
    assert control.counters().calls(method="POST", route="/orders/{variety}") == 2


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "hang", "after_work": True},
        {"kind": "drip", "seconds": 0.4},
        {"kind": "html", "status": 502, "after_work": True},
        {"kind": "reset", "after_work": True},
        {"kind": "truncate"},
        {
            "kind": "error",
            "status": 400,
            "error_type": "OrderException",
            "message": "Order request timed out.",
            "after_work": True,
        },
    ],
    ids=["F08 no answer", "F10 a drip", "F06 502", "F09 reset", "cut short", "a lie"],
)
def test_f06_f08_f10_an_order_that_was_taken_is_found_whatever_its_sender_was_told(
    trader: TradingAccount, place: Place, control: SimulatorControl, fault: dict[str, Any]
) -> None:
    """F06, F08, F09, F10: the call ends with its time limit, the outcome is unknown, the book has the order."""
    control.script(fault | PLACING | {"times": 1})
    task = place(trader)
    assert may_send(trader)
    begun = time.monotonic()
    drain(trader)
    assert time.monotonic() - begun < 1.0 + 2, "one second is a call's limit; whoever makes it is free then"
    assert status_of(task) == Status.UNKNOWN
    with workers(trader):
        all_at_an_end()
    task.refresh_from_db()
    assert task.status == Status.COMPLETED
    assert [order.order_id for order in control.orders()] == [task.broker_order_id]
    assert control.counters().calls(method="POST", route="/orders/{variety}") == 1


def test_f11_an_order_that_shows_in_the_book_much_later_is_not_given_up(
    trader: TradingAccount, place: Place, control: SimulatorControl, settings: Settings
) -> None:
    """F11: the window outlasts the book's lateness, and a later order alone proves nothing before its end."""
    settings.ORDER_ABSENCE_SECONDS = 6.0
    control.script({"kind": "hang", "after_work": True, "times": 1} | PLACING)
    control.script({"on": "order", "kind": "late", "seconds": 2.5, "times": 1})
    task = place(trader)
    with workers(trader):
        wait_until(is_(task, Status.UNKNOWN), 10)
        place(trader)
        all_at_an_end()
    task.refresh_from_db()
    assert task.status == Status.COMPLETED
    assert task.absent_reads > 0, "it was looked for in vain first"
    assert not task.is_late_arrival
    assert taken_by_tag(control)[task.tag] == 1


def test_f12_books_that_fail_or_are_empty_prove_nothing_and_are_said_to_be_old(
    trader: TradingAccount, place: Place, control: SimulatorControl, caplog: pytest.LogCaptureFixture
) -> None:
    """F12: five books that cannot be read, then five without an order that is known."""
    with workers(trader):
        known = place(trader)
        wait_until(is_(known, Status.COMPLETED), 10)
        control.script({"kind": "html", "status": 502, "times": 5} | BOOK, {"kind": "empty_book", "times": 5} | BOOK)
        control.script({"kind": "html", "status": 502, "times": 1} | PLACING)
        task = place(trader)
        wait_until(is_(task, Status.UNKNOWN), 10)
        wait_until(lambda: sum(rule["hits"] for rule in control.rules()) >= 11, 20)
        task.refresh_from_db()
        assert (task.status, task.absent_reads) == (Status.UNKNOWN, 0)
        place(trader)
        all_at_an_end()
    assert status_of(task) == Status.FAILED
    assert "it is old" in caplog.text


@pytest.mark.parametrize("seconds", [3.0, pytest.param(30.0, marks=pytest.mark.long)])
def test_f15_a_storm_of_429_costs_no_attempt_and_every_order_goes_out_once(
    trader: TradingAccount, place: Place, control: SimulatorControl, settings: Settings, seconds: float
) -> None:
    """F15: as JSON and as a page, with and without Retry-After; after the first one the budget keeps its eight."""
    settings.ORDER_BUDGET_PER_SECOND, settings.ORDER_BUDGET_RESERVE_PER_SECOND = 8, 2
    settings.ORDER_BUDGET_WINDOW_SECONDS = 1.1
    common = PLACING | {"probability": 0.27}
    control.script(
        {"kind": "error", "status": 429, "seed": 1} | common,
        {"kind": "error", "status": 429, "retry_after": "1", "seed": 2} | common,
        {"kind": "html", "status": 429, "seed": 3} | common,
        {"kind": "html", "status": 429, "retry_after": "1", "seed": 4} | common,
    )
    tasks = [place(trader) for _ in range(12)]
    with workers(trader):
        time.sleep(seconds)
        control.clear()
        all_at_an_end(30)
    assert set(OrderTask.objects.values_list("status", "attempts")) == {("completed", 1)}
    assert taken_by_tag(control) == {task.tag: 1 for task in tasks}
    counters = control.counters()
    assert counters.answers(method="POST")["429"] >= 1
    assert counters.worst_second(method="POST", route="/orders/{variety}") <= 8


def test_f16_five_faults_open_the_breaker_of_orders_and_nothing_is_sent_until_its_time_is_over(
    trader: TradingAccount, place: Place, control: SimulatorControl, settings: Settings
) -> None:
    """F16: then one call at a time, until three have gone well."""
    settings.BREAKER_FAILURES, settings.BREAKER_OPEN_SECONDS, settings.BREAKER_SUCCESSES = 5, 2.0, 3
    control.script({"kind": "error", "status": 503, "times": 5} | PLACING)
    tasks = [place(trader) for _ in range(12)]
    with workers(trader, 1):  # a second one may have a call under way when the breaker opens
        all_at_an_end(90)  # absence takes later orders, which take a closed breaker
    asked = sorted(order.arrived_at for order in control.orders())
    failed = OrderTask.objects.filter(status=Status.FAILED, error_code="absent_at_broker")
    assert failed.count() == 5
    opened_at = max(task.unknown_since for task in failed if task.unknown_since is not None)
    assert asked[0] - opened_at.timestamp() > 1.5
    assert len(asked) == len(tasks) - 5
    assert max(taken_by_tag(control).values()) == 1


def test_f27_of_a_sliced_order_that_was_taken_in_part_nothing_is_sent_again(
    trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F27: some slices are refused; the others are one order with parts, under one tag and one task."""
    slices = [{"on": "order", "kind": kind, "times": 1} for kind in ("pass", "pass", "refuse") * 2 + ("refuse",)]
    control.script(*slices)
    task = place(
        trader,
        operation=Operation.AUTOSLICE,
        exchange="NFO",
        tradingsymbol=OPTION,
        transaction_type="SELL",
        quantity=SLICE * 7,
        product="NRML",
        price="100.00",
    )
    with workers(trader):
        all_at_an_end()
        OrderTask.objects.update(run_after=Now())
        time.sleep(0.5)
    read_book(trader)
    task.refresh_from_db()
    taken = [order for order in control.orders() if order.tag == task.tag]
    assert task.status == Status.COMPLETED
    assert len(taken) == 4
    assert {order.root for order in taken} == {task.broker_order_id}
    assert BrokerOrder.objects.filter(task=task).count() == 4
    assert control.counters().calls(method="POST", route="/orders/{variety}") == 1
    assert not TradingState.objects.exclude(state=TradingState.State.ACTIVE).exists()


def test_f33_a_token_that_dies_in_a_burst_makes_orders_wait_and_a_login_lets_each_go_once(
    order_simulator: RunningSimulator,
    access_tokens: dict[str, str],
    trader: TradingAccount,
    place: Place,
    control: SimulatorControl,
) -> None:
    """F33: none fails, and none uses up an attempt."""
    with workers(trader):
        first = [place(trader) for _ in range(4)]
        wait_until(lambda: OrderTask.objects.filter(status=Status.COMPLETED).exists(), 10)
        control.kill_tokens(user_id=trader.kite_user_id)
        rest = [place(trader) for _ in range(8)]
        time.sleep(1.5)
        assert not OrderTask.objects.filter(status__in=[Status.FAILED, Status.DEAD_LETTER]).exists()
        fresh = order_simulator.logged_in(TRADERS[0], APPS[0]).access_token
        access_tokens[trader.kite_user_id] = fresh
        store_session(trader, {"user_id": trader.kite_user_id, "access_token": fresh})
        OrderTask.objects.filter(status=Status.RETRYING).update(run_after=trader.created_at)
        all_at_an_end(30)
    assert set(OrderTask.objects.values_list("status", "attempts")) == {("completed", 1)}
    assert taken_by_tag(control) == {task.tag: 1 for task in [*first, *rest]}


def test_f34_an_order_that_the_broker_booked_otherwise_is_adopted_said_and_not_sent_again(
    trader: TradingAccount, place: Place, control: SimulatorControl, caplog: pytest.LogCaptureFixture
) -> None:
    """F34: another quantity under our tag."""
    control.script({"kind": "hang", "after_work": True, "times": 1} | PLACING)
    control.script({"on": "order", "kind": "alter", "quantity": 7, "times": 1})
    task = place(trader)
    with workers(trader):
        all_at_an_end()
    assert status_of(task) == Status.COMPLETED
    assert "differs in ['quantity']" in caplog.text
    assert control.counters().calls(method="POST", route="/orders/{variety}") == 1


def test_i1_a_second_order_under_one_tag_lets_the_account_only_reduce(
    trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """I1: whatever made it, a person has to look before more is risked."""
    control.script({"kind": "hang", "after_work": True, "times": 1} | PLACING)
    control.script({"on": "order", "kind": "twin", "times": 1})
    task = place(trader)
    with workers(trader):
        all_at_an_end()
    assert status_of(task) == Status.COMPLETED
    assert TradingState.objects.get(account=trader, strategy="").state == TradingState.State.REDUCING
    assert BrokerOrder.objects.filter(tag=task.tag).count() == 2
