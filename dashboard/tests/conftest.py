"""Accounts in every state that the pages show, and who may see them."""

from datetime import timedelta

import pytest
from django.contrib.auth.models import User

from accounts import clock
from accounts.models import BrokerSession, KiteApp, TradingAccount
from accounts.sessions import token_end


@pytest.fixture
def app(db: None) -> KiteApp:
    return KiteApp.objects.create(api_key="appkey1", label="Test app")


@pytest.fixture
def asha(db: None) -> User:
    return User.objects.create_user("asha")


@pytest.fixture
def ravi(db: None) -> User:
    return User.objects.create_user("ravi")


@pytest.fixture
def account(app: KiteApp, asha: User) -> TradingAccount:
    """Asha's, for data and trading, logged in today."""
    made = TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=asha, is_trading=True)
    log_in(made)
    return made


@pytest.fixture
def foreign(app: KiteApp, ravi: User) -> TradingAccount:
    """Ravi's, never logged in."""
    return TradingAccount.objects.create(kite_user_id="CD5678", label="Ravi desk", app=app, owner=ravi)


def log_in(account: TradingAccount, *, days_ago: int = 0) -> None:
    """A session as a login of so many days ago left it, without a token that would open anything."""
    at = clock.now() - timedelta(days=days_ago)
    BrokerSession.objects.create(
        account=account, status="active", logged_in_at=at, expires_at=token_end(at), token_version=1
    )
