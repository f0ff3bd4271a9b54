"""Taking orders on: checked against everything that is known, stored once for its key, and a bell rung.

Nothing here talks to the broker. Who calls has been authorised for the account.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from uuid import uuid4

from django.db import transaction

from accounts import clock
from accounts.models import TradingAccount
from orders import budget_check, compliance, ledger, risk, validation
from orders.checks import Check, OrderRefused, refuse_failed
from orders.facts import facts_of, valid_until
from orders.failpoints import failpoint
from orders.ledger import NewTask
from orders.models import OrderTask
from orders.requests import OrderChanges, OrderRequest, fingerprint
from orders.states import RUNNABLE, Operation, Status
from orders.targets import Target
from orders.tasks import ring
from orders.validation import MOST_MODIFICATIONS, Facts


@dataclass(frozen=True, slots=True)
class Submitted:
    """The task that stands for the request. `is_new` is False where the same key had come before."""

    task: OrderTask
    is_new: bool


@dataclass(frozen=True, slots=True)
class Examined:
    """An order held against every rule, with what it was held against."""

    request: OrderRequest
    facts: Facts
    checks: Sequence[Check]


def examine(
    account: TradingAccount,
    request: OrderRequest,
    *,
    ahead: Sequence[OrderRequest] = (),
    replaces: Target | None = None,
) -> Examined:
    """Hold an order against every rule. Nothing is stored.

    Parameters
    ----------
    ahead : the orders of the same batch before it, which are not stored yet
    replaces : the order that it is a change of
    """
    facts = facts_of(account, request)
    checks = [
        *validation.check(request, facts),
        *compliance.compliance_checks(account, request),
        *risk.check_order(account, request, facts.price, ahead=ahead, replaces=replaces),
        budget_check.check(account, request.operation, ahead=len(ahead)),
    ]
    return Examined(request, facts, checks)


def examine_change(target: Target, changes: OrderChanges) -> Examined:
    """Hold a change of an order against every rule: whether it can be changed, and what it would be then."""
    examined = examine(target.account, target.request().changed(changes), replaces=target)
    return replace(examined, checks=[*_changeable(target, changes), *examined.checks])


def changes_of(target: Target) -> int:
    """How often the order was changed, or may have been; of an order placed elsewhere, from here."""
    made = OrderTask.objects.filter(account=target.account, serial_key=target.serial_key, operation=Operation.MODIFY)
    ours = made.exclude(status=Status.FAILED, send_started_at=None).count()
    told = target.broker_order.modifications if target.broker_order else None
    return max(ours, told or 0)


def submit(
    principal: str, account: TradingAccount, request: OrderRequest, *, key: str, valid_for: timedelta | None = None
) -> Submitted:
    """Take an order on.

    Raises
    ------
    OrderRefused
        It breaks a rule: nothing was stored, and the key is free.
    KeyReused
        The key came with another order before. Nothing was changed.
    """
    print_ = fingerprint(request.operation, str(account.public_id), request.params())
    (submitted,) = _submit(principal, account, [_Item(request, key, print_)], valid_for)
    return submitted


def submit_all(
    principal: str,
    account: TradingAccount,
    items: Sequence[tuple[OrderRequest, str]],
    *,
    valid_for: timedelta | None = None,
) -> list[Submitted]:
    """Take several orders on, all or none, purchases first; the answers stand as the items do. Raises as `submit`.

    They are one command: with another item among them, or one less, it is another one.
    """
    prints = [fingerprint(request.operation, str(account.public_id), request.params()) for request, _ in items]
    whole = "".join(prints)
    return _submit(
        principal,
        account,
        [
            _Item(request, key, hashlib.sha256(f"{print_}{whole}".encode()).hexdigest(), place)
            for place, ((request, key), print_) in enumerate(zip(items, prints, strict=True))
        ],
        valid_for,
    )


def modify(principal: str, target: Target, changes: OrderChanges, *, key: str) -> Submitted:
    """Take on a change of an order. It goes out when everything before it about that order has ended.

    Raises as `submit`; OrderRefused also where the order is over, was never sent, or was changed too often.
    """
    account = target.account
    params = target.params() | changes.params()
    print_ = _print_of(Operation.MODIFY, target, changes.params())
    before = ledger.taken_before(account, key, print_)
    if before is not None:
        return Submitted(before, is_new=False)
    examined = examine_change(target, changes)
    refuse_failed(examined.checks)
    return _accept_one(_new(principal, account, Operation.MODIFY, params, key, print_, target, examined))


def cancel(principal: str, target: Target, *, key: str) -> Submitted:
    """Take an order back: at once where it has not gone out, else by a task of its own.

    Raises
    ------
    KeyReused
    """
    account = target.account
    params = target.params()
    print_ = _print_of(Operation.CANCEL, target, {})
    before = ledger.taken_before(account, key, print_)
    if before is not None:
        return Submitted(before, is_new=False)
    if target.task is not None and _take_back(target.task, principal):
        return Submitted(target.task, is_new=False)
    return _accept_one(_new(principal, account, Operation.CANCEL, params, key, print_, target, None))


# --- below -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Item:
    """An order of a call; `place` is where it stands among several."""

    request: OrderRequest
    key: str
    fingerprint: str
    place: int | None = None


def _submit(
    principal: str, account: TradingAccount, items: Sequence[_Item], valid_for: timedelta | None
) -> list[Submitted]:
    before = _taken_before(account, items)
    if before is not None:
        return before
    try:
        requests = [item.request for item in items]
        news = [_new_order(principal, account, item, valid_for, requests[:place]) for place, item in enumerate(items)]
    except OrderRefused:
        # The same request may have come in between, by another connection: then it is no refusal but a replay.
        before = _taken_before(account, items)
        if before is None:
            raise
        return before
    # What is bought first lowers the margin of what is sold after it.
    order = sorted(range(len(news)), key=lambda place: news[place].params["transaction_type"] != "BUY")
    accepted = dict(zip(order, _accepted(account, [news[place] for place in order]), strict=True))
    return [accepted[place] for place in range(len(news))]


def _taken_before(account: TradingAccount, items: Sequence[_Item]) -> list[Submitted] | None:
    """The tasks of an earlier call with these keys; None if there was none."""
    found = [ledger.taken_before(account, item.key, item.fingerprint) for item in items]
    tasks = [task for task in found if task is not None]
    return [Submitted(task, is_new=False) for task in tasks] if len(tasks) == len(items) else None


def _print_of(operation: Operation, target: Target, changes: Mapping[str, Any]) -> str:
    """By what the caller said: what is known of the order may grow between two calls."""
    return fingerprint(operation, str(target.account.public_id), {"order": target.serial_key, **changes})


def _new_order(
    principal: str, account: TradingAccount, item: _Item, valid_for: timedelta | None, ahead: Sequence[OrderRequest]
) -> NewTask:
    request = item.request
    examined = examine(account, request, ahead=ahead)
    refuse_failed(examined.checks, item=item.place)
    public_id = uuid4()
    return NewTask(
        account=account,
        principal=principal,
        operation=request.operation,
        params=request.params(),
        idempotency_key=item.key,
        fingerprint=item.fingerprint,
        valid_until=valid_until(request, valid_for),
        trading_date=clock.today(),
        serial_key=str(public_id),
        decision=examined.facts.price.as_json() if examined.facts.price else {},
        public_id=public_id,
    )


def _new(
    principal: str,
    account: TradingAccount,
    operation: Operation,
    params: Mapping[str, Any],
    key: str,
    print_: str,
    target: Target,
    examined: Examined | None,
) -> NewTask:
    price = examined.facts.price if examined else None
    return NewTask(
        account=account,
        principal=principal,
        operation=operation,
        params=params,
        idempotency_key=key,
        fingerprint=print_,
        valid_until=valid_until(target.request(), None, operation),
        trading_date=clock.today(),
        serial_key=target.serial_key,
        decision=price.as_json() if price else {},
    )


def _accept_one(new: NewTask) -> Submitted:
    (submitted,) = _accepted(new.account, [new])
    return submitted


def _accepted(account: TradingAccount, news: Sequence[NewTask]) -> list[Submitted]:
    with transaction.atomic(durable=True):
        transaction.on_commit(lambda: failpoint("http.after_commit"))
        # Before other bells that wait for the commit: it is the order that is in a hurry.
        # Robust: one that cannot be rung must not make an error of an order that was taken on.
        transaction.on_commit(lambda: ring(account.pk), robust=True)
        found = ledger.accept_all(news)
    return [Submitted(task, is_new) for task, is_new in found]


def _take_back(task: OrderTask, principal: str) -> bool:
    """End a task that no worker has. Whether it is ended."""
    if task.status not in RUNNABLE:
        return False
    taken = ledger.settle(
        task,
        Status.FAILED,
        actor=principal,
        reason="cancelled_before_send",
        evidence={},
        error_code="cancelled_before_send",
        error_message="It was cancelled before it was sent.",
    )
    task.refresh_from_db()
    return taken


def _changeable(target: Target, changes: OrderChanges) -> list[Check]:
    before, most = changes_of(target), MOST_MODIFICATIONS
    has_room = before < most
    checks = [
        Check(
            "too_many_changes",
            has_room,
            f"It is change {before + 1} of at most {most}."
            if has_room
            else f"The order was changed {before} times; the broker takes {most}: cancel it and place anew.",
            {"changes": before, "most": most},
        )
    ]
    filled = target.broker_order.filled_quantity if target.broker_order else 0
    if changes.quantity is not None and changes.quantity < filled:
        checks.append(
            Check(
                "below_filled",
                False,
                f"{filled} of it are filled already: its quantity cannot be {changes.quantity}.",
                {"quantity": changes.quantity, "filled": filled},
            )
        )
    if target.is_over:
        status = target.broker_order.status if target.broker_order else ""
        checks.append(Check("order_over", False, f"The order is {status}: nothing can be changed.", {"status": status}))
    if target.task is not None and target.task.status in (Status.FAILED, Status.DEAD_LETTER):
        words = "was refused or never sent" if target.task.status == Status.FAILED else "waits for a person"
        checks.append(Check("order_over", False, f"The order {words}: there is nothing to change."))
    return checks
