"""A Valkey of the benchmark's own, on another core than ours where there are two."""

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tickerproject.local.ports import any_free
from tickerproject.local.valkey import Valkey, ValkeyUnavailable

READY_SECONDS = 20


@contextmanager
def valkey(*, beside_us: bool = False) -> Iterator[str]:
    """The address of a fresh server; it is stopped and its files removed at the end.

    `beside_us` puts it on our core instead, where the other one belongs to the process that is measured.
    """
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    with tempfile.TemporaryDirectory(prefix="ticker-bench-") as folder:
        server = Valkey(Path(folder), any_free(), durable=False)
        server.prepare()
        if len(cores) > 1:
            os.sched_setaffinity(0, {cores[1 if beside_us else 0]})  # inherited by the server
        process = subprocess.Popen(server.command(), stdout=subprocess.DEVNULL)
        try:
            if len(cores) > 1:
                os.sched_setaffinity(0, {cores[1]})
            deadline = time.monotonic() + READY_SECONDS
            while not server.is_ready():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise ValkeyUnavailable(f"Valkey did not answer within {READY_SECONDS} s")
                time.sleep(0.02)
            yield server.url
        finally:
            process.terminate()
            process.wait()
            if cores:
                os.sched_setaffinity(0, cores)
