"""Whether this Celery worker is asked to stop: work of minutes that another can go on with looks between its steps.

A worker waits for its tasks, and who started it waits for the worker, for some seconds only.
"""

import threading
from typing import Any

from celery.signals import worker_shutting_down

_is_asked = threading.Event()


class WorkerStops(Exception):
    """The rest is for another worker, or for this one when it is back."""


@worker_shutting_down.connect
def _note(**_: Any) -> None:
    _is_asked.set()


def worker_stops() -> bool:
    """False everywhere but in a worker that was asked to."""
    return _is_asked.is_set()


def raise_if_worker_stops() -> None:
    """
    Raises
    ------
    WorkerStops
    """
    if worker_stops():
        raise WorkerStops
