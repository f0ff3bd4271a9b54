"""How far ahead of its acknowledgements a client may be sent frames. Pure: knows no socket and no rows."""

from collections import deque
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pacing:
    """When frames may go out; times in seconds.

    Daphne never waits for a client, so that acknowledgements are the only sign of one that does not keep up. Who never
    acknowledges is sent frames slowly, and cut off by the server's own pings.
    """

    unacknowledged: int = 4
    never_acknowledged_interval: float = 0.1
    acknowledgement_timeout: float = 10.0
    rows_a_frame: int = 100
    rows_behind: int = 2_000  # once it has caught up


class Window:
    """The frames that are on their way to one client."""

    def __init__(self, pacing: Pacing) -> None:
        self._pacing = pacing
        self._in_flight: deque[tuple[int, float]] = deque()
        self._acknowledges = False
        self._last_sent = float("-inf")
        self.frame = 0

    def sent(self, now: float) -> int:
        """One more frame goes out. Its number."""
        self.frame += 1
        self._in_flight.append((self.frame, now))
        if not self._acknowledges:
            while len(self._in_flight) > self._pacing.unacknowledged:
                self._in_flight.popleft()
        self._last_sent = now
        return self.frame

    def acknowledge(self, frame: int) -> None:
        """The client has this frame, and all before it. Raises ValueError for one that was not sent."""
        if not 0 < frame <= self.frame:
            raise ValueError(f"frame {frame} has not been sent")
        self._acknowledges = True
        while self._in_flight and self._in_flight[0][0] <= frame:
            self._in_flight.popleft()

    def may_send_at(self) -> float:
        """From when on the next frame may go out; infinity until one is acknowledged."""
        if not self._acknowledges:
            return self._last_sent + self._pacing.never_acknowledged_interval
        return float("-inf") if len(self._in_flight) < self._pacing.unacknowledged else float("inf")

    def overdue_at(self) -> float:
        """When the client counts as gone: it has acknowledged before, and no longer does."""
        if not self._acknowledges or not self._in_flight:
            return float("inf")
        return self._in_flight[0][1] + self._pacing.acknowledgement_timeout
