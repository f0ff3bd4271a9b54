"""A PostgreSQL of the benchmark's own, with the service's tables in it."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tickerproject.local.ports import any_free
from tickerproject.local.postgres import Postgres, PostgresUnavailable
from tickerproject.testing import environment

READY_SECONDS = 60


@contextmanager
def postgres_with_tables() -> Iterator[None]:
    """Django is set up on a fresh, migrated database; the server is stopped and its files removed at the end."""
    with tempfile.TemporaryDirectory(prefix="ticker-bench-") as folder:
        server = Postgres(Path(folder) / "postgres", any_free(), durable=False)
        server.prepare()
        command, options = server.command()
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **options)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not server.is_ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise PostgresUnavailable(f"PostgreSQL did not answer within {READY_SECONDS} s")
                time.sleep(0.02)
            server.create_database()
            _migrate(server.url)
            yield
            _disconnect()
        finally:
            process.terminate()
            process.wait()


def _migrate(url: str) -> None:
    os.environ["DATABASE_URL"] = url
    environment.fill()
    os.environ["LOG_LEVEL"] = "ERROR"
    os.environ["DJANGO_SETTINGS_MODULE"] = "tickerproject.settings"
    import django  # it reads the settings, which need the address

    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0)


def _disconnect() -> None:
    from django.db import connection

    connection.close()
    connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL only
