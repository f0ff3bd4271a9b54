"""What a test may let befall an order that the broker has taken, beyond what the market does to it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from simulator.trading.orders import Status


@dataclass(frozen=True, slots=True)
class Nothing:
    """It fares well: a step of a script."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """It is refused with this answer after all, and there is no order; of a sliced order, this slice."""

    status: int
    error_type: str
    message: str


@dataclass(frozen=True, slots=True)
class Hide:
    """It reaches the book only so many seconds later, and nothing happens to it until then."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Alter:
    """The broker books other terms than were sent, under the same tag."""

    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Twin:
    """The broker books it so many times more, with these other terms, each with an id of its own, so much later."""

    copies: int
    seconds: float
    changes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class End:
    """So many seconds after it was taken it ends as CANCELLED or REJECTED, after so many units have traded."""

    status: Status
    seconds: float
    message: str
    filled_quantity: int


@dataclass(frozen=True, slots=True)
class FillOnCancel:
    """Whoever cancels it learns that it has traded: the rest, or so many units."""

    quantity: int | None


@dataclass(frozen=True, slots=True)
class Stick:
    """It stays in this passing status for so many seconds."""

    status: Status
    seconds: float


Mishap = Nothing | Refuse | Hide | Alter | Twin | End | FillOnCancel | Stick
