"""What is written down, and by whom it was done."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.audit import Kind
from accounts.audit_events import AuditEvent
from accounts.credentials import forget_secret, store_secret
from accounts.models import ApiKey, BrokerCredential, Grant, TradingAccount
from accounts.sessions import end_session, note_dead_token, store_session

PASSWORD = "correct horse battery"


@pytest.fixture
def root(administrator: User, client: Client) -> Client:
    client.force_login(administrator)
    return client


def new_events() -> Callable[[], list[AuditEvent]]:
    """Begin to look: what is called gives the events since then."""
    before = set(AuditEvent.objects.values_list("pk", flat=True))
    return lambda: list(AuditEvent.objects.exclude(pk__in=before).order_by("at"))


def kinds(events: list[AuditEvent]) -> list[str]:
    return [event.kind for event in events]


def test_a_login_its_refusal_and_a_logout(asha: User, client: Client) -> None:
    client.post("/login/", {"username": "asha", "password": "wrong"})
    client.post("/login/", {"username": "asha", "password": PASSWORD})
    client.post("/logout/")
    events = list(AuditEvent.objects.order_by("at"))
    assert kinds(events) == [Kind.PERSON_REFUSED, Kind.PERSON_LOGGED_IN, Kind.PERSON_LOGGED_OUT]
    assert [event.actor for event in events] == ["nobody", f"user:{asha.pk}", f"user:{asha.pk}"]
    assert {event.address for event in events} == {"127.0.0.1"}
    assert all(event.request_id for event in events)
    assert events[0].details["username"] == "asha"


def test_a_password_typed_into_the_wrong_field_is_not_written_down(asha: User, client: Client) -> None:
    client.post("/login/", {"username": PASSWORD, "password": "asha"})
    assert AuditEvent.objects.get().details == {"way": "password", "username": "(unknown)"}


def test_a_login_link_made_used_and_used_again(asha: User, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("login_link", "asha")
    address = capsys.readouterr().out.strip()
    client.get(address)
    Client().get(address)
    events = list(AuditEvent.objects.order_by("at"))
    assert kinds(events) == [Kind.LOGIN_LINK_MADE, Kind.PERSON_LOGGED_IN, Kind.PERSON_REFUSED]
    assert events[0].actor == "command:login_link"


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"revoked_at": timezone.now()}, "revoked"),
        ({"expires_at": timezone.now() - timedelta(seconds=1)}, "expired"),
        ({"networks": ["192.168.0.0/16"]}, "address not allowed"),
        ({"digest": "0" * 64}, "wrong"),
    ],
)
def test_a_key_that_is_refused(
    asha: User, account: TradingAccount, client: Client, fields: dict[str, object], reason: str
) -> None:
    key, text = create_api_key(owner=asha, label="robot", scopes=[Action.READ], accounts=[account])
    ApiKey.objects.update(**fields)
    since = new_events()
    assert client.get("/api/v1/me", headers={"X-API-Key": text}).status_code == 401
    [event] = since()
    assert (event.kind, event.address) == (Kind.KEY_REFUSED, "127.0.0.1")
    assert event.details == {"key_id": key.key_id, "reason": reason}
    assert event.actor == ("nobody" if reason == "wrong" else f"apikey:{key.key_id}")


def test_a_key_made_in_the_admin_and_revoked(root: Client, administrator: User, account: TradingAccount) -> None:
    since = new_events()
    form = {
        "label": "robot",
        "owner": administrator.pk,
        "scopes": ["read"],
        "accounts": [account.pk],
        "networks": "",
        "expires_at_0": (timezone.localtime() + timedelta(days=5)).strftime("%Y-%m-%d"),
        "expires_at_1": "10:00:00",
    }
    assert root.post("/admin/accounts/apikey/add/", form).status_code == 302
    key = ApiKey.objects.get()
    root.post("/admin/accounts/apikey/", {"action": "revoke", "_selected_action": [key.pk]})
    events = since()
    assert kinds(events) == [Kind.KEY_MADE, Kind.KEY_ACCOUNTS, Kind.ADMIN_CHANGED, Kind.KEY_REVOKED]
    assert {event.actor for event in events} == {f"user:{administrator.pk}"}
    assert events[1].details["accounts"] == ["AB1234"]


def test_a_key_sent_in_an_address(asha: User, account: TradingAccount, client: Client) -> None:
    key, text = create_api_key(owner=asha, label="robot", scopes=[Action.READ], accounts=[account])
    since = new_events()
    client.get("/api/v1/me", {"api_key": text})
    assert [(event.kind, event.details) for event in since()] == [(Kind.KEY_IN_ADDRESS, {"key_id": key.key_id})]


def test_grants_however_they_change(root: Client, ravi: User, account: TradingAccount) -> None:
    since = new_events()
    Grant.objects.create(user=ravi, account=account, action=Action.READ)
    root.post("/admin/accounts/grant/add/", {"user": ravi.pk, "account": account.pk, "action": "trade"})
    ids = list(Grant.objects.values_list("pk", flat=True))
    chosen = {"action": "delete_selected", "_selected_action": ids, "post": "yes"}
    assert root.post("/admin/accounts/grant/", chosen).status_code == 302
    events = since()
    grants = [(event.kind, event.account, event.details["to"]) for event in events if event.kind.startswith("grant")]
    assert grants == [
        (Kind.GRANT_GIVEN, "AB1234", f"user:{ravi.pk}"),
        (Kind.GRANT_GIVEN, "AB1234", f"user:{ravi.pk}"),
        (Kind.GRANT_TAKEN, "AB1234", f"user:{ravi.pk}"),
        (Kind.GRANT_TAKEN, "AB1234", f"user:{ravi.pk}"),
    ]
    assert kinds(events).count(Kind.ADMIN_DELETED) == 2, "deleting many at once is told row by row"


def test_secrets_stored_and_forgotten(account: TradingAccount) -> None:
    since = new_events()
    store_secret(account, BrokerCredential.Kind.PASSWORD, "canary-1")
    forget_secret(account, BrokerCredential.Kind.PASSWORD)
    forget_secret(account, BrokerCredential.Kind.PASSWORD)
    events = since()
    assert kinds(events) == [Kind.CREDENTIAL_STORED, Kind.CREDENTIAL_FORGOTTEN]
    assert {event.details["kind"] for event in events} == {"password"}
    assert "canary" not in str([event.details for event in events])


def test_the_consent_to_automated_login_and_its_end(asha: User, account: TradingAccount, client: Client) -> None:
    client.force_login(asha)
    since = new_events()
    address = f"/api/v1/trading-accounts/{account.public_id}/automated-login"
    given = {"password": "canary-1", "totp_seed": "JBSWY3DPEHPK3PXP", "accept_warning": True}
    assert client.put(address, given, content_type="application/json").status_code == 200
    assert client.delete(address).status_code == 200
    events = since()
    assert [kind for kind in kinds(events) if kind.startswith("account")] == [
        Kind.AUTOMATED_LOGIN_ON,
        Kind.AUTOMATED_LOGIN_OFF,
    ]
    assert {event.actor for event in events} == {f"user:{asha.pk}"}
    assert "canary" not in str([event.details for event in events])
    assert "JBSWY3DPEHPK3PXP" not in str([event.details for event in events])


def test_an_account_that_is_changed_over_rest(asha: User, account: TradingAccount, client: Client) -> None:
    client.force_login(asha)
    since = new_events()
    address = f"/api/v1/trading-accounts/{account.public_id}"
    changes = {"state": "disabled", "priority": 7, "label": account.label}
    assert client.patch(address, changes, content_type="application/json").status_code == 200
    events = since()
    assert kinds(events) == [Kind.ACCOUNT_DISABLED, Kind.ACCOUNT_CHANGED]
    assert events[1].details == {"changed": {"priority": 7}}


def test_a_token_that_the_broker_refused(account: TradingAccount) -> None:
    session = store_session(account, {"user_id": "AB1234", "access_token": "canary-token"})
    since = new_events()
    note_dead_token(account, session.token_version)
    note_dead_token(account, session.token_version)
    assert kinds(since()) == [Kind.CREDENTIAL_FORGOTTEN, Kind.BROKER_TOKEN_DIED]


def test_secrets_sealed_with_another_key(account: TradingAccount) -> None:
    store_secret(account, BrokerCredential.Kind.PASSWORD, "canary-1")
    BrokerCredential.objects.update(key_id="older")
    since = new_events()
    call_command("rotate_keys", verbosity=0)
    assert [(event.kind, event.actor) for event in since()] == [(Kind.CREDENTIAL_RESEALED, "command:rotate_keys")]


def test_the_accounts_login_and_logout_at_the_broker(account: TradingAccount) -> None:
    since = new_events()
    store_session(account, {"user_id": "AB1234", "access_token": "canary-token"})
    end_session(account)
    events = since()
    assert [event.kind for event in events if event.kind.startswith("broker")] == [
        Kind.BROKER_LOGGED_IN,
        Kind.BROKER_LOGGED_OUT,
    ]
    assert {event.account for event in events} == {"AB1234"}
    assert "canary" not in str([event.details for event in events])


def test_a_login_at_the_broker_that_failed(account: TradingAccount) -> None:
    since = new_events()
    with pytest.raises(CommandError):
        call_command("kite_login", "AB1234", "--automatic")
    [event] = since()
    assert (event.kind, event.account, event.actor) == (Kind.BROKER_LOGIN_FAILED, "AB1234", "command:kite_login")


def test_an_account_switched_off_and_on(root: Client, administrator: User, account: TradingAccount) -> None:
    since = new_events()
    for action in ("disable", "disable", "enable"):
        root.post("/admin/accounts/tradingaccount/", {"action": action, "_selected_action": [account.pk]})
    events = since()
    assert kinds(events) == [Kind.ACCOUNT_DISABLED, Kind.ACCOUNT_ENABLED], "what changes nothing is no event"
    assert {(event.actor, event.account) for event in events} == {(f"user:{administrator.pk}", "AB1234")}


def test_what_the_admin_changes_is_named(root: Client, ravi: User) -> None:
    since = new_events()
    root.post(f"/admin/auth/user/{ravi.pk}/delete/", {"post": "yes"})
    [event] = since()
    assert (event.kind, event.details) == (
        Kind.ADMIN_DELETED,
        {"model": "auth.user", "pk": str(ravi.pk), "name": "ravi"},
    )


def test_the_audit_can_be_read_in_the_admin_and_not_touched(root: Client, account: TradingAccount) -> None:
    store_secret(account, BrokerCredential.Kind.PASSWORD, "canary-1")
    connection.check_constraints()
    event = AuditEvent.objects.get(kind=Kind.CREDENTIAL_STORED)
    listed = root.get("/admin/accounts/auditevent/?kind=credential.stored&account=AB1234")
    assert listed.status_code == 200
    assert "secret stored" in listed.content.decode()
    page = root.get(f"/admin/accounts/auditevent/{event.pk}/change/")
    assert page.status_code == 200
    assert event.digest in page.content.decode()
    assert root.get("/admin/accounts/auditevent/add/").status_code == 403
    assert root.post(f"/admin/accounts/auditevent/{event.pk}/change/", {"actor": "x"}).status_code == 403
    assert root.post(f"/admin/accounts/auditevent/{event.pk}/delete/", {"post": "yes"}).status_code == 403
