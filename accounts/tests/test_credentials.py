import json

import pytest
from cryptography.fernet import Fernet
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from django.urls import reverse
from pytest_django import Settings

from accounts.checks import key_ring, stored_secrets_open
from accounts.credentials import Kind, has_secret, key_id, read_secret, ring_problems, store_secret
from accounts.exceptions import CredentialMisplaced, CredentialMissing, CredentialUnreadable
from accounts.models import BrokerCredential, KiteApp, TradingAccount

SECRET = "canary-8f14e45fceea167a"


def test_a_secret_comes_back_as_it_went_in(account: TradingAccount, app: KiteApp) -> None:
    store_secret(account, Kind.PASSWORD, SECRET)
    store_secret(app, Kind.API_SECRET, "another – ₹")
    assert read_secret(account, Kind.PASSWORD) == SECRET
    assert read_secret(app, Kind.API_SECRET) == "another – ₹"


def test_storing_again_replaces_it_and_counts(account: TradingAccount) -> None:
    store_secret(account, Kind.PASSWORD, "old")
    store_secret(account, Kind.PASSWORD, SECRET)
    credential = BrokerCredential.objects.get()
    assert (read_secret(account, Kind.PASSWORD), credential.version) == (SECRET, 2)


def test_a_row_swapped_between_accounts_does_not_open(account: TradingAccount, other_account: TradingAccount) -> None:
    store_secret(account, Kind.PASSWORD, SECRET)
    BrokerCredential.objects.update(account=other_account)
    with pytest.raises(CredentialMisplaced, match="CD5678"):
        read_secret(other_account, Kind.PASSWORD)


def test_a_row_swapped_between_kinds_does_not_open(account: TradingAccount) -> None:
    store_secret(account, Kind.PASSWORD, SECRET)
    BrokerCredential.objects.update(kind=Kind.TOTP_SEED)
    with pytest.raises(CredentialMisplaced):
        read_secret(account, Kind.TOTP_SEED)


def test_an_apps_row_does_not_open_for_an_account_of_the_same_number(account: TradingAccount) -> None:
    app = KiteApp.objects.create(pk=account.pk + 1000, api_key="appkey2", label="Same number")
    TradingAccount.objects.filter(pk=account.pk).update(app=app)
    twin = TradingAccount.objects.create(pk=app.pk, kite_user_id="EF9012", label="Twin", app=app, owner=account.owner)
    store_secret(app, Kind.API_SECRET, SECRET)
    BrokerCredential.objects.update(app=None, account=twin)
    with pytest.raises(CredentialMisplaced):
        read_secret(twin, Kind.API_SECRET)


def test_a_ring_without_the_key_names_it_and_not_the_secret(account: TradingAccount, settings: Settings) -> None:
    sealed_with = key_id(settings.CREDENTIAL_KEYS[0])
    store_secret(account, Kind.PASSWORD, SECRET)
    settings.CREDENTIAL_KEYS = [Fernet.generate_key().decode()]
    with pytest.raises(CredentialUnreadable, match=sealed_with) as caught:
        read_secret(account, Kind.PASSWORD)
    assert SECRET not in str(caught.value)
    [error] = stored_secrets_open(None, databases=["default"])
    assert sealed_with in error.msg


def test_after_a_rotation_old_rows_still_open_and_new_ones_use_the_new_key(
    account: TradingAccount, settings: Settings
) -> None:
    store_secret(account, Kind.PASSWORD, SECRET)
    new = Fernet.generate_key().decode()
    settings.CREDENTIAL_KEYS = [new, *settings.CREDENTIAL_KEYS]
    store_secret(account, Kind.TOTP_SEED, "seed")
    assert read_secret(account, Kind.PASSWORD) == SECRET
    assert BrokerCredential.objects.get(kind=Kind.TOTP_SEED).key_id == key_id(new)
    assert stored_secrets_open(None, databases=["default"]) == []


def test_a_secret_never_stored_is_missing_by_name(account: TradingAccount) -> None:
    with pytest.raises(CredentialMissing, match=r"AB1234.*TOTP seed"):
        read_secret(account, Kind.TOTP_SEED)


def test_no_secret_is_in_the_table_the_repr_or_the_admin(
    account: TradingAccount, administrator: User, client: Client
) -> None:
    store_secret(account, Kind.PASSWORD, SECRET)
    with connection.cursor() as cursor:
        cursor.execute("SELECT encode(ciphertext, 'escape') || c::text FROM accounts_brokercredential c")
        stored = str(cursor.fetchall())
    credential = BrokerCredential.objects.get()
    client.force_login(administrator)
    pages = [
        client.get(reverse(f"admin:accounts_{page}", args=args)).content.decode()
        for page, args in [
            ("brokercredential_changelist", []),
            ("brokercredential_change", [credential.pk]),
            ("tradingaccount_changelist", []),
            ("tradingaccount_change", [account.pk]),
            ("kiteapp_change", [account.app.pk]),
        ]
    ]
    assert not any(SECRET in text for text in [stored, repr(credential), str(credential), *pages])
    assert "Stored; leave empty to keep it." in pages[3]
    ciphertext = bytes(credential.ciphertext).decode()
    assert not any(ciphertext in page for page in pages)


def test_the_admin_stores_a_secret_and_an_empty_field_keeps_it(
    account: TradingAccount, administrator: User, client: Client
) -> None:
    client.force_login(administrator)
    form = {"label": "New", "kite_user_id": "AB1234", "app": account.app.pk, "owner": account.owner.pk, "priority": 1}
    form |= {"state": "enabled", "monogram_colour": "slate", "password": SECRET, "automated_login": "on"}
    address = reverse("admin:accounts_tradingaccount_change", args=[account.pk])
    assert client.post(address, form).status_code == 302
    assert client.post(address, form | {"password": ""}).status_code == 302
    assert read_secret(account, Kind.PASSWORD) == SECRET
    del form["automated_login"]
    refused = client.post(address, form)
    assert "are stored only with this ticked" in refused.content.decode()
    assert SECRET not in refused.content.decode()
    assert client.post(address, form | {"password": ""}).status_code == 302
    assert not has_secret(account, Kind.PASSWORD)


def test_a_key_derived_from_the_secret_key_is_refused() -> None:
    import base64
    import hashlib

    secret_key = "s" * 50
    derived = base64.urlsafe_b64encode(hashlib.sha256(secret_key.encode()).digest()).decode()
    [problem] = ring_problems([derived], secret_key)
    assert "derived from SECRET_KEY" in problem
    assert secret_key not in problem
    assert derived not in problem


@pytest.mark.parametrize("keys", [[], ["short"], ["not base64 at all, sorry"], ["ü" * 44]])
def test_a_ring_that_cannot_work_is_a_system_check(keys: list[str], settings: Settings) -> None:
    settings.CREDENTIAL_KEYS = keys
    [error] = key_ring(None)
    assert error.id == "accounts.E001"


def test_a_proper_ring_passes() -> None:
    assert ring_problems([Fernet.generate_key().decode(), Fernet.generate_key().decode()], "s" * 50) == []
    assert json.dumps(key_id("x")) == '"2d711642"'
