"""Writing down who did what: `record` inserts one event in the transaction of what it records.

If that is undone, so is its row; if the row cannot be written, nothing is done. Who acts is known to the request, the
command or the task, not to the services below them: they say so once, here, and every `record` finds it.
"""

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from functools import lru_cache
from typing import Any

import structlog
from django.db import connection
from django.utils import timezone

from accounts.audit_chain import digest_of
from accounts.audit_events import AuditEvent
from accounts.audit_events import Kind as Kind
from accounts.prepared import prepared_cursor
from accounts.redaction import HIDDEN, names_a_secret, redact_secrets

LONGEST_TEXT = 500
DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Actor:
    """Who does something. `name` is lasting (`user:3`), `label` is what they are called."""

    name: str
    label: str = ""
    address: str = ""


SERVICE, NOBODY = Actor("service"), Actor("nobody")
ADMIN = "admin"
_acting: ContextVar[tuple[Callable[[], Actor], str] | None] = ContextVar("audit_actor", default=None)


@contextlib.contextmanager
def acting(find: Callable[[], Actor], place: str = "") -> Iterator[None]:
    """Whatever is recorded inside was done by whom `find` then names: a request learns late who sends it."""
    token = _acting.set((find, place))
    try:
        yield
    finally:
        _acting.reset(token)


@contextlib.contextmanager
def acting_as(name: str) -> Iterator[None]:
    """Whatever is recorded inside was done by `name`, for example `command:rotate_keys`."""
    with acting(lambda: Actor(name)):
        yield


def acting_in() -> str:
    """The place that is being acted in: `ADMIN`, or nothing special."""
    found = _acting.get()
    return found[1] if found else ""


def _around() -> Actor:
    found = _acting.get()
    return found[0]() if found else SERVICE


def record(kind: Kind, /, *, account: str = "", actor: Actor | None = None, **details: Any) -> AuditEvent:
    """Write one event down, in the transaction that is open (or by itself if none is).

    Parameters
    ----------
    account : the Kite user id of the account that it is about, if one is.
    actor : who did it, where that is not whom the request, command or task says. An address that it lacks is theirs.
    details : whatever helps; texts are cut at `LONGEST_TEXT` characters, and what looks like a secret is hidden.
    """
    event = _event(kind, account, actor, details)
    # An order is not sent before its event is stored, and `save` takes longer than the database does.
    with prepared_cursor() as cursor:
        cursor.execute(f"insert into accounts_auditevent ({_COLUMNS}) values ({_PLACES})", _values(event))  # noqa: S608
    event._state.adding = False
    return event


def recording(by: str, kind: Kind, /, *, account: str = "", **details: Any) -> tuple[str, list[Any]]:
    """`record` as a part of another statement, for what is written by one: its text, and the values in it.

    Parameters
    ----------
    by : the name of a WITH query of that statement; the event is inserted if it gives a row
    """
    event = _event(kind, account, None, details)
    return f"insert into accounts_auditevent ({_COLUMNS}) select {_typed_places()} from {by}", _values(event)  # noqa: S608


def _event(kind: Kind, account: str, actor: Actor | None, details: Mapping[str, Any]) -> AuditEvent:
    around = _around()
    who = actor or around
    event = AuditEvent(
        at=timezone.now(),
        kind=kind.value,
        actor=_storable(who.name)[:300],
        actor_label=_text(who.label)[:200],
        account=_storable(account)[:12],
        address=_storable(who.address or around.address)[:45],
        request_id=_storable(str(structlog.contextvars.get_contextvars().get("request_id") or ""))[:64],
        details=_clean(details, DEEPEST),
    )
    event.digest = digest_of(event)
    return event


_FIELDS = AuditEvent._meta.concrete_fields
_COLUMNS, _PLACES = ", ".join(str(field.column) for field in _FIELDS), ", ".join("%s" for _ in _FIELDS)


@lru_cache(maxsize=1)
def _typed_places() -> str:
    """Values of a SELECT are text, if nothing says otherwise."""
    return ", ".join(f"%s::{field.db_type(connection)}" for field in _FIELDS)


def _values(event: AuditEvent) -> list[Any]:
    return [field.get_db_prep_save(field.pre_save(event, True), connection) for field in _FIELDS]


class Bound:
    """How many events of one source are written down in a minute; the rest is counted and told with the next one.

    A stranger may try keys as fast as the wire goes; that must not fill the disk. Each process counts for itself.
    """

    def __init__(
        self, *, per_source: int, altogether: int, sources: int = 1000, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._per_source, self._altogether, self._sources = per_source, altogether, sources
        self._clock = clock
        self._lock = threading.Lock()
        self._minute = -1
        self._written = 0
        self._counts: OrderedDict[str, int] = OrderedDict()
        self._left_out = 0

    def admits(self, source: str) -> int | None:
        """None if this one is left out; else how many were left out since the last one that was written."""
        with self._lock:
            minute = int(self._clock() // 60)
            if minute != self._minute:
                self._minute, self._written = minute, 0
                self._counts.clear()
            seen = self._counts.get(source, 0)
            if seen >= self._per_source or self._written >= self._altogether or len(self._counts) >= self._sources:
                self._left_out += 1
                return None
            self._counts[source] = seen + 1
            self._written += 1
            left_out, self._left_out = self._left_out, 0
            return left_out


_refusals = Bound(per_source=10, altogether=120)


def record_refusal(kind: Kind, /, *, actor: Actor, **details: Any) -> None:
    """Record that somebody was turned away; of very many in a minute, only how many."""
    address = actor.address or _around().address
    left_out = _refusals.admits(address)
    if left_out is None:
        return
    if left_out:
        details["left_out_before"] = left_out
    record(kind, actor=actor, **details)


def _clean(value: Any, levels: int) -> Any:
    """`value` as JSON that PostgreSQL stores and gives back unchanged, without secrets."""
    match value:
        case None | bool() | int():
            return value
        case Enum():
            return _clean(value.value, levels)
        case str():
            return _text(value)
        case datetime() | date():
            return value.isoformat()
        case Decimal() | float():
            return str(value)  # a number would come back as another text, and the digest would not fit
        case _ if levels == 0:
            return _text(str(value))
        case Mapping():
            return {
                _text(str(name)): HIDDEN if names_a_secret(str(name)) else _clean(inner, levels - 1)
                for name, inner in value.items()
            }
        case list() | tuple() | set() | frozenset():
            items = sorted(value) if isinstance(value, (set, frozenset)) else value
            return [_clean(inner, levels - 1) for inner in items]
    return _text(str(value))


def _text(text: str) -> str:
    return redact_secrets(_storable(text))[:LONGEST_TEXT]


def _storable(text: str) -> str:
    # PostgreSQL stores neither NUL nor half of a surrogate pair.
    return text.replace("\0", "\N{REPLACEMENT CHARACTER}").encode("utf-8", "replace").decode("utf-8")
