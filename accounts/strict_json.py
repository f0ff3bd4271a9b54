"""JSON from outside that says one thing only: no key twice, no NaN, and no nesting that ends the stack."""

import json
from typing import Any


def loads(raw: bytes) -> Any:
    """The value that `raw` holds. Raises ValueError, whatever the bytes."""
    try:
        return json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_refuse)
    except RecursionError:
        raise ValueError("nested too deep") from None


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands twice")
    return found


def _refuse(name: str) -> Any:
    raise ValueError(f"{name} is no number in JSON")
