"""What clients of `/ws/ticks/` may say, and the small answers. Pure: text in, values out; raises `BadMessage`."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, fields, replace
from datetime import date
from typing import Any, Protocol, Self
from urllib.parse import parse_qs

import orjson

from accounts.socket_consumer import BadMessage, read_object
from market.names import analytics_part, bars_part, part_of, topic_of, underlying_part
from market.underlyings import canonical_name

LARGEST_TOKEN = 2**32 - 1
_LONGEST_ID = 64
_LONGEST_NAME = 64
_SYMBOL = re.compile(r"[A-Z]{2,8}:[ -~]{1,64}")
# Nearly all that clients say, as most of them write it. Whatever else there is goes the long way.
_ACK = re.compile(r'\{"type":"ack","frame":([1-9][0-9]{0,8})\}')


@dataclass(frozen=True, slots=True)
class Chain:
    """An underlying's options of one expiry."""

    underlying: str
    expiry: date

    @property
    def part(self) -> str:
        return part_of(self.underlying, self.expiry)

    def as_json(self) -> dict[str, Any]:
        return {"underlying": self.underlying, "expiry": self.expiry.isoformat()}


class Directory(Protocol):
    """What is streamed; `underlyings` as they appear in the names of parts."""

    part_of_token: Mapping[int, str]
    parts: frozenset[str]
    underlyings: frozenset[str]


@dataclass(frozen=True, slots=True)
class Unknown:
    """What was asked for and is not streamed."""

    code: str
    message: str
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Topics:
    """Symbols are `exchange:tradingsymbol`; whoever knows instruments turns them into tokens."""

    id: str | None
    chains: frozenset[Chain] = frozenset()
    tokens: frozenset[int] = frozenset()
    analytics: frozenset[Chain] = frozenset()
    underlyings: frozenset[str] = frozenset()
    bars: frozenset[str] = frozenset()
    symbols: frozenset[str] = frozenset()

    @property
    def size(self) -> int:
        """How many subscriptions this is."""
        return sum(len(getattr(self, name)) for name in TOPICS)

    def by_token(self, tokens: Iterable[int]) -> Self:
        """The same with these tokens in the place of its symbols."""
        return replace(self, tokens=self.tokens.union(tokens), symbols=frozenset())


class Unsubscribe(_Topics):
    """Stop these."""


class Subscribe(_Topics):
    """Send these; also: everything that a client asked for so far."""

    @classmethod
    def nothing(cls) -> Self:
        return cls(None)

    def plus(self, more: _Topics) -> "Subscribe":
        return Subscribe(None, *(getattr(self, name) | getattr(more, name) for name in TOPICS))

    def minus(self, less: _Topics) -> "Subscribe":
        return Subscribe(None, *(getattr(self, name) - getattr(less, name) for name in TOPICS))

    def parts_in(self, directory: Directory) -> set[str]:
        """The parts that hold what is asked for; with prices, those of their underlyings."""
        parts = {chain.part for chain in self.chains if chain.part in directory.parts}
        parts |= {directory.part_of_token[token] for token in self.tokens if token in directory.part_of_token}
        parts |= {part_of(name, None) for name in self.underlyings} & directory.parts
        parts |= {underlying_part(part) for part in parts} & directory.parts
        parts |= {bars_part(name) for name in self.bars if topic_of(name) in directory.underlyings}
        return parts | {analytics_part(chain.part) for chain in self.analytics if chain.part in directory.parts}

    def unknown_in(self, directory: Directory) -> Unknown | None:
        """What of this is not streamed; None if all of it is."""
        chains = [chain for chain in self.chains | self.analytics if chain.part not in directory.parts]
        if chains:
            names = ", ".join(sorted(f"{chain.underlying} {chain.expiry}" for chain in chains))
            return Unknown(
                "unknown_chain",
                f"Not streamed: {names}. Subscribe its instruments first.",
                {"chains": [chain.as_json() for chain in chains]},
            )
        nowhere = {name for name in self.underlyings if part_of(name, None) not in directory.parts}
        nowhere |= {name for name in self.bars if topic_of(name) not in directory.underlyings}
        if nowhere:
            message = f"Not streamed: {', '.join(sorted(nowhere)[:10])}. Subscribe its instruments first."
            return Unknown("unknown_underlying", message, {"underlyings": sorted(nowhere)[:100]})
        tokens = sorted(self.tokens - directory.part_of_token.keys())
        if tokens:
            return Unknown("unknown_token", f"{len(tokens)} of the tokens are not streamed.", {"tokens": tokens[:100]})
        return None


def unknown_symbols(symbols: Iterable[str]) -> Unknown:
    """These are no instruments that are streamed."""
    ordered = sorted(symbols)
    return Unknown("unknown_symbol", f"{len(ordered)} of the symbols are not streamed.", {"symbols": ordered[:100]})


TOPICS = tuple(field.name for field in fields(_Topics) if field.name != "id")
"""The ways to name what is wanted, as messages and `_Topics` have them."""


@dataclass(frozen=True, slots=True)
class Ack:
    """The client has taken this frame, and all before it."""

    frame: int


def wants_binary(query: bytes) -> bool:
    """Whether a connection's query string asks for lines as bytes (`form=binary`). Raises BadMessage."""
    forms = parse_qs(query.decode("ascii", "replace")).get("form", ["json"])
    if len(forms) != 1 or forms[0] not in ("json", "binary"):
        raise BadMessage("bad_message", "`form` must be json or binary.")
    return forms[0] == "binary"


def read_client_message(text: str) -> Subscribe | Unsubscribe | Ack:
    """What the client said. Raises BadMessage if that is not in the protocol."""
    if (ack := _ACK.fullmatch(text)) is not None:
        return Ack(int(ack[1]))
    message = read_object(text)
    request_id = _request_id(message)
    match message.get("type"):
        case "ack":
            _only(message, {"type", "frame"}, request_id)
            return Ack(_whole(message.get("frame"), "frame", request_id))
        case "subscribe":
            return Subscribe(request_id, *_topics(message, request_id))
        case "unsubscribe":
            return Unsubscribe(request_id, *_topics(message, request_id))
    raise BadMessage("bad_message", "`type` must be subscribe, unsubscribe or ack.", request_id=request_id)


def ack_frame(request_id: str | None, parts: list[str]) -> str:
    """The answer to a request: the parts it brings or, to an unsubscription, those still sent."""
    return orjson.dumps({"type": "ack", "id": request_id, "parts": parts}).decode()


def status_frame(feed_state: str) -> str:
    """News about the feed itself."""
    return orjson.dumps({"type": "status", "feed_state": feed_state}).decode()


def _request_id(message: dict[str, Any]) -> str | None:
    request_id = message.get("id")
    if request_id is not None and not (isinstance(request_id, str) and len(request_id) <= _LONGEST_ID):
        raise BadMessage("bad_message", f"`id` must be a string of at most {_LONGEST_ID} characters.")
    return request_id


def _topics(message: dict[str, Any], request_id: str | None) -> tuple[frozenset[Any], ...]:
    _only(message, {"type", "id", *TOPICS}, request_id)
    if request_id is None:
        raise BadMessage("bad_message", "Give the request an `id`: its answer will name it.")
    said = [message.get(name, []) for name in TOPICS]
    if not all(isinstance(topics, list) for topics in said):
        raise BadMessage("bad_message", f"{_NAMES} must be lists.", request_id=request_id)
    if not any(said):
        raise BadMessage("bad_message", f"Name some of {_NAMES}.", request_id=request_id)
    return tuple(
        frozenset(_READERS[name](one, name, request_id) for one in topics)
        for name, topics in zip(TOPICS, said, strict=True)
    )


def _chain(chain: Any, name: str, request_id: str | None) -> Chain:
    if not isinstance(chain, dict) or not isinstance(chain.get("underlying"), str):
        raise BadMessage("bad_message", "A chain is {underlying, expiry}.", request_id=request_id)
    _only(chain, {"underlying", "expiry"}, request_id)
    underlying, expiry = _underlying(chain["underlying"], "underlying", request_id), str(chain.get("expiry"))
    try:
        day = date.fromisoformat(expiry)
        if day.isoformat() != expiry:  # ISO 8601 has other forms of dates too
            raise ValueError(expiry)
        return Chain(underlying, day)
    except (TypeError, ValueError):
        raise BadMessage("bad_message", "`expiry` must be a date as YYYY-MM-DD.", request_id=request_id) from None


def _underlying(value: Any, name: str, request_id: str | None) -> str:
    if not (isinstance(value, str) and 0 < len(value) <= _LONGEST_NAME):
        raise BadMessage("bad_message", f"`{name}` must be a name.", request_id=request_id)
    return canonical_name(value)


def _symbol(value: Any, name: str, request_id: str | None) -> str:
    if not (isinstance(value, str) and _SYMBOL.fullmatch(value)):
        raise BadMessage("bad_message", f"`{name}` must be like NSE:INFY.", request_id=request_id)
    return value


def _whole(value: Any, name: str, request_id: str | None) -> int:
    if type(value) is not int or not 0 < value <= LARGEST_TOKEN:
        raise BadMessage("bad_message", f"`{name}` must be whole numbers from 1.", request_id=request_id)
    return value


def _only(message: dict[str, Any], known: set[str], request_id: str | None) -> None:
    if unknown := message.keys() - known:
        raise BadMessage("bad_message", "Unknown fields.", {"fields": sorted(unknown)[:10]}, request_id)


_READERS: Mapping[str, Callable[[Any, str, str | None], Any]] = {
    "chains": _chain, "tokens": _whole, "analytics": _chain, "underlyings": _underlying, "bars": _underlying,
    "symbols": _symbol,
}  # fmt: skip
_NAMES = ", ".join(f"`{name}`" for name in TOPICS)
