"""A JSON object of the control API, read member by member.

Strictly: a test whose fault was misspelt, and ignored, proves nothing.
"""

from collections.abc import Collection, Mapping
from enum import StrEnum
from typing import Any, TypeVar

from simulator.refusals import Refused

E = TypeVar("E", bound=StrEnum)
_MOST_TOKENS = 3_000


class Fields:
    """Members are taken one by one; `done` refuses what nobody took. Every method raises Refused."""

    def __init__(self, data: object) -> None:
        if not isinstance(data, Mapping):
            raise Refused.input("Expected a JSON object.")
        self.given: dict[str, Any] = dict(data)
        self._left = dict(self.given)

    def done(self) -> None:
        if self._left:
            raise Refused.input(f"Unknown or unfitting field {min(self._left)!r}.")

    def text(self, name: str, default: str | None = None, *, longest: int = 1 << 20) -> str | None:
        value = self._left.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, str) or len(value) > longest:
            raise Refused.input(f"`{name}` must be a text of at most {longest} characters.")
        return value

    def header(self, name: str, default: str | None = None) -> str | None:
        """A text that can stand in a header: another would fail only when it is sent."""
        value = self.text(name, default, longest=2_000)
        if value is not None and not (value.isascii() and value.isprintable()):
            raise Refused.input(f"`{name}` must be printable ASCII.")
        return value

    def number(self, name: str, default: float, *, least: float, most: float) -> float:
        value = self._left.pop(name, None)
        if value is None:
            return default
        # `not … <=` and not `>`: what is no number at all (NaN) is out of range too.
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
            raise Refused.input(f"`{name}` must be a number from {least:g} to {most:g}.")
        return float(value)

    def whole(self, name: str, default: int | None, *, least: int, most: int) -> int | None:
        value = self._left.pop(name, None)
        if value is None:
            return default
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise Refused.input(f"`{name}` must be a whole number from {least} to {most}.")
        return value

    def flag(self, name: str, *, default: bool = False) -> bool:
        value = self._left.pop(name, None)
        if value is None:
            return default
        if not isinstance(value, bool):
            raise Refused.input(f"`{name}` must be true or false.")
        return value

    def choice(self, name: str, kind: type[E], default: E) -> E:
        value = self._left.pop(name, None)
        return default if value is None else choose(kind, value, name)

    def tokens(self, name: str) -> frozenset[int]:
        """A list of instrument tokens that is not empty."""
        value = self._left.pop(name, None)
        if not isinstance(value, list) or not 0 < len(value) <= _MOST_TOKENS or not all(map(_is_token, value)):
            raise Refused.input(f"`{name}` must be a list of 1 to {_MOST_TOKENS} instrument tokens.")
        return frozenset(value)

    def binary(self, name: str, *, longest: int) -> bytes:
        """Bytes, written as hexadecimal digits."""
        value = self.text(name, "", longest=2 * longest) or ""
        try:
            return bytes.fromhex(value)
        except ValueError:
            raise Refused.input(f"`{name}` must be hexadecimal digits, two a byte.") from None


def choose(kind: type[E], value: object, name: str, among: Collection[E] | None = None) -> E:
    """The member with this value, if it is `among` the fitting ones. Raises Refused, naming them."""
    fitting = list(kind) if among is None else [member for member in kind if member in among]
    for member in fitting:
        if member.value == value:
            return member
    raise Refused.input(f"`{name}` must be one of {', '.join(fitting)}.")


def _is_token(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 32
