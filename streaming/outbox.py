"""What one WebSocket client has yet to be sent, and when it may be. Pure: knows no socket and no Redis.

A client acknowledges frames, and at most two are on their way. What comes meanwhile is conflated: one update of a
part waits as it is, after a second one the part's newest blob will be sent instead. So what waits is bounded by the
number of parts, and a slow client sees fewer, newer values, with a count of what it did not see.
"""

import logging
import struct
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import cached_property
from math import inf
from typing import Final

from market.lines import BadLine, as_json, name_of, split

logger = logging.getLogger(__name__)

FRAME: Final = struct.Struct("<BB2xII4x")
"""What stands before the lines of a binary frame: version, kind, its number, updates skipped."""
FRAME_VERSION: Final = 1


@dataclass(frozen=True)
class Line:
    """One part's line as it came, and its place in the part's history."""

    part: str
    version: tuple[int, int]  # (epoch, seq)
    data: bytes
    before: tuple["Line", ...] = ()
    """Of the last line of a blob: those that stand before it, the first one whole."""

    @cached_property
    def text(self) -> str:
        """The line as JSON: made once for all clients, when the first one wants it.

        Empty if its columns cannot be read: one damaged line must not cut off everybody who follows the part.
        """
        try:
            return as_json(self.data).decode()
        except BadLine as exc:
            logger.error("a line of %s is left out: %s", self.part, exc)
            return ""

    def since(self, version: tuple[int, int]) -> list["Line"]:
        """The lines, in order, that are new to a reader who has all up to `version`."""
        return [line for line in (*self.before, self) if line.version > version]


def read_lines(data: bytes) -> list[Line]:
    """The lines of a message. Raises BadLine; their columns are not looked at."""
    lines = []
    for line in split(data):
        part, epoch, seq = name_of(line)
        lines.append(Line(part, (epoch, seq), line))
    return lines


def read_blob(data: bytes) -> Line | None:
    """A part's blob as its last line, with the keyframe and the changes before it; None if it is not one."""
    try:
        lines = read_lines(data)
    except BadLine:
        return None
    return replace(lines[-1], before=tuple(lines[:-1])) if lines else None


class FrameKind(StrEnum):
    SNAPSHOT = "snapshot"
    UPDATE = "update"


@dataclass(frozen=True, slots=True)
class Pacing:
    """When frames may go out, in seconds."""

    min_interval: float = 0.08
    unacknowledged: int = 2
    never_acknowledged_interval: float = 1.0
    acknowledgement_timeout: float = 10.0


class Outbox:
    """Filled by the hub, emptied by the client's sender. Times are monotonic seconds, handed in."""

    def __init__(self, pacing: Pacing = Pacing(), *, binary: bool = False) -> None:
        self.parts: set[str] = set()
        self.skipped = 0
        self.frame = 0
        self._pacing = pacing
        self._binary = binary
        self._new: set[str] = set()  # subscribed, and not sent yet: these get a snapshot
        self._waiting: dict[str, Line | None] = {}  # None: the newest blob is to be sent
        self._sent: dict[str, tuple[int, int]] = {}
        self._in_flight: deque[tuple[int, float]] = deque()
        self._acknowledges = False
        self._last_sent = -inf

    @property
    def has_news(self) -> bool:
        return bool(self._waiting)

    @property
    def is_full(self) -> bool:
        """Whether nothing may be sent before an acknowledgement."""
        return self._acknowledges and len(self._in_flight) >= self._pacing.unacknowledged

    @property
    def pending_bytes(self) -> int:
        return sum(len(line.data) for line in self._waiting.values() if line is not None)

    def follow(self, parts: Iterable[str]) -> None:
        """Make these the client's parts. Each one that is new is sent whole first."""
        wanted = set(parts)
        for gone in self.parts - wanted:
            self._waiting.pop(gone, None)
            self._sent.pop(gone, None)
        self._new = (self._new & wanted) | (wanted - self.parts)
        self._waiting |= dict.fromkeys(wanted - self.parts)
        self.parts = wanted

    def offer(self, line: Line) -> None:
        """An update came. One older than what the client has is ignored, a second unsent one is conflated."""
        part = line.part
        if line.version <= self._sent.get(part, (-1, -1)):
            return
        if part in self._waiting:
            self._waiting[part] = None
            self.skipped += 1
        else:
            self._waiting[part] = None if part in self._new else line

    def resync(self) -> None:
        """Updates may have been lost on the way here: send every part whole, if it is newer than what was sent."""
        self._waiting |= dict.fromkeys(self.parts)

    def put_back(self, parts: Iterable[str]) -> None:
        """These could not be read: they are still to be sent whole."""
        self._waiting |= dict.fromkeys(self.parts.intersection(parts))

    def take(self) -> tuple[FrameKind, list[Line], list[str]]:
        """What goes into the next frame: lines to send as they are, and parts whose blob is to be read for it.

        New parts go first, in a snapshot of their own.
        """
        if self._new and (fresh := sorted(self._new & self._waiting.keys())):
            for part in fresh:
                del self._waiting[part]
            return FrameKind.SNAPSHOT, [], fresh
        waiting, self._waiting = self._waiting, {}
        lines = [line for line in waiting.values() if line is not None]
        return FrameKind.UPDATE, lines, [part for part, line in waiting.items() if line is None]

    def frame_of(self, kind: FrameKind, lines: Iterable[Line], now: float) -> str | bytes | None:
        """The next frame, counted as sent at `now`; None if the client has all of it already.

        Of a blob only what the client has not yet: its lines never go back, and a slow client is not sent more.
        """
        fresh: list[Line] = []
        for line in lines:
            if line.part in self.parts and (new := line.since(self._sent.get(line.part, (-1, -1)))):
                fresh += new
                self._sent[line.part] = line.version
                self._new.discard(line.part)
        if not fresh:
            return None
        self.frame += 1
        self._in_flight.append((self.frame, now))
        if not self._acknowledges:
            while len(self._in_flight) > self._pacing.unacknowledged:
                self._in_flight.popleft()
        self._last_sent = now
        skipped, self.skipped = self.skipped, 0
        if self._binary:
            head = FRAME.pack(FRAME_VERSION, kind is FrameKind.SNAPSHOT, self.frame, skipped)
            return b"".join((head, *(line.data for line in fresh)))
        body = ",".join(filter(None, (line.text for line in fresh)))
        return f'{{"type":"{kind}","frame":{self.frame},"skipped":{skipped},"parts":[{body}]}}'

    def acknowledge(self, frame: int) -> bool:
        """The client has taken this frame and all before it. Whether that was still open.

        Raises
        ------
        ValueError
            If it has not been sent.
        """
        if frame > self.frame:
            raise ValueError(f"frame {frame} has not been sent")
        self._acknowledges = True
        in_flight = len(self._in_flight)
        while self._in_flight and self._in_flight[0][0] <= frame:
            self._in_flight.popleft()
        return len(self._in_flight) < in_flight

    def may_send_at(self) -> float:
        """From when on the next frame may go out; infinity until a frame is acknowledged."""
        if self.is_full:
            return inf
        if self._acknowledges or self.frame == 0:
            return self._last_sent + self._pacing.min_interval
        return self._last_sent + self._pacing.never_acknowledged_interval

    def overdue_at(self) -> float:
        """When the client counts as gone: it has acknowledged before, no longer does, and cannot be sent more.

        Counted from the last frame: who acknowledges every second one only may be quiet after the first for long.
        """
        if not self.is_full:
            return inf
        return self._in_flight[-1][1] + self._pacing.acknowledgement_timeout
