"""How news reach a client: at once and in order, unless a test wants them lost, late, twice or changed."""

import asyncio
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Deliver:
    """As it should be."""


@dataclass(frozen=True, slots=True)
class Drop:
    """It never arrives."""


@dataclass(frozen=True, slots=True)
class Duplicate:
    """It arrives so many times."""

    copies: int


@dataclass(frozen=True, slots=True)
class Delay:
    """It arrives so many seconds later; what comes after it may be first."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Swap:
    """It arrives after the next one."""


@dataclass(frozen=True, slots=True)
class Forge:
    """It says what is not true: this status, and the whole quantity filled if that is COMPLETE.

    A checksum covers neither, so that the lie may carry a valid one; without, it is made with another secret.
    """

    status: str
    has_valid_checksum: bool


Way = Deliver | Drop | Duplicate | Delay | Swap | Forge
Send = Callable[[], None]


class Deliveries:
    """Carries out what shall happen to each message. Those of one recipient are swapped among themselves."""

    def __init__(self, later: Callable[[float, Callable[[], None]], Any] | None = None) -> None:
        self._later = later or _on_the_loop
        self._held: defaultdict[str, list[Send]] = defaultdict(list)

    def carry_out(self, recipient: str, way: Way, send: Send) -> None:
        match way:
            case Drop():
                return
            case Duplicate(copies):
                for _ in range(copies):
                    send()
            case Delay(seconds):
                self._later(seconds, send)
                return
            case Swap():
                self._held[recipient].append(send)
                return
            case _:
                send()
        for held in self._held.pop(recipient, ()):
            held()


def _on_the_loop(seconds: float, action: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, action)
