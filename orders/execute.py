"""Carrying tasks out, one account at a time: claim, budget, breaker, mark, send, and write down what came of it.

No transaction is open while the broker is asked. Before the mark a task can be put back; after it, only an answer of
the broker's, or its book, says what happened.
"""

import logging
import random
import time
from collections.abc import Callable
from datetime import date
from typing import Any

from django.db import DatabaseError, IntegrityError, OperationalError, connection

from accounts import breaker, clock
from accounts.breaker import Group, Outcome, Permit, breaker_name
from accounts.broker import OrdersClient
from accounts.broker.guard import outcome_of
from accounts.broker.transport import nothing_sent_after
from accounts.broker.words import Variety
from accounts.budget import (
    Go,
    Wait,
    acquire_order,
    acquire_order_without_redis,
    freeze_orders,
    order_wait,
)
from accounts.budget_limits import OrderKind
from accounts.exceptions import (
    BreakerOpen,
    BrokerError,
    BudgetUnavailable,
    CredentialError,
    RateLimited,
    SessionExpired,
)
from accounts.models import TradingAccount
from orders import ledger, senders, sweep, trips
from orders.book import has_book_of_today, read_book
from orders.durability import keeps_what_it_commits
from orders.exceptions import LeaseLost, NotToBeSent, Postponed
from orders.failpoints import failpoint
from orders.ledger import Claim
from orders.models import BrokerOrder, OrderTask
from orders.states import PLACING, TERMINAL, Operation
from orders.targets import order_id_of
from orders.turn import Turn
from orders.verdicts import Decision, Verdict, verdict_on

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 10.0
WRITE_AGAIN_SECONDS = (0.1, 0.4, 1.0)  # what is known of an order is worth more than one try
HELD_SECONDS = 1.0  # while Redis is away new risk waits
BACKOFF_BASE_SECONDS, BACKOFF_MOST_SECONDS = 0.5, 20.0
KINDS = {
    Operation.PLACE: OrderKind.ENTRY,
    Operation.AUTOSLICE: OrderKind.ENTRY,
    Operation.EXIT: OrderKind.EXIT,
    Operation.MODIFY: OrderKind.MODIFY,
    Operation.CANCEL: OrderKind.CANCEL,
}


_looked_at: dict[int, date] = {}  # by account: on which day this process last found its book whole


def may_send(account: TradingAccount) -> bool:
    """Whether this process has read the account's order book today, and read now if not: before that nothing is sent.

    A book shows orders that our rows know nothing of, as after a backup was restored: they would be sent again. Nor
    is anything sent where the database may lose what it has committed.
    """
    if not keeps_what_it_commits():
        return False
    today = clock.today()
    if _looked_at.get(account.pk) == today and has_book_of_today(account):
        return True
    # What an earlier process had in hand is put back first, so that the book is held against it.
    sweep.end_leases()
    try:
        if read_book(account).lacks:
            return False
        _looked_at[account.pk] = today
        return True
    except (BrokerError, CredentialError) as exc:
        logger.warning("%s sends nothing before its order book was read today: %s", account.kite_user_id, exc)
        return False


def drain(account: TradingAccount, *, seconds: float = DRAIN_SECONDS) -> int:
    """Carry out the account's tasks that are due, for `seconds` at most. How many were.

    It stops when none is left or when the budget has to be waited for: a busy account delays no other.
    """
    with senders.sending():
        return _drain(account, time.monotonic() + seconds)


def _drain(account: TradingAccount, give_up_at: float) -> int:
    done, owner, turn = 0, senders.worker_name(), Turn(account)
    while time.monotonic() < give_up_at:
        only_reducing = not turn.has_room and _must_wait(account, OrderKind.ENTRY)
        if only_reducing and _must_wait(account, OrderKind.EXIT):
            break
        claim = ledger.claim(account, owner, only_reducing=only_reducing)
        if claim is None:
            break
        failpoint("order.after_claim")
        carry_out(claim, turn)
        done += 1
    return done


def carry_out(claim: Claim, turn: Turn) -> None:
    """One claimed task, to whatever end. Never raises for what the broker or another worker does."""
    task = claim.task
    turn.has_room = False
    try:
        if Operation(task.operation) not in PLACING and _needs_no_call(claim):
            return
        permit = _pass_the_gates(claim, turn)
        if permit is None:
            return
        client = turn.client_for(Operation(task.operation), claim.login)
        ledger.mark(claim)
    except NotToBeSent as exc:
        _end_quietly(ledger.fail, claim, exc.code, str(exc))
        return
    except Postponed as exc:
        _put_back(claim, "only_exits", str(exc), HELD_SECONDS)
        return
    except SessionExpired as exc:
        _write_verdict(claim, verdict_on(exc))
        return
    except CredentialError as exc:
        _write_verdict(claim, Verdict(Decision.RETRY, "credential", str(exc), after_seconds=60, costs_an_attempt=False))
        return
    except LeaseLost as exc:
        logger.warning("%s", exc)
        return
    except DatabaseError as exc:
        # Neither marked nor in the audit: it is not sent. Its transaction was undone, and the connection may be dead.
        logger.critical("task %s: the mark cannot be written", task.public_id, exc_info=True)
        _write_verdict(
            claim, Verdict(Decision.RETRY, "not_written_down", "The mark or its audit could not be written.")
        )
        _tell(trips.not_written_down, task.account, exc)
        return
    except Exception:  # a mistake of ours, before the mark: nothing was sent, and other orders must not suffer from it
        logger.exception("task %s: unexpected error before sending", task.public_id)
        _write_verdict(claim, Verdict(Decision.RETRY, "unexpected_error", "An error of this service before sending."))
        return
    failpoint("order.after_mark")
    _send(claim, client, permit, turn)


def _needs_no_call(claim: Claim) -> bool:
    """Whether a change or a cancel was ended because there is nothing to send: its order never was, or is over.

    Raises
    ------
    NotToBeSent
    """
    task = claim.task
    order_id = order_id_of(task)
    if not order_id:
        raise NotToBeSent("order_not_at_broker", "the order that it is about never reached the broker")
    status = (
        BrokerOrder.objects.filter(account=task.account_id, order_id=order_id).values_list("status", flat=True).first()
    )
    if status not in TERMINAL:
        return False
    if Operation(task.operation) is Operation.MODIFY:
        raise NotToBeSent("order_over", f"the order is {status} by now")
    _end_quietly(ledger.complete, claim, order_id, reason="already_terminal", status=status)
    return True


def _pass_the_gates(claim: Claim, turn: Turn) -> Permit | None:
    """Budget and breaker. None if the task was put back."""
    task = claim.task
    kind = KINDS[Operation(task.operation)]
    charge = f"{task.public_id}:{claim.token}"
    try:
        answer: Go | Wait = acquire_order(task.account, kind, charge_id=charge)
    except BudgetUnavailable as exc:
        if not kind.may_use_reserve:
            _put_back(claim, "budget_unavailable", str(exc), HELD_SECONDS)
            return None
        answer = acquire_order_without_redis(task.account, kind, charge_id=charge)
    if isinstance(answer, Wait):
        _put_back(claim, "over_budget", f"the budget of this {answer.window} is used up", answer.seconds)
        return None
    turn.has_room = kind is OrderKind.ENTRY and answer.has_room
    try:
        return breaker.ask(breaker_name(task.account.kite_user_id, Group.ORDERS), urgent=kind.may_use_reserve)
    except BreakerOpen as exc:
        _put_back(claim, "breaker_open", str(exc), exc.retry_after_seconds)
        return None


def _send(claim: Claim, client: OrdersClient, permit: Permit, turn: Turn) -> None:
    """The one place from which an order leaves."""
    task = claim.task
    if client.account.pk != task.account_id:
        raise AssertionError(f"task {task.public_id} is of another account than its client")
    if claim.is_fenced_off:
        # The mark stands, and nothing was sent: this worker knows it, and it is the only one that can.
        breaker.report(permit, Outcome.NEITHER)
        _put_back(claim, "fenced_off", "the worker was held up for so long that its lease may end while it sends", 0.0)
        return
    try:
        with nothing_sent_after(claim.fence_at):
            order_id = CALLS[Operation(task.operation)](client, task)
    except Exception as exc:  # whatever it is, it came after the mark: the task must not stay as it is
        if not isinstance(exc, BrokerError):
            logger.exception("task %s: unexpected error while sending", task.public_id)
        breaker.report(permit, outcome_of(exc))
        if isinstance(exc, SessionExpired):
            turn.forget_token()
        turn.has_room = False
        if type(exc) is RateLimited:  # the broker's own word; what derives from it is about our own limits
            _freeze(task.account, exc.retry_after_seconds)
        _write_verdict(claim, verdict_on(exc))
        if type(exc) is RateLimited:
            _tell(trips.rate_limited, task.account)
        return
    failpoint("order.after_response")
    breaker.report(permit, Outcome.OK)
    try:
        _end_quietly(ledger.complete, claim, order_id)
    except IntegrityError:
        message = f"the broker answered with order {order_id}, which another task has"
        _end_quietly(ledger.leave_unknown, claim, "order_id_taken", message)


def _write_verdict(claim: Claim, verdict: Verdict) -> None:
    code, message = verdict.code, verdict.message
    match verdict.decision:
        case Decision.FAILED:
            _end_quietly(ledger.fail, claim, code, message, http_status=verdict.http_status)
        case Decision.UNKNOWN:
            _end_quietly(ledger.leave_unknown, claim, code, message, http_status=verdict.http_status)
        case _:
            after = max(verdict.after_seconds, _backoff(claim.task.attempts) if verdict.costs_an_attempt else 0.0)
            _end_quietly(
                ledger.retry, claim, code, message, after_seconds=after, costs_an_attempt=verdict.costs_an_attempt
            )


def _put_back(claim: Claim, code: str, message: str, seconds: float) -> None:
    _end_quietly(ledger.retry, claim, code, message, after_seconds=seconds, costs_an_attempt=False)


def _end_quietly(write: Callable[..., None], claim: Claim, *args: Any, **kwargs: Any) -> None:
    """Another worker may have taken the task over: then it is that one's to end."""
    for pause in (*WRITE_AGAIN_SECONDS, None):
        try:
            write(claim, *args, **kwargs)
        except LeaseLost as exc:
            logger.warning("%s", exc)
        except OperationalError as exc:
            # A deadlock, a lock that was not let go, a server that restarts: nothing was written, or the token says so.
            if pause is None or connection.in_atomic_block:
                raise
            logger.warning("task %s: its end cannot be written, trying again: %s", claim.task.public_id, exc)
            connection.close()
            time.sleep(pause)
            continue
        return


def _tell(rule: Callable[..., bool], *args: Any) -> None:
    """What may stop trading must not stop the worker: the task's end is written down by now."""
    try:
        rule(*args)
    except DatabaseError:
        logger.critical("whether to stop trading cannot be said", exc_info=True)


def seconds_to_wait(account: TradingAccount) -> float:
    """How long the account's budget lets no entry through; while Redis is away, how long entries are held."""
    try:
        return order_wait(account, OrderKind.ENTRY)
    except BudgetUnavailable:
        return HELD_SECONDS


def _must_wait(account: TradingAccount, kind: OrderKind) -> bool:
    try:
        return order_wait(account, kind) > 0
    except BudgetUnavailable:
        return not kind.may_use_reserve  # exits are counted in PostgreSQL then


def _freeze(account: TradingAccount, seconds: float) -> None:
    try:
        freeze_orders(account, seconds)
    except BudgetUnavailable as exc:
        logger.warning("%s", exc)


def _backoff(attempts: int) -> float:
    """Full jitter: anywhere up to a bound that doubles with each attempt."""
    bound = min(BACKOFF_MOST_SECONDS, BACKOFF_BASE_SECONDS * 2.0**attempts)
    return random.uniform(0, bound)  # noqa: S311 - spreads load


# --- the calls -------------------------------------------------------------------------------------------------------

_PATH_FIELDS = frozenset({"variety", "order_id", "target", "parent_order_id", "strategy"})


def _fields(task: OrderTask) -> dict[str, Any]:
    return {name: value for name, value in task.params.items() if name not in _PATH_FIELDS}


def _place(client: OrdersClient, task: OrderTask) -> str:
    return client.place(Variety(task.params["variety"]), **_fields(task), tag=task.tag)


def _autoslice(client: OrdersClient, task: OrderTask) -> str:
    return str(client.place_autoslice(Variety(task.params["variety"]), **_fields(task), tag=task.tag)["order_id"])


def _modify(client: OrdersClient, task: OrderTask) -> str:
    return client.modify(Variety(task.params["variety"]), order_id_of(task), **_fields(task))


def _cancel(client: OrdersClient, task: OrderTask) -> str:
    parent = task.params.get("parent_order_id")
    return client.cancel(Variety(task.params["variety"]), order_id_of(task), parent_order_id=parent)


CALLS: dict[Operation, Callable[[OrdersClient, OrderTask], str]] = {
    Operation.PLACE: _place,
    Operation.EXIT: _place,
    Operation.AUTOSLICE: _autoslice,
    Operation.MODIFY: _modify,
    Operation.CANCEL: _cancel,
}
