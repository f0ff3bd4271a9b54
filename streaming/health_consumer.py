"""`/ws/health/`: how the feed and all that it depends on are, once a second. The protocol is in `docs/websocket.md`."""

import asyncio
import time
from dataclasses import dataclass
from typing import Any, ClassVar

from channels.db import database_sync_to_async

from accounts.actions import Action
from accounts.authorisation import accounts_for, authorise
from accounts.principals import Principal
from accounts.socket_consumer import TRY_AGAIN, BadMessage, SocketConsumer, SocketLimits
from accounts.sockets import principal_of_scope
from streaming import metrics
from streaming.health_hub import HealthHub, Watcher, health_hub


@dataclass(frozen=True, slots=True)
class HealthLimits(SocketLimits):
    """A client listens only."""

    frames_per_second: int = 5
    sockets: int = 200


class HealthConsumer(SocketConsumer):
    """One client of `/ws/health/`."""

    action = Action.READ
    closed_counter = metrics.HEALTH_CLIENTS_CLOSED
    limits: ClassVar[HealthLimits] = HealthLimits()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self._hub: HealthHub | None = None
        self._watcher: Watcher | None = None
        self._mine: frozenset[str] = frozenset()
        await super().__call__(scope, receive, send)

    def sockets_open(self, principal: str) -> tuple[int, int]:
        hub = health_hub()
        return len(hub.clients), hub.sockets_of(principal)

    async def identify(self) -> Principal:
        """Also: whose names the client may be told, so that each look at its rights looks at those too."""
        principal: Principal
        principal, self._mine = await database_sync_to_async(_reader)(self.scope, self.action)
        return principal

    async def enter(self, principal: Principal) -> None:
        self._hub, self._watcher = health_hub(), Watcher(principal.name)
        self._hub.join(self._watcher)

    async def leave(self) -> None:
        if self._hub is not None and self._watcher is not None:
            await self._hub.leave(self._watcher)

    async def hear(self, text: str) -> None:
        raise BadMessage("bad_message", "This socket only tells: nothing is to be said to it.")

    async def send_news(self) -> int:
        """Send each reading, the newest only. Returns the code to close with."""
        hub, watcher = self._hub, self._watcher
        assert hub is not None and watcher is not None  # noqa: S101, PT018 - the sender starts after entering
        sent = 0
        while True:
            watcher.wake.clear()
            if hub.has_ended:
                return TRY_AGAIN
            now = time.monotonic()
            if now >= self.recheck_at and (code := await self.recheck()) is not None:
                return code
            if hub.seq != sent and (frame := hub.frame(self._mine)) is not None:
                sent = hub.seq
                await self.send_frame(frame)
                continue  # another reading may have come while the server waited for the client
            try:
                async with asyncio.timeout(max(0.0, self.recheck_at - now)):
                    await watcher.wake.wait()
            except TimeoutError:
                pass


def _reader(scope: Any, action: Action) -> tuple[Principal, frozenset[str]]:
    principal = principal_of_scope(scope)
    authorise(principal, action)
    return principal, frozenset(accounts_for(principal, action).values_list("kite_user_id", flat=True))
