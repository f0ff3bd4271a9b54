"""Limits on orders of an account, before they are taken on and again before they are sent.

Both times by the same rules (`orders.risk_rules`) over what is known then (`orders.exposure`).
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any

from accounts.models import TradingAccount
from market.prices import MarketPrice
from orders import exposure, portfolio
from orders.checks import Check
from orders.exposure import Place
from orders.limits import ScopedLimits, limits_for
from orders.models import OrderTask
from orders.requests import OrderChanges, OrderRequest
from orders.risk_rules import (
    RiskFacts,
    checks_of,
    figures,
    really_exits,
    with_entries_ahead,
    with_exits_ahead,
)
from orders.states import Operation
from orders.targets import Target, target_of_change


def check_order(
    account: TradingAccount,
    request: OrderRequest,
    price: MarketPrice | None,
    *,
    ahead: Sequence[OrderRequest] = (),
    replaces: Target | None = None,
) -> list[Check]:
    """Every rule that bears on an order, those that passed too.

    Parameters
    ----------
    price : of its instrument, as it is known now
    ahead : orders that are taken on together with it, before it, and are not stored yet
    replaces : the order that `request` would be a change of
    """
    return checks_of(request, facts_of(account, request, price, ahead, replaces), is_change=replaces is not None)


def facts_of(
    account: TradingAccount,
    request: OrderRequest,
    price: MarketPrice | None,
    ahead: Sequence[OrderRequest] = (),
    replaces: Target | None = None,
) -> RiskFacts:
    """What the rules need to know, and nothing that they do not ask for."""
    stopped = exposure.stopped_for(account, request.strategy)
    twin = "" if replaces else exposure.twin_of(account, request, ahead)
    limits = limits_for(account, request.strategy)
    if request.is_exit:
        but = replaces.task.pk if replaces and replaces.task else 0
        position = exposure.position_of(account, request, but=but)
        if position is not None:
            position = with_exits_ahead(request, position, ahead)
        return RiskFacts(limits=limits, price=price, stopped=stopped, position=position, twin=twin)
    has_delta = _has(limits, "max_net_delta")
    return RiskFacts(
        limits=limits,
        usage=with_entries_ahead(exposure.usage_of(account, replaces=replaces), ahead),
        price=price,
        stopped=stopped,
        day_pnl=portfolio.day_pnl(account) if _has(limits, "max_day_loss") else None,
        net_delta=portfolio.net_delta(account) if has_delta else None,
        order_delta=exposure.order_delta(request, price) if has_delta else None,
        twin=twin,
    )


def recheck(task: OrderTask) -> Check | None:
    """The limit that a task breaks by now, inside of the transaction of its mark; None if it may go out.

    From PostgreSQL alone, in a few queries. What was taken on later does not count against it: of several that came at
    once, each seeing none of the others, the first ones go out. Prices are those of its acceptance. What depends on
    prices of this moment is not asked again: a day's loss stops the account by itself (`orders.trips`).
    """
    account, operation = task.account, Operation(task.operation)
    if operation is Operation.CANCEL:
        return None
    replaces = target_of_change(task) if operation is Operation.MODIFY else None
    if operation is Operation.MODIFY and replaces is None:
        return None  # nothing is known of the order; its change was checked when it was taken on
    request = _request_of(task, replaces)
    if request.is_exit:
        but = replaces.task.pk if replaces and replaces.task else 0
        position = exposure.position_of(account, request, before=task.pk, but=but)
        # Known when it was taken on; forgotten since, it must not keep somebody in a position.
        check = really_exits(request, position) if position else None
        return check if check is not None and not check.passed else None
    limits = limits_for(account, request.strategy)
    facts = RiskFacts(
        limits=limits,
        usage=exposure.usage_of(account, place=Place(task.pk, task.created_at), replaces=replaces),
        price=_price_in(task.decision),
    )
    broken = (one for one in figures(request, facts, is_change=replaces is not None) if one.passed is False)
    return next(broken, None)


def _request_of(task: OrderTask, replaces: Target | None) -> OrderRequest:
    if replaces is None:
        return OrderRequest.of_params(task.params, is_exit=task.operation == Operation.EXIT)
    return replaces.request().changed(OrderChanges.of_params(task.params))


def _price_in(decision: Mapping[str, Any]) -> MarketPrice | None:
    """The price at which an order was decided, as it was kept."""
    last = decision.get("last_price")
    if last is None:
        return None
    return MarketPrice(Decimal(last), None, None, None, None, is_fresh=False, source=str(decision.get("source", "")))


def _has(limits: list[ScopedLimits], name: str) -> bool:
    return any(getattr(one.limits, name) is not None for one in limits)
