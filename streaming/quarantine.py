"""A bounded sample of the ticks that were dropped or flagged, for whoever asks what is wrong with the feed.

Ticks are counted, not logged: of each reason a few of the newest are kept, at most one every few seconds, and once a
minute a line tells how many were dropped. `manage.py rejected_ticks` shows the sample, which the process's state holds.
"""

import math
from collections import Counter, deque
from typing import Any, Final, TypedDict

from streaming.contracts import UNKNOWN
from streaming.packets import Block
from streaming.ticks import Applied, TickTable
from streaming.validation import FLAGGED, Reason

KEPT: Final = 5
"""Of each reason."""
EVERY_SECONDS: Final = 5.0
"""So that those kept are not all of one burst."""
REPORT_SECONDS: Final = 60.0
_UNSUSPICIOUS: Final = FLAGGED | {Reason.MARKET_CLOSED}
"""Nobody need be told of these: they may well be true."""


class RejectedTick(TypedDict):
    """One tick as it came. Prices in rupees, times in Unix seconds; null is what its packet did not hold."""

    at: float  # received, system time
    reason: str
    dropped: bool  # else it was flagged: shown, and nothing computed from it
    instrument_token: int
    tradingsymbol: str | None  # null of a token that is not streamed
    last_price: float
    close: float | None
    exchange_timestamp: int | None
    volume_traded: int | None
    believed_price: float | None  # the last good one, which stays


class Quarantine:
    """`take` what a window brought; `sample` is what is kept; `report` says once a minute what was dropped."""

    def __init__(self) -> None:
        self._kept: dict[Reason, deque[RejectedTick]] = {reason: deque(maxlen=KEPT) for reason in Reason}
        self._next: dict[Reason, float] = dict.fromkeys(Reason, -math.inf)
        self._dropped: Counter[str] = Counter()
        self._report_at: float | None = None

    @property
    def sample(self) -> list[RejectedTick]:
        """The newest first."""
        return sorted((tick for kept in self._kept.values() for tick in kept), key=lambda tick: -tick["at"])

    def take(self, applied: Applied, table: TickTable, *, at: float, monotonic: float) -> None:
        """Look at a window that `table` has taken in; `at` is when it was received (Unix seconds)."""
        self._dropped.update({reason: n for reason, n in applied.counts.items() if Reason(reason) not in _UNSUSPICIOUS})
        for reason, block, row in applied.examples:
            if reason is not Reason.MARKET_CLOSED and monotonic >= self._next[reason]:
                self._next[reason] = monotonic + EVERY_SECONDS
                self._kept[reason].append(_described(reason, block, row, table, at))

    def report(self, monotonic: float) -> str | None:
        """What was dropped since the last report, in words, at most once a minute; None if nothing was, or not yet."""
        if self._report_at is None:
            self._report_at = monotonic + REPORT_SECONDS
        if monotonic < self._report_at:
            return None
        self._report_at = monotonic + REPORT_SECONDS
        dropped, self._dropped = self._dropped, Counter()
        if not dropped:
            return None
        told = ", ".join(self._told(Reason(reason), count) for reason, count in dropped.most_common())
        return f"{dropped.total()} ticks were not believed within a minute: {told}"

    def _told(self, reason: Reason, count: int) -> str:
        kept = self._kept[reason]
        if not kept:
            return f"{count} {reason}"
        newest = kept[-1]
        whose = newest["tradingsymbol"] or newest["instrument_token"]
        return f"{count} {reason} (like {whose} at {newest['last_price']:g})"


def _described(reason: Reason, block: Block, row: int, table: TickTable, at: float) -> RejectedTick:
    def value(name: str) -> Any:
        values = block.columns.get(name)
        return None if values is None else values[row].item()

    token = block.columns["instrument_token"][row : row + 1]
    slot = int(table.instruments.slots_of(token)[0])
    believed = math.nan if slot == UNKNOWN else float(table["last_price"][slot])
    return RejectedTick(
        at=at,
        reason=reason.value,
        dropped=reason not in FLAGGED,
        instrument_token=int(token[0]),
        tradingsymbol=None if slot == UNKNOWN else table.instruments.contracts[slot].tradingsymbol,
        last_price=value("last_price"),
        close=value("close"),
        exchange_timestamp=value("exchange_timestamp"),
        volume_traded=value("volume_traded"),
        believed_price=believed if believed > 0 or believed < 0 else None,
    )
