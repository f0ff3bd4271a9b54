"""The kill switch: in force once set, for what it names, over everything that waits, and never for exits."""

import threading

import pytest
from django.core.management import CommandError, call_command
from django.db import connection

from accounts.audit_events import AuditEvent
from accounts.models import TradingAccount
from accounts.tests.fakes import ScriptedBroker
from orders import ledger
from orders.exceptions import NotToBeSent
from orders.execute import carry_out, drain
from orders.halts import Scope, set_state
from orders.models import OrderTask, TradingState
from orders.states import Operation, Status
from orders.tests.conftest import Submit, posts
from orders.turn import Turn

State = TradingState.State


def stop(scope: Scope, state: State = State.HALTED) -> int:
    return set_state(scope, state, actor="user:1", reason="test").dropped


def test_a_halt_drops_entries_that_wait_and_leaves_exits_and_cancels(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    submit("entry")
    submit("exit", operation=Operation.EXIT, transaction_type="SELL")
    assert stop(Scope()) == 1
    entry, exiting = OrderTask.objects.order_by("pk")
    assert (entry.status, entry.error_code, exiting.status) == (Status.FAILED, "trading_halted", Status.PENDING)
    drain(account)
    assert OrderTask.objects.get(operation="exit").status == Status.COMPLETED
    assert posts(broker) == 1


def test_reducing_lets_entries_wait_and_resuming_lets_them_go(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    submit()
    assert stop(Scope(account), State.REDUCING) == 0
    assert OrderTask.objects.get().status == Status.PENDING
    set_state(Scope(account), State.ACTIVE, actor="user:1", reason="looked at it")
    drain(account)
    assert OrderTask.objects.get().status == Status.COMPLETED


def test_a_halt_concerns_only_what_it_names(submit: Submit, account: TradingAccount) -> None:
    other = TradingAccount.objects.create(kite_user_id="CD5678", label="R", app=account.app, owner=account.owner)
    submit("other", of=other)
    submit("straddle", strategy="straddle")
    submit("plain")
    assert stop(Scope(account, "straddle")) == 1
    assert OrderTask.objects.get(idempotency_key="straddle").status == Status.FAILED
    assert stop(Scope(account)) == 1
    assert OrderTask.objects.get(idempotency_key="other").status == Status.PENDING
    with pytest.raises(ValueError, match="belongs to an account"):
        Scope(None, "straddle")


def test_each_change_is_in_the_audit_with_who_and_why(account: TradingAccount) -> None:
    set_state(Scope(account), State.HALTED, actor="user:7", reason="too much")
    event = AuditEvent.objects.filter(kind="trading.state").get()
    assert event.account == "AB1234"
    assert (
        event.details | {"scope": "AB1234", "was": "active", "state": "halted", "reason": "too much"} == event.details
    )
    assert TradingState.objects.get(account=account).epoch == 1


@pytest.mark.django_db(transaction=True)
def test_f28_once_a_halt_has_committed_no_order_is_marked_however_close_the_race(
    submit: Submit, account: TradingAccount
) -> None:
    for number in range(12):
        submit(f"k{number}")
    claims = [ledger.claim(account, "w") for _ in range(12)]
    marked: list[int] = []
    halted = threading.Event()
    late: list[int] = []

    def mark_all() -> None:
        try:
            for claim in claims:
                assert claim is not None
                was_halted = halted.is_set()
                try:
                    ledger.mark(claim)
                except NotToBeSent:
                    continue
                (late if was_halted else marked).append(claim.task.pk)
        finally:
            connection.close()

    marker = threading.Thread(target=mark_all)
    marker.start()
    stop(Scope())
    halted.set()
    marker.join(20)
    assert late == []
    assert OrderTask.objects.filter(send_started_at__isnull=False).count() == len(marked)


def test_the_command_stops_shows_and_resumes(
    submit: Submit, account: TradingAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    submit()
    call_command("killswitch", "halt", "--account", "AB1234", "--reason", "drill")
    out = capsys.readouterr().out
    assert "AB1234: active → halted" in out
    assert "1 orders that waited will not be sent" in out
    call_command("killswitch", "status")
    assert "drill" in capsys.readouterr().out
    with pytest.raises(CommandError, match="why it is safe"):
        call_command("killswitch", "resume", "--account", "AB1234")
    call_command("killswitch", "resume", "--account", "AB1234", "--reason", "drill is over")
    assert "nothing is stopped" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["halt", "--account", "ZZ9999"], ["halt", "--strategy", "x"]], ids=str)
def test_the_command_does_nothing_for_what_it_does_not_know(account: TradingAccount, arguments: list[str]) -> None:
    with pytest.raises(CommandError):
        call_command("killswitch", *arguments)
    assert not TradingState.objects.exclude(state=State.ACTIVE).exists()


@pytest.mark.parametrize("scope", ["everything", "account", "strategy"])
def test_while_only_exits_go_out_entries_wait_and_go_out_at_the_resumption(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, valkey: object, scope: str
) -> None:
    stopped = {"everything": Scope(), "account": Scope(account), "strategy": Scope(account, "straddle")}[scope]
    entry = submit("entry", strategy="straddle")
    submit("exit", operation=Operation.EXIT, strategy="straddle")
    set_state(stopped, TradingState.State.REDUCING, actor="user:1", reason="a look first")
    assert drain(account) == 1
    entry.refresh_from_db()
    assert (entry.status, entry.version) == ("pending", 1)  # not even claimed
    set_state(stopped, TradingState.State.ACTIVE, actor="user:1", reason="fine")
    assert drain(account) == 1


def test_an_entry_that_was_claimed_before_only_exits_go_out_is_put_back(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, valkey: object
) -> None:
    task = submit()
    claim = ledger.claim(account, "w")
    assert claim is not None
    set_state(Scope(account), TradingState.State.REDUCING, actor="user:1", reason="a look first")
    carry_out(claim, Turn(account))
    task.refresh_from_db()
    assert (task.status, task.error_code, task.attempts, task.send_started_at) == ("retrying", "only_exits", 0, None)
    assert posts(broker) == 0
