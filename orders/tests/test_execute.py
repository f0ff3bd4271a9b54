"""From claim to answer: what is sent, what is not, and what the row says afterwards."""

import threading
import time
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, connection
from django.db.models.functions import Now
from pytest_django import Settings

from accounts import clock
from accounts.breaker import BreakerState, Group, breaker_name, states
from accounts.broker import orders_client
from accounts.broker.places import take_place
from accounts.budget import Go, Wait, acquire_order, order_wait
from accounts.budget_limits import OrderKind
from accounts.exceptions import BudgetUnavailable
from accounts.models import TradingAccount
from accounts.sessions import DayToken, end_session, store_session, token_of_the_day
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import execute, ledger, turn
from orders.execute import drain
from orders.models import OrderTask, TradingState
from orders.states import Operation, Status
from orders.sweep import sweep
from orders.tests.conftest import ORDER_ID, Submit, posts
from orders.turn import Turn


def only_task() -> OrderTask:
    return OrderTask.objects.get()


def make_due() -> None:
    OrderTask.objects.filter(status="retrying").update(run_after=Now() - timedelta(seconds=1))


def test_an_order_goes_out_once_with_its_tag_and_the_row_has_its_id(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    task = submit(strategy="straddle")
    assert drain(account) == 1
    [sent] = broker.asked
    assert sent.form == {
        "variety": "regular",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "transaction_type": "BUY",
        "quantity": "75",
        "product": "NRML",
        "order_type": "LIMIT",
        "price": "120.50",
        "validity": "DAY",
        "tag": task.tag,
    }
    done = only_task()
    assert (done.status, done.broker_order_id) == (Status.COMPLETED, ORDER_ID)
    assert done.send_started_at is not None
    assert done.finished_at is not None
    assert drain(account) == 0
    assert posts(broker) == 1


@pytest.mark.parametrize(
    ("error_type", "status", "message"),
    [
        ("InputException", 400, "Invalid quantity."),
        ("MarginException", 400, "Insufficient funds. Required margin is 95417.84."),
        ("HoldingException", 400, "You do not hold that."),
        ("PermissionException", 403, "Insufficient permission for that call."),
        ("OrderException", 400, "The order was rejected." + "x" * 600),
    ],
)
def test_f14_a_refusal_ends_it_at_once_in_the_brokers_words(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, error_type: str, status: int, message: str
) -> None:
    broker.refuse("POST /orders/regular", status, error_type, message)
    submit()
    drain(account)
    task = only_task()
    assert (task.status, task.error_code, task.http_status) == (Status.FAILED, error_type, status)
    assert task.error_message.startswith(message[:20])
    assert len(task.error_message) <= 500
    assert posts(broker) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>bad gateway</html>", 502, content_type="text/html"),
        Answer({"status": "error", "message": "down", "error_type": "NetworkException"}, 503),
        Answer(b"<html>forbidden</html>", 403, content_type="text/html"),
        Answer({"status": "error", "message": "Request timed out", "error_type": "OrderException"}, 400),
        Answer(b"", 200),
        Answer({"status": None}, 200),
        Answer({"order_id": None}, 200),
        Answer(b"x" * 100, 200, cut_after=50),
        Answer(b"", 307, {"Location": "/orders/regular"}),
    ],
    ids=lambda answer: f"{answer.status} {str(answer.body)[:30]}",
)
def test_f06_f07_f09_whatever_leaves_a_doubt_is_unknown_and_never_sent_again(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, answer: Answer
) -> None:
    broker.answer("POST /orders/regular", answer)
    submit()
    drain(account)
    task = only_task()
    assert (task.status, task.broker_order_id) == (Status.UNKNOWN, "")
    assert task.unknown_since is not None
    assert drain(account) == 0
    assert posts(broker) == 1


def test_f09_what_never_left_is_tried_again_later(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    settings.KITE_API_ROOT = "http://127.0.0.1:1"
    submit()
    drain(account)
    task = only_task()
    assert (task.status, task.error_code, task.attempts, task.send_started_at) == ("retrying", "not_sent", 1, None)
    assert drain(account) == 0, "not before its time"
    settings.KITE_API_ROOT = broker.root
    Turn(account).forget_token()  # and with it the client that knows the address
    make_due()
    drain(account)
    assert (only_task().status, posts(broker)) == (Status.COMPLETED, 1)


def test_f15_too_many_requests_costs_no_attempt_and_closes_the_budget_for_as_long_as_asked(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    broker.refuse("POST /orders/regular", 429, "NetworkException", "Too many requests", **{"Retry-After": "3"})
    submit("k1")
    submit("k2")
    drain(account)
    assert sorted(OrderTask.objects.values_list("status", "attempts")) == [("pending", 0), ("retrying", 0)]
    assert order_wait(account, OrderKind.ENTRY) > 2
    assert posts(broker) == 1


def test_calls_of_our_own_that_are_under_way_do_not_close_the_budget(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    settings.KITE_PATIENCE_SECONDS = 0.0
    submit()
    held = [take_place("AB1234") for _ in range(settings.KITE_PLACES)]
    drain(account)
    for place in held:
        place.release()
    task = only_task()
    assert (task.status, task.error_code, task.attempts, task.send_started_at) == ("retrying", "over_budget", 0, None)
    assert order_wait(account, OrderKind.ENTRY) == 0
    assert posts(broker) == 0


def test_f33_a_dead_token_makes_orders_wait_and_a_login_lets_them_go(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    good = broker.answers["POST /orders/regular"]
    broker.refuse("POST /orders/regular", 403, "TokenException", "Incorrect `api_key` or `access_token`.")
    submit("k1")
    submit("k2")
    drain(account)
    waiting = OrderTask.objects.filter(status="retrying", attempts=0, error_code="session_expired")
    assert waiting.count() == 2
    assert posts(broker) == 1, "the second one saw that nobody is logged in"
    broker.answer("POST /orders/regular", good)
    store_session(account, {"user_id": "AB1234", "access_token": "second"})
    make_due()
    drain(account)
    assert OrderTask.objects.filter(status="completed").count() == 2
    assert posts(broker) == 3


def sent_with(broker: ScriptedBroker) -> list[str]:
    """The tokens of the orders, as they came."""
    return [asked.headers["Authorization"].rpartition(":")[2] for asked in broker.asked if asked.method == "POST"]


def test_a_login_in_the_middle_of_a_turn_is_taken_with_the_next_order(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("k1", "k2", "k3"):
        submit(key)
    complete = ledger.complete

    def log_in_after_the_first(claim: ledger.Claim, *args: Any, **kwargs: Any) -> None:
        complete(claim, *args, **kwargs)
        if claim.task.idempotency_key == "k1":
            store_session(account, {"user_id": "AB1234", "access_token": "second"})

    monkeypatch.setattr(ledger, "complete", log_in_after_the_first)
    drain(account)
    assert set(OrderTask.objects.values_list("status", flat=True)) == {"completed"}
    assert sent_with(broker) == ["token-of-the-day", "second", "second"]


def test_a_login_between_claim_and_sending_costs_the_order_a_refusal_and_no_attempt(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit("k1")
    drain(account)
    submit("k2")

    def log_in_first(*args: Any, **kwargs: Any) -> Go | Wait:
        if sent_with(broker) == ["token-of-the-day"]:
            store_session(account, {"user_id": "AB1234", "access_token": "second"})
            refusal = {"status": "error", "message": "dead", "error_type": "TokenException"}
            broker.answer_by_token["token-of-the-day"] = Answer(refusal, 403)
        return acquire_order(*args, **kwargs)

    monkeypatch.setattr(execute, "acquire_order", log_in_first)
    drain(account)
    found = OrderTask.objects.get(idempotency_key="k2")
    assert (found.status, found.error_code, found.attempts) == ("retrying", "session_expired", 0)
    make_due()
    drain(account)
    assert sent_with(broker) == ["token-of-the-day", "token-of-the-day", "second"]


def test_a_thread_opens_a_token_once_for_all_its_turns_until_the_clock_ends_it(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[int] = []

    def count(account: TradingAccount) -> DayToken:
        token = token_of_the_day(account)
        opened.append(token.version)
        return token

    monkeypatch.setattr(turn, "token_of_the_day", count)
    for key in ("k1", "k2"):
        submit(key)
        drain(account)
    assert len(opened) == 1
    tomorrow = clock.now() + timedelta(days=1)
    monkeypatch.setattr(clock, "now", lambda: tomorrow)
    submit("k3")
    drain(account)
    assert OrderTask.objects.get(idempotency_key="k3").error_code == "session_expired"
    assert posts(broker) == 2


def test_an_account_that_is_not_logged_in_sends_nothing(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    end_session(account)
    submit()
    drain(account)
    assert only_task().error_code == "session_expired"
    assert broker.asked == []


def test_f24_what_is_too_late_is_not_sent(submit: Submit, account: TradingAccount, broker: ScriptedBroker) -> None:
    submit(valid_for=timedelta(seconds=-1))
    drain(account)
    assert broker.asked == []


def test_f28_a_halt_between_claim_and_mark_stops_it(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit("k1")
    submit("k2", operation=Operation.CANCEL, order_id="1511")
    broker.answer("DELETE /orders/regular/1511", Answer({"order_id": "1511"}))
    TradingState.objects.filter(account=account).update(state=TradingState.State.HALTED)
    drain(account)
    entry, cancel = OrderTask.objects.order_by("pk")
    assert (entry.status, entry.error_code) == (Status.FAILED, "trading_halted")
    assert cancel.status == Status.COMPLETED
    assert posts(broker) == 0


def test_an_order_over_the_budget_waits_and_costs_no_attempt(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    settings.ORDER_BUDGET_PER_SECOND, settings.ORDER_BUDGET_RESERVE_PER_SECOND = 3, 1
    for number in range(4):
        submit(f"k{number}")
    broker.answer("POST /orders/regular", Answer(b"<html>", 502))  # whatever becomes of them
    drain(account)
    assert posts(broker) == 2
    assert sorted(OrderTask.objects.values_list("status", flat=True)) == ["pending", "pending", "unknown", "unknown"]


def test_f29_cancels_go_out_while_entries_have_used_theirs_up(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    settings.ORDER_BUDGET_PER_SECOND, settings.ORDER_BUDGET_RESERVE_PER_SECOND = 3, 1
    broker.answer("POST /orders/regular", Answer(b"<html>", 502))
    broker.answer("DELETE /orders/regular/1511", Answer({"order_id": "1511"}))
    for number in range(3):
        submit(f"k{number}")
    drain(account)
    submit("cancel", operation=Operation.CANCEL, order_id="1511")
    drain(account)
    assert OrderTask.objects.get(operation="cancel").status == Status.COMPLETED


def test_f16_an_open_breaker_holds_entries_and_lets_cancels_through(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    settings.BREAKER_FAILURES = 2
    broker.answer("POST /orders/regular", Answer(b"<html>", 502))
    broker.answer("DELETE /orders/regular/1511", Answer({"order_id": "1511"}))
    for number in range(4):
        submit(f"k{number}")
    drain(account)
    name = breaker_name("AB1234", Group.ORDERS)
    assert states([name]) == {name: BreakerState.OPEN}
    assert posts(broker) == 2
    held = OrderTask.objects.filter(status="retrying", error_code="breaker_open", attempts=0)
    assert held.count() == 2
    submit("cancel", operation=Operation.CANCEL, order_id="1511")
    drain(account)
    assert OrderTask.objects.get(operation="cancel").status == Status.COMPLETED


def test_without_redis_entries_are_held_and_exits_go_out_counted_by_postgresql(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*args: Any, **kwargs: Any) -> Any:
        raise BudgetUnavailable("Redis is away")

    for name in ("acquire_order", "order_wait"):
        monkeypatch.setattr(execute, name, away)
    submit("entry")
    submit("exit", operation=Operation.EXIT, transaction_type="SELL")
    drain(account)
    assert OrderTask.objects.get(operation="exit").status == Status.COMPLETED
    assert OrderTask.objects.get(operation="place").status == Status.PENDING
    assert posts(broker) == 1


def test_f13_a_worker_that_was_held_up_too_long_does_not_send(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    submit()
    settings.ORDER_FENCE_SHARE = 0.0
    claim = ledger.claim(account, "slow")
    assert claim is not None
    execute.carry_out(claim, Turn(account))
    task = only_task()
    assert (task.status, task.error_code, task.attempts, task.send_started_at) == ("retrying", "fenced_off", 0, None)
    assert posts(broker) == 0


def test_f13_a_worker_that_waited_too_long_for_its_turn_at_the_broker_does_not_send(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, settings: Settings
) -> None:
    submit()
    settings.ORDER_LEASE_SECONDS, settings.ORDER_FENCE_SHARE, settings.KITE_PATIENCE_SECONDS = 20.0, 0.03, 5.0
    held = [take_place("AB1234") for _ in range(settings.KITE_PLACES)]

    def release() -> None:
        for place in held:
            place.release()

    let_go = threading.Timer(1.0, release)
    let_go.start()
    drain(account)
    let_go.join()
    task = only_task()
    assert (task.status, task.error_code, task.send_started_at) == ("retrying", "not_sent", None)
    assert posts(broker) == 0


def test_f13_the_late_answer_of_a_worker_whose_lease_was_taken_is_not_written(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    submit()

    def taken_meanwhile(*_: Any) -> str:
        OrderTask.objects.update(lease_token=7)
        return ORDER_ID

    monkeypatch.setitem(execute.CALLS, Operation.PLACE, taken_meanwhile)
    drain(account)
    task = only_task()
    assert (task.status, task.broker_order_id) == (Status.RUNNING, "")


def test_f30_an_error_of_our_own_after_the_mark_leaves_it_unknown_and_others_alone(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    submit("bad", colour="red")  # no parameter of the broker's
    submit("good")
    drain(account)
    bad, good = OrderTask.objects.order_by("pk")
    assert (bad.status, bad.error_code) == (Status.UNKNOWN, "unexpected_error")
    assert good.status == Status.COMPLETED
    assert posts(broker) == 1


def test_f30_an_order_that_always_fails_before_the_mark_ends_with_a_person_and_others_do_not_wait(
    submit: Submit,
    account: TradingAccount,
    broker: ScriptedBroker,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    good = execute._pass_the_gates

    def poisoned(claim: ledger.Claim, turn: Turn) -> Any:
        if claim.task.idempotency_key == "bad":
            raise ZeroDivisionError
        return good(claim, turn)

    monkeypatch.setattr(execute, "_pass_the_gates", poisoned)
    bad = submit("bad")
    submit("good")
    drain(account)
    assert OrderTask.objects.get(idempotency_key="good").status == Status.COMPLETED
    for _ in range(bad.max_attempts):
        make_due()
        drain(account)
        sweep()
    bad.refresh_from_db()
    assert (bad.status, bad.attempts, bad.error_code) == (Status.DEAD_LETTER, bad.max_attempts, "unexpected_error")
    assert caplog.text.count("needs a person") == 1
    assert posts(broker) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("write", ["mark", "complete"])
def test_f47_a_write_that_the_database_refuses_for_the_moment_is_made_again_and_nothing_is_sent_twice(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, write: str
) -> None:
    good, refusals = getattr(ledger, write), iter([True, True])

    def refused(*args: Any, **kwargs: Any) -> None:
        if next(refusals, False):
            raise OperationalError("deadlock detected")
        good(*args, **kwargs)

    monkeypatch.setattr(ledger, write, refused)
    submit()
    for _ in range(3):
        drain(account)
        make_due()
    assert only_task().status == Status.COMPLETED
    assert posts(broker) == 1


@pytest.mark.django_db(transaction=True)
def test_f46_an_order_whose_row_is_held_by_somebody_waits_and_the_others_go_out(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    held = submit("held")
    submit("free")
    with psycopg.connect(**connection.get_connection_params() | {"options": ""}) as holder:
        holder.execute("set idle_in_transaction_session_timeout = '1s'")
        holder.commit()
        holder.execute("select 1 from orders_ordertask where id = %s for update", [held.pk])
        drain(account)
        assert dict(OrderTask.objects.values_list("idempotency_key", "status")) == {
            "held": "pending",
            "free": "completed",
        }
        time.sleep(1.2)
        drain(account)
        assert set(OrderTask.objects.values_list("status", flat=True)) == {"completed"}
        with pytest.raises(psycopg.errors.IdleInTransactionSessionTimeout):
            holder.execute("select 1")


@pytest.mark.django_db(transaction=True)
def test_f46_a_halt_that_somebody_has_begun_and_not_ended_sends_nothing_and_holds_a_worker_for_seconds_only(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    submit()
    with psycopg.connect(**connection.get_connection_params() | {"options": ""}) as holder:
        holder.execute("select 1 from orders_tradingstate for update")
        begun = time.monotonic()
        drain(account)
        assert time.monotonic() - begun < 5
        task = only_task()
        assert (task.status, task.error_code, task.send_started_at) == ("retrying", "not_written_down", None)
        assert posts(broker) == 0
    make_due()
    drain(account)
    assert only_task().status == Status.COMPLETED


def test_an_order_id_that_another_task_has_already_is_unknown_and_not_believed(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    broker.answer("POST /orders/regular", Answer({"order_id": ORDER_ID}))
    submit("k1")
    submit("k2")
    drain(account)
    first, second = OrderTask.objects.order_by("pk")
    assert (first.status, first.broker_order_id) == (Status.COMPLETED, ORDER_ID)
    assert (second.status, second.error_code, second.broker_order_id) == (Status.UNKNOWN, "order_id_taken", "")


def test_modify_and_cancel_name_the_order_in_the_path(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    broker.answer("PUT /orders/regular/1511", Answer({"order_id": "1511"}))
    broker.answer("DELETE /orders/regular/1511", Answer({"order_id": "1511"}))
    order = {"variety": "regular", "order_id": "1511"}
    submit("m", operation=Operation.MODIFY, params=order | {"price": "121.00"})
    submit("c", operation=Operation.CANCEL, params=order)
    drain(account)
    assert set(OrderTask.objects.values_list("status", "broker_order_id")) == {("completed", "1511")}
    modified = next(asked for asked in broker.asked if asked.method == "PUT")
    assert modified.form["price"] == "121.00"
    assert "tag" not in modified.form


def test_a_client_of_another_account_never_sends(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """I5: an order never changes its account."""
    other = TradingAccount.objects.create(
        kite_user_id="CD5678", label="R", app=account.app, owner=account.owner, is_trading=True
    )
    store_session(other, {"user_id": "CD5678", "access_token": "theirs"})
    theirs = orders_client(other)
    monkeypatch.setattr(turn, "orders_client", lambda account, **_: theirs)
    submit()
    with pytest.raises(AssertionError, match="another account"):
        drain(account)
    assert posts(broker) == 0


def test_a_drain_ends_after_its_time(submit: Submit, account: TradingAccount, broker: ScriptedBroker) -> None:
    submit()
    begun = time.monotonic()
    assert drain(account, seconds=0) == 0
    assert time.monotonic() - begun < 1
    assert only_task().status == Status.PENDING
