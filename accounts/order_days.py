"""The day's count of orders in PostgreSQL: what Redis may forget, and the limiter for while Redis is away.

Redis counts. Every few seconds its count is written down here. A Redis that has lost it is told this one, and adds what
those few seconds may have let through: a restart lifts no limit, and costs the day a few dozen orders at most. What is
let through here meanwhile goes by the count as written, which may lack as many: they fit below the broker's own cap.
"""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from django.conf import settings
from django.db import connection, transaction

from accounts.clock import IST
from accounts.models import OrderDay, TradingAccount

WRITTEN_EVERY_SECONDS = 3.0
WRITING_SECONDS = 1.0  # what one writing takes at most, on any day on which limits matter
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True, slots=True)
class DayCount:
    """What is known of one account's Indian day. `seconds_ago` is the age of the last writing, None without one."""

    day: int  # days since 1970-01-01
    used: int = 0
    used_without_redis: int = 0
    seconds_ago: float | None = None
    is_fresh: bool = False  # read from the table for this very question

    def may_have_charged_within(self, seconds: float) -> bool:
        return self.seconds_ago is not None and self.seconds_ago < seconds + WRITTEN_EVERY_SECONDS


def read_day(account_id: int, day: int) -> DayCount:
    """The count written down for `day` (days since 1970-01-01)."""
    with connection.cursor() as cursor:
        cursor.execute(
            "select used, used_without_redis, extract(epoch from clock_timestamp() - charged_at)"
            " from accounts_orderday where account_id = %s and day = %s",
            [account_id, date_of(day)],
        )
        row = cursor.fetchone()
    if row is None:
        return DayCount(day, is_fresh=True)
    return DayCount(day, row[0], row[1], float(row[2]), is_fresh=True)


def write_day(account_id: int, day: int, used: int) -> DayCount:
    """Write Redis' count down, never a smaller one than is there, and give back what is known now."""
    with connection.cursor() as cursor:
        cursor.execute(
            "insert into accounts_orderday"
            " (account_id, day, used, used_without_redis, latest_without_redis, charged_at)"
            " values (%s, %s, %s, 0, '{}', clock_timestamp())"
            " on conflict (account_id, day) do update"
            " set used = greatest(accounts_orderday.used, excluded.used), charged_at = excluded.charged_at"
            " returning used, used_without_redis",
            [account_id, date_of(day), used],
        )
        used, without_redis = cursor.fetchone()
    return DayCount(day, used, without_redis)


def charge_without_redis(
    account: TradingAccount, *, cost: int, counts_in_day: bool, per_day: int
) -> tuple[float, DayCount]:
    """Charge an order call while Redis is away, under the lock of the account's row.

    Parameters
    ----------
    per_day : what the day allows this call.

    Returns
    -------
    Seconds to wait (0.0: it was charged), and what is known of the day now. At most
    `ORDER_BUDGET_WITHOUT_REDIS_PER_SECOND` pass in any second of the database's clock, whichever process asks.
    """
    allowed = settings.ORDER_BUDGET_WITHOUT_REDIS_PER_SECOND
    if not 1 <= cost <= allowed:
        raise ValueError(f"a cost of {cost} never fits into {allowed} a second")
    with transaction.atomic():
        now = _database_time()
        day = now.astimezone(IST).date()
        OrderDay.objects.bulk_create([OrderDay(account=account, day=day, charged_at=now)], ignore_conflicts=True)
        row = OrderDay.objects.select_for_update().get(account=account, day=day)
        now = _database_time()  # again: the lock may have taken its time
        latest = [moment for moment in row.latest_without_redis if now - moment < timedelta(seconds=1)]
        if counts_in_day and row.used + row.used_without_redis + cost > per_day:
            midnight = datetime.combine(day + timedelta(days=1), datetime.min.time(), IST)
            return (midnight - now).total_seconds(), _count_of(row)
        over = len(latest) + cost - allowed
        if over > 0:
            return (latest[over - 1] + timedelta(seconds=1) - now).total_seconds(), _count_of(row)
        row.latest_without_redis = [*latest, *[now] * cost]
        row.used_without_redis += cost if counts_in_day else 0
        row.charged_at = now
        row.save(update_fields=["latest_without_redis", "used_without_redis", "charged_at"])
    return 0.0, _count_of(row)


def date_of(day: int) -> date:
    """Days since 1970-01-01 as a date."""
    return _EPOCH + timedelta(days=day)


class DayMemory:
    """What this process last heard from PostgreSQL of each account's day, and when it last wrote."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: dict[int, DayCount] = {}
        self._written_at: dict[int, float] = {}

    def known(self, account_id: int) -> DayCount:
        return self._known.get(account_id, DayCount(-1))

    def learn(self, account_id: int, count: DayCount) -> None:
        self._known[account_id] = count

    def is_due(self, account_id: int) -> bool:
        """Whether to write now. Says so to one thread only; the first charge after a pause is always written."""
        with self._lock:
            now = self._clock()
            if now - self._written_at.get(account_id, -WRITTEN_EVERY_SECONDS) < WRITTEN_EVERY_SECONDS:
                return False
            self._written_at[account_id] = now
            return True

    def forget(self) -> None:
        with self._lock:
            self._known.clear()
            self._written_at.clear()


def _count_of(row: OrderDay) -> DayCount:
    return DayCount((row.day - _EPOCH).days, row.used, row.used_without_redis)


def _database_time() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("select clock_timestamp()")
        (now,) = cursor.fetchone()
    assert isinstance(now, datetime)  # noqa: S101  (the function's type)
    return now
