"""What to ask of the broker's socket so that what it sends becomes what is wanted. Pure: no I/O.

Kite Connect v3 documentation, "WebSocket streaming": `subscribe` and `unsubscribe` take tokens, `mode` takes a mode
and tokens; a new subscription starts in mode quote. Nothing is acknowledged.
"""

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

TOKENS_PER_CONNECTION: Final = 3000
CONNECTIONS_PER_APP: Final = 3


class Mode(StrEnum):
    """How much of an instrument the broker sends: packets of 8, 44 and 184 bytes (indices: 8, 28 and 32)."""

    LTP = "ltp"
    QUOTE = "quote"
    FULL = "full"


@dataclass(frozen=True, slots=True)
class Request:
    """One text frame to send, and what is subscribed once it has been."""

    text: str
    tokens: tuple[int, ...]
    mode: Mode | None  # None: no longer subscribed
    is_subscription: bool = False

    def apply(self, applied: dict[int, Mode]) -> None:
        """Note that the frame was sent."""
        for token in self.tokens:
            if self.mode is None:
                applied.pop(token, None)
            else:
                applied[token] = self.mode


def requests_for(applied: Mapping[int, Mode], desired: Mapping[int, Mode], chunk: int = 500) -> list[Request]:
    """The frames that lead from `applied` to `desired`, at most `chunk` tokens in each; none if they agree.

    What is given up goes first, so that the socket never carries more than the larger of the two.
    """
    gone = sorted(applied.keys() - desired.keys())
    new = sorted(desired.keys() - applied.keys())
    by_mode: defaultdict[Mode, list[int]] = defaultdict(list)
    for token, mode in sorted(desired.items()):
        if applied.get(token, Mode.QUOTE) is not mode:
            by_mode[mode].append(token)
    requests = [_request({"a": "unsubscribe", "v": tokens}, tokens, None) for tokens in _chunks(gone, chunk)]
    requests += [
        _request({"a": "subscribe", "v": tokens}, tokens, Mode.QUOTE, is_new=True) for tokens in _chunks(new, chunk)
    ]
    for mode, changed in by_mode.items():
        requests += [_request({"a": "mode", "v": [mode, tokens]}, tokens, mode) for tokens in _chunks(changed, chunk)]
    return requests


def _request(body: dict[str, object], tokens: Sequence[int], mode: Mode | None, *, is_new: bool = False) -> Request:
    return Request(json.dumps(body, separators=(",", ":")), tuple(tokens), mode, is_new)


def _chunks(tokens: list[int], size: int) -> Iterator[list[int]]:
    for start in range(0, len(tokens), size):
        yield tokens[start : start + size]
