"""Which of the broker's sockets this process may open: leases on rows in PostgreSQL, and when they are over.

The broker allows three sockets per app, to all processes together. A process holds a slot for as long as it renews its
lease. Whoever cannot renew, because the database is away or because the process itself stood still, closes its sockets
before the lease ends: by the monotonic clock, counted from the *sending* of the last renewal that succeeded. So at no
moment two processes have the same socket open. The row's epoch grows with each taking; a renewal names it, so that a
lease that somebody else has had meanwhile cannot be renewed.

Taking a slot and placing parts are one transaction: see `streaming.placing`.
"""

import asyncio
import logging
import math
import os
import socket
import time
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, LiteralString

import psycopg

from streaming.exceptions import SlotLost

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class LeaseTiming:
    """Seconds. In this order they must be: `renew` < `fence` < `lease` < `drain`."""

    lease: float = 15.0
    drain: float = 25.0  # since the last renewal: until then the broker may count a dead owner's socket
    renew: float = 5.0
    fence: float = 10.0  # since the last renewal was sent: then its owner closes the socket, whatever it knows
    again: float = 1.0  # after a renewal that failed
    answer: float = 2.5  # so long may the database take

    @classmethod
    def of(cls, lease: float, drain: float) -> "LeaseTiming":
        """The waits that go with a lease and a drain."""
        if not 0 < lease < drain:
            raise ValueError(f"a slot must drain for longer ({drain:g} s) than its lease lasts ({lease:g} s)")
        return cls(lease, drain, lease / 3, lease * 2 / 3, min(1.0, lease / 15), lease / 6)


class HeldSlot:
    """The right to open one socket, while its lease is live. A socket cannot be dialled without one.

    One that was lost never lives again; taking the slot again makes a new one.
    """

    def __init__(
        self,
        pk: int,
        *,
        app_id: int,
        number: int,
        epoch: int,
        renewed_at: float,
        fence: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`renewed_at`: the monotonic clock when the taking was sent. A `fence` of infinity never ends by itself."""
        self.pk = pk
        self.app_id = app_id
        self.number = number
        self.epoch = epoch
        self.is_dialled = False
        self._renewed_at = renewed_at
        self._fence = fence
        self._clock = clock
        self._is_lost = False

    @property
    def seconds_left(self) -> float:
        """Until the socket has to be closed, unless the lease is renewed; negative from then on."""
        return -math.inf if self._is_lost else self._renewed_at + self._fence - self._clock()

    @property
    def is_live(self) -> bool:
        return self.seconds_left > 0

    def renewed(self, sent_at: float) -> None:
        """A renewal that was sent at `sent_at` succeeded. One that was lost before stays lost."""
        if self.is_live:
            self._renewed_at = max(self._renewed_at, sent_at)

    def lose(self) -> None:
        self._is_lost = True

    def check(self) -> None:
        """Raises SlotLost if the lease is over."""
        if not self.is_live:
            raise SlotLost(f"the lease on socket {self.number + 1} of its app is over")

    @contextmanager
    def dialled(self) -> Iterator[None]:
        """Around everything from the dial to the closed socket. Raises SlotLost if the lease is over."""
        if self.is_dialled:
            raise RuntimeError("a slot is for one socket at a time")
        self.check()
        self.is_dialled = True
        try:
            yield
        finally:
            self.is_dialled = False


_RENEW: LiteralString = """
with alive as (
  insert into streaming_streammember (owner, name, started_at, seen_at, lease_until)
  values (%(owner)s, %(name)s, now(), now(), now() + %(lease)s * interval '1 s')
  on conflict (owner) do update set seen_at = now(), lease_until = excluded.lease_until
)
update streaming_streamslot
set lease_until = now() + %(lease)s * interval '1 s', drained_after = now() + %(drain)s * interval '1 s',
  is_lost = id = any(%(lost)s)
where owner = %(owner)s and (lease_until > now() or %(is_single)s)
  and (id, epoch) in (select * from unnest(%(ids)s::bigint[], %(epochs)s::bigint[]))
returning id
"""
_RELEASE: LiteralString = """
update streaming_streamslot set owner = null, is_lost = false
where owner = %(owner)s and (id, epoch) in (select * from unnest(%(ids)s::bigint[], %(epochs)s::bigint[]))
"""
_LEAVE: LiteralString = "update streaming_streammember set seen_at = now(), lease_until = now() where owner = %(owner)s"


@dataclass(eq=False)
class SlotLeases:
    """The slots of one process, and their renewal, on a connection to the database of their own.

    `database` is an entry of Django's DATABASES. With `is_single`, for the only stream process of a deployment, an
    absent database costs no socket.
    """

    database: Mapping[str, Any]
    name: str
    timing: LeaseTiming = field(default_factory=LeaseTiming)
    is_single: bool = False
    clock: Callable[[], float] = time.monotonic
    owner: uuid.UUID = field(default_factory=uuid.uuid4)
    held: dict[int, HeldSlot] = field(default_factory=dict, init=False)
    _told: list[Callable[[], None]] = field(default_factory=list, init=False)
    lost_accounts_slots: frozenset[int] = field(default=frozenset(), init=False)
    _dropped: list[HeldSlot] = field(default_factory=list, init=False)
    _connection: "psycopg.AsyncConnection[Any] | None" = field(default=None, init=False)
    _is_away: bool = field(default=False, init=False)
    _turn: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    @property
    def still_dialled(self) -> frozenset[int]:
        """Slots that are lost, and whose socket is being closed: not to be taken again yet."""
        self._dropped = [slot for slot in self._dropped if slot.is_dialled]
        return frozenset(slot.pk for slot in self._dropped)

    def when_changed(self, tell: Callable[[], None]) -> None:
        """Have `tell` called, which returns at once, when slots are no longer held, or may be had again."""
        self._told.append(tell)

    def take(self, pk: int, *, app_id: int, number: int, epoch: int, sent_at: float) -> HeldSlot:
        """Note a slot that was taken by a statement sent at `sent_at` (monotonic)."""
        fence = math.inf if self.is_single else self.timing.fence
        slot = HeldSlot(
            pk, app_id=app_id, number=number, epoch=epoch, renewed_at=sent_at, fence=fence, clock=self.clock
        )  # fmt: skip
        self.held[pk] = slot
        return slot

    def tell_lost(self, slots: Collection[int]) -> bool:
        """These slots' accounts have no working socket: the next renewal writes it down. Whether that is news."""
        before, self.lost_accounts_slots = self.lost_accounts_slots, frozenset(slots)
        return before != self.lost_accounts_slots

    async def run(self) -> None:
        """Renew until cancelled. No absent database ends it."""
        while True:
            is_renewed = await self.renew()
            timing = self.timing
            wait = timing.renew if is_renewed else timing.again
            fenced = min((slot.seconds_left for slot in self.held.values()), default=math.inf)
            await asyncio.sleep(max(0.0, min(wait, fenced)))
            self.drop_expired()

    async def renew(self) -> bool:
        """Renew all leases and the process's own sign of life; False if the database did not take it."""
        slots = list(self.held.values())
        sent_at = self.clock()
        try:
            rows = await self._ask(_RENEW, slots, lost=sorted(self.lost_accounts_slots))
        except (psycopg.Error, OSError, TimeoutError) as exc:
            if not self._is_away:
                logger.warning("the stream's leases could not be renewed: %s", exc or "timed out")
            self._is_away = True
            return False
        if was_away := self._is_away:
            logger.info("the stream's leases are renewed again")
        self._is_away = False
        renewed = {row[0] for row in rows}
        gone = [slot for slot in slots if slot.pk not in renewed and self.held.get(slot.pk) is slot]
        for slot in slots:
            if slot.pk in renewed:
                slot.renewed(sent_at)
        self._drop(gone, "somebody else may have it")
        if was_away:
            self._tell()
        return True

    def drop_expired(self) -> None:
        """Let go of what could not be renewed in time."""
        self._drop([slot for slot in self.held.values() if not slot.is_live], "it could not be renewed in time")

    def _drop(self, slots: Iterable[HeldSlot], why: str) -> None:
        dropped = list(slots)
        for slot in dropped:
            logger.warning("the lease on socket %d of app %d is over: %s", slot.number + 1, slot.app_id, why)
            slot.lose()
            del self.held[slot.pk]
            self._dropped.append(slot)
        if dropped:
            self._tell()

    def _tell(self) -> None:
        for tell in self._told:
            tell()

    async def release(self, *slots: HeldSlot) -> None:
        """Give slots back, whose sockets are closed. If the database does not take it, they run out by themselves."""
        for slot in slots:
            if slot.is_dialled:
                raise RuntimeError("a slot is given back after its socket is closed")
            slot.lose()
            self.held.pop(slot.pk, None)
        try:
            await self._ask(_RELEASE, slots)
        except (psycopg.Error, OSError, TimeoutError) as exc:
            logger.warning("slots could not be given back, others take them when they run out: %s", exc or "timed out")

    async def leave(self) -> None:
        """Give everything back; nothing is renewed any more."""
        await self.release(*[slot for slot in self.held.values() if not slot.is_dialled])
        with suppress(psycopg.Error, OSError, TimeoutError):
            await self._ask(_LEAVE, ())
        if self._connection is not None:
            await self._connection.close()

    # --- the connection -----------------------------------------------------------------------------------------------

    async def _ask(self, query: LiteralString, slots: Collection[HeldSlot], **more: Any) -> list[tuple[Any, ...]]:
        """The rows of an answer, which comes soon or is an error: a database that hangs is one that is away."""
        parameters = {
            "owner": self.owner,
            "name": self.name,
            "is_single": self.is_single,
            "lease": self.timing.lease,
            "drain": self.timing.drain,
            "ids": [slot.pk for slot in slots],
            "epochs": [slot.epoch for slot in slots],
        }
        async with self._turn:
            asking = asyncio.ensure_future(self._execute(query, parameters | more))
            try:
                await asyncio.wait({asking}, timeout=self.timing.answer)
            finally:
                if not asking.done() or asking.cancelled() or asking.exception() is not None:
                    await self._cut(asking)
            if asking.cancelled() or not asking.done():
                raise TimeoutError
            return asking.result()

    async def _execute(self, query: LiteralString, parameters: Mapping[str, Any]) -> list[tuple[Any, ...]]:
        if self._connection is None or self._connection.closed:
            self._connection = await psycopg.AsyncConnection.connect(**connection_parameters(self.database))
        cursor = await self._connection.execute(query, parameters)
        return await cursor.fetchall() if cursor.description else []

    async def _cut(self, asking: "asyncio.Future[Any]") -> None:
        """End the connection under whoever waits on it: asking a hanging server to cancel would hang as well."""
        connection, self._connection = self._connection, None
        if connection is None:
            asking.cancel()  # it is still connecting
        elif not connection.closed:
            with suppress(OSError, psycopg.Error), socket.socket(fileno=os.dup(connection.fileno())) as end:
                end.shutdown(socket.SHUT_RDWR)
        await asyncio.wait({asking}, timeout=1)
        if connection is not None and asking.done():
            await connection.close()


def connection_parameters(database: Mapping[str, Any]) -> dict[str, Any]:
    """What psycopg needs for a short statement now and then."""
    return {
        "host": database["HOST"] or None,
        "port": database["PORT"] or None,
        "dbname": database["NAME"],
        "user": database["USER"] or None,
        "password": database["PASSWORD"] or None,
        "connect_timeout": 3,
        "application_name": "ticker stream leases",
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "autocommit": True,
        "prepare_threshold": None,
    }
