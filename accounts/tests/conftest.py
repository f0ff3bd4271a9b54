"""People, accounts and keys that the tests of this app share."""

from collections.abc import Iterator

import pytest
import redis
from django.contrib.auth.models import User
from pytest_django import Settings

from accounts.audit import Bound
from accounts.credentials import Kind, store_secret
from accounts.models import KiteApp, TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker, running_broker


@pytest.fixture(autouse=True)
def _fresh_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """What one test's refusals used up is not missing in the next one."""
    monkeypatch.setattr("accounts.audit._refusals", Bound(per_source=1000, altogether=1000))


@pytest.fixture
def app(db: None) -> KiteApp:
    return KiteApp.objects.create(api_key="appkey1", label="Test app")


@pytest.fixture
def asha(db: None) -> User:
    return User.objects.create_user("asha", password="correct horse battery")


@pytest.fixture
def ravi(db: None) -> User:
    return User.objects.create_user("ravi", password="correct horse battery")


@pytest.fixture
def administrator(db: None) -> User:
    return User.objects.create_superuser("root", password="correct horse battery")


@pytest.fixture
def account(app: KiteApp, asha: User) -> TradingAccount:
    """Asha's account."""
    return TradingAccount.objects.create(kite_user_id="AB1234", label="Asha Rao", app=app, owner=asha)


@pytest.fixture
def other_account(app: KiteApp, ravi: User) -> TradingAccount:
    """Ravi's account."""
    return TradingAccount.objects.create(kite_user_id="CD5678", label="Ravi", app=app, owner=ravi)


@pytest.fixture
def broker(settings: Settings, valkey: "redis.Redis") -> Iterator[ScriptedBroker]:
    """A scripted broker, to which the settings point; nobody has called it yet, as far as Redis knows."""
    with running_broker() as running:
        settings.KITE_API_ROOT = settings.KITE_LOGIN_ROOT = running.root
        yield running


@pytest.fixture
def opted_in(account: TradingAccount, broker: ScriptedBroker) -> TradingAccount:
    """An account with password and TOTP seed stored, at a broker whose login form works."""
    account.automated_login = True
    account.save()
    store_secret(account.app, Kind.API_SECRET, "secret")
    store_secret(account, Kind.PASSWORD, "pass")
    store_secret(account, Kind.TOTP_SEED, "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP")
    broker.answer("POST /api/login", Answer({"request_id": "r1", "twofa_type": "app_code"}))
    broker.answer("POST /api/twofa", Answer({}))
    broker.answer("GET /connect/login", Answer(b"", 302, {"Location": "/connect/finish?sess_id=1"}))
    target = "http://service.test/accounts/kite/callback/?status=success&request_token=req1"
    broker.answer("GET /connect/finish", Answer(b"", 302, {"Location": target}))
    session = {"user_id": "AB1234", "access_token": "token-of-the-day", "login_time": "2026-11-25 08:50:00"}
    broker.answer("POST /session/token", Answer(session))
    return account
