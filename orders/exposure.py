"""What an account has under way, in few queries: open orders and their worth, orders of a minute, exits, positions.

What the broker shows counts as it shows it; a task counts as long as the broker shows nothing of it, and whatever may
have been sent counts as sent.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from decimal import Decimal
from typing import Any

from django.db.models import F
from django.db.models.functions import Now

from accounts import clock
from accounts.broker.words import TransactionType
from accounts.clock import IST
from accounts.models import TradingAccount
from accounts.prepared import prepared_cursor
from market.models import Instrument
from market.prices import MarketPrice
from orders import portfolio
from orders.models import OrderTask, TradingState
from orders.requests import OrderRequest
from orders.risk_rules import ITEM_BEFORE, OpenPosition, Stopped, Usage, is_twin
from orders.states import OPEN, PLACING, TERMINAL, Status
from orders.targets import Target
from orders.validation import IN_LOTS

TWIN_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Place:
    """Where in the line a task stands: what was taken on after it does not count against it."""

    task_id: int
    created_at: datetime


# The states stand here as literals because the indexes have them too: one is used only where they are the same. A task
# that the broker has taken is shown by the next whole book at the latest. Whether it is shown is asked for each of the
# few, by index: as a join, all orders of the day would be read for it.
_USAGE = """
with maybe_there as (
  select id from orders_ordertask
   where account_id = %(account)s and status in ('pending', 'retrying', 'running', 'unknown')
  union all
  select id from orders_ordertask
   where account_id = %(account)s and status = 'completed'
     and finished_at > coalesce((select read_at - interval '30 seconds' from orders_orderbook
                                  where account_id = %(account)s and trading_date = %(today)s and not is_stale),
                                '-infinity')),
counted as (
  select coalesce(params ->> 'strategy', '') as strategy, 0 as worth, 1 as is_recent
    from orders_ordertask
   where account_id = %(account)s and operation in ('place', 'autoslice') and id < %(before)s and id <> %(but)s
     and created_at > coalesce(%(at)s, statement_timestamp()) - interval '1 minute'
     and not (status = 'failed' and send_started_at is null)
  union all
  select coalesce(params ->> 'strategy', ''),
         (params ->> 'quantity')::numeric
           * coalesce(params ->> 'price', params ->> 'trigger_price', decision ->> 'last_price')::numeric
           * (params ->> 'exchange' <> all(%(in_lots)s))::int, 0
    from maybe_there join orders_ordertask as task using (id)
   where operation in ('place', 'autoslice') and trading_date = %(today)s and id < %(before)s and id <> %(but)s
     and (select shown.id from orders_brokerorder as shown where shown.task_id = task.id limit 1) is null
     and (select shown.id from orders_brokerorder as shown
           where shown.account_id = task.account_id and shown.order_id = task.broker_order_id) is null
  union all
  select coalesce(task.params ->> 'strategy', ''),
         greatest(shown.quantity - shown.filled_quantity - shown.cancelled_quantity, 0)
           * coalesce(nullif(shown.price, 0), nullif(shown.trigger_price, 0),
                      (task.decision ->> 'last_price')::numeric)
           * (shown.exchange <> all(%(in_lots)s))::int, 0
    from orders_brokerorder as shown left join orders_ordertask as task on task.id = shown.task_id
   where shown.account_id = %(account)s and not shown.status in ('CANCELLED', 'COMPLETE', 'REJECTED')
     and shown.order_id <> %(but_order)s and coalesce(task.operation, '') <> 'exit'
     and coalesce(shown.order_timestamp >= %(since)s, true))
select strategy, coalesce(sum(worth), 0), sum(is_recent) from counted group by strategy
"""


def usage_of(
    account: TradingAccount, *, place: Place | None = None, replaces: Target | None = None
) -> Mapping[str, Usage]:
    """By strategy what entries are under way; the whole account's under the empty name. One query.

    Parameters
    ----------
    place : count only what was taken on before this task, and the minute before it
    replaces : an order that is about to be changed, and does not count twice
    """
    day = clock.today()
    values: dict[str, Any] = {
        "account": account.pk,
        "before": place.task_id if place else 2**62,
        "at": place.created_at if place else None,
        "but": replaces.task.pk if replaces and replaces.task else 0,
        "but_order": replaces.broker_order.order_id if replaces and replaces.broker_order else "",
        "today": day,
        "since": datetime.combine(day, time.min, IST),
        "in_lots": sorted(IN_LOTS),
    }
    with prepared_cursor() as cursor:
        cursor.execute(_USAGE, values)
        rows = cursor.fetchall()
    found = {strategy: Usage(Decimal(worth), int(recent)) for strategy, worth, recent in rows}
    everything = Usage(
        sum((one.open_notional for one in found.values()), Decimal(0)),
        sum(one.orders_in_last_minute for one in found.values()),
    )
    return found | {"": everything}


def stopped_for(account: TradingAccount, strategy: str) -> Stopped | None:
    """The widest trading state in force that bears on the strategy, and is not active. One query."""
    rows = TradingState.objects.filter(account=None) | TradingState.objects.filter(
        account=account, strategy__in={"", strategy}
    )
    stopped = rows.exclude(state=TradingState.State.ACTIVE).order_by(F("account").asc(nulls_first=True), "strategy")
    found = stopped.first()
    if found is None:
        return None
    scope = "everything" if found.account_id is None else account.kite_user_id
    scope += f", strategy {found.strategy}" if found.strategy else ""
    state = "halted" if found.state == TradingState.State.HALTED else "reduced to exits"
    return Stopped(scope, state, found.reason)


def twin_of(account: TradingAccount, request: OrderRequest, ahead: Sequence[OrderRequest] = ()) -> str:
    """The id of an order like it, taken on within `TWIN_SECONDS`, or ITEM_BEFORE if one is `ahead`; empty without."""
    params = request.params()
    if any(is_twin(params, other.params()) for other in ahead):
        return ITEM_BEFORE
    lately = OrderTask.objects.filter(
        account=account, operation__in=sorted(PLACING), created_at__gt=Now() - timedelta(seconds=TWIN_SECONDS)
    ).exclude(status=Status.FAILED)
    return next((str(one) for one, other in lately.values_list("public_id", "params") if is_twin(params, other)), "")


_EXITS = """
select coalesce(sum(case when shown.id is null then (task.params ->> 'quantity')::bigint
                         when shown.status = any(%(terminal)s) then 0
                         else shown.quantity - shown.filled_quantity end), 0)
  from orders_ordertask as task
  left join orders_brokerorder as shown
    on shown.account_id = task.account_id and task.broker_order_id <> '' and shown.order_id = task.broker_order_id
 where task.account_id = %(account)s and task.operation = 'exit' and task.id < %(before)s and task.id <> %(but)s
   and task.trading_date = %(today)s and task.created_at > statement_timestamp() - interval '1 day'
   and (task.status = any(%(open)s) or task.status = 'completed')
   and task.params @> %(like)s::jsonb
"""


def exits_under_way(account: TradingAccount, request: OrderRequest, *, before: int = 2**62, but: int = 0) -> int:
    """How much earlier exits of the same position may still take off it. One query.

    Parameters
    ----------
    before : count only tasks that were taken on before the one with this key
    but : the key of a task that does not count: the one that is about to be changed
    """
    position = (str(request.exchange), request.tradingsymbol, str(request.product))
    return exits_of(account, *position, request.transaction_type, before=before, but=but)


def exits_of(
    account: TradingAccount,
    exchange: str,
    tradingsymbol: str,
    product: str,
    side: TransactionType,
    *,
    before: int = 2**62,
    but: int = 0,
) -> int:
    """The same of a position by name."""
    like = {
        "exchange": exchange,
        "tradingsymbol": tradingsymbol,
        "product": product,
        "transaction_type": str(side),
    }
    values: dict[str, Any] = {
        "account": account.pk,
        "before": before,
        "but": but,
        "today": clock.today(),
        "open": sorted(OPEN),
        "terminal": sorted(TERMINAL),
        "like": json.dumps(like),
    }
    with prepared_cursor() as cursor:
        cursor.execute(_EXITS, values)
        (found,) = cursor.fetchone()
    return int(found)


def position_of(account: TradingAccount, request: OrderRequest, **which: int) -> OpenPosition | None:
    """What of the position an exit may take off; None if it is not known. `which`: as for `exits_under_way`."""
    # The exits first: one that is filled in between then counts twice, and not not at all.
    exits = exits_under_way(account, request, **which)
    held = portfolio.held(account, str(request.exchange), request.tradingsymbol, str(request.product))
    return None if held is None else OpenPosition(held.quantity, exits)


def order_delta(request: OrderRequest, price: MarketPrice | None) -> float | None:
    """What the order would add to the account's net delta, in units of its underlying; None if it is not known."""
    listed = Instrument.objects.active().filter(exchange=request.exchange, tradingsymbol=request.tradingsymbol)
    each = portfolio.unit_delta(listed.first(), price)
    if each is None or request.exchange in IN_LOTS:
        return None
    return each * (request.quantity if request.is_buy else -request.quantity)
