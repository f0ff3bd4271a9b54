"""The months of the minute bars: each is a table of its own, so that old ones go in an instant.

Months are cut in UTC. No session of an Indian exchange crosses midnight in UTC, so a day is never in two of them. What
belongs to no month that has a table lies in the table of the rest; making the month takes it out of there.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from typing import Final

from django.db import connection, transaction
from psycopg import sql

from accounts import clock
from market.candle_models import MINUTE_BARS

REST: Final = f"{MINUTE_BARS}_rest"
MONTHS_AHEAD: Final = 2
_LOCK: Final = 0x6D696E75
"""Of those who make months: two of them would make the same one."""


def month_of(at: date) -> date:
    """The first day of the month."""
    return date(at.year, at.month, 1)


def next_month(month: date) -> date:
    return month_of(month + timedelta(days=31))


def table_of(month: date) -> str:
    return f"{MINUTE_BARS}_{month:%Y_%m}"


def ensure(months: Iterable[date]) -> list[date]:
    """Make the tables of these months (their first days) where they are missing; which were made."""
    wanted = sorted(set(months))
    if not _missing(wanted):
        return []
    with transaction.atomic():
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_LOCK])
        made = _missing(wanted)
        for month in made:
            _make(month)
    return made


def ensure_ahead() -> list[date]:
    """Make the tables of this month of market time, of the next ones, and of what lies in the table of the rest."""
    months = [month_of(clock.now().date())]
    for _ in range(MONTHS_AHEAD):
        months.append(next_month(months[-1]))
    with connection.cursor() as cursor:
        query = "SELECT DISTINCT date_trunc('month', minute AT TIME ZONE 'UTC')::date FROM {}"
        cursor.execute(sql.SQL(query).format(sql.Identifier(REST)))
        months += [month for (month,) in cursor]
    return ensure(months)


def drop_older_than(days: int) -> list[date]:
    """Drop every month that ended more than `days` days ago in market time; which were dropped."""
    cut = clock.now() - timedelta(days=days)
    old = [month for month in existing() if datetime.combine(next_month(month), datetime.min.time(), UTC) <= cut]
    for month in old:
        with transaction.atomic(), connection.cursor() as cursor:
            # Dropping waits for whoever reads the table, and those who come next wait behind it: not for long.
            cursor.execute("SET LOCAL lock_timeout = '5s'")
            cursor.execute(sql.SQL("DROP TABLE {}").format(sql.Identifier(table_of(month))))
    with connection.cursor() as cursor:
        cursor.execute(sql.SQL("DELETE FROM {} WHERE minute < %s").format(sql.Identifier(REST)), [cut])
    return old


def existing() -> list[date]:
    """The months that have a table, oldest first."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
            "WHERE i.inhparent = %s::regclass AND c.relname <> %s ORDER BY c.relname",
            [MINUTE_BARS, REST],
        )
        return [datetime.strptime(name, f"{MINUTE_BARS}_%Y_%m").replace(tzinfo=UTC).date() for (name,) in cursor]


def _missing(months: list[date]) -> list[date]:
    # By a query of the catalogue: `to_regclass` may still not know of a table that was made while one waited.
    made = set(existing())
    return [month for month in months if month not in made]


def _make(month: date) -> None:
    parts: dict[str, sql.Composable] = {
        "parent": sql.Identifier(MINUTE_BARS),
        "rest": sql.Identifier(REST),
        "month": sql.Identifier(table_of(month)),
        "begin": sql.Literal(f"{month} 00:00+00"),
        "end": sql.Literal(f"{next_month(month)} 00:00+00"),
    }
    # Attached rather than made in place: that would keep everybody from reading the other months meanwhile.
    statements = (
        "CREATE TABLE {month} (LIKE {parent} INCLUDING DEFAULTS INCLUDING CONSTRAINTS INCLUDING INDEXES)",
        """WITH moved AS (DELETE FROM {rest} WHERE minute >= {begin} AND minute < {end} RETURNING *)
            INSERT INTO {month} SELECT * FROM moved""",
        "ALTER TABLE {parent} ATTACH PARTITION {month} FOR VALUES FROM ({begin}) TO ({end})",
    )
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(sql.SQL(statement).format(**parts))
