"""How much may be asked of the broker: orders are counted per account, data calls per API key, over all processes.

Nothing here waits. An acquire says go, and has charged; or says how many seconds to wait, and has charged nothing. Time
is the Redis server's own, so that no worker's clock matters. While Redis is away data calls go by a log of this
process with longer windows, and orders by `acquire_order_without_redis`.
"""

import hashlib
import logging
import time
import uuid
from dataclasses import dataclass

from django.db import DatabaseError

from accounts import budget_log
from accounts.budget_limits import OrderKind, RouteClass, limits_of
from accounts.budget_log import Answer, Budget, DayUnknown, ProcessLogs
from accounts.exceptions import BudgetUnavailable
from accounts.metrics import BUDGET_CHARGED, BUDGET_WAITS
from accounts.models import TradingAccount
from accounts.order_days import DayMemory, charge_without_redis, read_day, write_day
from accounts.shared_scripts import RedisAway, away_since

logger = logging.getLogger(__name__)

_days = DayMemory()
_of_this_process = ProcessLogs()


@dataclass(frozen=True, slots=True)
class Go:
    """Send it: the budget is charged. `has_room`: its windows have room for another such call."""

    charge_id: str
    has_room: bool = False


@dataclass(frozen=True, slots=True)
class Wait:
    """Do not send it before `seconds` are over: nothing is charged. `window` is what it waits for."""

    seconds: float
    window: str  # second, minute, day, frozen


def acquire_data(api_key: str, route_class: RouteClass, *, charge_id: str = "") -> Go | Wait:
    """Charge one data call of an API key, or say how long to wait."""
    budget = data_budget(api_key, route_class)
    charge_id = charge_id or uuid.uuid4().hex
    seconds = _of_this_process.just_used(budget)
    if seconds > 0:
        return _decided(budget, Answer(seconds, "second"), charge_id, cost=1)
    try:
        answer = budget_log.ask("take", budget, charge_id=charge_id)
    except RedisAway as exc:
        answer = Answer(_of_this_process.take(budget, away_since=exc.since), "second")
    assert isinstance(answer, Answer)  # noqa: S101  (only orders have a day)
    return _decided(budget, answer, charge_id, cost=1)


def acquire_order(account: TradingAccount, kind: OrderKind, *, charge_id: str, cost: int = 1) -> Go | Wait:
    """Charge one order call of an account, or say how long to wait. Call it outside of a transaction.

    Parameters
    ----------
    charge_id : e.g. task and attempt; the same id asked again within a minute goes, and is charged once.
    cost : how many orders the call becomes at the broker (slices of one order count each).

    Raises
    ------
    BudgetUnavailable
        Redis is away: new risk is held; cancels and exits may go by `acquire_order_without_redis`.
    ValueError
        The cost would not fit into an empty window.
    """
    budget = order_budget(account)
    if _days.is_due(account.pk):
        _write_behind(account, budget, kind)
    answer = ask_for_orders("take", account, budget, kind, cost=cost, charge_id=charge_id)
    allowed = [window.allows(with_reserve=kind.may_use_reserve) for window in budget.limits.windows]
    counts = [count for count, _ in answer.windows]  # without this call
    has_room = all(count + 2 * cost <= most for count, most in zip(counts, allowed, strict=True))
    return _decided(budget, answer, charge_id, cost=cost, has_room=has_room)


def acquire_order_without_redis(
    account: TradingAccount, kind: OrderKind, *, charge_id: str, cost: int = 1
) -> Go | Wait:
    """As `acquire_order`, counted in PostgreSQL and slower: for while Redis is away.

    It waits out the second in which Redis was found away: what was counted there just before is not known here.

    Raises
    ------
    ValueError
        The cost would not fit into an empty second.
    """
    budget = order_budget(account)
    since = away_since()
    if since is not None and (left := since + budget.limits.windows[0].seconds - time.monotonic()) > 0:
        return _decided(budget, Answer(left, "second"), charge_id, cost=cost)
    per_day = budget.limits.of_day(with_reserve=kind.may_use_reserve)
    seconds, known = charge_without_redis(account, cost=cost, counts_in_day=kind.counts_in_day, per_day=per_day)
    _days.learn(account.pk, known)  # Redis is told when it is back
    return _decided(budget, Answer(seconds, "second"), charge_id, cost=cost)


def order_wait(account: TradingAccount, kind: OrderKind, *, cost: int = 1) -> float:
    """How many seconds such an order call must wait; 0.0: none. Nothing is charged. Raises as `acquire_order`."""
    return ask_for_orders("look", account, order_budget(account), kind, cost=cost).wait_seconds


def data_wait(api_key: str, route_class: RouteClass) -> float:
    """How many seconds a data call must wait; 0.0: none. Nothing is charged."""
    budget = data_budget(api_key, route_class)
    try:
        answer = budget_log.ask("look", budget)
    except RedisAway as exc:
        return _of_this_process.look(budget, away_since=exc.since)
    assert isinstance(answer, Answer)  # noqa: S101  (only orders have a day)
    return max(answer.wait_seconds, _of_this_process.just_used(budget))


def freeze_data(api_key: str, route_class: RouteClass, seconds: float) -> None:
    """The broker said "too many requests": let nothing of this class through for `seconds` (60 at most)."""
    budget = data_budget(api_key, route_class)
    try:
        budget_log.freeze(budget, seconds)
    except RedisAway:
        _of_this_process.freeze(budget, seconds)


def freeze_orders(account: TradingAccount, seconds: float) -> None:
    """The same for the orders of an account.

    Raises
    ------
    BudgetUnavailable
        Redis is away: entries are held anyway.
    """
    try:
        budget_log.freeze(order_budget(account), seconds)
    except RedisAway as exc:
        raise BudgetUnavailable(f"the orders of {account.kite_user_id} cannot be frozen: {exc}") from exc


def ask_for_orders(
    op: str, account: TradingAccount, budget: Budget, kind: OrderKind, *, cost: int = 1, charge_id: str = ""
) -> Answer:
    """`budget_log.ask` that tells Redis the day's count where it does not know it. Raises as `acquire_order`."""
    try:
        answer = budget_log.ask(op, budget, kind=kind, cost=cost, charge_id=charge_id, known=_days.known(account.pk))
        if isinstance(answer, DayUnknown):  # a new day, or a Redis that has lost its memory
            known = read_day(account.pk, answer.day)
            _days.learn(account.pk, known)
            answer = budget_log.ask(op, budget, kind=kind, cost=cost, charge_id=charge_id, known=known)
    except (RedisAway, DatabaseError) as exc:
        raise BudgetUnavailable(f"the orders of {budget.owner} cannot be counted: {exc}") from exc
    if isinstance(answer, DayUnknown):
        raise BudgetUnavailable(f"the orders of {budget.owner} cannot be counted: midnight passed meanwhile")
    return answer


def order_budget(account: TradingAccount) -> Budget:
    return Budget(account.kite_user_id, account.kite_user_id, RouteClass.ORDERS, limits_of(RouteClass.ORDERS))


def data_budget(api_key: str, route_class: RouteClass) -> Budget:
    if route_class is RouteClass.ORDERS:
        raise ValueError("orders are counted per account")
    digest = hashlib.sha256(api_key.encode()).hexdigest()[:16]  # whoever reads Redis need not learn the key
    return Budget(f"…{api_key[-4:]}", f"app-{digest}", route_class, limits_of(route_class))


def _decided(budget: Budget, answer: Answer, charge_id: str, *, cost: int, has_room: bool = False) -> Go | Wait:
    if answer.wait_seconds > 0:
        BUDGET_WAITS.labels(budget.owner, budget.route_class, answer.window).inc()
        return Wait(answer.wait_seconds, answer.window)
    BUDGET_CHARGED.labels(budget.owner, budget.route_class).inc(cost)
    return Go(charge_id, has_room)


def _write_behind(account: TradingAccount, budget: Budget, kind: OrderKind) -> None:
    """Write down what Redis has counted until now.

    Before a charge and not after: what is charged is to be sent at once, and the database may take its time.
    """
    answer = ask_for_orders("look", account, budget, kind)
    counted_by_redis = answer.used_of_day - answer.without_redis_of_day
    try:
        _days.learn(account.pk, write_day(account.pk, answer.day, counted_by_redis))
    except DatabaseError as exc:
        logger.warning("the day's count of orders of %s is not written down: %s", account.kite_user_id, exc)
