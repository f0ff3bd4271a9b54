"""How late the event loop runs what is due: the one figure that tells whether anything blocks it.

A task sleeps for a moment again and again; how much longer it slept than it wanted is what everything else in the loop
had to wait, too. Some of that the loop computed itself: that is ours to mend. The rest the machine spent on others, or
a call waited that must not.
"""

import asyncio
import time
from typing import Final, TypedDict

import numpy as np

from streaming import metrics

EVERY_SECONDS: Final = 0.02
KEPT_SAMPLES: Final = 3000
"""A minute's."""


class Delays(TypedDict):
    """Seconds, over the last minute; p999 is what one in a thousand exceeds, and `busy` what the loop computed."""

    p50: float
    p99: float
    p999: float
    busy_p999: float


class LoopDelay:
    """`run` it in the loop that is to be measured."""

    def __init__(self, *, every_seconds: float = EVERY_SECONDS, kept: int = KEPT_SAMPLES) -> None:
        self._every = every_seconds
        self._delays, self._busy = np.zeros(kept), np.zeros(kept)
        self._count = 0

    async def run(self) -> None:
        """Measure until cancelled."""
        loop = asyncio.get_running_loop()
        while True:
            due, computed = loop.time() + self._every, time.thread_time()
            await asyncio.sleep(self._every)
            self.note(max(0.0, loop.time() - due), time.thread_time() - computed)

    def note(self, seconds: float, computed: float) -> None:
        """One delay; `computed` is the CPU time that the loop's thread used meanwhile, in seconds."""
        place = self._count % len(self._delays)
        self._delays[place], self._busy[place] = seconds, min(seconds, computed)
        self._count += 1
        metrics.LOOP_DELAY.observe(seconds)

    def last_minute(self) -> Delays:
        """Zeros before anything was measured."""
        seen = slice(max(1, min(self._count, len(self._delays))))
        p50, p99, p999 = np.quantile(self._delays[seen], (0.5, 0.99, 0.999)).tolist()
        return Delays(p50=p50, p99=p99, p999=p999, busy_p999=float(np.quantile(self._busy[seen], 0.999)))
