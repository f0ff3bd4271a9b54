"""The kill switch: stop new orders of everything, an account or one of its strategies, and let them go again.

It is in force once `set_state` has committed: whoever marks an order for sending holds the same rows. At most the calls
that are under way at that moment still reach the broker. Exits and cancels always go out.
"""

import logging
from dataclasses import dataclass

from django.db import DatabaseError, OperationalError, transaction
from django.db.models import F, QuerySet
from django.db.models.functions import Now

from accounts import audit
from accounts.models import TradingAccount
from orders import ledger
from orders.models import OrderTask, TradingState
from orders.states import REDUCING, RUNNABLE, Status

logger = logging.getLogger(__name__)

_STRICTNESS: dict[str, int] = {
    state: place
    for place, state in enumerate((TradingState.State.ACTIVE, TradingState.State.REDUCING, TradingState.State.HALTED))
}


@dataclass(frozen=True, slots=True)
class Scope:
    """What is stopped: everything; one account; one strategy of an account."""

    account: TradingAccount | None = None
    strategy: str = ""

    def __post_init__(self) -> None:
        if self.strategy and self.account is None:
            raise ValueError("a strategy belongs to an account")

    def __str__(self) -> str:
        whole = self.account.kite_user_id if self.account else "everything"
        return f"{whole}, strategy {self.strategy}" if self.strategy else whole


@dataclass(frozen=True, slots=True)
class Change:
    """What the switch did: `dropped` waiting entries will not be sent."""

    state: TradingState
    was: str
    dropped: int


def set_state(scope: Scope, state: TradingState.State, *, actor: str, reason: str) -> Change:
    """Stop or resume, with its row in the audit.

    HALTED drops the entries that wait, so that none of them goes out at the resumption; REDUCING lets them wait. An
    audit that cannot be written stops nobody from stopping: resuming it does.
    """
    change = _set(scope, state, actor, reason, only_tighten=False)
    assert change is not None  # noqa: S101 - only tightening leaves a state as it is
    return change


def tighten(scope: Scope, state: TradingState.State, *, actor: str, reason: str) -> Change | None:
    """`set_state`, but for a state that is as strict already: None then, and nothing is written."""
    return _set(scope, state, actor, reason, only_tighten=True)


def states_in_force() -> "QuerySet[TradingState]":
    """Everything that is not simply active, the widest first."""
    stopped = TradingState.objects.exclude(state=TradingState.State.ACTIVE).select_related("account")
    return stopped.order_by(F("account").asc(nulls_first=True), "strategy")


def _set(scope: Scope, state: TradingState.State, actor: str, reason: str, *, only_tighten: bool) -> Change | None:
    try:
        was = _write(scope, state, actor, reason, only_tighten=only_tighten, with_audit=True)
    except OperationalError:
        raise  # the database is away: it can be told nothing
    except DatabaseError:
        if state == TradingState.State.ACTIVE:
            raise
        logger.critical("%s is %s by %s without a row in the audit", scope, state, actor, exc_info=True)
        was = _write(scope, state, actor, reason, only_tighten=only_tighten, with_audit=False)
    if was is None:
        return None
    # After the commit: a drop that fails must not undo the halt, under which nothing goes out anyway.
    dropped = _drop(scope, actor) if state == TradingState.State.HALTED else 0
    return Change(TradingState.objects.get(account=scope.account, strategy=scope.strategy), was, dropped)


def _write(
    scope: Scope, state: TradingState.State, actor: str, reason: str, *, only_tighten: bool, with_audit: bool
) -> str | None:
    """What the state was before; None if it was left as it is."""
    with transaction.atomic():
        TradingState.objects.bulk_create(
            [TradingState(account=scope.account, strategy=scope.strategy)], ignore_conflicts=True
        )
        row = TradingState.objects.select_for_update().get(account=scope.account, strategy=scope.strategy)
        was = row.state
        if only_tighten and _STRICTNESS[was] >= _STRICTNESS[state]:
            return None
        row.state, row.reason, row.set_by = state, reason[:300], actor[:100]
        row.set_at, row.epoch = Now(), F("epoch") + 1
        row.save()
        if with_audit:
            audit.record(
                audit.Kind.TRADING_STATE,
                account=scope.account.kite_user_id if scope.account else "",
                scope=str(scope),
                was=was,
                state=str(state),
                reason=reason,
                by=actor,
            )
    return was


def _drop(scope: Scope, actor: str) -> int:
    waiting = OrderTask.objects.filter(status__in=RUNNABLE).exclude(operation__in=sorted(REDUCING))
    if scope.account is not None:
        waiting = waiting.filter(account=scope.account)
    if scope.strategy:
        waiting = waiting.filter(params__strategy=scope.strategy)
    return sum(
        ledger.settle(
            task,
            Status.FAILED,
            actor=actor,
            reason="trading_halted",
            evidence={"scope": str(scope)},
            error_code="trading_halted",
            error_message="It waited when trading was halted, and was not sent.",
        )
        for task in waiting.order_by("pk")
    )
