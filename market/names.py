"""What things are called in Redis and in channel-layer groups.

A *part* is one underlying's options of one expiry (`nifty:2026-12-01`), or its cash and futures (`nifty:underlying`);
what is made of an expiry once a second is a part too (`nifty:2026-12-01:analytics`), and so are an underlying's newest
bars (`nifty:bars`).
Its name is the unit of everything downstream: the blob's key, the channel and the group all follow from it.
"""

import re
from dataclasses import dataclass
from datetime import date

# Group names may hold letters, digits, hyphens, underscores and periods; anything else becomes an underscore.
_ODD = re.compile(r"[^a-z0-9.-]")
UNDERLYING = "underlying"
OPTIONS = "options"
ANALYTICS = "analytics"
BARS = "bars"


def topic_of(underlying: str) -> str:
    """The underlying as it appears in names: `"NIFTY 50"` → `"nifty_50"`."""
    return _ODD.sub("_", underlying.lower())


def part_of(underlying: str, expiry: date | None) -> str:
    """The part of an underlying's options of one expiry or, without an expiry, of its cash and futures."""
    return f"{topic_of(underlying)}:{expiry.isoformat() if expiry else UNDERLYING}"


def underlying_part(part: str) -> str:
    """The part that holds the cash and futures of the same underlying."""
    return f"{part.partition(':')[0]}:{UNDERLYING}"


def analytics_part(part: str) -> str:
    """The part that holds the analytics of a part of options: `nifty:2026-12-01:analytics`."""
    return f"{part}:{ANALYTICS}"


def bars_part(underlying: str) -> str:
    """The part that holds the newest bars of all an underlying's instruments: `nifty:bars`."""
    return f"{topic_of(underlying)}:{BARS}"


def kind_of(part: str) -> str:
    """`"underlying"`, `"options"`, `"analytics"` or `"bars"`: which of an underlying's channels carries the part."""
    last = part.rpartition(":")[2]
    return last if last in (UNDERLYING, ANALYTICS, BARS) else OPTIONS


def group_of(part: str) -> str:
    """The channel-layer group that is sent every batch of the part's underlying."""
    return f"ticks.{part.partition(':')[0]}"


@dataclass(frozen=True, slots=True)
class RedisNames:
    """Keys and channels under one prefix (`REDIS_PREFIX`)."""

    prefix: str = "ticker"

    def channel(self, part: str) -> str:
        """The pub/sub channel that carries the part."""
        return f"{self.prefix}:{part.partition(':')[0]}:{kind_of(part)}"

    def blob(self, part: str) -> str:
        """The key of the part's latest full value."""
        return f"{self.prefix}:latest:{part}"

    @property
    def parts(self) -> str:
        """The hash token → part, rewritten when subscriptions change."""
        return f"{self.prefix}:parts"

    @property
    def writers(self) -> str:
        """The hash blob → epoch of the stream process that writes it."""
        return f"{self.prefix}:writers"

    @property
    def control(self) -> str:
        """The channel of small JSON messages between processes."""
        return f"{self.prefix}:control"

    def state(self, process: str) -> str:
        """The key of one stream process's runtime state."""
        return f"{self.prefix}:state:{process}"

    @property
    def states(self) -> str:
        """A SCAN pattern for every stream process's state."""
        return f"{self.prefix}:state:*"
