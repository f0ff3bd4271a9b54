"""Risk over what is really under way: counted from the rows, before an order is taken on and before it is sent."""

import re
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db.models.functions import Now
from pytest_django import DjangoAssertNumQueries

from accounts import clock
from accounts.models import TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from orders import exposure, ledger, risk
from orders.broker_orders import record_broker_update
from orders.checks import Check
from orders.execute import drain
from orders.halts import Scope, set_state
from orders.limits import FIGURES, set_limits
from orders.models import BrokerOrder, OrderTask, PortfolioReading, Position, TradingState
from orders.requests import OrderRequest
from orders.states import OPEN, PLACING, TERMINAL, Operation, Status
from orders.targets import target_of_task
from orders.tests.conftest import ORDER, Submit
from orders.tests.trading import BODY, NOON, TODAY, Trader, quote

NONE: dict[str, Any] = dict.fromkeys(FIGURES)
WORTH = Decimal("9037.50")  # of ORDER: 75 × 120.50


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "now", lambda: NOON)
    monkeypatch.setattr(clock, "today", lambda: TODAY)
    monkeypatch.setattr(exposure, "TWIN_SECONDS", 60.0)  # a busy machine takes its two seconds for anything


Hold = Callable[[int], None]


@pytest.fixture
def hold(account: TradingAccount) -> Hold:
    """Let the account's position in the option be this, as if it had just been read."""

    def hold(quantity: int) -> None:
        PortfolioReading.objects.update_or_create(account=account, defaults={"trading_date": TODAY, "read_at": Now()})
        key = {name: ORDER[name] for name in ("exchange", "tradingsymbol", "product")}
        values = {"quantity": quantity, "overnight_quantity": quantity, "read_at": Now()}
        Position.objects.update_or_create(account=account, **key, defaults=values)

    return hold


def limit(account: TradingAccount, strategy: str = "", **figures: Any) -> None:
    set_limits(account, strategy, NONE | figures, actor="user:1")


def request_of(**changes: Any) -> OrderRequest:
    is_exit = changes.pop("is_exit", False)
    return OrderRequest.of_params(ORDER | changes, is_exit=is_exit)


def refused(account: TradingAccount, **changes: Any) -> dict[str, Check]:
    checks = risk.check_order(account, request_of(**changes), None)
    return {check.code: check for check in checks if check.passed is False}


def shown(account: TradingAccount, task: OrderTask, **changes: Any) -> BrokerOrder:
    row: dict[str, Any] = ORDER | {"order_id": task.broker_order_id or "7", "tag": task.tag, "status": "OPEN"}
    row |= {"order_timestamp": NOON.replace(tzinfo=None)} | changes
    return record_broker_update(account, row, source="book")


# --- what is under way -----------------------------------------------------------------------------------------------


def test_an_order_counts_from_its_acceptance_until_it_is_filled_and_never_twice(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    task = submit()
    assert exposure.usage_of(account)[""].open_notional == WORTH
    drain(account)
    task.refresh_from_db()
    assert task.status == Status.COMPLETED
    assert exposure.usage_of(account)[""].open_notional == WORTH, "sent, and the broker has not shown it yet"
    shown(account, task)
    assert exposure.usage_of(account)[""].open_notional == WORTH
    shown(account, task, filled_quantity=50)
    assert exposure.usage_of(account)[""].open_notional == 25 * Decimal("120.50")
    shown(account, task, status="COMPLETE", filled_quantity=75)
    assert exposure.usage_of(account)[""].open_notional == 0


def test_the_query_counts_by_the_states_that_there_are() -> None:
    written = set(re.findall(r"'([A-Za-z]+)'", exposure._USAGE))
    assert written >= {str(word) for word in OPEN | TERMINAL | (PLACING - {Operation.EXIT})}


def test_an_order_of_unknown_outcome_counts_as_sent(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    broker.answer("POST /orders/regular", Answer("?", status=502, content_type="text/html"))
    task = submit()
    drain(account)
    task.refresh_from_db()
    assert task.status == Status.UNKNOWN
    assert exposure.usage_of(account)[""].open_notional == WORTH
    shown(account, task)  # and found: by its tag, with its outcome still to be settled
    assert exposure.usage_of(account)[""].open_notional == WORTH


def test_what_ended_unsent_exits_and_orders_of_other_days_do_not_count(submit: Submit, account: TradingAccount) -> None:
    submit("exit", operation=Operation.EXIT, transaction_type="SELL")
    task = submit("halted")
    ledger.settle(task, Status.FAILED, actor="test", reason="test", evidence={})
    old = submit("old")
    shown(account, old, order_id="8", order_timestamp=NOON - timedelta(days=1))
    assert exposure.usage_of(account)[""].open_notional == 0
    assert exposure.usage_of(account)[""].orders_in_last_minute == 1


def test_an_order_by_hand_counts_for_the_account_and_for_no_strategy(submit: Submit, account: TradingAccount) -> None:
    submit("ours", strategy="straddle")
    record_broker_update(account, ORDER | {"order_id": "9", "status": "OPEN", "order_timestamp": NOON}, source="book")
    usage = exposure.usage_of(account)
    assert usage[""].open_notional == 2 * WORTH
    assert usage["straddle"].open_notional == WORTH


# --- before it is taken on -------------------------------------------------------------------------------------------


def test_open_orders_and_a_new_one_together_stay_within_the_limit(submit: Submit, account: TradingAccount) -> None:
    limit(account, max_open_notional=3 * WORTH)
    submit("one")
    submit("two", price="120.55")
    assert refused(account, quantity=74) == {}
    check = refused(account, quantity=76)["max_open_notional"]
    assert "₹18,078.75 of orders that are open already" in check.message
    assert check.figures["most"] == "27112.5"


def test_a_strategys_limit_counts_its_own_orders_only(submit: Submit, account: TradingAccount) -> None:
    limit(account, "straddle", max_orders_per_minute=1)
    submit("other", strategy="condor")
    assert refused(account, strategy="straddle", quantity=150) == {}
    submit("own", strategy="straddle")
    assert list(refused(account, strategy="straddle", quantity=225)) == ["orders_per_minute"]
    assert refused(account, strategy="condor", quantity=300) == {}


def test_orders_of_more_than_a_minute_ago_do_not_count(submit: Submit, account: TradingAccount) -> None:
    limit(account, max_orders_per_minute=1)
    task = submit()
    place = exposure.Place(task.pk + 1, task.created_at + timedelta(seconds=61))
    assert exposure.usage_of(account, place=place)[""].orders_in_last_minute == 0
    assert exposure.usage_of(account)[""].orders_in_last_minute == 1


def test_a_halt_is_said_with_its_scope_and_reason(account: TradingAccount) -> None:
    set_state(Scope(account, "straddle"), TradingState.State.HALTED, actor="user:1", reason="looked odd")
    assert refused(account) == {}
    check = refused(account, strategy="straddle")["trading_halted"]
    assert check.message.startswith("Trading is halted for AB1234, strategy straddle (looked odd)")


def test_the_widest_halt_is_the_one_that_is_told(account: TradingAccount) -> None:
    set_state(Scope(account), TradingState.State.HALTED, actor="user:1", reason="")
    set_state(Scope(), TradingState.State.REDUCING, actor="user:1", reason="")
    assert "reduced to exits for everything" in refused(account)["trading_halted"].message


def test_the_same_order_twice_within_two_seconds_is_taken_for_a_slip(submit: Submit, account: TradingAccount) -> None:
    task = submit(price="120.5")
    assert refused(account)["duplicate"].figures == {"order": str(task.public_id)}
    assert refused(account, quantity=150) == {}


def test_an_order_that_was_refused_has_no_twin(submit: Submit, account: TradingAccount) -> None:
    ledger.settle(submit(), Status.FAILED, actor="test", reason="test", evidence={})
    assert refused(account) == {}


def test_a_change_is_no_duplicate_no_new_order_and_counts_once(submit: Submit, account: TradingAccount) -> None:
    limit(account, max_open_notional=WORTH, max_orders_per_minute=1)
    target = target_of_task(submit())
    checks = risk.check_order(account, request_of(), None, replaces=target)
    assert [check.code for check in checks if check.passed is False] == []
    larger = risk.check_order(account, request_of(quantity=150), None, replaces=target)
    assert [check.code for check in larger if check.passed is False] == ["max_open_notional"]


def test_checking_an_order_takes_few_queries(
    submit: Submit, account: TradingAccount, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    submit()
    with django_assert_num_queries(4):
        risk.check_order(account, request_of(), None)


# --- exits -----------------------------------------------------------------------------------------------------------


def test_an_exit_of_a_position_that_is_not_there_is_refused_in_a_halt_and_else(
    account: TradingAccount, hold: Hold
) -> None:
    sell = {"is_exit": True, "transaction_type": "SELL"}
    assert list(refused(account, **sell)) == ["exit_of_position"]
    hold(0)
    assert list(refused(account, **sell)) == ["exit_of_position"]
    hold(75)
    set_state(Scope(), TradingState.State.HALTED, actor="user:1", reason="drill")
    assert refused(account, **sell) == {}
    assert list(refused(account, **sell | {"quantity": 76})) == ["exit_of_position"]
    assert list(refused(account, **sell | {"transaction_type": "BUY"})) == ["exit_of_position"]


def test_exits_under_way_are_taken_off_what_can_be_exited(
    submit: Submit, account: TradingAccount, hold: Hold, broker: ScriptedBroker
) -> None:
    hold(150)
    task = submit("first", operation=Operation.EXIT, transaction_type="SELL")
    sell = {"is_exit": True, "transaction_type": "SELL"}
    check = refused(account, quantity=76, **sell)["exit_of_position"]
    assert check.figures == {"quantity": 76, "position": 150, "exits_under_way": 75, "at_most": 75}
    drain(account)
    task.refresh_from_db()
    assert list(refused(account, quantity=76, **sell)) == ["exit_of_position"], "sent, and not shown yet"
    shown(account, task, transaction_type="SELL", status="OPEN", filled_quantity=50)
    check = refused(account, quantity=76, **sell)["exit_of_position"]
    assert check.figures == {"quantity": 76, "position": 100, "exits_under_way": 25, "at_most": 75}
    shown(account, task, transaction_type="SELL", status="COMPLETE", filled_quantity=75)
    assert refused(account, quantity=75, price="120.60", **sell) == {}
    assert list(refused(account, quantity=76, **sell)) == ["exit_of_position"]


def test_an_exit_that_was_cancelled_unfilled_frees_what_it_was_for(
    submit: Submit, account: TradingAccount, hold: Hold, broker: ScriptedBroker
) -> None:
    hold(75)
    task = submit("first", operation=Operation.EXIT, transaction_type="SELL")
    drain(account)
    task.refresh_from_db()
    shown(account, task, transaction_type="SELL", status="CANCELLED", cancelled_quantity=75)
    assert "exit_of_position" not in refused(account, is_exit=True, transaction_type="SELL")


def test_of_two_exits_that_came_at_once_the_second_is_not_marked(
    submit: Submit, account: TradingAccount, hold: Hold, broker: ScriptedBroker
) -> None:
    hold(75)
    for key in ("one", "two"):
        submit(key, operation=Operation.EXIT, transaction_type="SELL")
    drain(account)
    first, second = OrderTask.objects.order_by("pk")
    assert (first.status, second.status, second.error_code) == (Status.COMPLETED, Status.FAILED, "exit_of_position")


# --- before it is sent -----------------------------------------------------------------------------------------------


def test_orders_that_all_passed_because_none_saw_the_others_are_stopped_before_they_are_sent(
    submit: Submit, account: TradingAccount, broker: ScriptedBroker
) -> None:
    for number in range(4):
        submit(f"k{number}")
    limit(account, max_open_notional=2 * WORTH)
    drain(account)
    assert [(task.status, task.error_code) for task in OrderTask.objects.order_by("pk")] == [
        (Status.COMPLETED, ""),
        (Status.COMPLETED, ""),
        (Status.FAILED, "max_open_notional"),
        (Status.FAILED, "max_open_notional"),
    ]


def test_a_limit_set_while_an_order_waits_holds_for_it(submit: Submit, account: TradingAccount) -> None:
    submit()
    limit(account, max_quantity=50)
    drain(account)
    task = OrderTask.objects.get()
    assert (task.status, task.error_code, task.send_started_at) == (Status.FAILED, "max_quantity", None)
    assert "above the 50 that AB1234 may have" in task.error_message


def test_the_last_look_takes_at_most_three_queries(
    submit: Submit, account: TradingAccount, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    limit(account, max_open_notional=WORTH, max_day_loss=Decimal(1000))
    task = submit()
    with django_assert_max_num_queries(3):
        assert risk.recheck(task) is None


def test_a_change_is_held_against_the_limits_with_what_it_leaves_as_it_was(
    submit: Submit, account: TradingAccount
) -> None:
    placed = submit()
    limit(account, max_notional=2 * WORTH)
    changes = {"variety": "regular", "target": str(placed.public_id), "quantity": 225}
    task = submit("change", operation=Operation.MODIFY, params=changes)
    broken = risk.recheck(task)
    assert broken is not None
    assert (broken.code, broken.figures["notional"]) == ("max_notional", "27112.5")


# --- over REST -------------------------------------------------------------------------------------------------------


def test_over_rest_a_refusal_has_its_figures_and_a_status_of_its_own(trader: Trader) -> None:
    assert trader.place().status_code == 202
    twin = trader.place()
    assert (twin.status_code, twin.json()["error"]["code"]) == (409, "duplicate")
    assert trader.place(allow_duplicate=True).status_code == 202
    limit(trader.account, max_orders_per_minute=2)
    busy = trader.place(quantity=150)
    assert (busy.status_code, busy.json()["error"]["code"]) == (429, "orders_per_minute")
    (check,) = busy.json()["error"]["details"]["checks"]
    assert check["figures"] == {"orders_in_last_minute": 2, "most": 2}


def test_a_batch_is_held_against_the_limits_as_a_whole(trader: Trader) -> None:
    def send(*items: dict[str, Any]) -> Any:
        body = {"account": str(trader.account.public_id), "items": [BODY | item for item in items]}
        return trader.send("post", "/api/v1/batch/orders", body)

    limit(trader.account, max_open_notional=2 * WORTH, max_orders_per_minute=3)
    large = send({}, {"quantity": 150})
    assert (large.status_code, large.json()["error"]["code"]) == (409, "max_open_notional")
    assert large.json()["error"]["details"]["item"] == 1
    twins = send({}, {})
    assert (twins.status_code, twins.json()["error"]["code"]) == (409, "duplicate")
    many = send(*({"quantity": 75, "price": price} for price in ("10", "11", "12", "13")))
    assert (many.status_code, many.json()["error"]["code"]) == (429, "orders_per_minute")
    assert not OrderTask.objects.exists()
    assert send({}, {"price": "120.45"}).status_code == 202


def test_the_exits_of_a_batch_together_do_not_exceed_the_position(trader: Trader, hold: Hold) -> None:
    hold(75)
    items = [BODY | {"transaction_type": "SELL", "exit": True, "price": price} for price in ("120", "121")]
    response = trader.send("post", "/api/v1/batch/orders", {"account": str(trader.account.public_id), "items": items})
    assert response.json()["error"]["code"] == "exit_of_position"
    assert response.json()["error"]["details"]["item"] == 1


def test_over_rest_a_market_order_needs_a_price_that_is_current(trader: Trader) -> None:
    market: dict[str, Any] = {"order_type": "MARKET", "price": None, "market_protection": "-1"}
    assert trader.place(**market).json()["error"]["code"] == "market_price"
    quote(120.5, feed_state="stalled")
    assert trader.place(**market).json()["error"]["code"] == "market_price"
    far = trader.place(price="150").json()["error"]["details"]["checks"][0]
    assert (far["code"], far["figures"]["bound"]) == ("price_band", "144.6")
    quote(120.5)
    assert trader.place(**market).status_code == 202


def test_an_order_at_the_market_is_held_against_the_worth_at_its_price(trader: Trader) -> None:
    quote(120.5)
    limit(trader.account, max_open_notional=WORTH)
    market: dict[str, Any] = {"order_type": "MARKET", "price": None, "market_protection": "-1"}
    assert trader.place(**market).status_code == 202
    second = trader.place(price="100").json()["error"]
    assert second["code"] == "max_open_notional"
