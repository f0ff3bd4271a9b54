"""One stream process at a time: an advisory lock in PostgreSQL, on a connection of its own for as long as the process
runs.

Two processes would share the broker's three sockets per key and write the same parts. A lock that a session holds
cannot be left behind: it ends with the connection, and so with the process.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Any

import psycopg

from streaming.exceptions import AnotherStreamRuns

logger = logging.getLogger(__name__)

# Any fixed number serves; this one spells "tick" in ASCII.
LOCK = 0x7469636B


class SingleProcess:
    """Holds the lock, notices when it is lost with its connection, and takes it again."""

    def __init__(self, database: Mapping[str, Any], *, look_seconds: float = 5.0, lock: int = LOCK) -> None:
        """`database` is an entry of Django's DATABASES. A pool of connections cannot hold a session's lock."""
        self._parameters: dict[str, Any] = {
            "host": database["HOST"] or None,
            "port": database["PORT"] or None,
            "dbname": database["NAME"],
            "user": database["USER"] or None,
            "password": database["PASSWORD"] or None,
            "connect_timeout": 3,
            "application_name": "ticker stream lock",
            "keepalives_idle": 10,
            "keepalives_interval": 5,
            "keepalives_count": 3,
        }
        self._look_seconds = look_seconds
        self._lock = lock
        self._connection: psycopg.AsyncConnection[Any] | None = None

    async def take(self) -> None:
        """Raises AnotherStreamRuns if another process holds the lock, psycopg.OperationalError without a database."""
        connection = await psycopg.AsyncConnection.connect(**self._parameters, autocommit=True)
        row = await (await connection.execute("SELECT pg_try_advisory_lock(%s)", (self._lock,))).fetchone()
        if row is None or not row[0]:
            await connection.close()
            raise AnotherStreamRuns(
                "another run_stream works on this database already; stop it first: one process streams at a time"
            )
        self._connection = connection

    async def watch(self) -> None:
        """Keep the lock until cancelled. Ends with AnotherStreamRuns if somebody else took it while it was lost."""
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                if self._connection is None:
                    await self.take()
                    logger.info("PostgreSQL is back and the stream's lock is held again")
                else:
                    await self._connection.execute("SELECT 1")
            except psycopg.Error as exc:
                # No reason to stop: subscriptions are known, and nobody else can take the lock of a lost database.
                if self._connection is not None:
                    logger.warning("the connection that holds the stream's lock is lost: %s", exc)
                    await self._connection.close()
                    self._connection = None

    async def release(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None
