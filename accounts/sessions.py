"""The account's login of the day: one way in for every kind of login, one way out for whoever needs the token."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, time, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from accounts import clock
from accounts.audit import Kind, record
from accounts.control import announce
from accounts.credentials import forget_secret, read_secret, store_secret
from accounts.exceptions import CredentialMissing, SessionExpired, SessionMismatch
from accounts.models import BrokerCredential, BrokerSession, TradingAccount

logger = logging.getLogger(__name__)

# The broker ends every token at about this hour in India (Kite Connect v3 documentation, "User").
TOKENS_END_AT = time(6, 0)


_FAILURE_FIELDS = ("login_failures", "login_failed_at", "login_failure")


@dataclass(frozen=True, slots=True)
class DayToken:
    """An account's access token, which of its logins it belongs to, and when it ends by the clock (market time)."""

    text: str = field(repr=False)
    version: int
    ends_at: datetime


def token_end(logged_in_at: datetime) -> datetime:
    """When a token given out at `logged_in_at` ends: the next 06:00 in India."""
    local = logged_in_at.astimezone(clock.IST)
    end = datetime.combine(local.date(), TOKENS_END_AT, clock.IST)
    return end if local < end else end + timedelta(days=1)


def store_session(account: TradingAccount, session_data: Mapping[str, Any]) -> BrokerSession:
    """Keep a new login and tell the running processes.

    Parameters
    ----------
    session_data : what the broker's session call answered; `access_token` and `user_id` are used.

    Raises
    ------
    SessionMismatch
        If the broker logged in another user: that token would trade on the wrong account.
    """
    user_id, access_token = session_data.get("user_id"), session_data.get("access_token")
    if user_id != account.kite_user_id:
        raise SessionMismatch(f"the broker logged in {user_id}, not {account.kite_user_id}; nothing was stored")
    if not isinstance(access_token, str) or not access_token:
        raise SessionMismatch(f"the broker gave {account.kite_user_id} no access token; nothing was stored")
    now = clock.now()
    with transaction.atomic():
        session = _locked(account)
        store_secret(account, BrokerCredential.Kind.ACCESS_TOKEN, access_token)
        session.status = BrokerSession.Status.ACTIVE
        session.logged_in_at, session.expires_at = now, token_end(now)
        session.login_failures, session.login_failed_at, session.login_failure = 0, None, ""
        _save_with_next_version(session, "status", "logged_in_at", "expires_at", *_FAILURE_FIELDS)
        record(
            Kind.BROKER_LOGGED_IN,
            account=account.kite_user_id,
            token_version=session.token_version,
            expires_at=session.expires_at,
        )
    logger.info("%s logged in; the token lasts until %s", account, session.expires_at)
    return session


def end_session(account: TradingAccount) -> None:
    """Forget the token, after a logout."""
    with transaction.atomic():
        _end(_locked(account), Kind.BROKER_LOGGED_OUT)


def note_dead_token(account: TradingAccount, version: int) -> None:
    """The broker refused the token of that login: end it, unless somebody has logged in since."""
    with transaction.atomic():
        session = _locked(account)
        if session.status != BrokerSession.Status.ACTIVE or session.token_version != version:
            return
        _end(session, Kind.BROKER_TOKEN_DIED)
    logger.error("%s: the broker refused its access token; it has to log in again", account)


def note_failed_login(account: TradingAccount, reason: str, *, tries: int) -> None:
    """An automated login failed, and counts as so many tries."""
    with transaction.atomic():
        session = _locked(account)
        is_todays = session.login_failed_at is not None and clock.now() < token_end(session.login_failed_at)
        session.login_failures = tries + (session.login_failures if is_todays else 0)
        session.login_failed_at, session.login_failure = clock.now(), reason[:500]
        session.save(update_fields=_FAILURE_FIELDS)
        record(Kind.BROKER_LOGIN_FAILED, account=account.kite_user_id, reason=reason, tries=tries)
    logger.error("%s: the automated login failed: %s", account, reason)


def token_of_the_day(account: TradingAccount) -> DayToken:
    """
    Raises
    ------
    SessionExpired
        If there is none, or by the clock it has ended.
    """
    # The version first: a login in between gives the newer token under the older version, which only means that a
    # refusal of it is not believed once.
    session = BrokerSession.objects.filter(account=account).first()
    if session is None or session.expires_at is None or not session.is_live(clock.now()):
        raise SessionExpired(f"{account} is not logged in at the broker")
    try:
        text = read_secret(account, BrokerCredential.Kind.ACCESS_TOKEN)
        return DayToken(text, session.token_version, session.expires_at)
    except CredentialMissing as exc:  # logged out between the two look-ups
        raise SessionExpired(f"{account} is not logged in at the broker") from exc


def _end(session: BrokerSession, event: Kind) -> None:
    forget_secret(session.account, BrokerCredential.Kind.ACCESS_TOKEN)
    session.status = BrokerSession.Status.ENDED
    _save_with_next_version(session, "status")
    record(event, account=session.account.kite_user_id, token_version=session.token_version)


def _locked(account: TradingAccount) -> BrokerSession:
    # The account's row is there before its session is, so that is what two first logins wait for each other on.
    TradingAccount.objects.select_for_update().get(pk=account.pk)
    return BrokerSession.objects.select_related("account").get_or_create(account=account)[0]


def _save_with_next_version(session: BrokerSession, *fields: str) -> None:
    session.token_version = F("token_version") + 1
    session.save(update_fields=["token_version", *fields])
    session.refresh_from_db(fields=["token_version"])
    announce({"type": "token_changed", "account": session.account.kite_user_id, "token_version": session.token_version})
