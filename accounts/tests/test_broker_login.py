"""Logging accounts in at the broker: by a person, and automatically."""

import time
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.broker.login import log_in_automatically
from accounts.credentials import Kind, store_secret
from accounts.exceptions import CredentialMissing, LoginFailed
from accounts.models import TradingAccount
from accounts.sessions import access_token
from accounts.tests.fakes import Answer, ScriptedBroker

SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
SESSION = {"user_id": "AB1234", "access_token": "token-of-the-day", "login_time": "2026-11-25 08:50:00"}
CALLBACK = "http://service.test/accounts/kite/callback/"


@pytest.fixture
def opted_in(account: TradingAccount, broker: ScriptedBroker) -> TradingAccount:
    """An account with password and TOTP seed stored, at a broker whose login form works."""
    store_secret(account.app, Kind.API_SECRET, "secret")
    store_secret(account, Kind.PASSWORD, "pass")
    store_secret(account, Kind.TOTP_SEED, SEED)
    broker.answer("POST /api/login", Answer({"request_id": "r1", "twofa_type": "app_code"}))
    broker.answer("POST /api/twofa", Answer({}))
    broker.answer("GET /connect/login", Answer(b"", 302, {"Location": "/connect/finish?sess_id=1"}))
    target = f"{CALLBACK}?status=success&request_token=req1"
    broker.answer("GET /connect/finish", Answer(b"", 302, {"Location": target}))
    broker.answer("POST /session/token", Answer(SESSION))
    return account


def test_the_automated_login_types_into_the_form_and_reads_the_redirect(
    opted_in: TradingAccount, broker: ScriptedBroker
) -> None:
    with time_machine.travel(time.time(), tick=False):  # both codes in one of the authenticator's half minutes
        log_in_automatically(opted_in)
        code = pyotp.TOTP(SEED).now()
    first, second, *_, exchange = broker.asked
    assert first.form == {"user_id": "AB1234", "password": "pass"}
    assert second.form == {"user_id": "AB1234", "request_id": "r1", "twofa_type": "app_code", "twofa_value": code}
    assert exchange.form["request_token"] == "req1"
    assert access_token(opted_in) == "token-of-the-day"


def test_a_wrong_password_is_tried_once(opted_in: TradingAccount, broker: ScriptedBroker) -> None:
    broker.refuse("POST /api/login", 400, "InputException", "Invalid username or password.")
    with pytest.raises(LoginFailed, match="Invalid username or password"):
        log_in_automatically(opted_in)
    assert len(broker.asked) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Answer(b"<html>consent</html>", content_type="text/html"),
        Answer(b"", 302, {"Location": "http://evil.test/"}),
        Answer(b"", 302, {"Location": "/connect/login?again"}),
    ],
)
def test_a_form_that_leads_nowhere_is_said(opted_in: TradingAccount, broker: ScriptedBroker, answer: Answer) -> None:
    broker.answer("GET /connect/login", answer)
    with pytest.raises(LoginFailed):
        log_in_automatically(opted_in)


@pytest.mark.parametrize("seed", ["not base32!", "JBSWY3DP"])
def test_a_seed_that_cannot_be_one_is_said_and_not_shown(opted_in: TradingAccount, seed: str) -> None:
    store_secret(opted_in, Kind.TOTP_SEED, seed)
    with pytest.raises(LoginFailed, match="TOTP seed of Asha") as caught:
        log_in_automatically(opted_in)
    assert seed not in str(caught.value)


def test_without_opting_in_nothing_is_asked(account: TradingAccount, broker: ScriptedBroker) -> None:
    with pytest.raises(CredentialMissing):
        log_in_automatically(account)
    assert broker.asked == []


def test_the_command_logs_in_or_says_why_not(opted_in: TradingAccount, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("kite_login", "AB1234")
    assert "logged in until" in capsys.readouterr().out
    with pytest.raises(CommandError, match="known: AB1234"):
        call_command("kite_login", "ZZ9999")


def _state_of_new_login(client: Client, account: TradingAccount) -> str:
    response = client.get(f"/accounts/kite/login/{account.public_id}/")
    query = parse_qs(urlsplit(response["Location"]).query)
    assert query["api_key"] == ["appkey1"]
    return parse_qs(query["redirect_params"][0])["state"][0]


def test_a_persons_login_ends_in_a_session_and_its_state_works_once(
    opted_in: TradingAccount, asha: User, client: Client
) -> None:
    client.force_login(asha)
    answer = {"state": _state_of_new_login(client, opted_in), "request_token": "req1", "status": "success"}
    response = client.get("/accounts/kite/callback/", answer)
    assert (response.status_code, response["Location"]) == (302, "/")
    assert access_token(opted_in) == "token-of-the-day"
    assert client.get("/accounts/kite/callback/", answer).status_code == 400


def test_a_state_of_another_browser_an_old_one_or_none_does_nothing(
    opted_in: TradingAccount, asha: User, broker: ScriptedBroker
) -> None:
    mine, other = Client(), Client()
    for browser in (mine, other):
        browser.force_login(asha)
    states = [_state_of_new_login(other, opted_in), "", "made-up"]
    with time_machine.travel("2020-01-01T00:00:00Z"):
        mine.force_login(asha)
        states.append(_state_of_new_login(mine, opted_in))
    mine.force_login(asha)
    for state in states:
        answer = {"state": state, "request_token": "req1", "status": "success"}
        assert mine.get("/accounts/kite/callback/", answer).status_code == 400
    assert broker.asked == []


def test_a_refused_login_is_told_to_the_person(
    opted_in: TradingAccount, asha: User, client: Client, broker: ScriptedBroker
) -> None:
    broker.refuse("POST /session/token", 403, "TokenException", "Token is invalid or has expired.")
    client.force_login(asha)
    answer = {"state": _state_of_new_login(client, opted_in), "request_token": "old", "status": "success"}
    response = client.get("/accounts/kite/callback/", answer)
    assert response.status_code == 502
    assert "Token is invalid or has expired." in response.content.decode()


def test_a_stranger_cannot_start_a_login_of_this_account(
    account: TradingAccount, other_account: TradingAccount, ravi: User, client: Client
) -> None:
    address = f"/accounts/kite/login/{account.public_id}/"
    assert client.get(address)["Location"].startswith("/login/?next=")
    client.force_login(ravi)
    assert client.get(address).status_code == 404
