"""What the states of the service are called where people read of them, and how good the news is."""

from typing import Literal

from accounts.breaker import BreakerState, Group
from accounts.budget_limits import RouteClass
from market.gap_models import FeedGap
from streaming.packets import Fault
from streaming.validation import Reason

Tone = Literal["ok", "warn", "bad", "off"]
"""A tone is never the only sign: it goes with words and a shape."""

FEED_WORDS: dict[str, tuple[Tone, str]] = {
    "awaiting_token": ("bad", "waits for the login"),
    "connecting": ("warn", "connecting"),
    "waiting": ("warn", "waits to connect again"),
    "stalled": ("warn", "connected, but silent"),
    "idle": ("off", "nothing to follow"),
    "closed": ("off", "closed"),
}
GROUP_WORDS = {Group.ORDERS: "orders", Group.DATA: "data calls", Group.SESSION: "logins"}
BREAKER_WORDS: dict[BreakerState, tuple[Tone, str]] = {
    BreakerState.CLOSED: ("ok", "answers"),
    BreakerState.HALF_OPEN: ("warn", "being tried again"),
    BreakerState.OPEN: ("bad", "left alone: it failed too often"),
}
PUBLISHER_WORDS: dict[str, tuple[Tone, str]] = {
    "closed": ("ok", "takes each batch"),
    "half_open": ("warn", "Redis is tried again"),
    "open": ("bad", "Redis takes no batch"),
}
METER_WORDS = {
    (RouteClass.ORDERS, "second"): "Orders this second",
    (RouteClass.ORDERS, "minute"): "Orders this minute",
    (RouteClass.ORDERS, "day"): "Orders today",
    (RouteClass.QUOTE, "second"): "Quotes this second",
    (RouteClass.HISTORICAL, "second"): "Candles this second",
    (RouteClass.OTHER, "second"): "Other calls this second",
}
GAP_WORDS = {
    FeedGap.Cause.DISCONNECTED: "was cut off",
    FeedGap.Cause.SILENT: "went quiet",
    FeedGap.Cause.LOGGED_OUT: "was not logged in",
    FeedGap.Cause.ABSENT: "had no stream process",
}

AsideKind = Literal["dropped", "ignored", "flagged", "unreadable", "lost"]
ASIDE_WORDS: dict[str, tuple[AsideKind, str]] = {
    Reason.UNKNOWN_TOKEN.value: ("dropped", "Of an instrument that is not followed"),
    Reason.MARKET_CLOSED.value: ("ignored", "Outside of its exchange’s session"),
    Reason.NEGATIVE_DEPTH.value: ("dropped", "A quantity below zero in the book"),
    Reason.FUTURE_TIME.value: ("dropped", "Stamped in the future"),
    Reason.PRICE_BAND.value: ("dropped", "Too far from yesterday’s close"),
    Reason.OPTION_BOUND.value: ("dropped", "Dearer than an option can be"),
    Reason.OLDER.value: ("dropped", "Older than what is known"),
    Reason.UNTRADED.value: ("flagged", "Not traded yet"),
    Reason.CROSSED.value: ("flagged", "Bid above ask"),
    Reason.NEGATIVE_PRICE.value: ("flagged", "A price below zero"),
    Fault.EMPTY.value: ("unreadable", "A frame without anything in it"),
    Fault.UNKNOWN_LENGTH.value: ("unreadable", "A packet of a length that is not known"),
    Fault.TRUNCATED.value: ("unreadable", "A frame that ends too early"),
    Fault.BAD_COUNT.value: ("unreadable", "A frame that counts its packets wrong"),
    Fault.ODD.value: ("unreadable", "A frame with something left over"),
    "texts_unreadable": ("unreadable", "A text of the broker"),
    "windows_lost": ("lost", "Windows that could not be computed"),
    "batches_dropped": ("lost", "Batches that Redis did not take"),
    "analyses_lost": ("lost", "Analyses of a chain"),
    "bars_lost": ("lost", "Seconds without bars"),
    "minute_bars_dropped": ("lost", "Minute bars that were not written"),
}
"""By the name of a stream's counter. `ignored` ticks may well be true, but are of no session.

`flagged` ticks are shown, and nothing is computed with them."""


def plural(word: str, count: int, many: str = "") -> str:
    return word if count == 1 else many or f"{word}s"


def age_words(seconds: float) -> str:
    """`0.3 s`, `14 s`, `3 m`, `2.5 h`: how long ago."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} m" if seconds < 5400 else f"{seconds / 3600:.1f} h"
