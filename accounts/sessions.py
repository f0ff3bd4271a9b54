"""The account's login of the day: one way in for every kind of login, one way out for whoever needs the token."""

import logging
from collections.abc import Mapping
from datetime import datetime, time, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F

from accounts import clock
from accounts.control import announce
from accounts.credentials import forget_secret, read_secret, store_secret
from accounts.exceptions import CredentialMissing, SessionExpired, SessionMismatch
from accounts.models import BrokerCredential, BrokerSession, TradingAccount

logger = logging.getLogger(__name__)

# The broker ends every token at about this hour in India (Kite Connect v3 documentation, "User").
TOKENS_END_AT = time(6, 0)


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
        _save_with_next_version(session, "status", "logged_in_at", "expires_at")
    logger.info("%s logged in; the token lasts until %s", account, session.expires_at)
    return session


def end_session(account: TradingAccount) -> None:
    """Forget the token: after a logout, or when the broker said that it is dead."""
    with transaction.atomic():
        session = _locked(account)
        forget_secret(account, BrokerCredential.Kind.ACCESS_TOKEN)
        session.status = BrokerSession.Status.ENDED
        _save_with_next_version(session, "status")


def access_token(account: TradingAccount) -> str:
    """The token of the day.

    Raises
    ------
    SessionExpired
        If there is none, or by the clock it has ended.
    """
    session = BrokerSession.objects.filter(account=account).first()
    if session is None or not session.is_live(clock.now()):
        raise SessionExpired(f"{account} is not logged in at the broker")
    try:
        return read_secret(account, BrokerCredential.Kind.ACCESS_TOKEN)
    except CredentialMissing as exc:  # logged out between the two look-ups
        raise SessionExpired(f"{account} is not logged in at the broker") from exc


def _locked(account: TradingAccount) -> BrokerSession:
    # The account's row is there before its session is, so that is what two first logins wait for each other on.
    TradingAccount.objects.select_for_update().get(pk=account.pk)
    return BrokerSession.objects.get_or_create(account=account)[0]


def _save_with_next_version(session: BrokerSession, *fields: str) -> None:
    session.token_version = F("token_version") + 1
    session.save(update_fields=["token_version", *fields])
    session.refresh_from_db(fields=["token_version"])
    announce({"type": "token_changed", "account": session.account.kite_user_id, "token_version": session.token_version})
