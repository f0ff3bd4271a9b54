"""Whose turn it is: parts that changed, each at most once an interval, and spread over it.

Two things are due in turns. A part is sent whole, as a film has a whole picture now and then: encoding every row of
every part at every flush would cost several times more than all the rest of the pipeline, while a part that is sent
whole once an interval keeps its blob short, sets a reader right that missed updates, and lets the Greeks of rows that
do not trade follow the underlying. And an expiry is analysed, which no reader needs more than once a second.
"""

import math
from collections.abc import Collection, Iterable


class Turns:
    """Which parts are due. Times are monotonic seconds, handed in; nothing is due that did not change."""

    def __init__(self, interval_seconds: float) -> None:
        self._interval = interval_seconds
        self._served: dict[str, float] = {}
        self._changed: set[str] = set()
        self._last_asked = -math.inf

    def follow(self, parts: Collection[str]) -> None:
        """Make these the parts; those that stay keep their place in the round."""
        self._served = {part: at for part, at in self._served.items() if part in parts}
        self._changed &= set(parts)

    def changed(self, parts: Iterable[str]) -> None:
        """Rows of these parts changed since their last turn."""
        self._changed.update(parts)

    def take_due(self, now: float, most: int | None = None) -> list[str]:
        """The parts whose turn it is now, counted as served; at most `most` of them.

        Those never served always; of the others no more than their share of the interval since the last call, the
        longest waiting first: many parts that became due together are spread over the interval.
        """
        served, interval = self._served, self._interval
        elapsed, self._last_asked = now - self._last_asked, now
        share = math.ceil(len(served) * min(elapsed / interval, 1.0)) if interval > 0 else len(served)
        new = sorted(part for part in self._changed if part not in served)
        waiting = (part for part in self._changed if part in served and now - served[part] >= interval)
        due = (new + sorted(waiting, key=lambda part: (served[part], part))[:share])[:most]
        served.update(dict.fromkeys(due, now))
        self._changed.difference_update(due)
        return due
