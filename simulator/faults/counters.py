"""What really arrived: the truth that a client's own figures are held against.

Times are Unix seconds of the machine's clock.
"""

from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from simulator.faults.rules import Occasion, group_of

KEPT_SECONDS, KEPT_MINUTES = 7_200, 2_880  # of each route; older ones are only in its total


@dataclass(slots=True)
class CallCount:
    """Calls of one api key and user to one route. `answers`: by status, `none` where there was no answer."""

    total: int = 0
    answers: Counter[str] = field(default_factory=Counter)
    seconds: Counter[int] = field(default_factory=Counter)
    minutes: Counter[int] = field(default_factory=Counter)  # by the second at which each began

    def arrived(self, now: float) -> None:
        second = int(now)
        self.total += 1
        self.seconds[second] += 1
        self.minutes[second - second % 60] += 1
        _forget_the_oldest(self.seconds, KEPT_SECONDS)
        _forget_the_oldest(self.minutes, KEPT_MINUTES)


@dataclass(slots=True)
class SocketCount:
    """Handshakes of one api key, and the most sockets it had open at once."""

    accepted: int = 0
    refused: Counter[str] = field(default_factory=Counter)  # by status, `none` where there was no answer
    peak: int = 0


class Counters:
    """Counted from the start, or from the last reset."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self.reset()

    def reset(self) -> None:
        """Begin anew. Sockets that are open count for the new peak."""
        self._since = self._clock()
        self._calls: defaultdict[tuple[str, str, str, str], CallCount] = defaultdict(CallCount)
        self._sockets: defaultdict[str, SocketCount] = defaultdict(SocketCount)

    def call(self, occasion: Occasion) -> CallCount:
        """Count a call that has arrived; the caller notes in `answers` what became of it."""
        count = self._calls[occasion.api_key, occasion.user_id, occasion.method, occasion.route or ""]
        count.arrived(self._clock())
        return count

    def sockets_of(self, api_key: str) -> SocketCount:
        return self._sockets[api_key]

    def as_json(self, open_now: Counter[str]) -> dict[str, Any]:
        """`open_now`: sockets by api key."""
        for api_key, count in open_now.items():
            self._sockets[api_key].peak = max(self._sockets[api_key].peak, count)
        return {
            "since": self._since,
            "calls": [
                {
                    "api_key": api_key,
                    "user_id": user_id,
                    "method": method,
                    "route": route,
                    "group": group_of(route),
                    "total": count.total,
                    "answers": dict(count.answers),
                    "seconds": dict(count.seconds),
                    "minutes": dict(count.minutes),
                }
                for (api_key, user_id, method, route), count in sorted(self._calls.items(), key=lambda item: item[0])
            ],
            "sockets": {
                api_key: {
                    "open": open_now[api_key],
                    "peak": count.peak,
                    "accepted": count.accepted,
                    "refused": dict(count.refused),
                }
                for api_key, count in sorted(self._sockets.items(), key=lambda item: item[0])
            },
        }


def _forget_the_oldest(counts: Counter[int], most: int) -> None:
    if len(counts) > most:
        del counts[next(iter(counts))]
