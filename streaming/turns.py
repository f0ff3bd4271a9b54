"""When a part is sent whole. In between only changed rows are, as a film has a whole picture now and then.

Encoding every row of every part at every flush would cost several times more than all the rest of the pipeline. So a
part that changed is sent whole, and its blob begun anew, once an interval: a blob stays short, a reader that missed
updates is right again as soon, and the Greeks of rows that do not trade follow the underlying.
"""

import math
from collections.abc import Collection, Iterable


class Keyframes:
    """Which parts are due. Times are monotonic seconds, handed in; nothing is due that did not change."""

    def __init__(self, interval_seconds: float = 5.0) -> None:
        self._interval = interval_seconds
        self._sent: dict[str, float] = {}
        self._changed: set[str] = set()
        self._last_asked = -math.inf

    def follow(self, parts: Collection[str]) -> None:
        """Make these the parts; those that stay keep their place in the round."""
        self._sent = {part: at for part, at in self._sent.items() if part in parts}
        self._changed &= set(parts)

    def changed(self, parts: Iterable[str]) -> None:
        """Rows of these parts changed since they were last sent whole."""
        self._changed.update(parts)

    def take_due(self, now: float) -> list[str]:
        """The parts to send whole now, counted as sent.

        Those never sent whole always; of the others no more than their share of the interval since the last call, the
        longest waiting first: many parts that became due together are spread over the interval.
        """
        elapsed, self._last_asked = now - self._last_asked, now
        share = (
            math.ceil(len(self._sent) * min(elapsed / self._interval, 1.0)) if self._interval > 0 else len(self._sent)
        )
        new = sorted(part for part in self._changed if part not in self._sent)
        waiting = (part for part in self._changed if part in self._sent and now - self._sent[part] >= self._interval)
        due = new + sorted(waiting, key=lambda part: (self._sent[part], part))[:share]
        self._sent.update(dict.fromkeys(due, now))
        self._changed.difference_update(due)
        return due
