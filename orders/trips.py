"""What stops trading by itself: each a plain function over what was seen, with its setting (0: off).

A trip stops new risk, is audited, logged for a person to see, and counted. Only a person lets orders go again; what
was seen before that does not trip a second time.
"""

import logging
import time
from collections.abc import Iterable

from django.conf import settings
from django.db import DatabaseError, OperationalError, connection

from accounts.models import TradingAccount
from orders import portfolio
from orders.halts import Scope, tighten
from orders.limits import limits_for, somebody_limits
from orders.metrics import CLOCK_SKEW, TRIPS
from orders.models import TradingState
from orders.rupees import rupees

logger = logging.getLogger(__name__)

ACTOR = "trip"
WINDOW_SECONDS = 60
ALERT_SKEW_SECONDS = 2.0
State = TradingState.State


def trip(account: TradingAccount | None, code: str, why: str, *, state: State = State.REDUCING) -> bool:
    """Stop an account's new orders, or everybody's. Whether this did it: a stop in force is only made stricter.

    Parameters
    ----------
    code : which rule, for metrics
    why : in words, for whoever has to look
    """
    scope = Scope(account)
    if tighten(scope, state, actor=ACTOR, reason=f"{code}: {why}") is None:
        return False
    TRIPS.labels(code).inc()
    logger.critical("%s: %s; only exits and cancels go out until a person resumes it", scope, why)
    return True


def look() -> None:
    """Every rule that is a question to the database; asked with each sweep."""
    too_many_unknown()
    day_losses()
    clock_skew()


# --- seen by whoever calls them --------------------------------------------------------------------------------------


def duplicate_detected(account: TradingAccount, why: str) -> bool:
    """More than one order of the broker's carries the tag of one task."""
    return bool(settings.ORDER_TRIP_DUPLICATE) and trip(account, "duplicate_detected", why)


def orphan_order(account: TradingAccount, order_id: str) -> bool:
    """An order has a tag of ours and no task: somebody else uses our tags, or rows were lost."""
    if not settings.ORDER_TRIP_ORPHAN:
        return False
    return trip(account, "orphan_order", f"order {order_id} has a tag of ours and no task")


def not_written_down(account: TradingAccount, error: DatabaseError) -> bool:
    """A mark or its audit was refused by the database. One that is away or in a hurry is no reason."""
    if not settings.ORDER_TRIP_AUDIT or isinstance(error, OperationalError):
        return False
    return trip(account, "audit_failed", f"an order's mark could not be written down ({type(error).__name__})")


def rate_limited(account: TradingAccount) -> bool:
    """The broker refuses as too many what our own count lets through: somebody else sends on this account.

    Called after each such answer has been written down.
    """
    most = settings.ORDER_TRIP_RATE_LIMITED
    if not most:
        return False
    with connection.cursor() as cursor:
        cursor.execute(_RATE_LIMITED, {"account": account.pk, "seconds": WINDOW_SECONDS})
        (seen,) = cursor.fetchone()
    if seen < most:
        return False
    why = f"the broker answered {seen} times in {WINDOW_SECONDS} s that there are too many orders; ours were within"
    return trip(account, "rate_limited", f"{why} the budget")


# --- asked of the database -------------------------------------------------------------------------------------------

_UNKNOWN = """
select account_id, count(*) from orders_ordertask as task
 where unknown_since > statement_timestamp() - make_interval(secs => %(seconds)s)
   and unknown_since > coalesce((select set_at from orders_tradingstate as state
                                  where state.account_id = task.account_id and strategy = ''), '-infinity')
 group by account_id having count(*) >= %(most)s
"""

_RATE_LIMITED = """
select count(*) from orders_orderevent as event join orders_ordertask as task on task.id = event.task_id
 where task.account_id = %(account)s and task.created_at > statement_timestamp() - interval '1 day'
   and event.reason = 'rate_limited'
   and event.at > statement_timestamp() - make_interval(secs => %(seconds)s)
   and event.at > coalesce((select set_at from orders_tradingstate as state
                             where state.account_id = task.account_id and strategy = ''), '-infinity')
"""


def too_many_unknown() -> int:
    """Accounts with so many outcomes that nobody knew within a minute, whatever became of them. How many tripped."""
    most = settings.ORDER_TRIP_UNKNOWN
    if not most:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_UNKNOWN, {"most": most, "seconds": WINDOW_SECONDS})
        seen = dict(cursor.fetchall())
    return sum(
        trip(account, "too_many_unknown", f"nobody knew the outcome of {seen[account.pk]} orders of the last minute")
        for account in TradingAccount.objects.filter(pk__in=seen)
    )


def day_losses() -> int:
    """Accounts that have lost their limit today. Who lets them go again has to raise it first. How many tripped."""
    if not settings.ORDER_TRIP_DAY_LOSS or not somebody_limits("max_day_loss"):
        return 0
    return sum(_day_loss(account) for account in _trading_accounts())


def _day_loss(account: TradingAccount) -> bool:
    bounds = [one.limits.max_day_loss for one in limits_for(account)]
    most = min((bound for bound in bounds if bound is not None), default=None)
    pnl = portfolio.day_pnl(account) if most is not None else None
    if most is None or pnl is None or pnl > -most:
        return False
    return trip(account, "day_loss", f"it has lost {rupees(-pnl)} today; the limit is {rupees(most)}")


def clock_skew() -> float:
    """How many seconds this machine's clock is ahead of the database's; far off, nobody sends anything new.

    What the database takes to answer counts for neither side.
    """
    before = time.time()
    with connection.cursor() as cursor:
        cursor.execute("select extract(epoch from clock_timestamp())")
        (there,) = cursor.fetchone()
    after = time.time()
    skew = max(before - float(there), 0.0) or min(after - float(there), 0.0)
    CLOCK_SKEW.set(skew)
    most = settings.ORDER_TRIP_CLOCK_SKEW_SECONDS
    if abs(skew) > ALERT_SKEW_SECONDS:
        logger.error("this machine's clock and the database's are %.1f s apart", abs(skew))
    if most and abs(skew) > most:
        why = f"a machine's clock and the database's are {abs(skew):.1f} s apart"
        trip(None, "clock_skew", why, state=State.HALTED)
    return skew


def _trading_accounts() -> Iterable[TradingAccount]:
    return TradingAccount.objects.enabled().filter(is_trading=True)
