"""The service's health for the WebSocket clients of one web process: one look a second, whatever the number of clients.

Who waits is woken and takes the newest reading; nothing is queued, so a slow client costs no memory. The looking is
done in a thread of its own: it may wait for Redis or PostgreSQL, and neither pages nor ticks shall wait with it.
"""

import asyncio
import logging
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import orjson
from django.conf import settings
from django.db import connections

from streaming import hub as tick_hub
from streaming import metrics
from streaming.health_frame import WebFigures, frame_of
from streaming.health_rates import RateBook, Rates
from streaming.health_reading import Reading, take_reading

logger = logging.getLogger(__name__)

LOOK_SECONDS = 1.0


@dataclass(eq=False, slots=True)
class Watcher:
    """One consumer as the hub sees it."""

    principal: str
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class HealthHub:
    """One per web process (and event loop). Looks while it has clients."""

    def __init__(self, look: Callable[[], Reading] = take_reading, *, look_seconds: float = LOOK_SECONDS) -> None:
        self.watchers: set[Watcher] = set()
        self.seq = 0  # of the newest reading; 0: none yet
        self._look = look
        self._look_seconds = look_seconds
        self._reading: Reading | None = None
        self._rates: dict[str, Rates] = {}
        self._book = RateBook()
        self._frames: dict[frozenset[str], str] = {}
        self._running: asyncio.Task[None] | None = None

    def join(self, watcher: Watcher) -> None:
        self.watchers.add(watcher)
        metrics.HEALTH_CLIENTS.set(len(self.watchers))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name="health hub")

    async def leave(self, watcher: Watcher) -> None:
        """Forget a client; the last one to leave stops the looking."""
        self.watchers.discard(watcher)
        metrics.HEALTH_CLIENTS.set(len(self.watchers))
        if not self.watchers and self._running is not None:
            running, self._running = self._running, None
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    def sockets_of(self, principal: str) -> int:
        return sum(watcher.principal == principal for watcher in self.watchers)

    def frame(self, mine: frozenset[str]) -> str | None:
        """The newest reading for who may read these accounts, encoded once for all of them; None before the first."""
        if self._reading is None:
            return None
        if mine not in self._frames:
            body = frame_of(
                self._reading,
                mine=mine,
                stale_seconds=settings.STREAM_STALE_SECONDS,
                rates=self._rates,
                web=self._web(),
                seq=self.seq,
            )
            self._frames[mine] = orjson.dumps(body).decode()
        return self._frames[mine]

    def _web(self) -> WebFigures:
        clients = tick_hub.hub().clients
        return WebFigures(
            clients=len(clients),
            slow=sum(client.outbox.is_full and client.outbox.has_news for client in clients),
            pending_bytes=sum(client.outbox.pending_bytes for client in clients),
            health_clients=len(self.watchers),
        )

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        worker = ThreadPoolExecutor(1, thread_name_prefix="health")
        try:
            while True:
                due = loop.time() + self._look_seconds
                try:
                    self._take(await loop.run_in_executor(worker, self._looked))
                except Exception:  # whatever is wrong with one look, the next one may be right
                    logger.exception("the service's health could not be read")
                await asyncio.sleep(max(0.0, due - loop.time()))
        finally:
            # What was read is old when somebody comes again.
            self._reading, self._frames = None, {}
            worker.shutdown(wait=False)

    def _looked(self) -> Reading:
        try:
            return self._look()
        finally:
            connections.close_all()  # this thread's own: it may never look again

    def _take(self, reading: Reading) -> None:
        self.seq += 1
        self._reading, self._frames = reading, {}
        self._rates = self._book.take(reading.health.streams)
        for watcher in self.watchers:
            watcher.wake.set()


_hubs: "weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, HealthHub]" = weakref.WeakKeyDictionary()


def health_hub() -> HealthHub:
    """The hub of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = HealthHub()
    return _hubs[loop]
