"""Counting wrong keys, tokens and passwords by where they come from, so that nobody tries them by the thousand.

A key or token is checked first and only then counted: with 256 random bits there is nothing to guess, so a good key
never suffers from its neighbours behind the same address, and the limit keeps the answers cheap. A password can be
guessed, so over the limit none is looked at, not even the right one.
"""

import logging
from ipaddress import IPv6Address, ip_address

from django.conf import settings
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from accounts.addresses import client_address
from accounts.exceptions import Refused
from accounts.minute_counts import SECONDS, MinuteCount

logger = logging.getLogger(__name__)

WINDOW_SECONDS = SECONDS
_wrong = MinuteCount("wrong")


class TooManyTries(Refused):
    """Wrong too often within a minute."""

    status_code = 429
    code = "too_many_tries"
    default_message = "Too many wrong tries from your address. Wait a minute."
    retry_after_seconds = WINDOW_SECONDS


def note_wrong(address: str) -> None:
    """Count one wrong try. Raises `TooManyTries` if there were too many within this minute."""
    if _wrong.add(_source(address)) > settings.AUTH_FAILURES_PER_MINUTE:
        raise TooManyTries


def is_shut_out(address: str) -> bool:
    """Whether there were too many wrong tries from `address` within this minute."""
    return bool(_wrong.so_far(_source(address)) >= settings.AUTH_FAILURES_PER_MINUTE)


class GuessLimit:
    """An authentication backend that knows nobody: it stands first, and ends the matter where too many guess."""

    def authenticate(self, request: HttpRequest | None, **credentials: object) -> User | None:
        if request is not None and is_shut_out(client_address(request.META)):
            logger.warning("logins from %s are not looked at for a while", client_address(request.META))
            raise PermissionDenied
        return None


def _source(address: str) -> str:
    """What one may be taken to hold: an address, or of the new kind the 64 bits that a customer is given."""
    try:
        parsed = ip_address(address)
    except ValueError:
        return "unknown"
    return f"{int(parsed) >> 64:x}::/64" if isinstance(parsed, IPv6Address) else str(parsed)
