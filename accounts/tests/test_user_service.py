"""Asking services outside: bounded in every way; and the accounts of the user service."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from pytest_django import Settings

from accounts.account_file import FileRefused
from accounts.audit_events import AuditEvent
from accounts.credentials import Kind, read_secret
from accounts.models import TradingAccount
from accounts.outside import OutsideFailed, fetch
from accounts.tests.fakes import Answer, ScriptedBroker, running_broker
from accounts.user_service import UserServiceAway, read_user_service

ACCOUNT = {"kite_user_id": "AB1234", "label": "Desk", "app": {"api_key": "appkey1", "api_secret": "canary-secret"}}
ROUTE = "GET /api/trading-accounts"


def answer(*accounts: Any) -> Answer:
    return Answer(json.dumps({"accounts": accounts}).encode())


@pytest.fixture
def server() -> Iterator[ScriptedBroker]:
    with running_broker() as running:
        yield running


@pytest.fixture
def service(server: ScriptedBroker, settings: Settings, valkey: "redis.Redis") -> ScriptedBroker:
    settings.USER_SERVICE_URL, settings.USER_SERVICE_TOKEN = f"{server.root}/api/", "canary-service-token"
    settings.USER_SERVICE_TIMEOUT_SECONDS = 0.5
    return server


def test_the_body_is_fetched_with_the_token(server: ScriptedBroker) -> None:
    server.answer("GET /x", Answer(b"body"))
    assert fetch(f"{server.root}/x", seconds=5, most_bytes=4, token="t") == b"body"
    assert server.asked[0].headers["Authorization"] == "Bearer t"


@pytest.mark.parametrize(
    "given",
    [
        Answer(b"", 302, {"Location": "/elsewhere"}),
        Answer(b"", 307, {"Location": "http://169.254.169.254/"}),
        Answer(b"body", 500),
        Answer(b"body", 404),
        Answer(b"x" * 1001),
        Answer(b"x" * (4 * 1024 * 1024)),
        Answer(b"body", headers={"Content-Length": "50"}),  # the rest never comes
        Answer(b"body", cut_after=2),
    ],
)
def test_redirects_errors_large_and_slow_answers_are_given_up(server: ScriptedBroker, given: Answer) -> None:
    server.answer("GET /x", given)
    server.answer("GET /elsewhere", Answer(b"body"))
    with pytest.raises(OutsideFailed):
        fetch(f"{server.root}/x", seconds=0.3, most_bytes=1000)
    assert [asked.path for asked in server.asked] == ["/x"]


def test_http_is_for_tests_only(server: ScriptedBroker, settings: Settings) -> None:
    settings.ENVIRONMENT = "development"
    with pytest.raises(OutsideFailed, match="https"):
        fetch(f"{server.root}/x", seconds=1, most_bytes=10)
    assert server.asked == []


def test_nobody_there_is_said_without_the_address() -> None:
    with pytest.raises(OutsideFailed) as caught:
        fetch("http://user:canary@127.0.0.1:1/", seconds=1, most_bytes=10)
    assert "canary" not in str(caught.value)


def test_the_accounts_of_the_user_service_are_taken_on(service: ScriptedBroker, asha: User) -> None:
    service.answer(ROUTE, answer(ACCOUNT))
    call_command("import_accounts", "--user-service", "--owner", "asha")
    account = TradingAccount.objects.get()
    assert (account.kite_user_id, account.owner) == ("AB1234", asha)
    assert read_secret(account.app, Kind.API_SECRET) == "canary-secret"
    assert service.asked[0].headers["Authorization"] == "Bearer canary-service-token"
    assert set(AuditEvent.objects.values_list("actor", flat=True)) == {"command:import_accounts"}
    service.answer(ROUTE, answer(ACCOUNT | {"label": "New"}))
    call_command("import_accounts", "--user-service", "--owner", "asha")
    changed = AuditEvent.objects.get(kind="account.changed")
    assert changed.details == {"changed": {"label": "New"}}


def test_its_answer_cannot_read_our_environment(service: ScriptedBroker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CANARY", "ours")
    service.answer(ROUTE, answer(ACCOUNT | {"label": "${CANARY}"}))
    assert read_user_service()[0]["label"] == "${CANARY}"


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b'{"accounts": []}', b'{"accounts": [{}]}', b'{"accounts": 1, "accounts": 2}', b"\xff"],
)
def test_an_answer_without_accounts_is_refused_whole(service: ScriptedBroker, asha: User, body: bytes) -> None:
    service.answer(ROUTE, Answer(body))
    with pytest.raises(FileRefused):
        read_user_service()
    with pytest.raises(CommandError, match="nothing was imported"):
        call_command("import_accounts", "--user-service", "--owner", "asha")
    assert not TradingAccount.objects.exists()


def test_a_service_that_fails_is_left_alone_for_a_while(service: ScriptedBroker, settings: Settings) -> None:
    service.answer(ROUTE, Answer(b"", 503))
    said = []
    for _ in range(20):
        with pytest.raises(UserServiceAway) as caught:
            read_user_service()
        said.append(str(caught.value))
    assert said[0] == "the user service: it answered 503"
    assert "failed too often" in said[-1]
    assert len(service.asked) < 20


def test_without_one_the_command_says_so(asha: User) -> None:
    with pytest.raises(CommandError, match="USER_SERVICE_URL is not set"):
        call_command("import_accounts", "--user-service", "--owner", "asha")
