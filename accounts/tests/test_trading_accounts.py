"""Trading accounts over REST: who sees which, how one is taken on, logged in and out, and where its secrets go."""

from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.credentials import Kind, has_secret, read_secret
from accounts.models import Grant, KiteApp, TradingAccount
from accounts.sessions import store_session
from accounts.tests.fakes import Answer, ScriptedBroker

URL = "/api/v1/trading-accounts"
APP = {"api_key": "newkey1", "api_secret": "canary-secret", "label": "New app"}
NEW = {"kite_user_id": "EF9012", "label": "Third", "app": APP}
OPT_IN = {"password": "canary-password", "totp_seed": "JBSWY3DPEHPK3PXP", "accept_warning": True}


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def asha_asks(asha: User, account: TradingAccount) -> Client:
    return client_of(asha)


def send(client: Client, method: str, path: str, body: Any = None) -> Any:
    return getattr(client, method.lower())(path, body, content_type="application/json")


def test_everybody_sees_their_own_accounts_and_those_they_were_granted(
    asha_asks: Client, ravi: User, account: TradingAccount, other_account: TradingAccount
) -> None:
    assert [one["kite_user_id"] for one in asha_asks.get(URL).json()["items"]] == ["AB1234"]
    Grant.objects.create(user=ravi, account=account, action=Action.READ)
    found = client_of(ravi).get(URL).json()
    assert {one["kite_user_id"] for one in found["items"]} == {"AB1234", "CD5678"}
    assert found["total"] == 2


def test_an_account_tells_its_session_its_app_and_no_secret(
    asha_asks: Client, account: TradingAccount, broker: ScriptedBroker
) -> None:
    store_session(account, {"user_id": "AB1234", "access_token": "canary-token"})
    response = asha_asks.get(f"{URL}/{account.public_id}")
    found = response.json()
    assert found["app"]["api_key_ends_with"] == "key1"
    assert found["app"]["has_secret"] is False
    assert found["session"]["state"] == "active"
    assert found["session"]["token_version"] == 1
    assert found["login_path"] == f"/accounts/kite/login/{account.public_id}/"
    assert b"canary" not in response.content
    assert b"appkey1" not in response.content


def test_the_list_can_be_filtered_and_refuses_what_it_does_not_know(asha_asks: Client) -> None:
    assert asha_asks.get(URL, {"state": "disabled"}).json()["items"] == []
    assert asha_asks.get(URL, {"state": "asleep"}).status_code == 400
    assert asha_asks.get(URL, {"colour": "red"}).status_code == 400


def test_an_administrator_takes_on_an_account_with_its_app(administrator: User, asha: User) -> None:
    response = send(
        client_of(administrator), "POST", URL, NEW | {"owner": "asha", "is_trading": True, "data_failover": True}
    )
    assert response.status_code == 201
    made = TradingAccount.objects.get(kite_user_id="EF9012")
    assert (made.owner, made.is_trading, made.data_failover, made.app.label) == (asha, True, True, "New app")
    assert read_secret(made.app, Kind.API_SECRET) == "canary-secret"
    assert b"canary" not in response.content


def test_a_second_account_of_an_app_needs_no_secret_again(administrator: User, app: KiteApp) -> None:
    response = send(client_of(administrator), "POST", URL, NEW | {"app": {"api_key": "appkey1"}})
    assert response.status_code == 201
    assert TradingAccount.objects.get(kite_user_id="EF9012").app == app


def test_nobody_else_takes_one_on(asha_asks: Client) -> None:
    response = send(asha_asks, "POST", URL, NEW)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "permission_denied")
    assert not KiteApp.objects.filter(api_key="newkey1").exists()


def test_an_administrators_key_takes_one_on_and_sees_it(administrator: User) -> None:
    _, text = create_api_key(owner=administrator, label="deploy", scopes=[Action.ADMIN, Action.READ], accounts=[])
    client = Client(headers={"X-API-Key": text})
    made = send(client, "POST", URL, NEW)
    assert (made.status_code, made.json()["owner"]) == (201, "root")
    assert client.get(f"{URL}/{made.json()['id']}").status_code == 200


@pytest.mark.parametrize("scopes", [[Action.READ, Action.STREAM, Action.TRADE], [Action.ADMIN]])
def test_another_key_does_not(administrator: User, asha: User, account: TradingAccount, scopes: list[Action]) -> None:
    owner = asha if Action.ADMIN in scopes else administrator
    _, text = create_api_key(owner=owner, label="x", scopes=scopes, accounts=[account])
    assert send(Client(headers={"X-API-Key": text}), "POST", URL, NEW).status_code == 403


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"kite_user_id": "ab"}, "kite_user_id"),
        ({"kite_user_id": None}, "kite_user_id"),
        ({"label": ""}, "label"),
        ({"app": {"api_key": "new key"}}, "app"),
        ({"app": "newkey1"}, "app"),
        ({"app": APP | {"redirect_url": "javascript:alert(1)"}}, "app"),
        ({"owner": "nobody"}, "owner"),
        ({"priority": -1}, "priority"),
        ({"priority": 10**9}, "priority"),
        ({"public_id": "1"}, "public_id"),
        ({"state": "enabled"}, "state"),
    ],
    ids=str,
)
def test_what_makes_no_sense_is_refused_by_field(administrator: User, change: dict[str, Any], field: str) -> None:
    response = send(client_of(administrator), "POST", URL, NEW | change)
    assert response.status_code == 400
    assert field in response.json()["error"]["details"]
    assert not TradingAccount.objects.exists()


def test_the_same_user_twice_is_a_conflict_and_changes_nothing(administrator: User, account: TradingAccount) -> None:
    response = send(client_of(administrator), "POST", URL, NEW | {"kite_user_id": "AB1234"})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "account_exists")
    assert not KiteApp.objects.filter(api_key="newkey1").exists()


def test_an_app_that_is_not_known_needs_its_secret(administrator: User) -> None:
    response = send(client_of(administrator), "POST", URL, NEW | {"app": {"api_key": "newkey1"}})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "app_unknown")


def test_the_owner_changes_what_may_be_changed(asha_asks: Client, account: TradingAccount) -> None:
    response = send(asha_asks, "PATCH", f"{URL}/{account.public_id}", {"label": "Morning", "state": "disabled"})
    assert response.status_code == 200
    account.refresh_from_db()
    assert (account.label, account.state) == ("Morning", "disabled")


@pytest.mark.parametrize("field", ["owner", "kite_user_id", "app", "public_id", "automated_login", "id"])
def test_f81_nothing_else_can_be_assigned(asha_asks: Client, account: TradingAccount, field: str) -> None:
    response = send(asha_asks, "PATCH", f"{URL}/{account.public_id}", {"label": "x", field: "ravi"})
    assert (response.status_code, field in response.json()["error"]["details"]) == (400, True)
    account.refresh_from_db()
    assert account.label == "Asha Rao"


def test_who_may_only_read_changes_nothing(ravi: User, account: TradingAccount, other_account: TradingAccount) -> None:
    Grant.objects.create(user=ravi, account=account, action=Action.READ)
    client = client_of(ravi)
    assert client.get(f"{URL}/{account.public_id}").status_code == 200
    for method, path, body in (
        ("PATCH", "", {"label": "mine"}),
        ("PUT", "/session", {"access_token": "t"}),
        ("DELETE", "/session", {}),
        ("PUT", "/automated-login", OPT_IN),
        ("DELETE", "/automated-login", {}),
        ("PUT", "/app-secret", {"api_secret": "s"}),
    ):
        assert send(client, method, f"{URL}/{account.public_id}{path}", body).status_code == 403


def test_an_account_is_logged_in_with_a_request_token_and_out(
    asha_asks: Client, opted_in: TradingAccount, broker: ScriptedBroker
) -> None:
    broker.answer("DELETE /session/token", Answer(True))
    path = f"{URL}/{opted_in.public_id}/session"
    response = send(asha_asks, "PUT", path, {"request_token": "req1"})
    assert response.json()["session"]["state"] == "active"
    assert broker.asked[0].form["request_token"] == "req1"
    assert b"token-of-the-day" not in response.content
    assert send(asha_asks, "DELETE", path).json()["session"]["state"] == "ended"


def test_an_account_is_logged_in_with_a_pasted_token(
    asha_asks: Client, account: TradingAccount, broker: ScriptedBroker
) -> None:
    broker.answer("GET /user/profile", Answer({"user_id": "AB1234"}))
    response = send(asha_asks, "PUT", f"{URL}/{account.public_id}/session", {"access_token": "pasted"})
    assert response.json()["session"]["state"] == "active"


def test_an_account_is_logged_in_automatically(asha_asks: Client, opted_in: TradingAccount) -> None:
    response = send(asha_asks, "PUT", f"{URL}/{opted_in.public_id}/session", {"automatic": True})
    assert response.json()["session"]["state"] == "active"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"automatic": False},
        {"request_token": "a", "access_token": "b"},
        {"request_token": ""},
        {"password": "x"},
        [],
    ],
    ids=str,
)
def test_a_login_takes_exactly_one_way(
    asha_asks: Client, account: TradingAccount, broker: ScriptedBroker, body: Any
) -> None:
    assert send(asha_asks, "PUT", f"{URL}/{account.public_id}/session", body).status_code == 400
    assert broker.asked == []


def test_a_login_that_fails_says_why_in_the_one_shape(
    asha_asks: Client, opted_in: TradingAccount, account: TradingAccount, broker: ScriptedBroker
) -> None:
    path = f"{URL}/{opted_in.public_id}/session"
    broker.refuse("POST /api/login", 400, "InputException", "Invalid username or password.")
    refused = send(asha_asks, "PUT", path, {"automatic": True})
    assert (refused.status_code, refused.json()["error"]["code"]) == (422, "broker_login_failed")
    broker.answer("GET /user/profile", Answer({"user_id": "CD5678"}))
    other = send(asha_asks, "PUT", path, {"access_token": "theirs"})
    assert (other.status_code, other.json()["error"]["code"]) == (422, "broker_login_failed")
    broker.refuse("POST /session/token", 403, "TokenException", "Token is invalid or has expired.")
    expired = send(asha_asks, "PUT", path, {"request_token": "old"})
    assert (expired.status_code, expired.json()["error"]["code"]) == (503, "broker_session_expired")


def test_a_login_without_the_apps_secret_says_what_is_missing(
    asha_asks: Client, account: TradingAccount, broker: ScriptedBroker
) -> None:
    response = send(asha_asks, "PUT", f"{URL}/{account.public_id}/session", {"request_token": "r"})
    assert (response.status_code, response.json()["error"]["code"]) == (409, "credential_missing")


def test_opting_in_stores_both_secrets_and_opting_out_forgets_them(asha_asks: Client, account: TradingAccount) -> None:
    path = f"{URL}/{account.public_id}/automated-login"
    response = send(asha_asks, "PUT", path, OPT_IN)
    assert response.json()["automated_login"] is True
    assert b"canary" not in response.content
    assert read_secret(account, Kind.PASSWORD) == "canary-password"
    assert send(asha_asks, "DELETE", path).json()["automated_login"] is False
    assert not has_secret(account, Kind.PASSWORD)
    assert not has_secret(account, Kind.TOTP_SEED)


@pytest.mark.parametrize(
    "change", [{"accept_warning": False}, {"totp_seed": "not base 32!"}, {"password": ""}, {"extra": 1}], ids=str
)
def test_without_accepting_the_warning_nothing_is_stored(
    asha_asks: Client, account: TradingAccount, change: dict[str, Any]
) -> None:
    response = send(asha_asks, "PUT", f"{URL}/{account.public_id}/automated-login", OPT_IN | change)
    assert response.status_code == 400
    assert b"canary" not in response.content
    assert not has_secret(account, Kind.PASSWORD)


def test_the_secret_of_an_app_is_replaced_by_who_administers_all_its_accounts(
    asha_asks: Client, asha: User, account: TradingAccount, other_account: TradingAccount
) -> None:
    path = f"{URL}/{account.public_id}/app-secret"
    assert send(asha_asks, "PUT", path, {"api_secret": "mine"}).status_code == 403
    Grant.objects.create(user=asha, account=other_account, action=Action.ADMIN)
    response = send(asha_asks, "PUT", path, {"api_secret": "canary"})
    assert response.json()["app"]["has_secret"] is True
    assert b"canary" not in response.content
    assert read_secret(account.app, Kind.API_SECRET) == "canary"
