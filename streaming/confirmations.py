"""Which instruments were subscribed and have not come: the broker acknowledges nothing, so each has to tick.

Pure: no I/O. Times are of the monotonic clock.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from streaming.connection import ConnectionState, TickerConnection

MOST_SHOWN: Final = 100


@dataclass(frozen=True, slots=True)
class Unconfirmed:
    """One that waits: since when, on which socket, and how often it was subscribed."""

    instrument_token: int
    socket: str
    since: float
    tries: int


class Confirmations:
    """Those of all sockets of a process. `patience_seconds` after its subscription an instrument is asked for again."""

    def __init__(self, patience_seconds: float) -> None:
        self.waiting: dict[int, Unconfirmed] = {}
        self._patience = patience_seconds
        self._open_since: dict[str, float] = {}

    def look(
        self,
        connections: Iterable[TickerConnection],
        *,
        ticked_at: Mapping[int, float],
        exchange_of: Mapping[int, str],
        is_open: Callable[[str], bool],
        now: float,
    ) -> dict[TickerConnection, list[int]]:
        """Bring `waiting` up to date; returns what is to be subscribed again.

        Only what a market that is open should bring is waited for, and from its opening at the earliest.
        """
        self._open_since = {
            exchange: self._open_since.get(exchange, now)
            for exchange in frozenset(exchange_of.values())
            if is_open(exchange)
        }
        before, self.waiting = self.waiting, {}
        again: dict[TickerConnection, list[int]] = {}
        for connection in connections:
            if connection.state is not ConnectionState.OPEN:
                continue
            for token, subscribed_at in connection.subscribed_at.items():
                open_since = self._open_since.get(exchange_of.get(token, ""))
                if open_since is None or token not in connection.desired or ticked_at.get(token, 0.0) >= subscribed_at:
                    continue
                asked_at = max(subscribed_at, open_since)
                known = before.get(token)
                if now - asked_at > self._patience:
                    known = known or Unconfirmed(token, connection.name, asked_at, 1)
                    known = replace(known, tries=known.tries + 1)
                    again.setdefault(connection, []).append(token)
                if known is not None:
                    self.waiting[token] = known
        return again
