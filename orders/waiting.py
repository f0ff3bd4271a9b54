"""Waiting a moment for an order's outcome, for callers that would otherwise ask again and again."""

import threading
import time

from django.conf import settings

from orders.models import OrderTask
from orders.states import OPEN

LOOK_EVERY_SECONDS = 0.05
_lock = threading.Lock()
_waiters = 0


def wait_for_outcome(task: OrderTask, seconds: float) -> OrderTask:
    """The task as it is once it has ended, or after `seconds`; at once where too many wait already in this process."""
    global _waiters
    if seconds <= 0:
        return task
    with _lock:
        if _waiters >= settings.ORDER_WAITERS:
            return task
        _waiters += 1
    try:
        give_up_at = time.monotonic() + seconds
        while task.status in OPEN and time.monotonic() < give_up_at:
            time.sleep(LOOK_EVERY_SECONDS)
            task.refresh_from_db()
        return task
    finally:
        with _lock:
            _waiters -= 1
