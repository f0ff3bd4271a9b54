"""What can be done to one REST call or handshake."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http.client import responses

from simulator.faults.fields import Fields

LONGEST_SECONDS = 3_600.0
_MOST_BYTES = 1 << 30
_MOST_ORDERS = 100_000
_JSON, _HTML = "application/json", "text/html; charset=utf-8"
# What the broker says with each status when it says nothing in particular (Kite Connect v3, "Exceptions and errors").
_USUAL: Mapping[int, tuple[str, str]] = {
    400: ("InputException", "Invalid request."),
    403: ("TokenException", "Incorrect `api_key` or `access_token`."),
    429: ("NetworkException", "Too many requests"),
    500: ("GeneralException", "Something unexpected happened"),
    502: ("NetworkException", "The order system does not answer"),
    503: ("NetworkException", "The service is not available"),
    504: ("NetworkException", "The order system did not answer in time"),
}


class CallKind(StrEnum):
    PASS = "pass"
    ERROR = "error"
    HTML = "html"
    REDIRECT = "redirect"
    DELAY = "delay"
    HANG = "hang"
    RESET = "reset"
    DRIP = "drip"
    TRUNCATE = "truncate"
    CONTENT_TYPE = "content_type"
    OVERSIZE = "oversize"
    EMPTY_BOOK = "empty_book"
    SHORT_BOOK = "short_book"
    STALE_BOOK = "stale_book"


# A handshake is answered or not; only what comes before its work can go wrong with it.
HANDSHAKE_KINDS = frozenset(
    {
        CallKind.PASS, CallKind.ERROR, CallKind.HTML, CallKind.REDIRECT,
        CallKind.DELAY, CallKind.HANG, CallKind.RESET,
    }
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Pass:
    """Nothing goes wrong: it fills a place in a script."""


@dataclass(frozen=True, slots=True)
class Answer:
    """Another answer than the true one; with `after_work` the call's work was done all the same."""

    status: int
    body: bytes
    content_type: str
    headers: Mapping[str, str] = field(default_factory=dict)
    after_work: bool = False


@dataclass(frozen=True, slots=True)
class Delay:
    """The true answer, late. The work is done after the wait, or before it; also for a client that has left."""

    seconds: float
    after_work: bool


@dataclass(frozen=True, slots=True)
class Hang:
    """No answer, and the connection stays open until the client gives up."""

    after_work: bool


@dataclass(frozen=True, slots=True)
class Reset:
    """TCP RST instead of an answer."""

    after_work: bool


@dataclass(frozen=True, slots=True)
class Drip:
    """The true answer, `size` bytes of its body at a time, so many seconds apart."""

    size: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Truncate:
    """The true answer's Content-Length, but only so many bytes of its body (None: half); then the connection ends."""

    size: int | None


@dataclass(frozen=True, slots=True)
class ContentType:
    """The true answer under another Content-Type."""

    content_type: str


@dataclass(frozen=True, slots=True)
class Oversize:
    """A success of so many bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class WrongBook:
    """A success with other orders and trades than there are: none, without the oldest so many, or as of long ago."""

    is_empty: bool = False
    without: int = 0
    seconds_ago: float | None = None


CallFault = Pass | Answer | Delay | Hang | Reset | Drip | Truncate | ContentType | Oversize | WrongBook


def read_call_fault(kind: CallKind, fields: Fields, *, may_work: bool = True) -> CallFault:
    """The fault that the members describe. Raises Refused. Without `may_work` nothing can happen after the work."""
    match kind:
        case CallKind.PASS:
            return Pass()
        case CallKind.ERROR:
            return _error(fields, after_work=may_work and fields.flag("after_work"))
        case CallKind.HTML:
            return _html(fields, after_work=may_work and fields.flag("after_work"))
        case CallKind.REDIRECT:
            return _redirect(fields)
        case CallKind.DELAY:
            seconds = fields.number("seconds", 1.0, least=0, most=LONGEST_SECONDS)
            return Delay(seconds, may_work and fields.flag("after_work"))
        case CallKind.HANG:
            return Hang(may_work and fields.flag("after_work"))
        case CallKind.RESET:
            return Reset(may_work and fields.flag("after_work"))
        case CallKind.DRIP:
            size = fields.whole("bytes", 1, least=1, most=_MOST_BYTES)
            return Drip(size or 1, fields.number("seconds", 0.5, least=0, most=LONGEST_SECONDS))
        case CallKind.TRUNCATE:
            return Truncate(fields.whole("bytes", None, least=0, most=_MOST_BYTES))
        case CallKind.CONTENT_TYPE:
            return ContentType(fields.header("content_type", _HTML) or _HTML)
        case CallKind.OVERSIZE:
            return Oversize(fields.whole("bytes", 64 << 20, least=100, most=_MOST_BYTES) or 0)
        case CallKind.EMPTY_BOOK:
            return WrongBook(is_empty=True)
        case CallKind.SHORT_BOOK:
            return WrongBook(without=fields.whole("orders", 1, least=1, most=_MOST_ORDERS) or 1)
        case CallKind.STALE_BOOK:
            return WrongBook(seconds_ago=fields.number("seconds", 60.0, least=0, most=LONGEST_SECONDS))


def _error(fields: Fields, *, after_work: bool) -> Answer:
    status = fields.whole("status", 500, least=200, most=599) or 500
    error_type, message = _USUAL.get(status, ("GeneralException", "Something unexpected happened"))
    body = {
        "status": "error",
        "message": fields.text("message", message),
        "data": None,
        "error_type": fields.text("error_type", error_type),
    }
    return Answer(status, json.dumps(body, ensure_ascii=False).encode(), _JSON, _retry_after(fields), after_work)


def _html(fields: Fields, *, after_work: bool) -> Answer:
    status = fields.whole("status", 502, least=200, most=599) or 502
    phrase = responses.get(status, "Error")
    page = f"<html>\r\n<head><title>{status} {phrase}</title></head>\r\n<body><h1>{phrase}</h1></body>\r\n</html>\r\n"
    body = (fields.text("body", page) or "").encode()
    return Answer(status, body, fields.header("content_type", _HTML) or _HTML, _retry_after(fields), after_work)


def _redirect(fields: Fields) -> Answer:
    status = fields.whole("status", 307, least=301, most=308) or 307
    # No such route: whoever follows is seen in the counters, and goes no further.
    location = fields.header("location", "/_redirected") or "/_redirected"
    return Answer(status, b"", _HTML, {"Location": location})


def _retry_after(fields: Fields) -> dict[str, str]:
    value = fields.header("retry_after")
    return {} if value is None else {"Retry-After": value}
