"""What can be done to an open socket of the feed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType

from simulator.faults import frames
from simulator.faults.call_kinds import LONGEST_SECONDS
from simulator.faults.fields import Fields

ABNORMAL_CLOSURE = 1006  # on no wire: the end of the connection without a goodbye
_LARGEST_FRAME = 16 << 20


class SocketKind(StrEnum):
    CLOSE = "close"
    RESET = "reset"
    TEXT = "text"
    FRAME = "frame"
    GARBAGE = "garbage"
    TRUNCATED_FRAME = "truncated_frame"
    UNKNOWN_LENGTH = "unknown_length"
    WRONG_COUNT = "wrong_count"
    MUTE = "mute"
    HEARTBEATS_ONLY = "heartbeats_only"
    STALE = "stale"
    BLANK = "blank"
    WITHHOLD = "withhold"
    LOSE_SUBSCRIPTIONS = "lose_subscriptions"
    SLOW = "slow"
    DUPLICATE = "duplicate"


Distortion = Callable[[bytes], bytes]
_DISTORTIONS: Mapping[SocketKind, Distortion] = MappingProxyType(
    {
        SocketKind.TRUNCATED_FRAME: frames.truncated,
        SocketKind.UNKNOWN_LENGTH: frames.with_unknown_length,
        SocketKind.WRONG_COUNT: frames.with_wrong_count,
    }
)


@dataclass(frozen=True, slots=True)
class Close:
    """A closing frame with this code; 1006 ends the TCP connection without one."""

    code: int
    reason: str


@dataclass(frozen=True, slots=True)
class ResetSocket:
    """TCP RST."""


@dataclass(frozen=True, slots=True)
class SendText:
    text: str


@dataclass(frozen=True, slots=True)
class SendFrame:
    frame: bytes


@dataclass(frozen=True, slots=True)
class Distort:
    """The next so many frames with data are not sent as they are."""

    distortion: Distortion
    frames: int


@dataclass(frozen=True, slots=True)
class Mute:
    """Nothing more is sent: no data, no texts, no heartbeats; answers to pings if so chosen."""

    pongs: bool


@dataclass(frozen=True, slots=True)
class HeartbeatsOnly:
    """The link lives, the data has ended."""


@dataclass(frozen=True, slots=True)
class Stale:
    """Ticks go on, but all of them as they were at this moment, their times too."""


@dataclass(frozen=True, slots=True)
class Blank:
    """These instruments' packets hold zeros."""

    tokens: frozenset[int]


@dataclass(frozen=True, slots=True)
class Withhold:
    """These instruments are never sent, although they are subscribed."""

    tokens: frozenset[int]


@dataclass(frozen=True, slots=True)
class LoseSubscriptions:
    """Of what is subscribed from now on, each instrument is lost with this chance, and nothing says so.

    One that is lost stays so until it is subscribed again, which may be lost as well.
    """

    chance: float
    seed: int


@dataclass(frozen=True, slots=True)
class Slow:
    """A frame at most every so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Duplicate:
    """Every frame so many times."""

    copies: int


Lasting = Mute | HeartbeatsOnly | Stale | Blank | Withhold | LoseSubscriptions | Slow | Duplicate
SocketFault = Close | ResetSocket | SendText | SendFrame | Distort | Lasting


def read_socket_fault(kind: SocketKind, fields: Fields, *, seed: int) -> SocketFault:
    """The fault that the members describe; `seed` is for what is random. Raises Refused."""
    match kind:
        case SocketKind.CLOSE:
            code = fields.whole("code", 1000, least=1000, most=4999) or 1000
            return Close(code, fields.text("reason", "", longest=40) or "")
        case SocketKind.RESET:
            return ResetSocket()
        case SocketKind.TEXT:
            return SendText(fields.text("text", "not JSON") or "")
        case SocketKind.FRAME:
            return SendFrame(fields.binary("hex", longest=_LARGEST_FRAME))
        case SocketKind.GARBAGE:
            return SendFrame(frames.garbage(fields.whole("bytes", 100, least=0, most=_LARGEST_FRAME) or 0, seed))
        case SocketKind.TRUNCATED_FRAME | SocketKind.UNKNOWN_LENGTH | SocketKind.WRONG_COUNT:
            return Distort(_DISTORTIONS[kind], fields.whole("frames", 1, least=1, most=10_000) or 1)
        case SocketKind.MUTE:
            return Mute(fields.flag("pongs", default=True))
        case SocketKind.HEARTBEATS_ONLY:
            return HeartbeatsOnly()
        case SocketKind.STALE:
            return Stale()
        case SocketKind.BLANK:
            return Blank(fields.tokens("tokens"))
        case SocketKind.WITHHOLD:
            return Withhold(fields.tokens("tokens"))
        case SocketKind.LOSE_SUBSCRIPTIONS:
            return LoseSubscriptions(fields.number("percent", 5.0, least=0, most=100) / 100, seed)
        case SocketKind.SLOW:
            return Slow(fields.number("seconds", 1.0, least=0, most=LONGEST_SECONDS))
        case SocketKind.DUPLICATE:
            return Duplicate(fields.whole("copies", 2, least=2, most=100) or 2)
