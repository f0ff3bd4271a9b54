"""Up to three connections of one account: opens the next one when full, and spreads what is wanted over them."""

import asyncio
import logging
from collections.abc import Callable, Mapping

from streaming.connection import ConnectionState, TickerConnection
from streaming.wire_requests import Mode

logger = logging.getLogger(__name__)

# Kite Connect v3 documentation, "WebSocket streaming".
TOKENS_PER_CONNECTION = 3000
CONNECTIONS_PER_KEY = 3


def spread(
    desired: Mapping[int, Mode],
    held: list[set[int]],
    *,
    size: int = TOKENS_PER_CONNECTION,
    most: int = CONNECTIONS_PER_KEY,
) -> tuple[list[dict[int, Mode]], list[int]]:
    """Lay tokens on connections: whoever holds one keeps it, new ones fill the gaps, then the next connection.

    Returns what each connection should carry (at least as many as there are now), and the tokens left over.
    """
    layout: list[dict[int, Mode]] = [{token: desired[token] for token in tokens if token in desired} for tokens in held]
    placed = {token for carried in layout for token in carried}
    waiting = [token for token in desired if token not in placed]
    position = 0
    while waiting and position < most:
        if position == len(layout):
            layout.append({})
        room = size - len(layout[position])
        layout[position].update({token: desired[token] for token in waiting[:room]} if room > 0 else {})
        waiting = waiting[max(room, 0) :]
        position += 1
    return layout, waiting


class ConnectionPool:
    """The sockets of one account. `make` builds the connection with the given number."""

    def __init__(
        self,
        account: str,
        make: Callable[[int], TickerConnection],
        *,
        size: int = TOKENS_PER_CONNECTION,
        most: int = CONNECTIONS_PER_KEY,
    ) -> None:
        self.account = account
        self.connections: list[TickerConnection] = []
        self.overflow: list[int] = []
        self._make = make
        self._size = size
        self._most = most
        self._grown = asyncio.Event()

    @property
    def capacity(self) -> int:
        """Instruments that all possible connections carry together."""
        return self._size * self._most

    @property
    def subscribed(self) -> int:
        """Instruments asked of the broker on the sockets that are open now."""
        return sum(len(c.applied) for c in self.connections if c.state is ConnectionState.OPEN)

    @property
    def open_connections(self) -> int:
        """Sockets through which something came."""
        return sum(c.state is ConnectionState.OPEN for c in self.connections)

    @property
    def status(self) -> str:
        """The account in one word: the worst state of its connections, or `idle` without any."""
        states = {connection.state for connection in self.connections}
        worst_first = (
            ConnectionState.AWAITING_TOKEN,
            ConnectionState.CLOSED,
            ConnectionState.WAITING,
            ConnectionState.CONNECTING,
            ConnectionState.OPEN,
        )
        return next((str(state) for state in worst_first if state in states), str(ConnectionState.IDLE))

    @property
    def last_tick_at(self) -> float | None:
        """Unix seconds of the newest data on any connection."""
        return max((c.last_tick_at for c in self.connections if c.last_tick_at is not None), default=None)

    def want(self, desired: Mapping[int, Mode]) -> None:
        """Make this the account's whole set of subscriptions; what does not fit is in `overflow`."""
        layout, self.overflow = spread(
            desired, [set(connection.desired) for connection in self.connections], size=self._size, most=self._most
        )
        if self.overflow:
            logger.error(
                "%s: %d instruments do not fit on %d connections of %d; they are not streamed",
                self.account, len(self.overflow), self._most, self._size,
            )  # fmt: skip
        while len(self.connections) < len(layout):
            self.connections.append(self._make(len(self.connections)))
            self._grown.set()
        for connection, tokens in zip(self.connections, layout, strict=True):
            connection.want(tokens)

    async def run(self) -> None:
        """Run every connection, and each one that is added later, until cancelled."""
        running = 0
        async with asyncio.TaskGroup() as group:
            while True:
                self._grown.clear()
                for connection in self.connections[running:]:
                    group.create_task(connection.run(), name=connection.name)
                running = len(self.connections)
                await self._grown.wait()
