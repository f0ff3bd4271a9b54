"""The kill switch: stop new orders of everything, an account or one of its strategies, and let them go again.

It is in force once `set_state` has committed: whoever marks an order for sending holds the same rows. At most the calls
that are under way at that moment still reach the broker. Exits and cancels always go out.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now

from accounts import audit
from accounts.models import TradingAccount
from orders import ledger
from orders.models import OrderTask, TradingState
from orders.states import REDUCING, RUNNABLE, Status


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

    HALTED drops the entries that wait, so that none of them goes out at the resumption; REDUCING lets them wait.
    """
    with transaction.atomic():
        TradingState.objects.bulk_create(
            [TradingState(account=scope.account, strategy=scope.strategy)], ignore_conflicts=True
        )
        row = TradingState.objects.select_for_update().get(account=scope.account, strategy=scope.strategy)
        was = row.state
        row.state, row.reason, row.set_by = state, reason[:300], actor[:100]
        row.set_at, row.epoch = Now(), F("epoch") + 1
        row.save()
        audit.record(
            audit.Kind.TRADING_STATE,
            account=scope.account.kite_user_id if scope.account else "",
            scope=str(scope),
            was=was,
            state=str(state),
            reason=reason,
            by=actor,
        )
    row.refresh_from_db()
    # After the commit: a drop that fails must not undo the halt, under which nothing goes out anyway.
    dropped = _drop(scope, actor) if state == TradingState.State.HALTED else 0
    return Change(row, was, dropped)


def states_in_force() -> Iterable[TradingState]:
    """Everything that is not simply active, the widest first."""
    stopped = TradingState.objects.exclude(state=TradingState.State.ACTIVE).select_related("account")
    return stopped.order_by(F("account").asc(nulls_first=True), "strategy")


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
