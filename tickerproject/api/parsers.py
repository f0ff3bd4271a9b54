"""Reading JSON bodies with limits: what is too large, too deep or says two things at once is refused before a view."""

import json
from collections.abc import Mapping
from math import isfinite
from typing import IO, Any

from django.conf import settings
from rest_framework.exceptions import APIException, ParseError
from rest_framework.parsers import BaseParser

LARGEST_DEPTH = 10
MOST_KEYS = 1000


class BodyTooLarge(APIException):
    status_code = 413
    default_code = "body_too_large"
    default_detail = "The body is too large."


class StrictJSONParser(BaseParser):
    """JSON as RFC 8259 has it, in UTF-8: no NaN or Infinity, no key twice, no NUL, at most `LARGEST_DEPTH` levels.

    A view that takes many rows says so by its attributes `largest_body_bytes` and `most_keys`; all others have the
    project's limits.
    """

    media_type = "application/json"

    def parse(
        self, stream: IO[Any], media_type: str | None = None, parser_context: Mapping[str, Any] | None = None
    ) -> Any:
        view = (parser_context or {}).get("view")
        limit: int = getattr(view, "largest_body_bytes", settings.DATA_UPLOAD_MAX_MEMORY_SIZE)
        raw = stream.read(limit + 1)
        if len(raw) > limit:
            raise BodyTooLarge(f"The body is larger than {limit} bytes.")
        return parse_json(raw, most_keys=getattr(view, "most_keys", MOST_KEYS))


def parse_json(raw: bytes, *, most_keys: int = MOST_KEYS) -> Any:
    """The value that `raw` holds, which has at most `most_keys` keys altogether.

    Raises
    ------
    ParseError
        Saying what was found.
    """
    keys = 0

    def count(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal keys
        keys += len(pairs)
        found = dict(pairs)
        if len(found) != len(pairs):
            raise ParseError("A key stands twice in one object.")
        if keys > most_keys:
            raise ParseError(f"More than {most_keys} keys.")
        return found

    try:
        value = json.loads(raw.decode("utf-8"), object_pairs_hook=count, parse_constant=_refuse_constant)
    except RecursionError:
        raise ParseError(f"Nested deeper than {LARGEST_DEPTH} levels.") from None
    except UnicodeDecodeError:
        raise ParseError("The body is not UTF-8.") from None
    except ValueError as exc:
        raise ParseError(f"The body is not JSON: {exc}") from None
    _check(value, LARGEST_DEPTH)
    return value


def _check(value: Any, levels: int) -> None:
    if isinstance(value, str):
        # PostgreSQL cannot store NUL, and half of a surrogate pair cannot be encoded.
        if "\0" in value or any("\ud800" <= c <= "\udfff" for c in value):
            raise ParseError("A text holds a character that cannot be stored.")
        return
    if isinstance(value, float) and not isfinite(value):
        raise ParseError("A number is too large.")
    children = [*value.keys(), *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else ()
    if children and levels == 0:
        raise ParseError(f"Nested deeper than {LARGEST_DEPTH} levels.")
    for child in children:
        _check(child, levels - 1)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a number in JSON")
