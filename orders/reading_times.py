"""When an account's portfolio was read, by the database's clock, and whether that is enough."""

from datetime import datetime

from django.db import connection

from orders.broker_rows import PortfolioReading


def is_wanted(reading: PortfolioReading) -> bool:
    """Whether something has happened that the last good reading cannot have seen."""
    return reading.wanted_at is not None and (reading.read_at is None or reading.read_at < reading.wanted_at)


def database_now() -> datetime:
    with connection.cursor() as cursor:
        cursor.execute("select statement_timestamp()")
        (now,) = cursor.fetchone()
    moment: datetime = now
    return moment
