"""How late the event loop runs what is due: the one figure that tells whether anything blocks it.

A task sleeps for a moment again and again; how much longer it slept than it wanted is what everything else in the loop
had to wait, too.
"""

import asyncio
from typing import Final, TypedDict

import numpy as np

from streaming import metrics

EVERY_SECONDS: Final = 0.02
KEPT_SAMPLES: Final = 3000
"""A minute's."""


class Delays(TypedDict):
    """Seconds, over the last minute; the last is what one in a thousand exceeds."""

    p50: float
    p99: float
    p999: float


class LoopDelay:
    """`run` it in the loop that is to be measured."""

    def __init__(self, *, every_seconds: float = EVERY_SECONDS, kept: int = KEPT_SAMPLES) -> None:
        self._every = every_seconds
        self._delays = np.zeros(kept)
        self._count = 0

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due = loop.time() + self._every
            await asyncio.sleep(self._every)
            self.note(max(0.0, loop.time() - due))

    def note(self, seconds: float) -> None:
        self._delays[self._count % len(self._delays)] = seconds
        self._count += 1
        metrics.LOOP_DELAY.observe(seconds)

    def last_minute(self) -> Delays:
        """Zeros before anything was measured."""
        seen = self._delays[: max(1, min(self._count, len(self._delays)))]
        p50, p99, p999 = np.quantile(seen, (0.5, 0.99, 0.999)).tolist()
        return Delays(p50=p50, p99=p99, p999=p999)
