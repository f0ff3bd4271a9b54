"""The state behind the control API, and what it does to sockets and tokens."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from enum import StrEnum

from aiohttp import web

from simulator.announcements import Announcements, Road
from simulator.broker import Broker
from simulator.delivery import Deliver, Way
from simulator.faults.connections import hang_up, reset
from simulator.faults.counters import Counters
from simulator.faults.disturbance import Disturbance
from simulator.faults.rules import MessageRule, Occasion, OrderRule, RuleBook, SocketRule, Target
from simulator.faults.socket_kinds import (
    ABNORMAL_CLOSURE,
    Close,
    Mute,
    ResetSocket,
    SendFrame,
    SendText,
    SocketFault,
)
from simulator.feed import Connection, Feed
from simulator.trading.mishaps import Mishap, Nothing
from simulator.trading.orders import Order

_LOOK_SECONDS = 0.05
_SEND_SECONDS = 5.0  # for a client that does not read


class SocketsOfDeadToken(StrEnum):
    """What becomes of the sockets of a token that is killed."""

    CLOSE = "close"
    MUTE = "mute"
    LEAVE = "leave"


class Control:
    """Rules, counters, and the hands to carry them out. Belongs to the event loop, like the broker."""

    def __init__(
        self, broker: Broker, feed: Feed, announcements: Announcements, system_clock: Callable[[], float]
    ) -> None:
        self.rules = RuleBook()
        self.counters = Counters(system_clock)
        self._broker = broker
        self._feed = feed
        self._stopping = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        feed.on_open = self._socket_opened
        broker.desk.lifecycle.mishap_of = self._mishap_of
        announcements.way_of = self._way_of

    # --- sockets ----------------------------------------------------------------------------------------------------

    def sockets(
        self, *, number: int | None = None, api_key: str | None = None, user_id: str | None = None
    ) -> list[Connection]:
        """The open ones that this describes, oldest first."""
        return [
            connection
            for connection in sorted(self._feed.connections, key=lambda c: c.number)
            if number in (None, connection.number)
            and api_key in (None, connection.access.app.api_key)
            and user_id in (None, connection.access.user.user_id)
        ]

    def open_sockets(self) -> Counter[str]:
        """How many, by api key."""
        return Counter(connection.access.app.api_key for connection in self._feed.connections)

    async def disturb(self, connections: Iterable[Connection], fault: SocketFault) -> None:
        """Do it to each of them, now. Returns when it is done, also where the client does not read."""
        async with asyncio.TaskGroup() as group:
            for connection in connections:
                group.create_task(self._disturb(connection, fault))

    async def _disturb(self, connection: Connection, fault: SocketFault) -> None:
        # The socket may end meanwhile, or its client may not read: neither is an error here.
        with contextlib.suppress(ConnectionError, TimeoutError):
            async with asyncio.timeout(_SEND_SECONDS):
                match fault:
                    case Close(code=code) if code == ABNORMAL_CLOSURE:
                        hang_up(connection.transport)
                    case Close(code, reason):
                        await connection.websocket.close(code=code, message=reason.encode())
                    case ResetSocket():
                        reset(connection.transport)
                    case SendText(text):
                        await connection.websocket.send_str(text)
                    case SendFrame(frame):
                        await connection.websocket.send_bytes(frame)
                    case _:
                        if connection.disturbance is None:
                            connection.disturbance = Disturbance()
                        connection.disturbance.add(fault, self._broker.market)

    def calm(self, connections: Iterable[Connection]) -> None:
        """End what lasts."""
        for connection in connections:
            connection.disturbance = None

    def _socket_opened(self, connection: Connection) -> None:
        api_key = connection.access.app.api_key
        count = self.counters.sockets_of(api_key)
        count.accepted += 1
        count.peak = max(count.peak, self.open_sockets()[api_key])
        rule = self.rules.take(Occasion(Target.SOCKET, api_key, connection.access.user.user_id))
        if isinstance(rule, SocketRule):
            later = asyncio.create_task(self._disturb_later(connection, rule), name=f"fault {rule.number}")
            self._tasks.add(later)
            later.add_done_callback(self._tasks.discard)

    async def _disturb_later(self, connection: Connection, rule: SocketRule) -> None:
        await asyncio.sleep(rule.after_seconds)
        if connection in self._feed.connections:
            await self._disturb(connection, rule.fault)

    # --- orders -----------------------------------------------------------------------------------------------------

    def _mishap_of(self, order: Order) -> Mishap:
        rule = self.rules.take(_occasion(Target.ORDER, order))
        return rule.mishap if isinstance(rule, OrderRule) else Nothing()

    def _way_of(self, road: Road, order: Order, status: str) -> Way:
        rule = self.rules.take(_occasion(Target(road.value), order, status))
        return rule.way if isinstance(rule, MessageRule) else Deliver()

    # --- tokens -----------------------------------------------------------------------------------------------------

    async def kill_tokens(
        self, *, api_key: str | None, user_id: str | None, access_token: str | None, sockets: SocketsOfDeadToken
    ) -> int:
        """End the live tokens that this describes: 403 from now on. Returns how many there were."""
        logins = self._broker.logins
        dead = {
            access.token
            for access in logins.live()
            if api_key in (None, access.app.api_key)
            and user_id in (None, access.user.user_id)
            and access_token in (None, access.token)
        }
        theirs = [connection for connection in self._feed.connections if connection.access.token in dead]
        for connection in theirs:
            connection.outlives_token = True  # what becomes of it is said here
        for token in dead:
            logins.end(token)
        if sockets is SocketsOfDeadToken.MUTE:
            await self.disturb(theirs, Mute(pongs=True))
        elif sockets is SocketsOfDeadToken.CLOSE:
            await self.disturb(theirs, Close(1000, "token ended"))
        return len(dead)

    # --- waiting ----------------------------------------------------------------------------------------------------

    async def pause(self, seconds: float) -> None:
        """Wait, but not longer than the simulator runs."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def until_client_leaves(self, request: web.Request) -> None:
        """Wait for the end of the request's connection, but not longer than the simulator runs."""
        while request.transport is not None and not request.transport.is_closing() and not self._stopping.is_set():
            await self.pause(_LOOK_SECONDS)

    def stop(self) -> None:
        """Let go of everything that waits."""
        self._stopping.set()
        for task in self._tasks:
            task.cancel()


def _occasion(on: Target, order: Order, status: str = "") -> Occasion:
    return Occasion(
        on,
        order.api_key,
        order.user_id,
        tradingsymbol=order.asked.tradingsymbol,
        tag=order.asked.tag or "",
        status=status,
    )


CONTROL = web.AppKey("control", Control)
