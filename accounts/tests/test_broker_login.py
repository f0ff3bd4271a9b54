"""Logging accounts in at the broker: by a person, and automatically; and out."""

import io
import time
from urllib.parse import parse_qs, urlsplit

import pyotp
import pytest
import time_machine
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from accounts.broker.login import accept_access_token, log_in_automatically, log_out
from accounts.credentials import Kind, forget_secret, has_secret, store_secret
from accounts.exceptions import CredentialMissing, LoginFailed, SessionExpired, SessionMismatch
from accounts.models import TradingAccount
from accounts.sessions import store_session, token_of_the_day
from accounts.tests.fakes import Answer, ScriptedBroker

SEED = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
SESSION = {"user_id": "AB1234", "access_token": "token-of-the-day", "login_time": "2026-11-25 08:50:00"}
CALLBACK = "http://service.test/accounts/kite/callback/"


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
    assert token_of_the_day(opted_in).text == "token-of-the-day"


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


def test_without_opting_in_nothing_is_asked(opted_in: TradingAccount, broker: ScriptedBroker) -> None:
    opted_in.automated_login = False
    with pytest.raises(LoginFailed, match="not opted in"):
        log_in_automatically(opted_in)
    opted_in.automated_login = True
    forget_secret(opted_in, Kind.TOTP_SEED)
    with pytest.raises(CredentialMissing):
        log_in_automatically(opted_in)
    assert broker.asked == []


def test_a_pasted_token_is_taken_over_once_the_broker_says_whose_it_is(
    account: TradingAccount, broker: ScriptedBroker
) -> None:
    broker.answer("GET /user/profile", Answer({"user_id": "AB1234"}))
    accept_access_token(account, "pasted")
    assert token_of_the_day(account).text == "pasted"
    assert broker.asked[0].headers["Authorization"] == "token appkey1:pasted"


def test_a_pasted_token_of_somebody_else_or_of_nobody_is_not(account: TradingAccount, broker: ScriptedBroker) -> None:
    broker.answer("GET /user/profile", Answer({"user_id": "CD5678"}))
    with pytest.raises(SessionMismatch, match="CD5678, not AB1234"):
        accept_access_token(account, "theirs")
    broker.refuse("GET /user/profile", 403, "TokenException", "Incorrect `api_key` or `access_token`.")
    with pytest.raises(SessionExpired):
        accept_access_token(account, "made-up")
    assert not has_secret(account, Kind.ACCESS_TOKEN)


def test_logging_out_ends_the_session_here_and_at_the_broker(account: TradingAccount, broker: ScriptedBroker) -> None:
    store_session(account, SESSION)
    broker.answer("DELETE /session/token", Answer(True))
    log_out(account)
    assert broker.asked[0].query == {"api_key": "appkey1", "access_token": "token-of-the-day"}
    with pytest.raises(SessionExpired):
        token_of_the_day(account)
    log_out(account)  # nothing to do
    assert len(broker.asked) == 1


def test_a_logout_that_the_broker_does_not_confirm_ends_the_session_here_and_says_so(
    account: TradingAccount, asha: User, client: Client, broker: ScriptedBroker
) -> None:
    store_session(account, SESSION)
    broker.answer("DELETE /session/token", Answer(b"<html>", 502))
    client.force_login(asha)
    response = client.post(f"/accounts/kite/logout/{account.public_id}/")
    assert response.status_code == 502
    assert "the broker did not confirm it" in response.content.decode()
    with pytest.raises(SessionExpired):
        token_of_the_day(account)


def test_a_person_logs_out_and_in_again_with_a_button(
    opted_in: TradingAccount, asha: User, client: Client, broker: ScriptedBroker
) -> None:
    broker.answer("DELETE /session/token", Answer(True))
    client.force_login(asha)
    refresh, logout = (f"/accounts/kite/{way}/{opted_in.public_id}/" for way in ("refresh", "logout"))
    assert client.post(refresh, {"next": "/accounts/"})["Location"] == "/accounts/"
    assert token_of_the_day(opted_in).text == "token-of-the-day"
    assert client.post(logout, {"next": "https://evil.test/"})["Location"] == "/"
    assert not has_secret(opted_in, Kind.ACCESS_TOKEN)
    assert [client.get(way).status_code for way in (refresh, logout)] == [405, 405]


def test_a_refused_refresh_is_told_to_the_person(
    opted_in: TradingAccount, asha: User, client: Client, broker: ScriptedBroker
) -> None:
    broker.refuse("POST /api/login", 400, "InputException", "Invalid username or password.")
    client.force_login(asha)
    response = client.post(f"/accounts/kite/refresh/{opted_in.public_id}/")
    assert response.status_code == 502
    assert "Invalid username or password." in response.content.decode()


def test_only_who_administers_an_account_may_press_its_buttons(
    opted_in: TradingAccount, ravi: User, other_account: TradingAccount, client: Client, broker: ScriptedBroker
) -> None:
    addresses = [f"/accounts/kite/{way}/{opted_in.public_id}/" for way in ("refresh", "logout")]
    assert [client.post(address)["Location"].split("?")[0] for address in addresses] == ["/login/"] * 2
    client.force_login(ravi)
    assert [client.post(address).status_code for address in addresses] == [404, 404]
    assert broker.asked == []


def test_the_command_logs_in_by_itself_or_says_why_not(
    opted_in: TradingAccount, capsys: pytest.CaptureFixture[str]
) -> None:
    call_command("kite_login", "AB1234", "--automatic")
    assert "logged in until" in capsys.readouterr().out
    with pytest.raises(CommandError, match="known: AB1234"):
        call_command("kite_login", "ZZ9999")


@pytest.mark.parametrize("pasted", ["req1", f"{CALLBACK}?action=login&status=success&request_token=req1"])
def test_the_command_shows_the_login_page_and_takes_what_it_leads_to(
    opted_in: TradingAccount,
    broker: ScriptedBroker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    pasted: str,
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{pasted}\n"))
    call_command("kite_login", "AB1234")
    assert f"{broker.root}/connect/login?v=3&api_key=appkey1" in capsys.readouterr().out
    assert broker.asked[-1].form["request_token"] == "req1"
    assert token_of_the_day(opted_in).text == "token-of-the-day"


@pytest.mark.parametrize("pasted", ["", f"{CALLBACK}?status=cancelled&request_token="])
def test_the_command_does_nothing_with_a_login_that_was_none(
    opted_in: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, pasted: str
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(f"{pasted}\n"))
    with pytest.raises(CommandError):
        call_command("kite_login", "AB1234")
    assert broker.asked == []


def test_the_command_takes_over_a_token_and_logs_out(
    account: TradingAccount,
    broker: ScriptedBroker,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    broker.answer("GET /user/profile", Answer({"user_id": "AB1234"}))
    broker.answer("DELETE /session/token", Answer(True))
    monkeypatch.setattr("sys.stdin", io.StringIO("pasted\n"))
    call_command("kite_login", "AB1234", "--access-token")
    assert token_of_the_day(account).text == "pasted"
    call_command("kite_login", "AB1234", "--logout")
    out = capsys.readouterr().out
    assert "logged out" in out
    assert "pasted" not in out


def _state_of_new_login(client: Client, account: TradingAccount, **parameters: str) -> str:
    response = client.get(f"/accounts/kite/login/{account.public_id}/", parameters)
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
    assert token_of_the_day(opted_in).text == "token-of-the-day"
    assert client.get("/accounts/kite/callback/", answer).status_code == 400


@pytest.mark.parametrize(
    ("asked_for", "target"),
    [("/accounts/AB1234/", "/accounts/AB1234/"), ("https://evil.example/", "/"), ("//evil", "/")],
)
def test_a_login_returns_to_the_page_of_ours_that_it_was_started_from(
    opted_in: TradingAccount, asha: User, client: Client, asked_for: str, target: str
) -> None:
    client.force_login(asha)
    state = _state_of_new_login(client, opted_in, next=asked_for)
    answer = {"state": state, "request_token": "req1", "status": "success"}
    assert client.get("/accounts/kite/callback/", answer)["Location"] == target


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
