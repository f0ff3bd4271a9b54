"""The flight recorder: steps, where the time went, what the price cost, and what comes next."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.actions import Action
from accounts.models import TradingAccount
from orders import ledger
from orders.broker_rows import Trade
from orders.models import BrokerOrder, OrderEvent, OrderTask
from orders.states import PLACING, TRANSITIONS, Operation, Status
from orders.sweep import sweep
from orders.tests.conftest import Submit
from orders.tests.trading import Trader
from orders.timeline import Clock, Fill, Slippage, Stage, decision_price, slippage_of, then, timeline, timeline_of

BEGAN = datetime(2026, 11, 25, 6, 30, tzinfo=UTC)
PARAMS = {"exchange": "NFO", "tradingsymbol": "NIFTY26DEC26000CE", "transaction_type": "BUY", "quantity": 75}
PRICES = st.decimals(min_value="0.05", max_value="99999", places=2)


def after(ms: int) -> datetime:
    return BEGAN + timedelta(milliseconds=ms)


def task_with(**fields: Any) -> OrderTask:
    common: dict[str, Any] = {"operation": Operation.PLACE, "params": PARAMS, "created_at": BEGAN, "decision": {}}
    return OrderTask(**common | fields)


def event(number: int, ms: int, to: Status, came_from: str = "", reason: str = "", **evidence: Any) -> OrderEvent:
    return OrderEvent(
        number=number, at=after(ms), from_status=came_from, to_status=to, reason=reason, actor="w", evidence=evidence
    )


def order_with(**fields: Any) -> BrokerOrder:
    common: dict[str, Any] = {
        "order_id": "151",
        "status": "COMPLETE",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "quantity": 75,
        "filled_quantity": 75,
        "average_price": Decimal("121.00"),
        "first_seen_at": after(400),
        "updated_at": after(900),
        "source": "book",
    }
    return BrokerOrder(**common | fields)


SENT = [
    event(1, 0, Status.PENDING),
    event(2, 12, Status.RUNNING, "pending", "claimed"),
    event(3, 180, Status.COMPLETED, "running", "accepted_by_broker", marked_at=after(20).isoformat()),
]


def test_a_life_without_trouble_reads_from_top_to_bottom() -> None:
    task = task_with(status=Status.COMPLETED, broker_order_id="151")
    order = order_with(order_timestamp=after(0))
    found = timeline_of(task, SENT[::-1], [order], [Fill(after(2000), 75, Decimal("121.00"))])
    assert [(step.stage, step.ms) for step in found.steps] == [
        (Stage.ACCEPTED, 0),
        (Stage.RISK, 0),
        (Stage.CLAIMED, 12),
        (Stage.MARKED, 20),
        (Stage.ANSWERED, 180),
        (Stage.OPEN, 0),
        (Stage.FILLED, 2000),
    ]
    assert (found.durations.ours, found.durations.broker, found.durations.exchange) == (20, 160, 1820)
    assert (found.words, found.then) == ("Filled", "Nothing more: it is over at the broker.")


def test_every_attempt_keeps_its_own_mark() -> None:
    events = [
        event(1, 0, Status.PENDING),
        event(2, 10, Status.RUNNING, "pending", "claimed"),
        event(3, 50, Status.RETRYING, "running", "rate_limited", marked_at=after(20).isoformat()),
        event(4, 900, Status.RUNNING, "retrying", "claimed"),
        event(5, 1100, Status.COMPLETED, "running", "accepted_by_broker", marked_at=after(910).isoformat()),
    ]
    found = timeline_of(task_with(status=Status.COMPLETED, broker_order_id="151"), events, [])
    marks = [(step.attempt, step.ms) for step in found.steps if step.stage is Stage.MARKED]
    assert marks == [(1, 20), (2, 910)]
    assert (found.durations.ours, found.durations.broker, found.durations.exchange) == (910, 190, None)


def test_an_attempt_under_way_shows_its_mark_too() -> None:
    task = task_with(status=Status.RUNNING, send_started_at=after(30), lease_owner="w")
    found = timeline_of(task, SENT[:2], [])
    assert [step.stage for step in found.steps][-1] is Stage.MARKED
    assert (found.durations.ours, found.durations.broker) == (30, None)


def test_a_look_up_shows_its_evidence() -> None:
    events = [
        *SENT[:2],
        event(3, 7000, Status.UNKNOWN, "running", "outcome_unknown", marked_at=after(20).isoformat()),
        event(4, 9000, Status.COMPLETED, "unknown", "found_in_book", orders=["151"], status="OPEN"),
    ]
    found = timeline_of(task_with(status=Status.COMPLETED, broker_order_id="151"), events, [])
    last = found.steps[-1]
    assert (last.stage, last.evidence) == (Stage.LOOKED_UP, {"orders": ["151"], "status": "OPEN"})
    assert found.durations.broker is None  # it never answered


def test_a_broker_clock_that_is_far_from_ours_measures_nothing() -> None:
    order = order_with(order_timestamp=BEGAN + timedelta(days=90))
    fills = [Fill(BEGAN - timedelta(minutes=5), 75, Decimal("121.00"))]
    found = timeline_of(task_with(status=Status.COMPLETED, broker_order_id="151"), SENT, [order], fills)
    assert [step.ms for step in found.steps if step.clock is Clock.BROKER] == [None, None]
    assert found.durations.exchange is None


def test_what_its_trades_do_not_know_yet_the_order_tells() -> None:
    order = order_with(exchange_update_timestamp=after(2000))
    task = task_with(status=Status.COMPLETED, broker_order_id="151")
    found = timeline_of(task, SENT, [order], [Fill(after(1000), 25, Decimal("120.90"))])
    fills = [(step.ms, step.words) for step in found.steps if step.stage is Stage.FILLED]
    assert fills == [(1000, "25 at 120.90"), (2000, "75 of 75 at 121.00")]
    assert found.durations.exchange == 820


def test_trades_are_looked_up_for_the_orders_of_a_task(submit: Submit, account: TradingAccount) -> None:
    task = submit()
    order = order_with(account=account, task=task, pk=None)
    order.save()
    common = {"account": account, "exchange": "NFO", "transaction_type": "BUY", "trading_date": BEGAN.date()}
    Trade.objects.create(order_id="151", trade_id="1", quantity=75, price=121, traded_at=BEGAN, **common)
    Trade.objects.create(order_id="152", trade_id="2", quantity=75, price=121, traded_at=BEGAN, **common)
    assert [step.words for step in timeline(task).steps if step.stage is Stage.FILLED] == ["75 at 121.00"]


def test_without_its_trades_a_fill_is_dated_by_when_it_was_known() -> None:
    found = timeline_of(task_with(status=Status.COMPLETED, broker_order_id="151"), SENT, [order_with()])
    fill = found.steps[-1]
    assert (fill.stage, fill.clock, fill.ms, fill.words) == (Stage.FILLED, Clock.OURS, 900, "75 of 75 at 121.00")
    assert found.durations.exchange is None


@pytest.mark.parametrize(
    ("decision", "expected"),
    [
        ({"bid": "120.00", "ask": "120.50", "last_price": "119"}, (Decimal("120.25"), "middle")),
        ({"bid": "120.00", "ask": None, "last_price": "119"}, (Decimal("119"), "last")),
        ({"bid": "0", "ask": "120.50", "last_price": None}, None),
        ({"last_price": "NaN"}, None),
        ({"last_price": [1]}, None),
        ({}, None),
    ],
)
def test_the_price_at_the_decision_is_the_middle_or_else_the_last_one(decision: dict[str, Any], expected: Any) -> None:
    assert decision_price(decision) == expected


@given(decided=PRICES, paid=PRICES, quantity=st.integers(1, 10_000))
def test_what_a_purchase_loses_a_sale_at_the_same_prices_gains(decided: Decimal, paid: Decimal, quantity: int) -> None:
    def found(side: str) -> Slippage:
        task = task_with(params=PARAMS | {"transaction_type": side}, decision={"last_price": str(decided)})
        slippage = slippage_of(task, [order_with(filled_quantity=quantity, average_price=paid)])
        assert isinstance(slippage, Slippage)
        return slippage

    bought, sold = found("BUY"), found("SELL")
    assert bought.rupees == -sold.rupees == ((paid - decided) * quantity).quantize(Decimal("0.01"))
    assert (bought.rupees > 0) == (paid > decided)


@given(parts=st.lists(st.tuples(PRICES, st.integers(1, 5000)), min_size=1, max_size=8))
def test_slices_together_cost_what_each_of_them_costs(parts: list[tuple[Decimal, int]]) -> None:
    task = task_with(decision={"last_price": "100"})
    orders = [order_with(filled_quantity=quantity, average_price=price) for price, quantity in parts]
    found = slippage_of(task, orders)
    assert isinstance(found, Slippage)
    assert abs(found.rupees - sum((price - 100) * quantity for price, quantity in parts)) <= Decimal("0.01")


@pytest.mark.parametrize(
    ("task", "orders", "why"),
    [
        (task_with(), [order_with()], "No price was known when it was decided."),
        (task_with(decision={"last_price": "1"}), [], "Nothing is filled yet."),
        (
            task_with(decision={"last_price": "1"}, params=PARAMS | {"exchange": "MCX"}),
            [order_with()],
            "This exchange counts in lots; what one of them is worth is not known here.",
        ),
    ],
)
def test_what_cannot_be_told_is_said(task: OrderTask, orders: list[BrokerOrder], why: str) -> None:
    assert slippage_of(task, orders) == why


@st.composite
def lives(draw: st.DrawFn) -> tuple[OrderTask, list[OrderEvent]]:
    """Any walk through the state machine."""
    events, status, ms = [event(1, 0, Status.PENDING)], Status.PENDING, 0
    for number in range(2, draw(st.integers(2, 12))):
        ways = sorted(to for came_from, to in TRANSITIONS if came_from is status)
        if not ways:
            break
        to = Status(draw(st.sampled_from(ways)))
        ms += draw(st.integers(0, 5000))
        noted = {"marked_at": after(ms).isoformat()} if status is Status.RUNNING and draw(st.booleans()) else {}
        reason = draw(st.sampled_from(["claimed", "requeued", "resolved", "expired", "found_in_book", "odd"]))
        events.append(event(number, ms, to, str(status), reason, **noted))
        status = to
    operation = draw(st.sampled_from(list(Operation)))
    sent = draw(st.none() | st.just(after(ms)))
    return task_with(status=status, operation=operation, broker_order_id="151", send_started_at=sent), events


@given(life=lives())
def test_every_life_has_a_timeline_in_order_that_says_what_comes_next(life: tuple[OrderTask, list[OrderEvent]]) -> None:
    task, events = life
    found = timeline_of(task, events, [])
    times = [step.at for step in found.steps[:-1]]
    assert times == sorted(times)
    assert all(step.ms is not None and step.ms >= 0 for step in found.steps)
    assert len(found.steps) >= len(events) + 1  # the verdict on the rules has no event of its own
    assert found.then
    assert found.words
    assert all(step.words for step in found.steps)


@pytest.mark.parametrize("status", list(Status))
@pytest.mark.parametrize("operation", list(Operation))
def test_every_state_says_what_comes_next(status: Status, operation: Operation) -> None:
    assert then(task_with(status=status, operation=operation)).endswith(".")
    if operation in PLACING and status is Status.COMPLETED:
        assert "waits at the broker" in then(task_with(status=status), order_with(status="OPEN"))


def test_marks_of_all_attempts_come_out_of_the_real_rows(submit: Submit, account: TradingAccount) -> None:
    task = submit()
    for end in (partial(ledger.retry, code="rate_limited", message="", after_seconds=0, costs_an_attempt=False), None):
        claim = ledger.claim(account, "w")
        assert claim is not None
        ledger.mark(claim)
        end(claim) if end else ledger.complete(claim, "151")
    task.refresh_from_db()
    marks = [step for step in timeline(task).steps if step.stage is Stage.MARKED]
    assert [step.attempt for step in marks] == [1, 2]
    assert marks[0].at < marks[1].at == task.send_started_at


def test_a_worker_that_was_lost_leaves_its_mark(submit: Submit, account: TradingAccount) -> None:
    task = submit()
    claim = ledger.claim(account, "w")
    assert claim is not None
    ledger.mark(claim)
    OrderTask.objects.filter(pk=task.pk).update(lease_until=BEGAN)
    sweep()
    task.refresh_from_db()
    assert [step.stage for step in timeline(task).steps][-2:] == [Stage.MARKED, Stage.UNKNOWN]


def test_the_timeline_is_served_to_those_who_may_read_it(trader: Trader) -> None:
    made = trader.place().json()
    path = f"/api/v1/orders/{made['id']}/timeline"
    answer = trader.client.get(path)
    assert answer.status_code == 200
    body = answer.json()
    assert [step["stage"] for step in body["steps"]] == ["accepted", "risk"]
    assert (body["durations"], body["slippage"]) == ({"ours": None, "broker": None, "exchange": None}, None)
    stranger = Trader(
        TradingAccount.objects.create(
            kite_user_id="ZZ0001", label="", app=trader.account.app, owner=trader.account.owner
        ),
        Action.READ,
    )
    assert stranger.client.get(path).status_code == 404
