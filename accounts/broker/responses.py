"""What an answer of the broker, or the lack of one, says about the request. Decided here once, for every call.

The rule where nothing else is known: no request byte written means not sent, a refusal in the broker's own form means
refused, anything else is unknown. Statuses and types: Kite Connect v3 documentation, "Exceptions and errors".
"""

import json
import re
from http import HTTPStatus
from typing import Any

import requests

from accounts.exceptions import (
    BrokerError,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    RequestRejected,
    SessionExpired,
)
from accounts.redaction import redact_secrets

_QUOTED_CHARACTERS = 500
# The order system behind the API may have acted although the API says 400: these words tell it, whatever the type is.
_MAY_HAVE_HAPPENED = re.compile(
    r"timed out|timeout|check the order ?book|processing|gateway|unable to (?:confirm|reach)", re.IGNORECASE
)
_REFUSALS = frozenset(
    {
        "InputException",
        "MarginException",
        "HoldingException",
        "PermissionException",
        "UserException",
        "TwoFAException",
        "OrderException",
    }
)


def error_of_transport(exc: requests.RequestException, *, is_sent: bool) -> BrokerError:
    """What an exception of the transport says: `NotSent` only where no byte of the request was written."""
    reason = getattr(exc.args[0], "reason", None) if exc.args else None
    what = type(reason or exc).__name__
    return (
        OutcomeUnknown(f"no complete answer from the broker: {what}")
        if is_sent
        else NotSent(f"no connection to the broker: {what}")
    )


def data_of_response(status: int, text: str, *, retry_after: str | None = None) -> Any:
    """The `data` of a successful answer.

    Raises
    ------
    RequestRejected, SessionExpired, RateLimited, OutcomeUnknown
    """
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise RateLimited("the broker answered: too many requests", retry_after_seconds=_seconds(retry_after))
    envelope = _envelope(text)
    if envelope is None:
        raise OutcomeUnknown(f"the broker answered {status} without its usual form: {_quoted(text)}")
    if status == HTTPStatus.OK and envelope.get("status") == "success" and "data" in envelope:
        return envelope["data"]
    error_type, message = str(envelope.get("error_type") or ""), str(envelope.get("message") or "")
    raise _error_of(status, error_type, f"{message} ({error_type or 'no type'}, {status})")


def _error_of(status: int, error_type: str, message: str) -> BrokerError:
    said = _quoted(message)
    if status == HTTPStatus.FORBIDDEN and error_type == "TokenException":
        return SessionExpired(said)
    if not 400 <= status < 500 or _MAY_HAVE_HAPPENED.search(message):
        return OutcomeUnknown(said)
    if error_type in _REFUSALS or (error_type == "TokenException" and status == HTTPStatus.BAD_REQUEST):
        return RequestRejected(said, error_type=error_type, status=status)
    return OutcomeUnknown(said, is_fault=False)


def _envelope(text: str) -> dict[str, Any] | None:
    try:
        parsed = json.loads(text)
    except ValueError:
        return None
    return parsed if isinstance(parsed, dict) else None


def _seconds(retry_after: str | None) -> float:
    """Whole seconds, as the header is mostly used; a date or nonsense counts as one second."""
    return float(retry_after) if retry_after and re.fullmatch(r"[0-9]{1,4}", retry_after) else 1.0


def _quoted(text: str) -> str:
    """At most 500 characters, on one line, without what looks secret: a broker's text goes into logs and answers."""
    line = "".join(c if c.isprintable() else " " for c in text[: 4 * _QUOTED_CHARACTERS])
    return redact_secrets(line)[:_QUOTED_CHARACTERS]
