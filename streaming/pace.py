"""How long a window lasts: longer while Redis is slow, so that less is sent before anything has to be dropped.

In a window of twice the length every instrument has one newest value still: what Redis is to take in a second is nearly
halved, and whoever reads gets fewer, newer updates.
"""

import logging
from typing import Final

logger = logging.getLogger(__name__)

MUCH_BYTES: Final = 2**20
"""Encoded and waiting: somebody should know of it."""
LITTLE_BYTES: Final = MUCH_BYTES // 4
FULL_BATCHES: Final = 4
"""The publisher merges what comes on top of them."""
WIDEST_SECONDS: Final = 1.0
EASY_WINDOWS: Final = 5
"""In a row, before a window gets shorter again: a Redis that is slow now and then shall not make the feed stutter."""


class Pace:
    """`window` and `shortest` in seconds, as told and as they are now; `look` after each window."""

    def __init__(self, window: float, shortest: float, *, widest: float = WIDEST_SECONDS) -> None:
        self.window = self._usual = window
        self.shortest = self._usual_shortest = shortest
        self._widest = max(window, widest)
        self._easy = 0
        self._is_much = False

    def look(self, pending_bytes: int, waiting_batches: int) -> None:
        """Widen the next window, or let it return, by what waits for Redis."""
        if pending_bytes >= MUCH_BYTES or waiting_batches >= FULL_BATCHES:
            self._easy = 0
            self._set(min(2 * self.window, self._widest))
        elif pending_bytes < LITTLE_BYTES and waiting_batches <= 1:
            self._easy += 1
            if self._easy >= EASY_WINDOWS and self.window > self._usual:
                self._easy = 0
                self._set(max(self.window / 2, self._usual))
        else:
            self._easy = 0
        self._tell(pending_bytes)

    def _set(self, window: float) -> None:
        if window == self.window:
            return
        if self.window == self._usual:
            logger.info("Redis takes batches slower than they come: windows get longer until it keeps up")
        elif window == self._usual:
            logger.info("Redis keeps up: windows are %.0f ms long again", 1000 * window)
        self.window = window
        self.shortest = self._usual_shortest * window / self._usual

    def _tell(self, pending_bytes: int) -> None:
        """Once a time that much waits, and not again for each window of it."""
        if pending_bytes >= MUCH_BYTES and not self._is_much:
            self._is_much = True
            logger.warning(
                "%.1f MB wait for Redis; windows are %.0f ms long now", pending_bytes / 2**20, 1000 * self.window
            )
        elif pending_bytes < LITTLE_BYTES:
            self._is_much = False
