import logging
import re
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from accounts.actions import Action
from accounts.api_keys import check_api_key, create_api_key, replace_api_key, revoke_api_key
from accounts.authorisation import accounts_for
from accounts.exceptions import NotAuthenticated, Refused
from accounts.models import ApiKey, Grant, TradingAccount
from accounts.principals import ApiKeyPrincipal

ME = "/api/v1/me"


@pytest.fixture
def key(asha: User, account: TradingAccount) -> tuple[ApiKey, str]:
    return create_api_key(owner=asha, label="robot", scopes=[Action.READ], accounts=[account])


def test_a_key_has_the_documented_form_and_is_never_stored(key: tuple[ApiKey, str]) -> None:
    text = key[1]
    prefix, environment, key_id, secret = text.split("_", 3)
    assert (prefix, environment, len(key_id), len(secret)) == ("kts", "test", 8, 43)
    with connection.cursor() as cursor:
        cursor.execute("SELECT a::text FROM accounts_apikey a")
        stored = str(cursor.fetchall())
    assert secret not in stored
    assert secret not in repr(key[0])


def test_a_good_key_is_known_and_its_use_is_noted(key: tuple[ApiKey, str]) -> None:
    assert check_api_key(key[1], address="10.0.0.1") == key[0]
    assert ApiKey.objects.get().last_used_at is not None


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1] + ("A" if text[-1] != "A" else "B"),
        lambda text: text.replace("kts_test_", "kts_production_"),
        lambda text: text[:9] + "zzzzzzzz" + text[17:],
        lambda text: text + " ",
        lambda text: f"{text},{text}",
        lambda text: text.upper(),
        lambda text: "",
        lambda text: "kts_test_",
    ],
)
def test_a_key_that_differs_in_anything_is_refused_alike(key: tuple[ApiKey, str], spoil: Callable[[str], str]) -> None:
    with pytest.raises(NotAuthenticated, match=r"^This API key is not valid\.$"):
        check_api_key(spoil(key[1]), address="10.0.0.1")


@pytest.mark.parametrize(
    "fields",
    [
        {"revoked_at": timezone.now()},
        {"expires_at": timezone.now() - timedelta(seconds=1)},
        {"networks": ["192.168.0.0/16"]},
    ],
)
def test_a_key_out_of_use_or_place_is_refused_alike(key: tuple[ApiKey, str], fields: dict[str, object]) -> None:
    ApiKey.objects.update(**fields)
    with pytest.raises(NotAuthenticated, match=r"^This API key is not valid\.$"):
        check_api_key(key[1], address="10.0.0.1")


def test_a_key_may_come_from_its_networks(key: tuple[ApiKey, str]) -> None:
    ApiKey.objects.update(networks=["192.168.0.0/16", "10.0.0.0/8"])
    assert check_api_key(key[1], address="10.1.2.3") == key[0]


def test_a_key_may_not_live_longer_than_a_year(asha: User) -> None:
    with pytest.raises(Refused, match="365 days"):
        create_api_key(owner=asha, label="x", scopes=[], accounts=[], valid_for=timedelta(days=366))


@hypothesis_settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(st.text(max_size=120))
def test_hostile_text_is_refused_and_never_an_error(db: None, text: str) -> None:
    with pytest.raises(NotAuthenticated):
        check_api_key(text, address="x")


def test_several_keys_of_one_owner_work_at_once(asha: User, account: TradingAccount) -> None:
    made = [create_api_key(owner=asha, label="robot", scopes=[Action.READ], accounts=[account]) for _ in range(3)]
    assert [check_api_key(text, address="10.0.0.1") for _, text in made] == [key for key, _ in made]


def test_a_replaced_key_works_beside_the_new_one_for_a_while(
    asha: User, account: TradingAccount, other_account: TradingAccount
) -> None:
    old, old_text = create_api_key(
        owner=asha, label="robot", scopes=[Action.READ], accounts=[account, other_account], networks=["10.0.0.0/8"]
    )
    Grant.objects.create(api_key=old, account=other_account, action=Action.READ)
    new, new_text = replace_api_key(old, overlap=timedelta(hours=1))
    assert check_api_key(old_text, address="10.0.0.1") == old
    assert check_api_key(new_text, address="10.0.0.1") == new
    for key in (old, new):
        assert set(accounts_for(ApiKeyPrincipal(key), Action.READ)) == {account, other_account}
    assert (new.scopes, new.networks) == (old.scopes, old.networks)
    old.refresh_from_db()
    assert old.expires_at <= timezone.now() + timedelta(hours=1)
    ApiKey.objects.filter(pk=old.pk).update(expires_at=timezone.now())
    with pytest.raises(NotAuthenticated):
        check_api_key(old_text, address="10.0.0.1")


def test_a_key_that_has_ended_is_not_replaced(key: tuple[ApiKey, str]) -> None:
    assert revoke_api_key(key[0])
    assert not revoke_api_key(key[0]), "once is enough"
    with pytest.raises(Refused, match="make a new one"):
        replace_api_key(key[0])


def test_the_last_use_is_written_once_a_minute(key: tuple[ApiKey, str]) -> None:
    check_api_key(key[1], address="10.0.0.1")
    first = ApiKey.objects.get().last_used_at
    check_api_key(key[1], address="10.0.0.1")
    assert ApiKey.objects.get().last_used_at == first
    ApiKey.objects.update(last_used_at=timezone.now() - timedelta(minutes=2))
    check_api_key(key[1], address="10.0.0.1")
    again = ApiKey.objects.get().last_used_at
    assert first is not None
    assert again is not None
    assert again >= first


def test_a_key_is_replaced_in_the_admin_and_shown_once(
    key: tuple[ApiKey, str], administrator: User, client: Client
) -> None:
    client.force_login(administrator)
    chosen = {"action": "replace", "_selected_action": [key[0].pk]}
    page = client.post("/admin/accounts/apikey/", chosen, follow=True).content.decode()
    [text] = set(re.findall(r"kts_test_[a-z0-9]{8}_[A-Za-z0-9_-]{43}", page))
    assert check_api_key(text, address="127.0.0.1").label == "robot"
    assert text not in client.get("/admin/accounts/apikey/").content.decode()


def test_me_tells_what_a_key_may_do(key: tuple[ApiKey, str], account: TradingAccount, client: Client) -> None:
    answer = client.get(ME, headers={"X-API-Key": key[1]}).json()
    assert (answer["kind"], answer["name"], answer["scopes"]) == ("api_key", "robot", ["read"])
    assert answer["accounts"] == [
        {"id": str(account.public_id), "kite_user_id": "AB1234", "label": "Asha Rao", "actions": ["read"]}
    ]


def test_nobody_and_a_wrong_key_get_401_in_the_one_shape(db: None, client: Client) -> None:
    for headers in ({}, {"X-API-Key": "kts_test_aaaaaaaa_" + "A" * 43}):
        response = client.get(ME, headers=headers)
        assert response.status_code == 401
        assert response["WWW-Authenticate"].startswith("ApiKey")
        assert set(response.json()["error"]) == {"code", "message", "details", "request_id", "timestamp"}


@pytest.mark.parametrize("name", ["api_key", "X-API-Key", "token"])
def test_a_key_in_the_address_is_refused_even_with_a_good_header(
    key: tuple[ApiKey, str], client: Client, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        response = client.get(ME, {name: key[1]}, headers={"X-API-Key": key[1]})
    assert (response.status_code, response.json()["error"]["code"]) == (400, "api_key_in_query")
    assert key[0].key_id in caplog.text
    assert key[1] not in caplog.text + response.content.decode()
