"""Ringing without waiting: Redis may hang, and whoever has just taken an order on must not hang with it.

One thread a process publishes; a bell that still waits is not put in a second time, so that no more wait than there
are accounts.
"""

import queue
import threading
from collections.abc import Callable

_waiting: set[int] = set()
_bells: "queue.SimpleQueue[tuple[int, Callable[[], None]]]" = queue.SimpleQueue()
_lock = threading.Lock()
_ringer: threading.Thread | None = None


def ring_soon(account_id: int, ring: Callable[[], None]) -> None:
    """Have `ring` called by the ringer. It handles its own errors."""
    global _ringer
    with _lock:
        if account_id in _waiting:
            return
        _waiting.add(account_id)
        _bells.put((account_id, ring))
        if _ringer is None or not _ringer.is_alive():
            _ringer = threading.Thread(target=_work, name="order-bells", daemon=True)
            _ringer.start()


def _work() -> None:
    while True:
        account_id, ring = _bells.get()
        with _lock:
            # Before it is rung: what is taken on from now on needs a bell of its own.
            _waiting.discard(account_id)
        ring()
