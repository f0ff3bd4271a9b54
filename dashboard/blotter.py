"""What the orders page says: one row an order, in words, and on top whatever needs a person. Only decisions.

`orders_views` fetches; rows of the tables are handed in.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from accounts import clock
from accounts.models import TradingAccount
from dashboard import formats
from dashboard.changing import CHANGED_HERE, may_be_changed
from market.models import Instrument
from orders.models import BrokerOrder, OrderTask
from orders.states import PLACING, TERMINAL, Operation, Status
from orders.words import broker_words, words_of

GROUPS = {"all": "All", "work": "Working", "need": "Needs you", "done": "Done", "bad": "Refused"}
BY_HAND = "web-"
"""What the keys of tickets begin with."""

# Tone and icon of each state; the words themselves are `orders.words`.
_SIGNS = {
    "Waiting": ("line", "clock"),
    "Sending": ("info", "play"),
    "Trying again": ("info", "redo"),
    "Checking": ("warn", "search"),
    "Needs you": ("bad", "warn"),
    "Open": ("info", "target"),
    "Part filled": ("info", "target"),
    "At the broker": ("info", "target"),
    "On its way": ("info", "target"),
    "Trigger waiting": ("line", "clock"),
    "Waits for the next session": ("line", "clock"),
    "Being cancelled": ("line", "minus"),
    "Filled": ("ok", "check"),
    "Cancelled": ("line", "minus"),
    "Refused here": ("bad", "x"),
    "Refused by the broker": ("bad", "x"),
    "Rejected": ("bad", "x"),
}


@dataclass(frozen=True, slots=True)
class State:
    """A state as its chip shows it."""

    words: str
    tone: str
    icon: str


@dataclass(frozen=True, slots=True)
class Row:
    """One order. `public_id` is empty for one that was placed elsewhere; `left` is what may still be filled."""

    public_id: str
    order_id: str
    at: datetime
    time: str
    account: TradingAccount
    buys: bool
    quantity: int | None
    contract: str
    price: str
    terms: str
    filled: int | None
    average: str
    state: State
    source: str
    answer: str
    is_late: bool
    is_placing: bool
    may_cancel: bool
    may_change: bool
    reason: str = ""

    @property
    def is_external(self) -> bool:
        return not self.public_id

    @property
    def side(self) -> str:
        return "BUY" if self.buys else "SELL"

    @property
    def filled_text(self) -> str:
        if self.filled is None:
            return formats.DASH
        if self.filled == self.quantity:
            return formats.grouped(self.filled)
        return f"{formats.grouped(self.filled)} of {formats.grouped(self.quantity)}"

    @property
    def filled_percent(self) -> int:
        return round(100 * self.filled / self.quantity) if self.filled and self.quantity else 0

    @property
    def is_part_filled(self) -> bool:
        return 0 < self.filled_percent < 100

    @property
    def left(self) -> int:
        return (self.quantity or 0) - (self.filled or 0)

    @property
    def cancel_key(self) -> str:
        """The key of the cancel that this row's button asks for: new with each row that is made."""
        return uuid4().hex

    @property
    def title(self) -> str:
        return f"{self.side.title()} {formats.grouped(self.quantity)} {self.contract}"


@dataclass(frozen=True, slots=True)
class Need:
    """A card above the table. `detail` tells of the first order of its kind."""

    title: str
    detail: str
    row: Row
    may_be_seen: bool = False


def state_of(words: str) -> State:
    tone, icon = _SIGNS.get(words, ("line", "info"))
    return State(words, tone, icon)


def row_of_task(
    task: OrderTask, shown: BrokerOrder | None, contracts: Mapping[str, str], *, may_trade: bool, is_cancelling: bool
) -> Row:
    """
    Parameters
    ----------
    shown : the broker's order of the task; None while there is none
    contracts : what to call an instrument, by `exchange:tradingsymbol`
    is_cancelling : a cancel of it is under way
    """
    params = task.params
    status = Status(task.status)
    is_placing = Operation(task.operation) in PLACING
    words = words_of(task, shown if is_placing else None)
    is_over = status in (Status.FAILED, Status.DEAD_LETTER) or (shown is not None and shown.status in TERMINAL)
    if is_cancelling and not is_over:
        words = "Being cancelled"
    return Row(
        public_id=str(task.public_id),
        order_id=task.broker_order_id,
        at=clock.at(task.created_at),
        time=formats.clock_time(clock.at(task.created_at)),
        account=task.account,
        buys=params.get("transaction_type") == "BUY",
        quantity=shown.quantity if shown is not None else params.get("quantity"),
        contract=_contract(params, contracts) if is_placing else f"{task.get_operation_display()} of an order",
        price=price_words(params) if is_placing else formats.DASH,
        terms=terms_words(params),
        filled=shown.filled_quantity if shown is not None else None,
        average=_average(shown),
        state=state_of(words),
        source=source_words(task),
        answer=answer_words(task),
        is_late=task.is_late_arrival,
        is_placing=is_placing,
        may_cancel=may_trade and is_placing and not is_over and not is_cancelling,
        may_change=may_trade and may_be_changed(task) and not is_over and not is_cancelling,
        reason=task.error_message if status in (Status.FAILED, Status.DEAD_LETTER) else _broker_reason(shown),
    )


def row_of_external(order: BrokerOrder, contracts: Mapping[str, str], *, may_trade: bool, is_cancelling: bool) -> Row:
    """An order of which we have only the broker's word."""
    at = order.order_timestamp or clock.at(order.first_seen_at)
    is_over = order.status in TERMINAL
    prices = {"order_type": order.order_type, "price": order.price, "trigger_price": order.trigger_price}
    params = prices | {"product": order.product, "validity": order.validity}
    symbol = {"exchange": order.exchange, "tradingsymbol": order.tradingsymbol}
    words = "Being cancelled" if is_cancelling and not is_over else broker_words(order)
    return Row(
        public_id="",
        order_id=order.order_id,
        at=at,
        time=formats.clock_time(at),
        account=order.account,
        buys=order.transaction_type == "BUY",
        quantity=order.quantity,
        contract=_contract(symbol, contracts),
        price=price_words(params),
        terms=terms_words(params),
        filled=order.filled_quantity,
        average=_average(order),
        state=state_of(words),
        source="our tag, no order of ours" if order.orphan_since else "placed elsewhere",
        answer=formats.DASH,
        is_late=False,
        is_placing=True,
        may_cancel=may_trade and not is_over and not is_cancelling,
        may_change=may_trade and order.variety in CHANGED_HERE and not is_over and not is_cancelling,
        reason=_broker_reason(order),
    )


def contract_words(instrument: Instrument, *, today: Any) -> str:
    """`NIFTY 1 Dec 24,700 CE`, `NIFTY 29 Dec FUT`, `INFY`."""
    if instrument.expiry is None:
        return instrument.tradingsymbol
    day = formats.short_date(instrument.expiry, today=today)
    if instrument.is_option:
        return f"{instrument.name} {day} {formats.strike(float(instrument.strike))} {instrument.instrument_type}"
    return f"{instrument.name} {day} {instrument.instrument_type}"


def price_words(params: Mapping[str, Any]) -> str:
    """`135.20`, `market`, `trigger 75.00`."""
    price, trigger = _decimal(params.get("price")), _decimal(params.get("trigger_price"))
    match params.get("order_type"):
        case "MARKET":
            return "market"
        case "SL" | "SL-M" if trigger:
            return f"trigger {formats.price(trigger)}"
    return formats.price(price) if price else formats.DASH


def terms_words(params: Mapping[str, Any]) -> str:
    """`limit 135.20, NRML, day`."""
    price, trigger = _decimal(params.get("price")), _decimal(params.get("trigger_price"))
    said = {"LIMIT": "limit", "MARKET": "at market", "SL": "stop", "SL-M": "stop at market"}
    words = said.get(str(params.get("order_type")), "")
    if price:
        words += f" {formats.price(price)}"
    if trigger:
        words += f", trigger {formats.price(trigger)}"
    rest = [str(params.get("product") or ""), str(params.get("validity") or "").lower()]
    return ", ".join(part for part in (words, *rest) if part)


def source_words(task: OrderTask) -> str:
    """From whom: the strategy, else a ticket, else the kind of program."""
    if strategy := task.params.get("strategy"):
        return str(strategy)
    if task.idempotency_key.startswith(BY_HAND) or task.principal.startswith("user:"):
        return "by hand"
    return "a program"


def answer_words(task: OrderTask) -> str:
    """How long the broker's answer took, from the taking on."""
    status = Status(task.status)
    if status is Status.UNKNOWN:
        return "none yet"
    if status is Status.FAILED and not task.http_status:
        return "not sent" if task.send_started_at is None else formats.DASH
    if task.finished_at is None or task.is_late_arrival or status is Status.DEAD_LETTER:
        return formats.DASH
    return delay(task.finished_at - task.created_at)


def delay(passed: timedelta) -> str:
    """`134 ms`, `1.9 s`, `3 m`."""
    seconds = max(0.0, passed.total_seconds())
    if seconds < 1:
        return f"{round(seconds * 1000)} ms"
    return f"{seconds:.1f} s" if seconds < 100 else f"{round(seconds / 60)} m"


def needs_of(unknown: Sequence[Row], dead: Sequence[Row], late: Sequence[Row], looked: Mapping[str, str]) -> list[Need]:
    """The cards on top: what nobody knows yet, what a person has to decide, what came after all.

    Parameters
    ----------
    looked : by public id, how often the broker's book was looked into
    """
    cards = []
    if unknown:
        count = len(unknown)
        title = f"The broker did not answer for {count} order{'' if count == 1 else 's'}. "
        title += f"{'It is' if count == 1 else 'They are'} not sent again while we look."
        first = unknown[0]
        cards.append(Need(title, f"{_whose(first)} {looked.get(first.public_id, '')}".strip(), first))
    cards += [
        Need(
            "An order needs your decision. Nothing is sent until you have decided.", f"{_whose(row)} {row.reason}", row
        )
        for row in dead
    ]
    cards += [
        Need(
            "An order that was taken for lost is at the broker after all.",
            f"{_whose(row)} It is {row.state.words.lower()}.",
            row,
            may_be_seen=True,
        )
        for row in late
    ]
    return cards


def _whose(row: Row) -> str:
    return f"{row.title if row.is_placing else row.contract} for {row.account.label}."


def _contract(params: Mapping[str, Any], contracts: Mapping[str, str]) -> str:
    symbol = str(params.get("tradingsymbol", ""))
    return contracts.get(f"{params.get('exchange')}:{symbol}", symbol)


def _average(order: BrokerOrder | None) -> str:
    return formats.price(float(order.average_price)) if order is not None and order.filled_quantity else formats.DASH


def _broker_reason(order: BrokerOrder | None) -> str:
    return order.status_message if order is not None and order.status == "REJECTED" else ""


def _decimal(value: Any) -> float | None:
    return None if value in (None, "") else float(Decimal(str(value)))
