"""Raw frames on their way from the read loops to the window: appended, counted, taken all at once."""

import asyncio
import time
from collections.abc import Callable

# The smallest packet on the wire is 8 bytes after a length of 2: a header cannot claim more than would fit.
_SMALLEST_PACKET = 10


class Inbox:
    """Frames waiting for the window to close.

    The read loops and the window loop share one event loop, so there is no lock. It cannot grow without bound: what
    fills it and what empties it take turns on the same thread.
    """

    def __init__(self, full_at: int = 1000, clock: Callable[[], float] = time.time) -> None:
        self.frames: list[bytes] = []
        self.received_at: list[float] = []
        self.packets = 0
        self.heartbeats = 0
        self.full = asyncio.Event()
        self._full_at = full_at
        self._clock = clock

    def put(self, frame: bytes) -> None:
        """Keep a binary frame with the moment it came (unix seconds); a heartbeat is only counted."""
        if len(frame) < 2:
            self.heartbeats += 1
            return
        self.frames.append(frame)
        self.received_at.append(self._clock())
        self.packets += min(int.from_bytes(frame[:2], "big"), len(frame) // _SMALLEST_PACKET)
        if self.packets >= self._full_at:
            self.full.set()

    def take_heartbeats(self) -> int:
        """How many came since the last call."""
        heartbeats, self.heartbeats = self.heartbeats, 0
        return heartbeats

    def take(self) -> tuple[list[bytes], list[float]]:
        """Everything that waits, oldest first, and when each frame came; the inbox is empty afterwards."""
        frames, received_at = self.frames, self.received_at
        self.frames, self.received_at, self.packets = [], [], 0
        self.full.clear()
        return frames, received_at
