"""The service's rows, read from outside by SQL."""

import time
from collections.abc import Sequence
from contextlib import suppress

import psycopg

from benchmarks.soak.checker import OPEN, Row

_ROWS = """
select task.public_id::text, account.kite_user_id, task.idempotency_key, task.tag, task.operation, task.params,
       task.status, task.error_code, task.broker_order_id,
       (select extract(epoch from min(event.at))::float8 from orders_orderevent as event
         where event.task_id = task.id and event.reason = 'absent_at_broker')
  from orders_ordertask as task join accounts_tradingaccount as account on account.id = task.account_id
 where account.kite_user_id = any(%s) order by task.id
"""
_OPEN = """
select count(*) from orders_ordertask as task join accounts_tradingaccount as account on account.id = task.account_id
 where account.kite_user_id = any(%s) and task.status = any(%s)
"""
_UNKNOWN = """
select count(distinct event.task_id) from orders_orderevent as event
  join orders_ordertask as task on task.id = event.task_id
  join accounts_tradingaccount as account on account.id = task.account_id
 where account.kite_user_id = any(%s) and event.to_status = 'unknown'
"""


_NEWEST_UNKNOWN = """
select kite_user_id from (
  select distinct on (account.id) account.kite_user_id, task.status
    from orders_ordertask as task join accounts_tradingaccount as account on account.id = task.account_id
   where account.kite_user_id = any(%s) and task.operation = 'place'
   order by account.id, task.id desc) as newest
 where status = 'unknown'
"""


def users_whose_newest_is_unknown(url: str, users: Sequence[str]) -> list[str]:
    """Whose newest order is of unknown outcome: no later one can prove what became of it."""
    with psycopg.connect(url) as connection:
        return [user for (user,) in connection.execute(_NEWEST_UNKNOWN, [list(users)])]


def rows_of(url: str, users: Sequence[str]) -> list[Row]:
    """Every order task of these users of the broker, in the order of acceptance."""
    with psycopg.connect(url) as connection:
        return [Row(*values) for values in connection.execute(_ROWS, [list(users)])]


def unknown_of(url: str, users: Sequence[str]) -> int:
    """How many tasks were of unknown outcome for a while."""
    with psycopg.connect(url) as connection:
        row = connection.execute(_UNKNOWN, [list(users)]).fetchone()
        return int(row[0]) if row else 0


def wait_until_tried(url: str, users: Sequence[str], seconds: float) -> bool:
    """Whether every task was taken up at least once within so many seconds."""
    return _wait_for_none(url, users, ("pending",), seconds)


def wait_until_at_rest(url: str, users: Sequence[str], seconds: float) -> bool:
    """Whether every task came to its end within so many seconds."""
    return _wait_for_none(url, users, sorted(OPEN), seconds)


def _wait_for_none(url: str, users: Sequence[str], statuses: Sequence[str], seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        # A connection for each question, since the server may be restarted meanwhile.
        with suppress(psycopg.OperationalError), psycopg.connect(url) as connection:
            row = connection.execute(_OPEN, [list(users), list(statuses)]).fetchone()
            if row is not None and row[0] == 0:
                return True
        if time.monotonic() > until:
            return False
        time.sleep(0.2)
