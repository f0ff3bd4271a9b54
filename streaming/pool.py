"""The connections of one account, one a slot: opens the next one when full, and spreads what is wanted over them."""

import asyncio
import logging
from collections.abc import Callable, Collection, Iterable, Mapping

from streaming.connection import ConnectionState, TickerConnection
from streaming.leases import HeldSlot
from streaming.wire_requests import TOKENS_PER_CONNECTION, Mode

logger = logging.getLogger(__name__)


def spread(
    desired: Mapping[int, Mode],
    held: list[set[int]],
    *,
    size: int = TOKENS_PER_CONNECTION,
    most: int,
    waiting: Collection[int] = (),
) -> tuple[list[dict[int, Mode]], list[int]]:
    """Lay tokens on connections: whoever holds one keeps it, new ones fill the gaps, then the next connection.

    Those numbered in `waiting` will not be open for long: others take over what they hold, as far as these have room.
    Returns what each of `most` connections should carry, and the tokens left over.
    """
    layout: list[dict[int, Mode]] = [{token: desired[token] for token in tokens if token in desired} for tokens in held]
    layout += [{} for _ in range(most - len(held))]
    placed = {token for carried in layout for token in carried}
    others = [number for number in range(most) if number not in waiting]

    def fill(numbers: Iterable[int], tokens: list[int]) -> list[int]:
        for number in numbers:
            room = max(size - len(layout[number]), 0)
            layout[number] |= {token: desired[token] for token in tokens[:room]}
            tokens = tokens[room:]
        return tokens

    left = fill([*others, *waiting], [token for token in desired if token not in placed])
    for number in waiting:
        layout[number] = {token: desired[token] for token in fill(others, list(layout[number]))}
    return layout, left


class ConnectionPool:
    """The sockets of one account. `make` builds the connection that goes with a slot."""

    def __init__(
        self, account: str, make: Callable[[HeldSlot], TickerConnection], *, size: int = TOKENS_PER_CONNECTION
    ) -> None:
        self.account = account
        self.overflow: list[int] = []
        self._make = make
        self._size = size
        self._slots: list[HeldSlot] = []
        self._always: frozenset[int] = frozenset()
        self._desired: Mapping[int, Mode] = {}
        self._connections: dict[HeldSlot, TickerConnection] = {}
        self._waiting: frozenset[HeldSlot] = frozenset()
        self._running: dict[HeldSlot, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()

    @property
    def connections(self) -> list[TickerConnection]:
        """Those that are dialled, in the order of their slots."""
        return [self._connections[slot] for slot in self._slots if slot in self._connections]

    @property
    def capacity(self) -> int:
        """Instruments that all held slots carry together."""
        return self._size * len(self._slots)

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

    def hold(self, slots: Iterable[HeldSlot], *, always: Iterable[int] = ()) -> None:
        """Make these the slots. Connections of others end; those numbered in `always` are dialled even empty."""
        held, dialled = sorted(slots, key=lambda slot: slot.number), frozenset(always)
        if (held, dialled) == (self._slots, self._always):
            return
        self._slots, self._always = held, dialled
        self._connections = {slot: one for slot, one in self._connections.items() if slot in self._slots}
        self._lay_out()

    def want(self, desired: Mapping[int, Mode]) -> None:
        """Make this the account's whole set of subscriptions; what does not fit is in `overflow`."""
        if desired is self._desired:
            return
        self._desired = desired
        self._lay_out()

    def relieve(self, waits_long: Callable[[TickerConnection], bool]) -> list[tuple[TickerConnection, frozenset[int]]]:
        """Have the others carry what is on connections that will not be open for long, as far as they have room.

        Returns what moved away from which. It does not move back.
        """
        waiting = {slot: one for slot, one in self._connections.items() if waits_long(one)}
        if waiting.keys() == self._waiting:
            return []
        self._waiting = frozenset(waiting)
        before = [(one, one.desired) for one in waiting.values()]
        self._lay_out()
        return [(one, moved) for one, held in before if (moved := frozenset(held.keys() - one.desired.keys()))]

    def load_of(self, slot: HeldSlot) -> int:
        """Instruments that the slot's connection carries."""
        return len(self._connections[slot].desired) if slot in self._connections else 0

    async def closed(self, slot: HeldSlot) -> None:
        """Wait until the socket of a slot that is not held any more is closed."""
        if (task := self._running.get(slot)) is not None:
            task.cancel()
            await asyncio.wait({task})

    async def run(self) -> None:
        """Run every connection, and each one that is added later, until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                self._changed.clear()
                for slot, connection in self._connections.items():
                    if slot not in self._running:
                        self._running[slot] = group.create_task(connection.run(), name=connection.name)
                for slot in self._running.keys() - self._connections.keys():
                    self._running[slot].cancel()
                    if self._running[slot].done():
                        del self._running[slot]
                await self._changed.wait()

    def _lay_out(self) -> None:
        held = [
            set(self._connections[slot].desired) if slot in self._connections else set[int]() for slot in self._slots
        ]
        waiting = [number for number, slot in enumerate(self._slots) if slot in self._waiting]
        layout, self.overflow = spread(self._desired, held, size=self._size, most=len(self._slots), waiting=waiting)
        if self.overflow:
            logger.warning("%s: %d instruments wait for a socket", self.account, len(self.overflow))
        for slot, tokens in zip(self._slots, layout, strict=True):
            if slot not in self._connections and (tokens or slot.number in self._always):
                self._connections[slot] = self._make(slot)
            if slot in self._connections:
                self._connections[slot].want(tokens)
        self._changed.set()
