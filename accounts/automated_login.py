"""Opting in to the automated login, and out of it: what is stored for it, and what people are told before."""

from django.db import transaction

from accounts.audit import Kind as Event
from accounts.audit import record
from accounts.credentials import Kind, forget_secret, store_secret
from accounts.models import TradingAccount

WARNING = (
    "The broker asks that a person logs in each morning. With this on, the service types the stored password and TOTP "
    "code into the broker's login form instead: that may stop working any day, may break the rules your account is "
    "under, and whoever holds this server and its CREDENTIAL_KEYS can then log in as you."
)


@transaction.atomic
def opt_in(account: TradingAccount, *, password: str, totp_seed: str) -> None:
    """Store both secrets and let the account log in by itself from now on."""
    store_secret(account, Kind.PASSWORD, password)
    store_secret(account, Kind.TOTP_SEED, totp_seed)
    account.automated_login = True
    account.save(update_fields=["automated_login"])
    record_choice(account)


@transaction.atomic
def opt_out(account: TradingAccount) -> None:
    """Log in by hand from now on, and forget both secrets."""
    account.automated_login = False
    account.save(update_fields=["automated_login"])
    record_choice(account)
    forget_login_secrets(account)


def record_choice(account: TradingAccount) -> None:
    """Write down what was chosen: it is the owner's consent."""
    event = Event.AUTOMATED_LOGIN_ON if account.automated_login else Event.AUTOMATED_LOGIN_OFF
    record(event, account=account.kite_user_id)


def forget_login_secrets(account: TradingAccount) -> None:
    forget_secret(account, Kind.PASSWORD)
    forget_secret(account, Kind.TOTP_SEED)
