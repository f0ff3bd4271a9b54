"""The keys page: made and shown once, replaced, revoked, and nobody else's business."""

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.actions import Action
from accounts.api_keys import check_api_key, create_api_key
from accounts.models import ApiKey, Grant, TradingAccount

KEYS = "/settings/keys/"
KEY_TEXT = re.compile(r"kts_test_[a-z0-9]{8}_[A-Za-z0-9_-]{43}")


@pytest.fixture
def browser(client: Client, asha: User) -> Client:
    """Asha's browser."""
    client.force_login(asha)
    return client


@pytest.fixture
def key(asha: User, account: TradingAccount) -> ApiKey:
    return create_api_key(owner=asha, label="Backtest", scopes=[Action.READ], accounts=[account])[0]


def asked(account: TradingAccount, **changed: Any) -> dict[str, Any]:
    return {"label": "Bot", "scopes": ["read"], "accounts": [str(account.public_id)], "days": "30", **changed}


def test_who_is_not_logged_in_is_sent_to_log_in(client: Client, key: ApiKey) -> None:
    for path in (KEYS, f"{KEYS}{key.key_id}/revoke/", f"{KEYS}{key.key_id}/replace/"):
        assert client.post(path).status_code == 302
    key.refresh_from_db()
    assert key.revoked_at is None


def test_a_key_is_made_and_shown_once(browser: Client, account: TradingAccount) -> None:
    answer = browser.post(KEYS, asked(account, networks="10.0.0.0/8, 203.0.113.7\n10.0.0.0/8"))
    [text] = set(KEY_TEXT.findall(answer.content.decode()))
    made = check_api_key(text, address="10.1.1.1")

    assert answer.status_code == 200
    assert "no-store" in answer["Cache-Control"]
    assert f"curl -H &quot;X-API-Key: {text}" in answer.content.decode().replace('"', "&quot;")
    assert (made.label, made.scopes, made.networks) == ("Bot", ["read"], ["10.0.0.0/8", "203.0.113.7"])
    assert made.expires_at - made.created_at == timedelta(days=30)
    again = browser.get(KEYS).content.decode()
    assert made.key_id in again
    assert text.rpartition("_")[2] not in again
    assert made.digest not in again


@pytest.mark.parametrize(
    ("changed", "field", "words"),
    [
        ({"label": ""}, "label", "Name the program"),
        ({"label": "x" * 101}, "label", "at most 100"),
        ({"label": "a\0b"}, "label", "Null characters"),
        ({"scopes": []}, "scopes", "Tick what it may do"),
        ({"scopes": ["everything"]}, "scopes", "Select a valid choice"),
        ({"accounts": []}, "accounts", "Tick at least one"),
        ({"accounts": ["not-a-uuid"]}, "accounts", "not a valid UUID"),
        ({"days": "0"}, "days", "greater than or equal to 1"),
        ({"days": "366"}, "days", "less than or equal to 365"),
        ({"days": "9" * 400}, "days", ""),
        ({"days": "soon"}, "days", "A whole number of days"),
        ({"networks": "10.0.0.1/8"}, "networks", "host bits set"),
        ({"networks": "example.com"}, "networks", "not an address or a network"),
        ({"networks": " ".join(f"10.0.0.{n}" for n in range(21))}, "networks", "20 addresses"),
    ],
)
def test_bad_input_is_answered_beside_its_field(
    browser: Client, account: TradingAccount, changed: dict[str, Any], field: str, words: str
) -> None:
    answer = browser.post(KEYS, asked(account, **changed))

    assert answer.status_code == 400
    assert list(answer.context["form"].errors) == [field]
    assert words in str(answer.context["form"].errors[field])
    assert f'id="err-{field}"' in answer.content.decode()
    assert not ApiKey.objects.exists()


def test_what_was_typed_is_kept_when_it_is_refused(browser: Client, account: TradingAccount) -> None:
    html = browser.post(KEYS, asked(account, days="0", label='"><script>')).content.decode()

    assert 'value="&quot;&gt;&lt;script&gt;"' in html
    assert f'value="{account.public_id}" checked' in html
    assert 'value="stream" checked' not in html


def test_an_account_of_somebody_else_is_no_choice(
    browser: Client, account: TradingAccount, foreign: TradingAccount
) -> None:
    answer = browser.post(KEYS, asked(foreign))

    assert "not yours to choose" in str(answer.context["form"].errors["accounts"])
    assert "CD5678" not in answer.content.decode()


def test_a_scope_beyond_ones_own_right_is_refused(
    client: Client, ravi: User, account: TradingAccount, foreign: TradingAccount
) -> None:
    Grant.objects.create(user=ravi, account=account, action=Action.READ)
    client.force_login(ravi)
    answer = client.post(KEYS, asked(account, scopes=["read", "trade"]))

    assert "You may not trade on AB1234" in str(answer.context["form"].errors["scopes"])
    assert not ApiKey.objects.exists()


def test_a_label_that_works_already_is_refused(browser: Client, key: ApiKey, account: TradingAccount) -> None:
    answer = browser.post(KEYS, asked(account, label="Backtest"))

    assert "works already" in str(answer.context["form"].errors["label"])


def test_a_key_is_replaced_while_the_first_one_still_works(browser: Client, key: ApiKey) -> None:
    answer = browser.post(f"{KEYS}{key.key_id}/replace/")
    html = answer.content.decode()
    [text] = set(KEY_TEXT.findall(html))

    assert f"<code>{key.key_id}</code>, works until" in html
    assert check_api_key(text, address="127.0.0.1").label == "Backtest"
    assert len(browser.get(KEYS).context["working"]) == 2


def test_a_third_key_of_a_label_is_refused_in_words(browser: Client, key: ApiKey) -> None:
    browser.post(f"{KEYS}{key.key_id}/replace/")
    answer = browser.post(f"{KEYS}{key.key_id}/replace/")

    assert answer.status_code == 409
    assert "Two keys called Backtest work already" in answer.content.decode()


def test_a_key_is_revoked(browser: Client, key: ApiKey) -> None:
    answer = browser.post(f"{KEYS}{key.key_id}/revoke/")
    key.refresh_from_db()

    assert (answer.status_code, answer["Location"]) == (302, KEYS)
    assert key.revoked_at is not None
    assert browser.get(KEYS).context["ended"] == [key]


@pytest.mark.parametrize("action", ["revoke", "replace"])
def test_somebody_elses_key_is_not_found(client: Client, ravi: User, key: ApiKey, action: str) -> None:
    client.force_login(ravi)

    assert client.post(f"{KEYS}{key.key_id}/{action}/").status_code == 404
    assert client.post(f"{KEYS}zzzzzzzz/{action}/").status_code == 404
    key.refresh_from_db()
    assert key.revoked_at is None
    assert key.key_id not in client.get(KEYS).content.decode()


def test_an_administrator_sees_and_ends_keys_of_others_but_gets_none_of_them(
    client: Client, admin_user: User, key: ApiKey
) -> None:
    client.force_login(admin_user)

    assert key.key_id in client.get(KEYS).content.decode()
    assert client.post(f"{KEYS}{key.key_id}/replace/").status_code == 404
    assert client.post(f"{KEYS}{key.key_id}/revoke/").status_code == 302
    key.refresh_from_db()
    assert key.revoked_at is not None


@pytest.mark.parametrize("action", ["revoke", "replace"])
def test_looking_changes_nothing(browser: Client, key: ApiKey, action: str) -> None:
    assert browser.get(f"{KEYS}{key.key_id}/{action}/").status_code == 405


def test_a_form_of_another_site_is_refused(asha: User, key: ApiKey, account: TradingAccount) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(asha)

    for path, data in (
        (KEYS, asked(account)),
        (f"{KEYS}{key.key_id}/revoke/", {}),
        (f"{KEYS}{key.key_id}/replace/", {}),
    ):
        assert client.post(path, data).status_code == 403
    assert ApiKey.objects.get() == key
    assert key.revoked_at is None


def test_who_has_no_account_is_told_that_a_key_could_do_nothing(client: Client, ravi: User) -> None:
    client.force_login(ravi)
    html = client.get(KEYS).content.decode()

    assert "No account is open to you" in html
    assert 'name="scopes"' not in html


def test_the_pages_carry_no_inline_script_or_style(browser: Client, account: TradingAccount, key: ApiKey) -> None:
    for html in (browser.get(KEYS).content.decode(), browser.post(KEYS, asked(account)).content.decode()):
        assert "<style" not in html
        assert " style=" not in html
        assert "<script>" not in html
        assert re.search(r"\son\w+=", html) is None
