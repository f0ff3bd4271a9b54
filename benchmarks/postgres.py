"""A PostgreSQL of the benchmark's own, with the service's tables in it."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import django
from django.core.management import call_command

from tickerproject.local.ports import any_free
from tickerproject.local.postgres import Postgres, PostgresUnavailable
from tickerproject.testing import environment

READY_SECONDS = 60


@contextmanager
def database(redis_url: str | None = None) -> Iterator[None]:
    """Django is set up on a fresh database in the block, once in a process; only then can models be imported."""
    with tempfile.TemporaryDirectory(prefix="ticker-bench-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder) / "postgres", any_free(), durable=False)
        server.prepare()
        command, options = server.command()
        with (Path(folder) / "postgres.log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **options)
        try:
            deadline = time.monotonic() + READY_SECONDS
            while not server.is_ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise PostgresUnavailable(f"PostgreSQL did not answer within {READY_SECONDS} s")
                time.sleep(0.02)
            server.create_database()
            os.environ["DATABASE_URL"] = server.url
            if redis_url is not None:
                os.environ["REDIS_URL"] = redis_url
            os.environ.setdefault("LOG_LEVEL", "ERROR")  # what the service says would stand among the results
            environment.fill()
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tickerproject.settings")
            django.setup()
            call_command("migrate", verbosity=0)
            yield
        finally:
            from django.db import connections

            connections.close_all()
            for connection in connections.all(initialized_only=True):
                connection.close_pool()  # type: ignore[attr-defined]  # PostgreSQL only
            process.send_signal(signal.SIGINT)
            process.wait()
