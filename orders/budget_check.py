"""Whether the account's rate budget has room for one more order in time."""

from accounts.budget import order_budget, order_wait
from accounts.exceptions import BudgetUnavailable
from accounts.models import TradingAccount
from orders.checks import Check
from orders.execute import KINDS
from orders.models import OrderTask
from orders.states import Operation

# A wait beyond this is the day's: the second's and the minute's are shorter.
LONGEST_WAIT_SECONDS = 300.0


def check(account: TradingAccount, operation: Operation, *, ahead: int = 0) -> Check:
    """`ahead`: how many orders go before it that are not stored yet."""
    waiting = OrderTask.objects.filter(account=account).runnable().count() + ahead
    try:
        wait = order_wait(account, KINDS[operation])
    except BudgetUnavailable:
        return Check("over_budget", None, "The order budget cannot be read now; entries wait until it can.")
    figures = {"wait_seconds": round(wait, 1), "waiting": waiting}
    if wait > LONGEST_WAIT_SECONDS:
        return Check(
            "over_budget", False, "The account's orders of the day are used up; exits have a reserve.", figures
        )
    ahead_words = f"{waiting} orders wait before it." if waiting else "It goes out at once."
    return Check("over_budget", True, ahead_words, figures)


def seconds_for(account: TradingAccount, orders: int) -> float:
    """How long an empty budget needs for so many entries, at least."""
    slowest = (
        (orders - 1) // max(window.allows(with_reserve=False), 1) * window.seconds
        for window in order_budget(account).limits.windows
    )
    return round(max(slowest, default=0.0), 1)
