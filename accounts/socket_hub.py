"""What every hub of WebSocket clients has: it runs while it has clients, and the next client begins the next one."""

import asyncio
import logging
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Protocol, TypeVar

from prometheus_client import Gauge

logger = logging.getLogger(__name__)


class Wake(Protocol):
    """What a client's sender waits for."""

    def set(self) -> None: ...


class HubClient(Protocol):
    """One consumer as its hub sees it."""

    @property
    def principal(self) -> str: ...

    @property
    def wake(self) -> Wake: ...


C = TypeVar("C", bound=HubClient)


class SocketHub(ABC, Generic[C]):
    """Serves the clients of one web process and event loop, from the first that joins to the last that leaves.

    It is not used again then: what it closes as it ends must not be what the next client has just begun to use.
    """

    clients_gauge: ClassVar[Gauge]

    def __init__(self) -> None:
        self.clients: set[C] = set()
        self.has_ended = False  # its clients are to be closed, and come again to the next one
        self._running: asyncio.Task[None] | None = None

    def join(self, client: C) -> None:
        """Serve a client. Ask for the hub right before: one that has ended serves nobody."""
        if self.has_ended:
            raise RuntimeError(f"{type(self).__name__} has ended; a new client needs a new one")
        self.clients.add(client)
        self.clients_gauge.set(len(self.clients))
        if self._running is None:
            self._running = asyncio.create_task(self._run(), name=type(self).__name__)
            self._running.add_done_callback(self._on_end)

    async def leave(self, client: C) -> None:
        """Forget a client; the last one to leave ends the hub."""
        self.clients.discard(client)
        self.clients_gauge.set(len(self.clients))
        if not self.clients and self._running is not None:
            self.has_ended = True
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)

    def sockets_of(self, principal: str) -> int:
        """How many of the clients are this one's."""
        return sum(client.principal == principal for client in self.clients)

    @abstractmethod
    async def _run(self) -> None:
        """Serve until cancelled, and close then what was opened."""

    def _on_end(self, running: asyncio.Task[None]) -> None:
        self.has_ended = True
        if not running.cancelled() and (exc := running.exception()) is not None:
            logger.error("%s broke off; its clients are sent away to come again", type(self).__name__, exc_info=exc)
        for client in self.clients:
            client.wake.set()


H = TypeVar("H", bound=SocketHub[Any])


class HubOfLoop(Generic[H]):
    """The hub of the running event loop: the one that runs, else a new one."""

    def __init__(self, make: Callable[[], H]) -> None:
        self._make = make
        self._hubs: weakref.WeakKeyDictionary[asyncio.AbstractEventLoop, H] = weakref.WeakKeyDictionary()

    def __call__(self) -> H:
        loop = asyncio.get_running_loop()
        hub = self._hubs.get(loop)
        if hub is None or hub.has_ended:
            hub = self._hubs[loop] = self._make()
        return hub
