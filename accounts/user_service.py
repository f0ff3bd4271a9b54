"""The trading accounts that an outside user service keeps. Off unless `USER_SERVICE_URL` is set.

It is asked with the service's own token at `{USER_SERVICE_URL}/trading-accounts` and answers in the form of the file
of `accounts.account_file`, as JSON. `${VARIABLE}` means nothing there: our environment is not for others to read.
"""

from collections.abc import Iterator
from typing import Any

from django.conf import settings

from accounts import breaker
from accounts.account_file import MOST_BYTES, FileRefused, checked_accounts
from accounts.breaker import Outcome
from accounts.exceptions import BreakerOpen
from accounts.outside import OutsideFailed, fetch
from accounts.strict_json import loads

BREAKER = "user-service"


class UserServiceAway(Exception):
    """It did not answer, or failed so often that it is left alone for a while."""


def read_user_service() -> list[dict[str, Any]]:
    """The accounts that it names, checked as those of a file are.

    Raises
    ------
    UserServiceAway
    FileRefused
        It answered, but not with accounts that can be taken on.
    """
    try:
        permit = breaker.ask(BREAKER)
    except BreakerOpen as exc:
        wait = max(1, round(exc.retry_after_seconds))
        raise UserServiceAway(f"the user service failed too often; it is asked again in {wait} s") from None
    try:
        body = fetch(
            f"{settings.USER_SERVICE_URL.rstrip('/')}/trading-accounts",
            seconds=settings.USER_SERVICE_TIMEOUT_SECONDS,
            most_bytes=MOST_BYTES,
            token=settings.USER_SERVICE_TOKEN,
        )
    except OutsideFailed as exc:
        breaker.report(permit, Outcome.FAILED)
        raise UserServiceAway(f"the user service: {exc}") from None
    except BaseException:  # also where it is interrupted: a permit that is kept would hold up the next probe
        breaker.report(permit, Outcome.NEITHER)
        raise
    breaker.report(permit, Outcome.OK)
    try:
        document = loads(body)
    except ValueError:
        raise FileRefused(["the user service answered no JSON"]) from None
    return checked_accounts(document)


def user_service_problems(settings: Any) -> Iterator[str]:
    """What is wrong with its settings, as sentences that begin with the setting's name."""
    if not settings.USER_SERVICE_URL:
        return
    if not settings.USER_SERVICE_URL.startswith("https://") and settings.ENVIRONMENT != "test":
        yield "USER_SERVICE_URL is not https: its answer holds secrets"
    if not settings.USER_SERVICE_TOKEN:
        yield "USER_SERVICE_TOKEN is empty: whoever can reach the user service could read its secrets"
