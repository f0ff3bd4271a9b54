"""Fault rows of orders in which a process dies, is held up or comes twice: real workers, pumps, beats, web servers."""

import random
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import requests
from django.db import connection
from django.db.models import F

from accounts.broker import data_client, orders_client
from accounts.models import TradingAccount
from orders import ledger
from orders.models import OrderTask, TradingState
from orders.states import Operation, Status
from orders.tasks import ring, wake
from orders.tests.trading import list_contracts
from simulator.control import SimulatorControl
from tests.conftest import Place, taken_by_tag
from tests.order_processes import STRICT, Door, OrderProcesses, Process, ready, wait_until

pytestmark = [pytest.mark.processes, pytest.mark.long]  # minutes, by the deaths of processes

LEASE = float(STRICT["ORDER_LEASE_SECONDS"])
PLACING = {"method": "POST", "path": "/orders/{variety}"}
VICTIM = "victim"  # a queue that only the process that is to be hurt listens to


def victim(processes: OrderProcesses, **changes: str) -> Process:
    return processes.worker(queues=VICTIM, **changes)


def send_to_victim(account: TradingAccount) -> None:
    wake.apply_async((account.pk,), queue=VICTIM, retry=False)


def status_of(task: OrderTask) -> str:
    return OrderTask.objects.get(pk=task.pk).status


def reasons(task: OrderTask) -> list[str]:
    return list(task.events.order_by("number").values_list("reason", flat=True))


def all_at_an_end(seconds: float) -> None:
    wait_until(
        lambda: not OrderTask.objects.open().exists(),
        seconds,
        f"open: {list(OrderTask.objects.open().values_list('status', 'error_code', 'attempts'))}",
    )


def nothing_twice_nothing_lost(control: SimulatorControl) -> None:
    """The rows against what the broker really took."""
    taken = taken_by_tag(control)
    tasks = {task.tag: task for task in OrderTask.objects.filter(operation=Operation.PLACE)}
    assert {tag: number for tag, number in taken.items() if number != 1} == {}
    assert set(taken) <= set(tasks)
    assert {tag for tag, task in tasks.items() if task.status == Status.COMPLETED} == set(taken)
    users = {order.tag: order.user_id for order in control.orders()}
    assert all(users[tag] == tasks[tag].account.kite_user_id for tag in taken)
    assert not TradingState.objects.exclude(state=TradingState.State.ACTIVE).exists()


# --- a worker dies ---------------------------------------------------------------------------------------------------


def test_f01_an_order_of_a_worker_that_died_before_the_mark_is_sent_by_the_next(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F01: no mark was made, so nothing was sent, and nobody has to look it up."""
    dying, pump = victim(processes, FAILPOINTS="order.after_claim=sigkill"), processes.pump()
    ready(dying, pump)
    task = place(trader)
    send_to_victim(trader)
    assert dying.wait_for_its_end() == -signal.SIGKILL
    wait_until(lambda: status_of(task) == Status.COMPLETED, LEASE + 10)
    assert "lease_over_before_sending" in reasons(task)
    assert not task.events.filter(to_status=Status.UNKNOWN).exists()
    assert taken_by_tag(control) == {task.tag: 1}


def test_f02_an_order_of_a_worker_that_died_between_mark_and_sending_is_looked_up_and_not_sent_again(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F02: with the mark nobody knows; several books and a later order in them prove that it never came."""
    dying, pump = victim(processes, FAILPOINTS="order.after_mark=sigkill"), processes.pump()
    ready(dying, pump)
    task = place(trader)
    send_to_victim(trader)
    dying.wait_for_its_end()
    later = place(trader)
    all_at_an_end(LEASE + 20)
    task.refresh_from_db()
    assert (task.status, task.error_code) == (Status.FAILED, "absent_at_broker")
    assert taken_by_tag(control) == {later.tag: 1}


def test_f03_an_order_that_the_broker_took_while_its_worker_was_killed_is_found(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F03: the broker has it, and the worker that would have learned its number is gone."""
    control.add("hang", after_work=True, times=1, **PLACING)
    dying, pump = victim(processes, KITE_TIMEOUT_SECONDS="10"), processes.pump()
    ready(dying, pump)
    task = place(trader)
    send_to_victim(trader)
    wait_until(lambda: taken_by_tag(control) == {task.tag: 1}, 10)
    dying.kill()
    wait_until(lambda: status_of(task) == Status.COMPLETED, LEASE + 15)
    assert reasons(task)[-2:] == ["lease_over_after_mark", "found_in_book"]
    nothing_twice_nothing_lost(control)


def test_f04_an_order_whose_worker_died_before_it_wrote_the_answer_down_is_found(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F04: the answer was read and is lost with its reader."""
    dying, pump = victim(processes, FAILPOINTS="order.after_response=sigkill"), processes.pump()
    ready(dying, pump)
    task = place(trader)
    send_to_victim(trader)
    dying.wait_for_its_end()
    wait_until(lambda: status_of(task) == Status.COMPLETED, LEASE + 15)
    assert OrderTask.objects.get().broker_order_id == control.orders()[0].order_id
    nothing_twice_nothing_lost(control)


@pytest.mark.parametrize(
    ("number", "orders", "rounds"),
    [
        pytest.param(signal.SIGKILL, 80, 3, id="F05 killed"),
        pytest.param(signal.SIGTERM, 80, 3, id="F49 stopped"),
        pytest.param(signal.SIGKILL, 200, 5, id="F05 killed, long", marks=pytest.mark.long),
        pytest.param(signal.SIGTERM, 200, 10, id="F49 stopped, long", marks=pytest.mark.long),
    ],
)
def test_f05_f49_workers_that_end_under_load_lose_no_order_and_send_none_twice(
    processes: OrderProcesses,
    traders: list[TradingAccount],
    place: Place,
    control: SimulatorControl,
    number: signal.Signals,
    orders: int,
    rounds: int,
) -> None:
    """F05, F49: killed, or stopped as a deployment does, one after the other while others take their place."""
    dice = random.Random(5)
    pump, *workers = processes.pump(), processes.worker(), processes.worker()
    ready(pump, *workers)
    for count in range(orders):
        place(traders[count % len(traders)])
    for _ in range(rounds):
        for account in traders:
            ring(account.pk)
        time.sleep(dice.uniform(0.3, 0.8))
        leaving = workers.pop(dice.randrange(len(workers)))
        if number == signal.SIGTERM:
            ready(leaving)  # before that it has nothing to end, and no handler for the signal
        leaving.signal(number)
        workers.append(processes.worker())
        code = leaving.wait_for_its_end(20)
        assert code == (-signal.SIGKILL if number == signal.SIGKILL else 0)
    ready(*workers)
    for account in traders:
        place(account)  # the later order without which absence is not proven
        ring(account.pk)
    all_at_an_end(60)
    nothing_twice_nothing_lost(control)
    if number == signal.SIGTERM:
        assert not OrderTask.objects.exclude(status=Status.COMPLETED).exists(), "it ends what it has begun"


# --- a worker is held up ---------------------------------------------------------------------------------------------


def test_f13_a_worker_that_was_frozen_while_the_broker_answered_writes_nothing_when_it_wakes(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F13: its lease is over and others have found the order; the token of its claim is old."""
    control.add("delay", seconds=0.8, after_work=True, times=1, **PLACING)
    frozen, pump = victim(processes), processes.pump()
    ready(frozen, pump)
    task = place(trader)
    send_to_victim(trader)
    wait_until(lambda: taken_by_tag(control) == {task.tag: 1}, 10)
    frozen.signal(signal.SIGSTOP)
    wait_until(lambda: status_of(task) == Status.COMPLETED, LEASE + 15)
    before = reasons(task)
    frozen.signal(signal.SIGCONT)
    frozen.wait_for("belongs to another worker", 15)
    assert reasons(task) == before
    nothing_twice_nothing_lost(control)


def test_f13_a_worker_that_was_frozen_between_mark_and_sending_does_not_send_when_it_wakes(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F13: by its own clock too much of its lease is over; what it marked has been proven absent meanwhile."""
    frozen, pump = victim(processes, FAILPOINTS="order.after_mark=sigstop"), processes.pump()
    ready(frozen, pump)
    task = place(trader)
    send_to_victim(trader)
    wait_until(lambda: OrderTask.objects.get(pk=task.pk).send_started_at is not None, 10)
    later = place(trader)
    wait_until(lambda: status_of(task) == Status.FAILED, LEASE + 20)
    frozen.signal(signal.SIGCONT)
    frozen.wait_for("belongs to another worker", 15)
    assert taken_by_tag(control) == {later.tag: 1}


# --- bells, beats and doors ------------------------------------------------------------------------------------------


def test_f18_fifty_bells_for_one_order_send_it_once(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F18: a bell is no order; two workers hear all of them."""
    ready(processes.worker(), processes.worker())
    task = place(trader)
    for _ in range(50):
        ring(trader.pk)
    all_at_an_end(15)
    time.sleep(0.5)
    assert reasons(task) == ["accepted", "claimed", "accepted_by_broker"]
    nothing_twice_nothing_lost(control)


@pytest.mark.long
def test_f19_a_bell_that_celery_delivers_again_while_it_is_answered_sends_nothing_twice(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F19: the message counts as lost after a second, and the work it stands for takes longer."""
    control.add("delay", seconds=2, **PLACING)
    slow = {"KITE_TIMEOUT_SECONDS": "6", "ORDER_LEASE_SECONDS": "20", "CELERY_VISIBILITY_TIMEOUT_SECONDS": "1"}
    ready(processes.worker(**slow), processes.worker(**slow))
    for _ in range(12):
        place(trader)
    ring(trader.pk)
    all_at_an_end(60)
    nothing_twice_nothing_lost(control)


def test_f20_two_beats_and_a_pump_do_everything_once_and_say_it_once(
    processes: OrderProcesses, traders: list[TradingAccount], place: Place, control: SimulatorControl
) -> None:
    """F20: each change is one conditional UPDATE, and who changes a row tells of it."""
    started = [processes.beat(), processes.beat(), processes.pump(), processes.worker()]
    ready(*started)
    tired = place(traders[0])
    OrderTask.objects.filter(pk=tired.pk).update(attempts=F("max_attempts"))
    claim = ledger.claim(traders[0], "test")
    assert claim is not None
    ledger.retry(claim, "not_sent", "no route", after_seconds=0, costs_an_attempt=True)
    for count in range(20):
        place(traders[count % 2])
    all_at_an_end(20)
    assert status_of(tired) == Status.DEAD_LETTER
    alarms = sum(process.text.count("needs a person") for process in started)
    assert alarms == 1
    # An order may be claimed and put back while the budget is full; it is sent by one claim.
    sent = [reasons(task).count("accepted_by_broker") for task in OrderTask.objects.exclude(pk=tired.pk)]
    assert set(sent) == {1}
    nothing_twice_nothing_lost(control)


def test_f21_f23_a_web_server_that_dies_before_it_rings_has_taken_the_order_and_a_repeat_finds_it(
    processes: OrderProcesses, trader: TradingAccount, control: SimulatorControl
) -> None:
    """F23, F21: the row is the order; asked again fifty times at once with its key, another server gives the same."""
    list_contracts()
    pump = processes.pump()
    with ThreadPoolExecutor(50) as pool:
        dying, well = pool.map(
            lambda changes: processes.web(**changes), [{"FAILPOINTS": "http.after_commit=sigkill"}, {}]
        )
        ready(pump)
        door = Door.of(trader)
        with pytest.raises(requests.ConnectionError):
            door.place(dying[1], "k1")
        begun = time.monotonic()
        assert dying[0].wait_for_its_end() == -signal.SIGKILL
        wait_until(lambda: OrderTask.objects.filter(status=Status.COMPLETED).count() == 1, 15)
        assert time.monotonic() - begun < 10
        answers = list(pool.map(lambda _: door.place(well[1], "k1"), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    assert {answer.json()["id"] for answer in answers} == {str(OrderTask.objects.get().public_id)}
    nothing_twice_nothing_lost(control)


# --- several accounts, several orders, several versions --------------------------------------------------------------


def test_f26_changes_of_one_order_that_come_at_once_go_out_one_after_the_other(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F26: two workers, ten changes; the order ends as the last one taken on says."""
    ready(processes.worker(), processes.worker())
    last_price = data_client(trader).ltp(["NSE:INFY"])["NSE:INFY"]["last_price"]
    low = round(float(last_price) * 0.95)  # it waits in the market's book
    order = place(trader, price=f"{low}.00", serial_key="one")
    ring(trader.pk)
    wait_until(lambda: status_of(order) == Status.COMPLETED, 10)
    changes = [
        place(
            trader,
            operation=Operation.MODIFY,
            serial_key="one",
            params={"variety": "regular", "target": str(order.public_id), "price": f"{low + 1 + number}.00"},
        )
        for number in range(10)
    ]
    for _ in range(10):
        ring(trader.pk)
    all_at_an_end(20)
    rows = list(OrderTask.objects.filter(pk__in=[change.pk for change in changes]).order_by("pk"))
    assert {row.status for row in rows} == {Status.COMPLETED}
    assert all(_ended(one) <= _begun(next_one) for one, next_one in pairwise(rows))
    [at_broker] = control.orders()
    assert at_broker.modifications == 10
    [shown] = orders_client(trader).book()
    assert shown["price"] == low + 10


def _begun(task: OrderTask) -> Any:
    assert task.send_started_at is not None
    return task.send_started_at


def _ended(task: OrderTask) -> Any:
    assert task.finished_at is not None
    return task.finished_at


def test_f32_an_account_whose_broker_hangs_holds_up_no_other(
    processes: OrderProcesses, traders: list[TradingAccount], place: Place, control: SimulatorControl
) -> None:
    """F32: calls of one user get no answer; the other's orders go out as if nothing was."""
    ready(processes.worker())
    hanging, healthy = traders[:2]
    control.add("hang", user_id=hanging.kite_user_id)
    for _ in range(8):
        place(hanging)
    for _ in range(8):
        place(healthy)
    begun = time.monotonic()
    for account in (hanging, healthy):
        ring(account.pk)
    theirs = OrderTask.objects.filter(account=healthy)
    wait_until(lambda: theirs.filter(status=Status.COMPLETED).count() == 8, 10)
    assert time.monotonic() - begun < 6
    assert {order.user_id for order in control.orders()} == {healthy.kite_user_id}
    assert set(taken_by_tag(control)) == set(theirs.values_list("tag", flat=True))


def test_f48_a_worker_whose_log_can_take_no_more_works_on(
    processes: OrderProcesses, trader: TradingAccount, place: Place, control: SimulatorControl
) -> None:
    """F48: the disk of the logs is full."""
    mute = processes.start("pump-mute", processes.pump_command, output=Path("/dev/full"))
    place(trader)
    all_at_an_end(20)
    assert mute.is_alive
    nothing_twice_nothing_lost(control)


def test_f50_workers_of_two_versions_work_side_by_side_while_a_column_is_added(
    processes: OrderProcesses, traders: list[TradingAccount], place: Place, control: SimulatorControl
) -> None:
    """F50: an older worker meets a column that it does not know; both obey the same tokens.

    The table's lock may cost a worker its turn, and with it the bell for the next one: the pump sees to that.
    """
    old, new, pump = processes.worker(), processes.worker(), processes.pump()
    ready(old, new, pump)
    for count in range(20):
        place(traders[count % 2])
    for account in traders[:2]:
        ring(account.pk)
    with connection.cursor() as cursor:
        cursor.execute("alter table orders_ordertask add column of_tomorrow text")
    try:
        for count in range(20):
            place(traders[count % 2])
        for account in traders[:2]:
            ring(account.pk)
        all_at_an_end(20)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("alter table orders_ordertask drop column of_tomorrow")
    assert OrderTask.objects.filter(status=Status.COMPLETED).count() == 40
    nothing_twice_nothing_lost(control)
