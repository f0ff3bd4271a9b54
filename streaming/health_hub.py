"""The service's health for the WebSocket clients of one web process: one look a second, whatever the number of clients.

Who waits is woken and takes the newest reading; nothing is queued, so a slow client costs no memory. The looking is
done in a thread of its own: it may wait for Redis or PostgreSQL, and neither pages nor ticks shall wait with it.
"""

import asyncio
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import orjson
from django.conf import settings
from django.db import connections

from accounts.socket_hub import HubOfLoop, SocketHub
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


class HealthHub(SocketHub[Watcher]):
    """Of the health: one look for all clients."""

    clients_gauge = metrics.HEALTH_CLIENTS

    def __init__(self, look: Callable[[], Reading] = take_reading, *, look_seconds: float = LOOK_SECONDS) -> None:
        super().__init__()
        self.seq = 0  # of the newest reading; 0: none yet
        self._look = look
        self._look_seconds = look_seconds
        self._reading: Reading | None = None
        self._rates: dict[str, Rates] = {}
        self._book = RateBook()
        self._frames: dict[frozenset[str], str] = {}

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
            health_clients=len(self.clients),
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
        for client in self.clients:
            client.wake.set()


health_hub = HubOfLoop(lambda: HealthHub())
