"""The feed's health as its page shows it at first: the texts of one health frame. Only decisions.

What is so, and the sentences about it, are in the frame (`streaming.health_frame`); here figures become texts, by the
same rules as in static/dashboard/js/health.js, which goes on from there with each frame; a test compares the two.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from dashboard import formats

STRIPS: Final = 12
"""Sockets whose session is drawn; their rows are told of all the same."""
SLOT_WIDTH: Final = 6
FEED_WORDS: Final = {"live": "Current", "slow": "Slow", "stale": "Stale", "closed": "Closed", "waiting": "Waiting"}
ASIDE_KINDS: Final = {
    "dropped": "not believed",
    "ignored": "not taken",
    "flagged": "shown, not computed with",
    "unreadable": "not readable",
    "lost": "lost",
}

Shown = dict[str, Any]


def _moment(seconds: float) -> str:
    return formats.clock_time(datetime.fromtimestamp(seconds, UTC))


def _milliseconds(value: float) -> str:
    return f"{formats.fixed(value, 1)} ms"


def _one_decimal(value: float) -> str:
    return formats.grouped(value, 1)


FORMATS: Final[Mapping[str, Callable[[float], str]]] = {
    **dict.fromkeys(
        ("age", "heard_age", "last_tick_age", "up_age", "alert_age", "waiting_age", "seconds_left"), formats.age
    ),
    **dict.fromkeys(("started_at", "read_at"), _moment),
    **dict.fromkeys(("lag_ms", "encode_ms"), _milliseconds),
    **dict.fromkeys(("windows_per_second", "updates_per_second"), _one_decimal),
    "checked_percent": lambda value: f"{formats.grouped(value, 2)} %",
    "pending_bytes": lambda value: f"{formats.grouped(value / 1000)} kB",
}
"""By the name of a field. Other numbers are counts, in Indian grouping."""


def shown(fields: Mapping[str, Any]) -> Shown:
    """Every field as its text; words and truths as they are, and a missing number as a dash."""
    return {name: _text(name, value) for name, value in fields.items()}


def _text(name: str, value: Any) -> Any:
    if value is None:
        return formats.DASH
    if isinstance(value, bool | str) or not isinstance(value, int | float):
        return value
    return FORMATS.get(name, formats.grouped)(value)


def page_of(frame: Mapping[str, Any]) -> Shown:
    """Everything that the template needs of a frame."""
    accounts = [shown(row) | {"account": row["account"]} for row in frame["accounts"]]
    return {
        "frame": frame,
        "summary": frame["summary"],
        "feed": {"state": frame["feed"]["state"], "words": FEED_WORDS[frame["feed"]["state"]]}
        | shown({"age": frame["feed"]["age"]}),
        "figures": shown(frame["figures"]),
        "services": frame["services"],
        "processes": [shown(row) for row in frame["processes"]],
        "sockets": [shown(row) for row in frame["sockets"]],
        "strips": [strip_of(row) for row in frame["sockets"][:STRIPS]],
        "strip_hours": strip_hours(frame["market"]),
        "accounts": accounts,
        "slots": [shown(row) for row in frame["slots"]],
        "alerts": [shown(row) for row in frame["alerts"]],
        "unconfirmed": [shown(row) for row in frame["unconfirmed"]],
        "parts": [shown(row) for row in frame["parts"]],
        "overflow": frame["overflow"],
        "aside": [shown(row) | {"kind": ASIDE_KINDS[row["kind"]]} for row in frame["aside"]],
        "switches": frame["switches"],
        "meters": [
            group | {"meters": [meter | {"text": meter_text(meter)} for meter in group["meters"]]}
            for group in frame["meters"]
        ],
        "gaps": [shown(row) | {"when": gap_when(row)} for row in frame["gaps"]],
        "gaps_said": frame["gaps_said"],
        "read_at": _moment(frame["read_at"]),
    }


def strip_of(socket: Mapping[str, Any]) -> Shown:
    """One socket's session as bars: where each stands, and what it stands for."""
    return shown({name: socket[name] for name in ("key", "name", "monogram", "colour", "last_tick_age")}) | {
        "slots": [(SLOT_WIDTH * place, mark) for place, mark in enumerate(socket["strip"])],
        "width": SLOT_WIDTH * len(socket["strip"]),
    }


def strip_hours(market: Mapping[str, Any]) -> Sequence[str]:
    """The session's beginning, middle and end, under the bars; nothing on a day without one."""
    opens, closes = market["opens_at"], market["closes_at"]
    if opens is None or closes is None:
        return ()
    return [_moment(at)[:5] for at in (opens, (opens + closes) / 2, closes)]


def meter_text(meter: Mapping[str, Any]) -> str:
    """`47 of 4,900`."""
    return f"{_text('used', meter['used'])} of {_text('limit', meter['limit'])}"


def gap_when(gap: Mapping[str, Any]) -> str:
    """`10:12:41, 17 s`; one that goes on has its beginning only."""
    began = _moment(gap["started_at"])
    return began if gap["seconds"] is None else f"{began}, {formats.age(gap['seconds'])}"
