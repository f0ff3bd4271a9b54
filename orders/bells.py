"""Ringing without waiting for Redis: it may hang, and whoever has just taken an order on must not hang with it.

One thread a process publishes; a bell that still waits is not put in a second time, so that no more wait than there
are accounts.
"""

import queue
import threading
from collections.abc import Callable

# Whoever has just taken an order on would go on to write the answer, and the ringer's thread would get its turn only
# after that. So long it lets the ringer go first: ringing takes a millisecond or two where Redis is well.
HEAD_START_SECONDS = 0.01

_waiting: set[int] = set()
_bells: "queue.SimpleQueue[tuple[int, Callable[[], None], threading.Event]]" = queue.SimpleQueue()
_lock = threading.Lock()
_ringer: threading.Thread | None = None


def ring_soon(account_id: int, ring: Callable[[], None]) -> None:
    """Have `ring` called by the ringer, and give it a moment's start. `ring` handles its own errors."""
    global _ringer
    rung = threading.Event()
    with _lock:
        if account_id in _waiting:
            return
        _waiting.add(account_id)
        _bells.put((account_id, ring, rung))
        if _ringer is None or not _ringer.is_alive():
            _ringer = threading.Thread(target=_work, name="order-bells", daemon=True)
            _ringer.start()
    rung.wait(HEAD_START_SECONDS)


def _work() -> None:
    while True:
        account_id, ring, rung = _bells.get()
        with _lock:
            # Before it is rung: what is taken on from now on needs a bell of its own.
            _waiting.discard(account_id)
        try:
            ring()
        finally:
            rung.set()
