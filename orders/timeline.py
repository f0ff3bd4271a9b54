"""The flight recorder: all that happened to one task, in order, with where the time went and what the price cost.

Plain functions over rows. Times of ours are the database's; what the broker tells of an order bears the broker's clock,
which knows whole seconds and is set by somebody else.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any

from orders.broker_rows import Trade
from orders.models import BrokerOrder, OrderEvent, OrderTask
from orders.states import OPEN, PLACING, Operation, Status
from orders.validation import IN_LOTS
from orders.words import broker_words, words_of

# A broker's time that is further from ours than this is no measurement: clocks are apart, or the market is simulated.
CLOCKS_APART = timedelta(seconds=2)
LONGEST_AT_EXCHANGE = timedelta(days=1)
MARKED_AT = "marked_at"
_PAISE = Decimal("0.01")


class Stage(StrEnum):
    """What kind of step it is, in the order of a life without trouble."""

    ACCEPTED = "accepted"
    RISK = "risk"  # held against every rule
    CLAIMED = "claimed"  # a worker has it
    MARKED = "marked"  # written down, so that it may be sent from this moment on
    ANSWERED = "answered"  # the broker took it, or refused it
    OPEN = "open"  # at the broker
    FILLED = "filled"  # a part of it, or all
    OVER = "over"  # cancelled or rejected there
    PUT_BACK = "put_back"  # nothing was sent, or refused for the moment
    UNKNOWN = "unknown"  # it may have been sent
    LOOKED_UP = "looked_up"  # the broker's book has decided
    REFUSED = "refused"  # here: nothing was sent
    DECIDED = "decided"  # by a person
    NEEDS_YOU = "needs_you"


class Clock(StrEnum):
    """Whose time a step bears."""

    OURS = "ours"
    BROKER = "broker"


@dataclass(frozen=True, slots=True)
class Step:
    """One thing that happened. `ms` is since the task was taken on, None where the clocks cannot be compared."""

    stage: Stage
    at: datetime
    ms: int | None
    words: str
    actor: str = ""
    attempt: int | None = None
    clock: Clock = Clock.OURS
    evidence: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Durations:
    """Where the time went, in milliseconds; None for what has not happened, or cannot be told.

    `ours`: taken on to the mark of the last attempt, waiting included. `broker`: that mark to what came of it.
    `exchange`: from there to the first fill, in whole seconds of the broker's.
    """

    ours: int | None = None
    broker: int | None = None
    exchange: int | None = None


@dataclass(frozen=True, slots=True)
class Slippage:
    """What the price cost against the one known at the decision. Rupees; positive is worse than it was then."""

    decision_price: Decimal
    basis: str  # "middle" of bid and ask, or "last"
    average_price: Decimal
    quantity: int
    per_unit: Decimal
    rupees: Decimal


@dataclass(frozen=True, slots=True)
class Fill:
    """A trade. `at` is the exchange's time."""

    at: datetime
    quantity: int
    price: Decimal


@dataclass(frozen=True, slots=True)
class Timeline:
    """`words` say what it is now, `then` what happens next; `no_slippage` why there is none."""

    steps: tuple[Step, ...]
    durations: Durations
    slippage: Slippage | None
    no_slippage: str
    words: str
    then: str


def timeline(task: OrderTask) -> Timeline:
    """The timeline of a task. Reads its trades, and its events and broker orders unless they were fetched with it."""
    orders = list(task.broker_orders.all())
    trades = Trade.objects.filter(account=task.account_id, order_id__in=[order.order_id for order in orders])
    fills = [Fill(trade.traded_at, trade.quantity, trade.price) for trade in trades if trade.traded_at is not None]
    return timeline_of(task, list(task.events.all()), orders, fills)


def timeline_of(
    task: OrderTask, events: Sequence[OrderEvent], orders: Sequence[BrokerOrder], fills: Sequence[Fill] = ()
) -> Timeline:
    """The same from rows that are at hand, in any order; without `fills`, its trades, the orders say what is filled."""
    events = sorted(events, key=lambda event: event.number)
    orders = sorted(orders, key=lambda order: order.order_id)
    is_placing = Operation(task.operation) in PLACING
    ours = list(_steps_of_events(task, events))
    theirs = list(_steps_of_orders(task, orders, fills)) if is_placing else []
    # Ours are in order as they are; the broker's stand behind them, since its clock proves nothing about ours.
    theirs.sort(key=lambda step: (step.stage is not Stage.OPEN, step.at))
    found = slippage_of(task, orders) if is_placing else "Only an order that is placed has a price."
    root = next((order for order in orders if order.order_id == task.broker_order_id), None)
    return Timeline(
        steps=(*ours, *theirs),
        durations=_durations(task, ours, theirs),
        slippage=found if isinstance(found, Slippage) else None,
        no_slippage=found if isinstance(found, str) else "",
        words=words_of(task, root if is_placing else None),
        then=then(task, root),
    )


# --- slippage --------------------------------------------------------------------------------------------------------


def slippage_of(task: OrderTask, orders: Iterable[BrokerOrder]) -> Slippage | str:
    """What the fills cost against the price at the decision, or why that cannot be told."""
    decided = decision_price(task.decision)
    if decided is None:
        return "No price was known when it was decided."
    if task.params.get("exchange") in IN_LOTS:
        return "This exchange counts in lots; what one of them is worth is not known here."
    filled = [order for order in orders if order.filled_quantity]
    quantity = sum(order.filled_quantity for order in filled)
    if not quantity:
        return "Nothing is filled yet."
    price, basis = decided
    average = sum((order.average_price * order.filled_quantity for order in filled), Decimal(0)) / quantity
    worse_when_higher = task.params.get("transaction_type") == "BUY"
    per_unit = average - price if worse_when_higher else price - average
    return Slippage(
        decision_price=price,
        basis=basis,
        average_price=average.quantize(Decimal("0.0001")),
        quantity=quantity,
        per_unit=per_unit.quantize(Decimal("0.0001")),
        rupees=(per_unit * quantity).quantize(_PAISE),
    )


def decision_price(decision: Mapping[str, Any]) -> tuple[Decimal, str] | None:
    """The price that stood for the market when it was decided, and which one that is."""
    bid, ask, last = (_price(decision.get(name)) for name in ("bid", "ask", "last_price"))
    if bid is not None and ask is not None:
        return (bid + ask) / 2, "middle"
    return None if last is None else (last, "last")


def _price(value: Any) -> Decimal | None:
    try:
        price = Decimal(str(value))
    except InvalidOperation:
        return None
    return price if price.is_finite() and price > 0 else None


# --- steps -----------------------------------------------------------------------------------------------------------

_PUT_BACK = {
    "over_budget": "The budget was used up: it waits",
    "budget_unavailable": "Redis did not answer: new orders wait",
    "breaker_open": "The broker fails: it is left alone for a while",
    "rate_limited": "The broker refused it for the moment: too many calls",
    "session_expired": "The login has run out: it waits for a new one",
    "credential": "The account's credentials cannot be used: it waits",
    "not_sent": "The broker could not be reached: nothing was sent",
    "not_written_down": "The mark could not be written: nothing was sent",
    "fenced_off": "The worker was held up: nothing was sent",
    "lease_over_before_sending": "Its worker was lost before it sent anything",
}
_REFUSED = {
    "expired": "Its time was over before it was sent",
    "cancelled_before_send": "It was cancelled before it was sent",
    "trading_halted": "Trading was halted before it was sent",
    "account_disabled": "The account may not send orders",
    "order_over": "The order was over: there was nothing to change",
    "order_not_at_broker": "The order that it is about never reached the broker",
}
_LOOKED_UP = {
    "found_in_book": "The broker's book shows it",
    "found_changed": "The broker's book shows the change",
    "cancelled": "The broker's book shows it cancelled",
    "already_terminal": "The broker's book shows the order at its end",
    "absent_at_broker": "The broker never had it: whole books without it, and with a later order",
    "not_changed": "The broker's order is as it was before",
    "not_cancelled": "The broker's order is still open",
}


def _steps_of_events(task: OrderTask, events: Sequence[OrderEvent]) -> Iterator[Step]:
    attempt: int | None = None
    for event in events:
        if not event.from_status:
            yield _step(task, event, Stage.ACCEPTED, "Taken on and written down")
            yield _step(task, event, Stage.RISK, _risk_words(task), evidence=task.decision)
            continue
        if event.to_status == Status.RUNNING:
            attempt = (attempt or 0) + 1
            yield _step(task, event, Stage.CLAIMED, "A worker has it", attempt=attempt)
            continue
        marked_at = _marked_at(task, event)
        if marked_at is not None:
            words = "Written down: from here on it may be sent"
            yield Step(Stage.MARKED, marked_at, _ms(task, marked_at), words, event.actor, attempt)
        of_a_worker = event.from_status == Status.RUNNING
        stage, words = _outcome(task, event, was_marked=marked_at is not None)
        yield _step(task, event, stage, words, attempt=attempt if of_a_worker else None)
    if task.status == Status.RUNNING and task.send_started_at is not None:
        words = "Written down: from here on it may be sent"
        at = task.send_started_at
        yield Step(Stage.MARKED, at, _ms(task, at), words, task.lease_owner, attempt)


def _outcome(task: OrderTask, event: OrderEvent, *, was_marked: bool) -> tuple[Stage, str]:
    match Status(event.from_status), Status(event.to_status):
        case _, _ if event.reason in ("requeued", "resolved"):
            why = event.evidence.get("why")
            what = "tried again" if event.to_status == Status.RETRYING else f"ended as {event.to_status}"
            return Stage.DECIDED, f"By a person: {what}" + (f" ({why})" if why else "")
        case Status.RUNNING, Status.COMPLETED if event.reason == "already_terminal":
            return Stage.LOOKED_UP, "Nothing to send: the order was over"
        case Status.RUNNING, Status.COMPLETED:
            return Stage.ANSWERED, f"The broker took it: order {task.broker_order_id}"
        case Status.RUNNING, Status.FAILED if was_marked:
            return Stage.ANSWERED, f"The broker refused it: {_message_of(task, event)}"
        case Status.RUNNING, Status.RETRYING:
            return Stage.PUT_BACK, _PUT_BACK.get(event.reason, f"It is tried again: {event.reason}")
        case Status.RUNNING, Status.UNKNOWN:
            lost = event.reason == "lease_over_after_mark"
            return Stage.UNKNOWN, "Its worker was lost while it sent" if lost else "Nobody knows whether it arrived"
        case Status.UNKNOWN, Status.DEAD_LETTER:
            why = event.evidence.get("why")
            return Stage.NEEDS_YOU, "The broker's book could not decide" + (f": {why}" if why else "")
        case Status.UNKNOWN, _:
            return Stage.LOOKED_UP, _LOOKED_UP.get(event.reason, event.reason)
        case ((Status.FAILED | Status.DEAD_LETTER), Status.COMPLETED):
            return Stage.LOOKED_UP, f"Late arrival: the broker has it after all, order {task.broker_order_id}"
        case _, Status.DEAD_LETTER:
            return Stage.NEEDS_YOU, "It was tried as often as it may be"
    return Stage.REFUSED, _REFUSED.get(event.reason, _message_of(task, event))


def _message_of(task: OrderTask, event: OrderEvent) -> str:
    """The row has the words of its last failure only; of an earlier one the code is left."""
    return task.error_message if task.error_message and task.error_code == event.reason else event.reason


def _marked_at(task: OrderTask, event: OrderEvent) -> datetime | None:
    """When the attempt that ends with this event was marked; None if it was not."""
    if event.from_status != Status.RUNNING:
        return None
    noted = event.evidence.get(MARKED_AT)
    if noted:
        try:
            return datetime.fromisoformat(str(noted))
        except ValueError:
            return None
    return None


def _risk_words(task: OrderTask) -> str:
    if Operation(task.operation) is Operation.CANCEL:
        return "A cancel needs no check"
    decided = decision_price(task.decision)
    if decided is None:
        return "It broke no rule; no current price was known"
    price, basis = decided
    age = task.decision.get("age_ms")
    old = f", {age / 1000:.1f} s old" if isinstance(age, int | float) else ""
    return f"It broke no rule; decided at {price:.2f} ({basis}{old})"


def _steps_of_orders(task: OrderTask, orders: Sequence[BrokerOrder], fills: Sequence[Fill]) -> Iterator[Step]:
    filled = sum(order.filled_quantity for order in orders)
    for order in orders:
        taken_at = order.exchange_timestamp or order.order_timestamp
        words = f"Order {order.order_id}: {order.quantity} {order.tradingsymbol}"
        yield _theirs(task, Stage.OPEN, taken_at, order.first_seen_at, order, words)
        changed_at, known_at = order.exchange_update_timestamp, order.updated_at
        # Trades are read every now and then: the order may know of more.
        if order.filled_quantity and sum(fill.quantity for fill in fills) < filled:
            words = f"{order.filled_quantity} of {order.quantity} at {order.average_price:.2f}"
            yield _theirs(task, Stage.FILLED, changed_at, known_at, order, words)
        if order.status in ("CANCELLED", "REJECTED"):
            words = broker_words(order) + (f": {order.status_message}" if order.status_message else "")
            yield _theirs(task, Stage.OVER, changed_at, known_at, order, words)
    for fill in fills:
        words = f"{fill.quantity} at {fill.price:.2f}"
        yield Step(Stage.FILLED, fill.at, _ms_by_broker(task, fill.at), words, "broker", clock=Clock.BROKER)


def _theirs(
    task: OrderTask, stage: Stage, at: datetime | None, known_at: datetime, order: BrokerOrder, words: str
) -> Step:
    """A step at the broker's time or, where it told none, at the time at which we came to know."""
    evidence = {"order_id": order.order_id, "status": order.status, "source": order.source}
    if at is None:
        return Step(stage, known_at, _ms(task, known_at), words, "broker", evidence=evidence)
    return Step(stage, at, _ms_by_broker(task, at), words, "broker", clock=Clock.BROKER, evidence=evidence)


def _step(
    task: OrderTask,
    event: OrderEvent,
    stage: Stage,
    words: str,
    *,
    attempt: int | None = None,
    evidence: Mapping[str, Any] | None = None,
) -> Step:
    shown = event.evidence if evidence is None else evidence
    return Step(stage, event.at, _ms(task, event.at), words, event.actor, attempt, Clock.OURS, dict(shown))


def _ms(task: OrderTask, at: datetime) -> int:
    # The row bears its transaction's beginning, its first event its own statement: never before it.
    return max(0, round((at - task.created_at).total_seconds() * 1000))


def _ms_by_broker(task: OrderTask, at: datetime) -> int | None:
    passed = at - task.created_at
    return _ms(task, at) if -CLOCKS_APART <= passed <= LONGEST_AT_EXCHANGE else None


# --- where the time went ---------------------------------------------------------------------------------------------


def _durations(task: OrderTask, ours: Sequence[Step], theirs: Sequence[Step]) -> Durations:
    marks = [place for place, step in enumerate(ours) if step.stage is Stage.MARKED]
    if not marks:
        return Durations()
    marked, after = ours[marks[-1]], ours[marks[-1] + 1 :]
    answered = next((step for step in after if step.stage is Stage.ANSWERED), None)
    if answered is None:
        return Durations(ours=marked.ms)
    fill = next((step for step in theirs if step.stage is Stage.FILLED and step.clock is Clock.BROKER), None)
    return Durations(
        ours=marked.ms,
        broker=max(0, round((answered.at - marked.at).total_seconds() * 1000)),
        exchange=None if fill is None else _between(answered.at, fill.at),
    )


def _between(ours: datetime, theirs: datetime) -> int | None:
    passed = theirs - ours
    if not -CLOCKS_APART <= passed <= LONGEST_AT_EXCHANGE:
        return None
    return max(0, round(passed.total_seconds() * 1000))


# --- what comes next -------------------------------------------------------------------------------------------------

_THEN = {
    Status.PENDING: "A worker takes it as soon as budget and halts allow.",
    Status.RUNNING: "A worker has it; the broker's answer is awaited.",
    Status.RETRYING: "Nothing is at the broker; it is tried again, until its time is over.",
    Status.UNKNOWN: "It is not sent again: the broker's book is read until it shows the order, or proves it absent.",
    Status.DEAD_LETTER: "A person has to decide: look at the broker, then try again or end it.",
}


def then(task: OrderTask, root: BrokerOrder | None = None) -> str:
    """The next step in words: what the service does by itself, and what only a person can."""
    status = Status(task.status)
    if status in OPEN or status is Status.DEAD_LETTER:
        return _THEN[status]
    if status is Status.FAILED:
        if task.send_started_at is not None and not task.http_status and Operation(task.operation) in PLACING:
            return "Nothing more; should the broker show it after all, it is taken over as a late arrival."
        return "Nothing more. It is not sent again; a new order needs a new key."
    if Operation(task.operation) not in PLACING:
        return "Nothing more; what became of the order is shown with the order."
    if root is None:
        return "The broker has it; its next news, or the next look into the book, says what became of it."
    if root.is_terminal:
        return "Nothing more: it is over at the broker."
    return "It waits at the broker, until it is filled, changed or cancelled."
