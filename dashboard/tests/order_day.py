"""A day of orders in every state that the pages show."""

import hashlib
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

from accounts import clock
from accounts.models import TradingAccount
from market.models import Instrument
from orders import ledger
from orders.ledger import NewTask, accept, claim
from orders.models import BrokerOrder, OrderTask
from orders.states import Operation, Status

PARAMS: dict[str, Any] = {
    "variety": "regular",
    "exchange": "NFO",
    "tradingsymbol": "NIFTY26DEC24700CE",
    "transaction_type": "BUY",
    "quantity": 130,
    "product": "NRML",
    "order_type": "LIMIT",
    "price": "135.20",
    "validity": "DAY",
}


def list_options(expiry: date = date(2026, 12, 29)) -> None:
    """Calls and puts of NIFTY, from 24,300 to 25,200."""
    today = clock.today()
    Instrument.objects.bulk_create(
        Instrument(
            exchange="NFO",
            tradingsymbol=f"NIFTY26DEC{strike}{kind}",
            instrument_token=10_000 + 2 * strike + (kind == "PE"),
            name="NIFTY",
            expiry=expiry,
            strike=strike,
            lot_size=65,
            tick_size=Decimal("0.05"),
            instrument_type=kind,
            segment="NFO-OPT",
            first_seen=today,
            last_seen=today,
        )
        for strike in range(24_300, 25_250, 50)
        for kind in ("CE", "PE")
    )


def placed(account: TradingAccount, key: str, *, operation: Operation = Operation.PLACE, **changes: Any) -> OrderTask:
    """An order that was taken on."""
    params = PARAMS | changes
    task, _ = accept(
        NewTask(
            account=account,
            principal=f"user:{account.owner_id}",
            operation=operation,
            params=params,
            idempotency_key=key,
            fingerprint=hashlib.sha256(repr(sorted(params.items())).encode()).hexdigest(),
            valid_until=datetime.now(UTC) + timedelta(minutes=30),
            trading_date=clock.today(),
            decision={"last_price": "135.00", "bid": "134.90", "ask": "135.10", "age_ms": 120},
        )
    )
    return task


def sent(account: TradingAccount, key: str, order_id: str, *, status: str = "OPEN", **changes: Any) -> OrderTask:
    """An order that the broker took; `filled` of it, at `average`."""
    filled, average = changes.pop("filled", 0), changes.pop("average", "0")
    task = placed(account, key, **changes)
    taken = claim(account, "worker")
    assert taken is not None
    ledger.mark(taken)
    ledger.complete(taken, order_id)
    told(account, order_id, task, status=status, filled_quantity=filled, average_price=Decimal(average))
    task.refresh_from_db()
    return task


def told(account: TradingAccount, order_id: str, task: OrderTask | None, **changes: Any) -> BrokerOrder:
    """What the broker shows of an order."""
    params = task.params if task is not None else PARAMS
    fields = {name: params[name] for name in ("exchange", "tradingsymbol", "transaction_type", "product", "order_type")}
    return BrokerOrder.objects.create(
        account=account,
        order_id=order_id,
        task=task,
        variety="regular",
        validity="DAY",
        quantity=params["quantity"],
        price=Decimal(str(params.get("price") or 0)),
        trigger_price=Decimal(str(params.get("trigger_price") or 0)),
        order_timestamp=clock.now(),
        source="book",
        **(fields | changes),
    )


def lost(account: TradingAccount, key: str, **changes: Any) -> OrderTask:
    """An order that was sent, and of which nobody knows whether it arrived."""
    task = placed(account, key, **changes)
    taken = claim(account, "worker")
    assert taken is not None
    ledger.mark(taken)
    ledger.leave_unknown(taken, "timeout", "Connection closed after 7.0 s")
    task.refresh_from_db()
    return task


def undecided(account: TradingAccount, key: str, **changes: Any) -> OrderTask:
    """An order that a person has to decide about."""
    task = lost(account, key, **changes)
    evidence = {"why": "no later order in the book"}
    assert ledger.settle(task, Status.DEAD_LETTER, actor="reconcile", reason="unresolved", evidence=evidence)
    task.refresh_from_db()
    return task


def arrived_late(account: TradingAccount, key: str, order_id: str, **changes: Any) -> OrderTask:
    """An order that was taken for absent, and is at the broker after all."""
    task = undecided(account, key, **changes)
    fields = {"broker_order_id": order_id, "is_late_arrival": True}
    ledger.settle(task, Status.COMPLETED, actor="book", reason="late_arrival", evidence={}, **fields)
    told(account, order_id, task, status="COMPLETE", filled_quantity=130, average_price=Decimal("135.10"))
    task.refresh_from_db()
    return task


def refused(account: TradingAccount, key: str, message: str, **changes: Any) -> OrderTask:
    """An order that was refused between taking on and sending."""
    task = placed(account, key, **changes)
    taken = claim(account, "worker")
    assert taken is not None
    ledger.fail(taken, "stale_price", message)
    task.refresh_from_db()
    return task


def a_day(asha: TradingAccount, ravi: TradingAccount) -> dict[str, OrderTask]:
    """One order in each state, by a name for it. The oldest first."""
    number = 261125000008400
    day = {
        "cancelled": sent(asha, "k14", f"{number}", status="CANCELLED", price="512.00"),
        "filled": sent(
            ravi, "k5", f"{number + 1}", status="COMPLETE", filled=130, average="41.00", strategy="strangle"
        ),
        "refused": refused(
            asha, "k7", "Prices were 9 s old, so market orders were off.", order_type="MARKET", price=None
        ),
        "rejected": sent(ravi, "k8", f"{number + 2}", status="REJECTED", tradingsymbol="NIFTY26DEC24800CE"),
        "trigger": sent(
            asha, "k6", f"{number + 3}", status="TRIGGER PENDING", order_type="SL", trigger_price="75.00", price="76.00"
        ),
        "part": sent(
            ravi,
            "k4",
            f"{number + 4}",
            filled=65,
            average="61.60",
            transaction_type="SELL",
            price="61.60",
            tradingsymbol="NIFTY26DEC24900CE",
            strategy="strangle",
        ),
        "late": arrived_late(asha, "k9", f"{number + 5}", tradingsymbol="NIFTY26DEC24550CE"),
        "undecided": undecided(asha, "k10", tradingsymbol="NIFTY26DEC24350PE", transaction_type="SELL"),
        "unknown": lost(asha, "k2", tradingsymbol="NIFTY26DEC24650CE", strategy="iron-fly-2", price="160.10"),
        "open": sent(asha, "web-5KXWV462", f"{number + 6}"),
        "waiting": placed(
            asha, "k3", tradingsymbol="NIFTY26DEC24600PE", transaction_type="SELL", strategy="iron-fly-2"
        ),
    }
    told(ravi, f"{number + 7}", None, status="OPEN", tradingsymbol="NIFTY26DEC24300PE", transaction_type="SELL")
    return day
