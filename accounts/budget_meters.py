"""How full each budget is, for people and for Prometheus. Looking charges nothing."""

from dataclasses import dataclass

from accounts import budget_log
from accounts.budget import ask_for_orders, data_budget, order_budget
from accounts.budget_limits import DATA_CLASSES, OrderKind, RouteClass
from accounts.budget_log import Answer, Budget
from accounts.exceptions import BudgetUnavailable
from accounts.models import KiteApp, TradingAccount
from accounts.shared_scripts import RedisAway

DAY_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Meter:
    """One window as it stands. `used` and `next_free_seconds` are None while Redis is away: nobody knows them.

    `next_free_seconds` is when one more call would fit, the reserve included; 0.0: now.
    """

    owner: str  # a Kite user id, or the last four characters of an API key
    route_class: RouteClass
    window: str  # second, minute, day
    window_seconds: float
    limit: int
    reserve: int
    used: int | None
    next_free_seconds: float | None


def order_meters(account: TradingAccount) -> list[Meter]:
    """The windows of an account's orders, the Indian day last."""
    budget = order_budget(account)
    limits = budget.limits
    try:
        answer = ask_for_orders("look", account, budget, OrderKind.EXIT)
    except BudgetUnavailable:
        answer = None
    per_day = limits.per_day or 0
    used = answer.used_of_day if answer else None
    free = None if answer is None else (answer.wait_seconds if answer.used_of_day >= per_day else 0.0)
    day = Meter(budget.owner, RouteClass.ORDERS, "day", DAY_SECONDS, per_day, limits.day_reserve, used, free)
    return [*_meters(budget, answer), day]


def data_meters(app: KiteApp) -> list[Meter]:
    """The windows of an app's data calls, which all accounts of the app share."""
    found: list[Meter] = []
    for route_class in DATA_CLASSES:
        budget = data_budget(app.api_key, route_class)
        try:
            answer = budget_log.ask("look", budget)
        except RedisAway:
            found += _meters(budget, None)
        else:
            assert isinstance(answer, Answer)  # noqa: S101  (only orders have a day)
            found += _meters(budget, answer)
    return found


def _meters(budget: Budget, answer: Answer | None) -> list[Meter]:
    windows = budget.limits.windows
    counts: list[tuple[int | None, float | None]] = list(answer.windows) if answer else [(None, None)] * len(windows)
    return [
        Meter(budget.owner, budget.route_class, window.name, window.seconds, window.limit, window.reserve, used, free)
        for window, (used, free) in zip(windows, counts, strict=True)
    ]
