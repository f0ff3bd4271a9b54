"""Orders as the tables have them, counted when Prometheus asks.

Workers serve no metrics, and what they do is in the tables anyway: a figure here is of the installation, whichever
process answers. Requests are those of the day (in India), so that the tables' growth costs nothing; counters begin
anew at midnight, as they do with a restarted process.
"""

import logging
from collections.abc import Iterator
from datetime import datetime, time
from typing import Any

from django.conf import settings
from django.db import DatabaseError, connection
from django.utils import timezone
from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from accounts.clock import IST
from accounts.models import TradingAccount
from orders.states import Status

logger = logging.getLogger(__name__)

Family = CounterMetricFamily | GaugeMetricFamily

OVERDUE_SECONDS = {"runnable": 10.0, "running": 30.0, "unknown": 60.0}
"""How old a task may be in such a state before a person should look."""
QUEUED = (Status.PENDING, Status.RUNNING, Status.RETRYING, Status.UNKNOWN)

_REQUESTS = """
select account_id, operation, status, count(*) from orders_ordertask
 where account_id = any(%(accounts)s) and created_at >= %(day)s
 group by account_id, operation, status
"""
# By their events, which only grow in number: a late arrival ends twice.
_ENDED = """
select task.account_id, task.operation, event.to_status, count(*)
  from orders_ordertask as task join orders_orderevent as event on event.task_id = task.id
 where task.account_id = any(%(accounts)s) and task.created_at >= %(day)s
   and event.to_status in ('completed', 'failed', 'dead_letter')
 group by task.account_id, task.operation, event.to_status
"""
# A part each, in the words of a partial index each.
_QUEUED = """
select status, count(*) from orders_ordertask where status in ('pending', 'retrying') group by status
union all
select 'running', count(*) from orders_ordertask where status = 'running'
union all
select 'unknown', count(*) from orders_ordertask where status = 'unknown'
union all
select 'dead_letter', count(*) from orders_ordertask where status = 'dead_letter'
"""
_AGES = """
with age (state, seconds) as (
  select 'runnable', extract(epoch from statement_timestamp() - run_after)::float from orders_ordertask
   where status in ('pending', 'retrying') and run_after <= statement_timestamp()
  union all
  select 'running', extract(epoch from statement_timestamp() - lease_until)::float + %(lease)s from orders_ordertask
   where status = 'running'
  union all
  select 'unknown', extract(epoch from statement_timestamp() - unknown_since)::float from orders_ordertask
   where status = 'unknown')
select age.state, max(age.seconds), count(*) filter (where age.seconds > allowed.seconds)
  from age join unnest(%(states)s::text[], %(allowed)s::float[]) as allowed (state, seconds) using (state)
 group by age.state
"""


class OrdersCollector(Collector):
    def describe(self) -> Iterator[Family]:
        """Nothing: the registry would otherwise collect once to learn the names, before there is a database."""
        return iter(())

    def collect(self) -> Iterator[Family]:
        try:
            yield from _families()
        except DatabaseError as exc:
            logger.warning("metrics: the orders cannot be read: %s", exc)


def _families() -> list[Family]:
    names: dict[int, str] = dict(TradingAccount.objects.values_list("pk", "kite_user_id"))
    midnight = datetime.combine(timezone.now().astimezone(IST).date(), time(), IST)
    with connection.cursor() as cursor:
        of_the_day: dict[str, Any] = {"accounts": list(names), "day": midnight}
        cursor.execute(_REQUESTS, of_the_day)
        requests = cursor.fetchall()
        cursor.execute(_ENDED, of_the_day)
        ended = cursor.fetchall()
        cursor.execute(_QUEUED)
        queued = dict(cursor.fetchall())
        limits: dict[str, Any] = {"states": list(OVERDUE_SECONDS), "allowed": list(OVERDUE_SECONDS.values())}
        cursor.execute(_AGES, limits | {"lease": settings.ORDER_LEASE_SECONDS})
        ages = {state: (seconds, overdue) for state, seconds, overdue in cursor.fetchall()}

    asked: dict[tuple[str, str], int] = {}
    today: dict[str, int] = {}
    for account_id, operation, status, count in requests:
        asked[operation, names[account_id]] = asked.get((operation, names[account_id]), 0) + count
        today[status] = today.get(status, 0) + count

    taken = CounterMetricFamily("order_requests", "Orders taken on today", labels=["operation", "account_id"])
    for key, count in asked.items():
        taken.add_metric(key, count)
    completed = CounterMetricFamily(
        "order_requests_completed", "Ends of today's orders", labels=["operation", "status", "account_id"]
    )
    for account_id, operation, status, count in ended:
        completed.add_metric([operation, status, names[account_id]], count)
    tasks = GaugeMetricFamily(
        "order_executor_tasks_total", "Tasks: all that are not at an end, and today's that are", labels=["status"]
    )
    depth = GaugeMetricFamily("task_queue_depth", "Tasks that are not at an end", labels=["status"])
    for status in Status:
        is_kept = status in QUEUED or status is Status.DEAD_LETTER
        tasks.add_metric([status], queued.get(status, 0) if is_kept else today.get(status, 0))
    for status in QUEUED:
        depth.add_metric([status], queued.get(status, 0))
    dead = GaugeMetricFamily("order_executor_dead_letter_queue_size", "Orders that need a person")
    dead.add_metric([], queued.get(Status.DEAD_LETTER, 0))
    oldest = GaugeMetricFamily("order_tasks_oldest_seconds", "Age of the oldest such task", labels=["state"])
    overdue = GaugeMetricFamily(
        "order_tasks_overdue", "Runnable for over 10 s, running for over 30 s, unknown for over 60 s", labels=["state"]
    )
    for state in OVERDUE_SECONDS:
        seconds, late = ages.get(state, (0.0, 0))
        oldest.add_metric([state], max(0.0, seconds))
        overdue.add_metric([state], late)
    return [taken, completed, tasks, depth, dead, oldest, overdue]


ORDERS_REGISTRY = CollectorRegistry()
ORDERS_REGISTRY.register(OrdersCollector())
