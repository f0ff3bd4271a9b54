"""The service's logins and broker client against the simulator, which speaks the broker's protocol."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.conf import settings as django_settings
from pytest_django import Settings

from accounts.broker import data_client, portfolio_client
from accounts.broker.login import log_in_automatically
from accounts.broker.words import Exchange
from accounts.demo import seed_demo
from accounts.exceptions import LoginFailed, SessionExpired
from accounts.models import TradingAccount
from accounts.sessions import store_session
from simulator.tests.running import RunningSimulator, options_for_tests, running


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running(options_for_tests(Path(django_settings.MARKET_DATA_DIR))) as simulator:
        yield simulator


@pytest.fixture
def account(db: None, simulator: RunningSimulator, settings: Settings) -> TradingAccount:
    settings.KITE_API_ROOT = settings.KITE_LOGIN_ROOT = simulator.http_root
    return seed_demo().account


def test_the_demo_account_logs_in_and_reads_profile_and_instruments(account: TradingAccount) -> None:
    log_in_automatically(account)
    assert portfolio_client(account).profile()["user_id"] == account.kite_user_id
    header = next(data_client(account).instruments_csv(Exchange.NFO)).splitlines()[0]
    assert header.startswith(b"instrument_token,exchange_token,tradingsymbol")


def test_a_token_that_the_broker_does_not_know_is_an_expired_session(account: TradingAccount) -> None:
    store_session(account, {"user_id": account.kite_user_id, "access_token": "made-up"})
    with pytest.raises(SessionExpired):
        portfolio_client(account).profile()


def test_an_app_that_the_broker_does_not_know_gets_no_login(account: TradingAccount) -> None:
    account.app.api_key = "unknown"
    with pytest.raises(LoginFailed):
        log_in_automatically(account)
