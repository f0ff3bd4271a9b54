"""Limits on orders of an account, before they are taken on and again before they are sent."""

from accounts.models import TradingAccount
from market.prices import MarketPrice
from orders.checks import Check
from orders.models import OrderTask, TradingState
from orders.requests import OrderRequest
from orders.states import REDUCING


def check_order(account: TradingAccount, request: OrderRequest, price: MarketPrice | None) -> list[Check]:
    """Every limit that bears on a new order."""
    stopped = None
    if request.operation not in REDUCING:
        rows = TradingState.objects.filter(account=None) | TradingState.objects.filter(
            account=account, strategy__in={"", request.strategy}
        )
        stopped = rows.exclude(state=TradingState.State.ACTIVE).order_by("pk").first()
    if stopped is not None:
        return [Check("trading_halted", False, f"Trading is {stopped.get_state_display()}: {stopped.reason}".strip())]
    return [Check("trading_halted", True, "Trading is not stopped.")]


def recheck(task: OrderTask) -> Check | None:
    """The limit that a task breaks by now, inside of the transaction of its mark."""
    return None
