"""From one look to the next: how much came, of what the stream processes only count. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from streaming.state import StreamState


@dataclass(frozen=True, slots=True)
class Rates:
    """What one process does a second. `parts`: updates of each, by name."""

    ticks: float
    windows: float
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Seen:
    epoch: int
    at: float
    ticks: int
    windows: int
    parts: dict[str, int]


class RateBook:
    """Rates by process. Of a process that was seen once, or that began anew, there are none yet."""

    def __init__(self) -> None:
        self._seen: dict[str, _Seen] = {}
        self._rates: dict[str, Rates] = {}

    def take(self, streams: Iterable[StreamState]) -> dict[str, Rates]:
        """The rates of these processes. One that has written nothing new keeps the rates that it had."""
        seen: dict[str, _Seen] = {}
        rates: dict[str, Rates] = {}
        for stream in streams:
            name, counters = stream["process"], stream["counters"]
            now = seen[name] = _Seen(
                stream["epoch"],
                stream["written_at"],
                counters.get("ticks", 0),
                counters.get("windows", 0),
                {part["name"]: part["updates"] for part in stream["parts"]},
            )
            before = self._seen.get(name)
            if before is None or before.epoch != now.epoch:
                continue
            if now.at > before.at:
                rates[name] = _between(before, now)
            elif name in self._rates:
                rates[name] = self._rates[name]
        self._seen, self._rates = seen, rates
        return rates


def _between(before: _Seen, now: _Seen) -> Rates:
    seconds = now.at - before.at

    def rate(old: int, new: int) -> float:
        return max(0, new - old) / seconds

    return Rates(
        rate(before.ticks, now.ticks),
        rate(before.windows, now.windows),
        {name: rate(before.parts[name], count) for name, count in now.parts.items() if name in before.parts},
    )
