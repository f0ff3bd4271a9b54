"""What stops trading by itself: each rule once, told to people, and never undone but by one."""

import logging
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest
from django.db import DataError, OperationalError, connection
from prometheus_client import REGISTRY
from pytest_django import Settings

from accounts import audit
from accounts.audit_events import AuditEvent
from accounts.models import TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import execute, ledger, portfolio, trips
from orders.execute import drain
from orders.halts import Scope, set_state
from orders.limits import FIGURES, set_limits
from orders.models import OrderTask, TradingState
from orders.states import Operation, Status
from orders.sweep import sweep
from orders.tests.conftest import Submit, posts
from orders.tests.trading import audit_without_room

State = TradingState.State


def state_of(account: TradingAccount | None) -> str:
    found = TradingState.objects.filter(account=account, strategy="").first()
    return found.state if found else State.ACTIVE


def resume(account: TradingAccount | None) -> None:
    set_state(Scope(account), State.ACTIVE, actor="user:1", reason="looked at it")


def tripped(code: str) -> float:
    return REGISTRY.get_sample_value("orders_trips_total", {"code": code}) or 0.0


def test_a_trip_is_written_down_audited_counted_and_told(
    account: TradingAccount, caplog: pytest.LogCaptureFixture
) -> None:
    before = tripped("orphan_order")
    assert trips.orphan_order(account, "1511220000000009")
    row = TradingState.objects.get(account=account)
    assert (row.state, row.set_by) == (State.REDUCING, "trip")
    assert row.reason == "orphan_order: order 1511220000000009 has a tag of ours and no task"
    assert AuditEvent.objects.filter(kind="trading.state", account="AB1234").count() == 1
    assert tripped("orphan_order") == before + 1
    assert [record.levelno for record in caplog.records if "orphan_order" not in record.message][-1] == logging.CRITICAL


def test_what_is_stopped_already_is_only_made_stricter(account: TradingAccount) -> None:
    assert trips.trip(account, "one", "first")
    assert not trips.trip(account, "two", "second")
    assert trips.trip(account, "three", "third", state=State.HALTED)
    assert not trips.trip(account, "four", "fourth")
    row = TradingState.objects.get(account=account)
    assert (row.state, row.reason, row.epoch) == (State.HALTED, "three: third", 2)
    assert AuditEvent.objects.filter(kind="trading.state").count() == 2


def test_a_trip_lets_exits_go_out_and_entries_wait(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    submit("entry")
    submit("exit", operation=Operation.EXIT, transaction_type="SELL")
    trips.trip(account, "test", "test")
    drain(account)
    assert posts(broker) == 1
    assert OrderTask.objects.get(operation="exit").status == Status.COMPLETED


@pytest.mark.parametrize("setting", ["ORDER_TRIP_DUPLICATE", "ORDER_TRIP_ORPHAN", "ORDER_TRIP_AUDIT"])
def test_each_rule_can_be_switched_off(account: TradingAccount, settings: Settings, setting: str) -> None:
    setattr(settings, setting, False)
    rules: dict[str, Callable[[], bool]] = {
        "ORDER_TRIP_DUPLICATE": lambda: trips.duplicate_detected(account, "two"),
        "ORDER_TRIP_ORPHAN": lambda: trips.orphan_order(account, "1"),
        "ORDER_TRIP_AUDIT": lambda: trips.not_written_down(account, DataError()),
    }
    for name, rule in rules.items():
        assert rule() == (name != setting)
        resume(account)


# --- outcomes that nobody knows --------------------------------------------------------------------------------------


@pytest.fixture
def unknown(submit: Submit, account: TradingAccount, broker: ScriptedBroker) -> Callable[[str], OrderTask]:
    broker.answer("POST /orders/regular", Answer("?", status=502, content_type="text/html"))

    def make(key: str) -> OrderTask:
        task = submit(key)
        claim = ledger.claim(account, "w")
        assert claim is not None
        ledger.mark(claim)
        ledger.leave_unknown(claim, "outcome_unknown", "502")
        return task

    return make


def test_many_unknown_outcomes_within_a_minute_trip_once_and_again_only_by_new_ones(
    unknown: Callable[[str], OrderTask], account: TradingAccount, settings: Settings
) -> None:
    settings.ORDER_TRIP_UNKNOWN = 3
    for number in range(2):
        unknown(f"a{number}")
    sweep()
    assert state_of(account) == State.ACTIVE
    unknown("a2")
    sweep()
    assert state_of(account) == State.REDUCING
    assert TradingState.objects.get(account=account).reason.startswith("too_many_unknown")
    resume(account)
    sweep()
    assert state_of(account) == State.ACTIVE, "they were seen by the person who resumed"
    for number in range(3):
        unknown(f"b{number}")
    sweep()
    assert state_of(account) == State.REDUCING


def test_an_outcome_that_is_known_by_now_has_been_unknown_all_the_same(
    unknown: Callable[[str], OrderTask], account: TradingAccount, settings: Settings
) -> None:
    settings.ORDER_TRIP_UNKNOWN = 1
    task = unknown("k")
    task.refresh_from_db()
    ledger.settle(task, Status.COMPLETED, actor="test", reason="found", evidence={}, broker_order_id="1")
    assert trips.too_many_unknown() == 1


# --- the broker's own count ------------------------------------------------------------------------------------------


def test_the_brokers_429s_trip_when_they_go_on_although_our_count_is_within_the_budget(
    submit: Submit,
    account: TradingAccount,
    broker: ScriptedBroker,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings.ORDER_TRIP_RATE_LIMITED = 3
    monkeypatch.setattr(execute, "freeze_orders", lambda *_: None)  # a test does not wait for it
    broker.refuse("POST /orders/regular", 429, "NetworkException", "Too many requests")
    for number in range(3):
        submit(f"k{number}")
        drain(account)
        assert state_of(account) == (State.ACTIVE if number < 2 else State.REDUCING)
    assert "too many orders" in TradingState.objects.get(account=account).reason


# --- what cannot be written down -------------------------------------------------------------------------------------


def test_a_mark_whose_audit_fails_is_not_sent_and_trips(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    submit()
    with audit_without_room("order.sent"):
        drain(account, seconds=0.2)
    assert posts(broker) == 0
    assert OrderTask.objects.get().send_started_at is None
    assert state_of(account) == State.REDUCING


def test_a_database_that_is_away_for_a_moment_trips_nothing(account: TradingAccount) -> None:
    assert not trips.not_written_down(account, OperationalError("restarting"))
    assert state_of(account) == State.ACTIVE


def test_an_audit_that_cannot_be_written_stops_nobody_from_stopping_but_from_resuming(
    account: TradingAccount, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        with connection.cursor() as cursor:
            cursor.execute("select 1 / 0")

    monkeypatch.setattr(audit, "record", refuse)
    set_state(Scope(account), State.HALTED, actor="user:1", reason="now")
    assert state_of(account) == State.HALTED
    assert "without a row in the audit" in caplog.text
    with pytest.raises(DataError):
        resume(account)
    assert state_of(account) == State.HALTED


# --- losses ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pnl", "expected"),
    [
        (Decimal(-5000), State.REDUCING),
        (Decimal("-4999.99"), State.ACTIVE),
        (Decimal(9000), State.ACTIVE),
        (None, State.ACTIVE),
    ],
    ids=str,
)
def test_a_day_that_has_lost_the_limit_trips_its_account(
    account: TradingAccount, monkeypatch: pytest.MonkeyPatch, pnl: Decimal | None, expected: str
) -> None:
    monkeypatch.setattr(portfolio, "day_pnl", lambda _: pnl)
    set_limits(account, "", dict.fromkeys(FIGURES) | {"max_day_loss": Decimal(5000)}, actor="user:1")
    sweep()
    assert state_of(account) == expected


def test_nobody_reckons_losses_where_nobody_limits_them(
    account: TradingAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[TradingAccount] = []
    monkeypatch.setattr(portfolio, "day_pnl", asked.append)
    sweep()
    set_limits(None, "", dict.fromkeys(FIGURES) | {"max_day_loss": Decimal(5000)}, actor="user:1")
    assert asked == []
    sweep()
    assert asked == [account]


# --- clocks ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ahead", "expected", "is_told"),
    [
        (0.0, State.ACTIVE, False),
        (3.0, State.ACTIVE, True),
        (-3.0, State.ACTIVE, True),
        (600.0, State.HALTED, True),
        (-600.0, State.HALTED, True),
    ],
)
def test_a_clock_that_is_seconds_off_is_told_and_one_that_is_far_off_halts_everything(
    db: None,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    ahead: float,
    expected: str,
    is_told: bool,
) -> None:
    now = time.time
    monkeypatch.setattr("orders.trips.time.time", lambda: now() + ahead)
    skew = trips.clock_skew()
    monkeypatch.undo()
    assert skew == pytest.approx(ahead, abs=0.5)
    assert state_of(None) == expected
    assert ("apart" in caplog.text) == is_told
