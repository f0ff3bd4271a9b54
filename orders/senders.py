"""Which processes send orders, and which of them have provably ended: without that proof nothing is sent again.

A process is known by host, pid and a random incarnation, so that a pid used again proves nothing. Its end is written
down by itself, when no thread of it sends any more, or told by whoever watches it (`manage.py senders ended`). Nobody
is ever ended by a number read from a row.
"""

import contextlib
import os
import secrets
import socket
import threading
from collections.abc import Iterator

from django.db import DatabaseError
from django.db.models.functions import Now

from orders.models import SenderProcess

_lock = threading.Lock()
_sending = 0
_name = ""
_pid = 0


def worker_name() -> str:
    """Who holds a claim: the process, and for people to read its thread. The process has its row before it sends."""
    return f"{this_process()}/{threading.current_thread().name}"[:100]


def process_of(owner: str) -> str:
    """The process in a worker's name."""
    return owner.partition("/")[0]


def this_process() -> str:
    """The name of this process, written down when it is first asked for."""
    global _name, _pid
    with _lock:
        if _pid != os.getpid():  # also after a fork: the child is another sender
            name = f"{socket.gethostname()[:40]}:{os.getpid()}:{secrets.token_hex(4)}"
            SenderProcess.objects.create(name=name)
            _name, _pid = name, os.getpid()
        return _name


@contextlib.contextmanager
def sending() -> Iterator[None]:
    """Around whatever may send: a process does not say that it has ended while one of its threads is in it."""
    global _sending
    with _lock:
        _sending += 1
    try:
        yield
    finally:
        with _lock:
            _sending -= 1


def has_ended(owner: str) -> bool:
    """Whether the process of a worker is known to have ended."""
    return SenderProcess.objects.filter(name=process_of(owner), ended_at__isnull=False).exists()


def note_end(name: str, told_by: str) -> bool:
    """Write down that a process has ended. Whether it was not written down before."""
    found = SenderProcess.objects.filter(name=name, ended_at=None)
    return bool(found.update(ended_at=Now(), ended_by=told_by[:100]))


def end_this_process() -> None:
    """Write down that this process sends no more. Called at its clean end, when its workers' threads are done."""
    if _pid != os.getpid() or _sending:
        return  # it never sent, or a thread of it still may
    # A database that is away at this moment leaves the end unproven: nothing is sent again then.
    with contextlib.suppress(DatabaseError):
        note_end(_name, "itself")
