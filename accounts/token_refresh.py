"""The morning's logins of the accounts that have opted in to an automated one. One login an account, whoever asks."""

import logging
from datetime import datetime, time, timedelta

from django.db import transaction

from accounts import clock
from accounts.broker.login import log_in_automatically
from accounts.exceptions import (
    BrokerError,
    CredentialError,
    LoginFailed,
    LoginUnderWay,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    SessionMismatch,
)
from accounts.models import BrokerSession, TradingAccount
from accounts.sessions import note_failed_login, token_end

logger = logging.getLogger(__name__)

# Tokens were seen to end between 05:00 and 07:30: a login before that may not last the day.
QUIET_FROM, QUIET_UNTIL = time(5, 0), time(7, 35)
# A login form that refuses is not asked again that day. One that answers nothing may be, a little later.
MOST_TRIES = 3
BETWEEN_TRIES = timedelta(minutes=5)

_FAILURES = (BrokerError, CredentialError, LoginFailed, SessionMismatch)


def refresh_tokens() -> list[str]:
    """Log in every enabled account that has opted in and has no token. Gives back whom (Kite user ids).

    A failure is noted with its reason; a refusal is not repeated before the next day or a person's login, since some
    tries lock an account at the broker.
    """
    now = clock.now()
    if QUIET_FROM <= now.astimezone(clock.IST).time() < QUIET_UNTIL:
        return []
    accounts = TradingAccount.objects.enabled().filter(automated_login=True).select_related("session")
    return [account.kite_user_id for account in accounts if _is_due(account, now) and refresh_token(account)]


def refresh_token(account: TradingAccount) -> bool:
    """Log the account in, if it is due and no other process is doing it. Whether it did; a failure is noted."""
    try:
        return _log_in(account, only_if_due=True)
    except LoginUnderWay:
        return False
    except _FAILURES as exc:
        logger.warning("%s has no token: %s", account, exc)
        return False


def log_in_now(account: TradingAccount) -> None:
    """The automated login because a person asks for it: also with a live token, and after failures.

    Raises
    ------
    LoginUnderWay
        Another process is logging this account in.
    BrokerError, CredentialError, LoginFailed, SessionMismatch
    """
    _log_in(account, only_if_due=False)


def _log_in(account: TradingAccount, *, only_if_due: bool) -> bool:
    """The row stays locked until the broker has answered: a second login would end the first one's token."""
    with transaction.atomic():
        locked = (
            TradingAccount.objects.select_for_update(of=("self",), skip_locked=True)
            .select_related("app", "session")
            .filter(pk=account.pk)
            .first()
        )
        if locked is None:
            raise LoginUnderWay
        if only_if_due and not _is_due(locked, clock.now()):
            return False
        try:
            log_in_automatically(locked)
        except _FAILURES as exc:
            failure = exc  # raised below: here it would take its own note back
            if tries := _tries_of(exc):
                note_failed_login(locked, str(exc), tries=tries)
        else:
            return True
    raise failure


def _tries_of(failure: Exception) -> int:
    match failure:
        case NotSent() | RateLimited():
            return 0
        case OutcomeUnknown():
            return 1
    return MOST_TRIES


def _is_due(account: TradingAccount, now: datetime) -> bool:
    session: BrokerSession | None = getattr(account, "session", None)
    if session is None:
        return True
    if session.is_live(now):
        return False
    failed_at = session.login_failed_at
    if failed_at is None or token_end(failed_at) <= now:
        return True
    return session.login_failures < MOST_TRIES and failed_at + BETWEEN_TRIES <= now
