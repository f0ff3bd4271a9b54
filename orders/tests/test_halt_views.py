"""The kill switch by REST, admin and command; and a burst of orders that it has to stop (F28, F29)."""

import threading
from collections.abc import Iterator
from datetime import timedelta
from itertools import count
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.audit_events import AuditEvent
from accounts.models import TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from orders.broker_orders import record_broker_update
from orders.execute import drain
from orders.halts import Scope, set_state
from orders.models import OrderTask, TradingState
from orders.states import Operation, Status
from orders.tests.conftest import ORDER, ORDER_ID, Submit, posts
from orders.tests.trading import NOON, Trader

STATES = "/api/v1/trading-states"
State = TradingState.State


def put(trader: Trader, state: str, **changes: Any) -> Any:
    return trader.send("put", STATES, {"account": str(trader.account.public_id), "state": state} | changes)


def test_who_may_trade_an_account_stops_it_and_resumes_it_with_a_reason(trader: Trader) -> None:
    halted = put(trader, "halted", reason="looks odd")
    assert halted.status_code == 200
    told = halted.json()
    assert (told["state"], told["was"], told["dropped"], told["cancelled"]) == ("halted", "active", 0, 0)
    assert (told["kite_user_id"], told["set_by"][:7]) == ("AB1234", "apikey:")
    refused = trader.place()
    assert (refused.status_code, refused.json()["error"]["code"]) == (409, "trading_halted")
    assert "looks odd" in refused.json()["error"]["message"]
    for reason in ({}, {"reason": ""}, {"reason": "ok"}):
        assert "reason" in put(trader, "active", **reason).json()["error"]["details"]
    assert put(trader, "active", reason="it was the feed").status_code == 200
    assert trader.place().status_code == 202
    assert AuditEvent.objects.filter(kind="trading.state", account="AB1234").count() == 2


def test_halting_needs_no_words(trader: Trader) -> None:
    assert put(trader, "halted").status_code == 200
    assert put(trader, "reducing", strategy="straddle").status_code == 200


def test_everything_is_for_the_services_administrators(trader: Trader) -> None:
    refused = trader.send("put", STATES, {"account": None, "state": "halted"})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "permission_denied")
    assert not TradingState.objects.exclude(state=State.ACTIVE).exists()
    root = User.objects.create_superuser("root")
    _, text = create_api_key(owner=root, label="k", scopes=[Action.ADMIN], accounts=[trader.account])
    program = Client(headers={"X-API-Key": text})
    body = {"account": None, "state": "halted"}
    answer = program.put(STATES, data=body, content_type="application/json")
    assert (answer.status_code, answer.json()["account"]) == (200, None)
    assert trader.place().json()["error"]["code"] == "trading_halted"


def test_a_key_that_may_only_read_stops_nothing_and_a_foreign_account_is_not_found(
    trader: Trader, account: TradingAccount
) -> None:
    reader = Trader(account, Action.READ)
    assert put(reader, "halted").status_code == 403
    other = TradingAccount.objects.create(
        kite_user_id="CD5678", label="R", app=account.app, owner=User.objects.create_user("ravi")
    )
    assert put(trader, "halted", account=str(other.public_id)).status_code == 404
    set_state(Scope(other), State.HALTED, actor="user:9", reason="theirs")
    set_state(Scope(account, "straddle"), State.REDUCING, actor="user:1", reason="ours")
    items = reader.send("get", STATES).json()["items"]
    assert [(item["kite_user_id"], item["strategy"], item["state"]) for item in items if item["state"] != "active"] == [
        ("AB1234", "straddle", "reducing")
    ]


def test_a_key_for_the_kill_switch_stops_and_does_nothing_else(account: TradingAccount) -> None:
    watchdog = Trader(account, Action.KILLSWITCH)
    assert watchdog.place().status_code == 403
    assert watchdog.send("get", STATES).status_code == 403
    assert put(watchdog, "reducing").status_code == 200
    assert put(watchdog, "halted", cancel_open=True).status_code == 403
    assert put(watchdog, "halted", reason="heartbeat lost").status_code == 200
    assert put(watchdog, "active", reason="heartbeat is back").status_code == 403
    assert TradingState.objects.get(account=account).state == State.HALTED


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"state": "stopped"}, "state"),
        ({"account": None, "strategy": "straddle"}, "strategy"),
        ({"state": "reducing", "cancel_open": True}, "cancel_open"),
        ({"reason": "x" * 301}, "reason"),
        ({"scope": "global"}, "scope"),
        ({"account": "AB1234"}, "account"),
    ],
    ids=str,
)
def test_what_cannot_be_read_stops_nothing(trader: Trader, changes: dict[str, Any], field: str) -> None:
    response = put(trader, "halted", **changes) if "state" not in changes else put(trader, **changes)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]
    assert not TradingState.objects.exclude(state=State.ACTIVE).exists()


# --- the option to cancel --------------------------------------------------------------------------------------------


@pytest.fixture
def open_orders(submit: Submit, account: TradingAccount, broker: ScriptedBroker) -> dict[str, OrderTask]:
    """At the broker: one entry shown, one not shown yet, one filled, one exit; and one that was placed by hand."""
    made = {
        "shown": submit("shown", price="120.5"),
        "not_shown": submit("not_shown", price="121", strategy="straddle"),
        "filled": submit("filled", price="122"),
        "exit": submit("exit", operation=Operation.EXIT, transaction_type="SELL"),
    }
    drain(account)
    for task in made.values():
        task.refresh_from_db()
    for name, status in (("shown", "OPEN"), ("filled", "COMPLETE"), ("exit", "OPEN")):
        task = made[name]
        row = ORDER | {"order_id": task.broker_order_id, "tag": task.tag, "status": status, "order_timestamp": NOON}
        record_broker_update(account, row, source="book")
    record_broker_update(account, ORDER | {"order_id": "9", "status": "OPEN", "order_timestamp": NOON}, source="book")
    return made


def test_a_halt_may_cancel_our_open_entries_and_leaves_exits_and_orders_by_hand(
    trader: Trader, open_orders: dict[str, OrderTask], broker: ScriptedBroker
) -> None:
    for task in open_orders.values():
        broker.answer(f"DELETE /orders/regular/{task.broker_order_id}", Answer({"order_id": task.broker_order_id}))
    assert put(trader, "halted", cancel_open=True).json()["cancelled"] == 2
    drain(trader.account)
    deleted = {asked.path.rpartition("/")[2] for asked in broker.asked if asked.method == "DELETE"}
    assert deleted == {open_orders["shown"].broker_order_id, open_orders["not_shown"].broker_order_id}


def test_a_halted_strategy_cancels_its_own_orders_only(trader: Trader, open_orders: dict[str, OrderTask]) -> None:
    assert put(trader, "halted", strategy="straddle", cancel_open=True).json()["cancelled"] == 1
    cancel = OrderTask.objects.get(operation="cancel")
    assert cancel.serial_key == open_orders["not_shown"].serial_key or cancel.params["target"] == str(
        open_orders["not_shown"].public_id
    )


def test_the_command_cancels_too(
    open_orders: dict[str, OrderTask], account: TradingAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("killswitch", "halt", "--account", "AB1234", "--cancel-open")
    assert "2 open orders are being cancelled" in capsys.readouterr().out
    with pytest.raises(CommandError, match="an option of halt"):
        call_command("killswitch", "reduce", "--account", "AB1234", "--cancel-open")


# --- in the admin ----------------------------------------------------------------------------------------------------


@pytest.fixture
def browser(client: Client, account: TradingAccount) -> Client:
    client.force_login(User.objects.create_superuser("root"))
    return client


def press(client: Client, name: str, *arguments: object, **form: str) -> str:
    client.cookies.pop("messages", None)  # of the press before
    path = reverse(f"admin:orders_tradingstate_{name}", args=arguments)
    answer = client.post(path, {"_form_submitted": "True"} | form)
    assert answer.status_code in (200, 302), answer.content
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


def test_an_administrator_halts_and_resumes_in_the_admin(browser: Client, account: TradingAccount) -> None:
    assert press(browser, "press_halt_everything") == "everything: active → halted."
    row = TradingState.objects.get(account=None)
    assert press(browser, "press_resume", row.pk, reason="") == ""
    assert TradingState.objects.get(pk=row.pk).state == State.HALTED
    assert press(browser, "press_resume", row.pk, reason="drill is over") == "everything: halted → active."
    assert press(browser, "press_reduce", row.pk) == "everything: active → reducing."
    assert press(browser, "press_halt", row.pk) == "everything: reducing → halted."
    page = browser.get(reverse("admin:orders_tradingstate_changelist"))
    assert page.status_code == 200
    assert "Halt everything" in page.content.decode()


def test_staff_who_do_not_administer_the_service_press_in_vain(browser: Client) -> None:
    set_state(Scope(), State.ACTIVE, actor="test", reason="test")
    row = TradingState.objects.get(account=None)
    path = reverse("admin:orders_tradingstate_press_halt", args=[row.pk])
    clerk = Client()
    clerk.force_login(User.objects.create_user("clerk", is_staff=True))
    assert clerk.post(path, {"_form_submitted": "True"}).status_code in (302, 403)
    assert TradingState.objects.get(account=None).state == State.ACTIVE


# --- a burst ---------------------------------------------------------------------------------------------------------

BURST = 60


@pytest.fixture
def workers(account: TradingAccount, settings: Settings) -> Iterator[list[threading.Thread]]:
    """Two that carry out whatever is due, until the test ends."""
    settings.ORDER_BUDGET_PER_SECOND, settings.ORDER_BUDGET_RESERVE_PER_SECOND = 10, 2
    settings.ORDER_BUDGET_WINDOW_SECONDS = 1.0
    stopping = threading.Event()

    def work() -> None:
        try:
            while not stopping.is_set():
                drain(account, seconds=0.5)
                stopping.wait(0.01)
        finally:
            connection.close()

    threads = [threading.Thread(target=work, name=f"worker-{number}") for number in range(2)]
    yield threads
    stopping.set()
    for thread in threads:
        if thread.ident is not None:
            thread.join(20)


def wait_for(what: Any, seconds: float = 15.0) -> None:
    pause = threading.Event()
    for _ in range(int(seconds / 0.01)):
        if what():
            return
        pause.wait(0.01)
    pytest.fail("it did not come to it in time")


@pytest.mark.django_db(transaction=True)
def test_f28_f29_a_halt_in_a_burst_lets_out_only_what_was_marked_before_it_and_cancels_still_go(
    submit: Submit, trader: Trader, broker: ScriptedBroker, workers: list[threading.Thread]
) -> None:
    for number in range(BURST):
        submit(f"k{number}")
    for number in range(BURST):
        order_id = str(int(ORDER_ID) + number)
        broker.answer(f"DELETE /orders/regular/{order_id}", Answer({"order_id": order_id}))
    for worker in workers:
        worker.start()
    wait_for(lambda: posts(broker) >= 5)

    assert put(trader, "halted", reason="drill").status_code == 200
    marked_then = set(OrderTask.objects.exclude(send_started_at=None).values_list("tag", flat=True))

    wait_for(lambda: not OrderTask.objects.open().exists())
    halted_at = TradingState.objects.get(account=trader.account).set_at
    tasks = {task.tag: task for task in OrderTask.objects.filter(operation="place")}
    reached = [asked.form["tag"] for asked in broker.asked if asked.method == "POST"]
    assert len(reached) == len(set(reached))
    assert set(reached) <= marked_then, "nothing was marked after the answer"
    marks = [tasks[tag].send_started_at for tag in reached]
    assert all(mark is not None and mark <= halted_at + timedelta(milliseconds=1) for mark in marks)
    rest = [task for tag, task in tasks.items() if tag not in reached]
    assert len(rest) + len(reached) == BURST
    assert len(rest) > BURST / 3, "it came in the middle"
    assert {(task.status, task.error_code) for task in rest} == {(Status.FAILED, "trading_halted")}

    numbers = count()
    for task in [task for tag, task in tasks.items() if tag in reached][:3]:
        assert trader.send("delete", f"/api/v1/orders/{task.public_id}", key=f"c{next(numbers)}").status_code == 202
    wait_for(lambda: sum(asked.method == "DELETE" for asked in broker.asked) == 3)
    wait_for(lambda: not OrderTask.objects.open().exists())
    assert set(OrderTask.objects.filter(operation="cancel").values_list("status", flat=True)) == {Status.COMPLETED}
