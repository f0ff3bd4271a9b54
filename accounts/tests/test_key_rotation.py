"""Changing the key that stored secrets are sealed with."""

import threading
import time
from io import StringIO

import pytest
from cryptography.fernet import Fernet
from django.core.management import CommandError, call_command
from django.db import connection
from pytest_django import Settings

from accounts import key_rotation
from accounts.checks import stored_secrets_open
from accounts.credentials import Kind, key_id, read_secret, store_secret
from accounts.key_rotation import reseal, secrets_by_key
from accounts.models import BrokerCredential, KiteApp, TradingAccount

SECRET = "canary-of-the-rotation"


@pytest.fixture
def old_and_new(account: TradingAccount, app: KiteApp, settings: Settings) -> tuple[str, str]:
    """Three secrets that the old key sealed, and a new key in front of it; the ids of both."""
    for holder, kind in ((account, Kind.PASSWORD), (account, Kind.TOTP_SEED), (app, Kind.API_SECRET)):
        store_secret(holder, kind, SECRET)
    old = settings.CREDENTIAL_KEYS[0]
    settings.CREDENTIAL_KEYS = [Fernet.generate_key().decode(), old]
    return key_id(old), key_id(settings.CREDENTIAL_KEYS[0])


def test_afterwards_the_old_key_is_not_needed(
    old_and_new: tuple[str, str], account: TradingAccount, app: KiteApp, settings: Settings
) -> None:
    old, new = old_and_new
    output = StringIO()
    call_command("rotate_keys", stdout=output)
    assert f"sealed with key {new}: 3" in output.getvalue()
    assert f"key {old} is not needed any more" in output.getvalue()
    settings.CREDENTIAL_KEYS = settings.CREDENTIAL_KEYS[:1]
    assert stored_secrets_open(None, databases=["default"]) == []
    assert read_secret(account, Kind.PASSWORD) == read_secret(app, Kind.API_SECRET) == SECRET


def test_it_takes_up_where_it_was_broken_off(old_and_new: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    old, new = old_and_new
    monkeypatch.setattr(key_rotation, "BATCH", 1)
    next(reseal())
    assert secrets_by_key() == {old: 2, new: 1}
    assert [batch.sealed for batch in reseal()] == [1, 1]
    assert secrets_by_key() == {new: 3}
    assert list(reseal()) == []


@pytest.mark.django_db(transaction=True)
def test_f90_no_call_fails_while_the_secrets_are_sealed_anew(
    old_and_new: tuple[str, str], account: TradingAccount, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Readers and a writer go on, through the rotation and the removal of the old key behind it."""
    monkeypatch.setattr(key_rotation, "BATCH", 1)
    read: list[str] = []
    failures: list[BaseException] = []
    stopping = threading.Event()

    def traffic() -> None:
        try:
            while not stopping.is_set():
                read.append(read_secret(account, Kind.PASSWORD))
                store_secret(account, Kind.TOTP_SEED, SECRET)
        except BaseException as exc:  # noqa: BLE001 - told below, whatever it is
            failures.append(exc)
        finally:
            connection.close()

    threads = [threading.Thread(target=traffic) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(3):
            call_command("rotate_keys", stdout=StringIO())
        settings.CREDENTIAL_KEYS = settings.CREDENTIAL_KEYS[:1]
        seen = len(read)
        deadline = time.monotonic() + 10
        while len(read) < seen + 20 and not failures and time.monotonic() < deadline:
            time.sleep(0.01)
    finally:
        stopping.set()
        for thread in threads:
            thread.join(20)
    assert failures == []
    assert len(read) >= seen + 20
    assert set(read) == {SECRET}


def test_a_secret_that_does_not_open_is_left_and_named_and_the_others_are_sealed(
    old_and_new: tuple[str, str], account: TradingAccount
) -> None:
    old, new = old_and_new
    BrokerCredential.objects.filter(account=account, kind=Kind.PASSWORD).update(ciphertext=b"gAAAA broken")
    output = StringIO()
    with pytest.raises(CommandError, match=r"left as they are: 1\n.*AB1234") as refused:
        call_command("rotate_keys", stdout=output)
    assert f"key {old} is still needed for 1: keep it" in output.getvalue()
    assert secrets_by_key() == {old: 1, new: 2}
    assert SECRET not in output.getvalue() + str(refused.value)


@pytest.mark.django_db(transaction=True)
def test_what_another_process_is_storing_is_left_alone(old_and_new: tuple[str, str]) -> None:
    locked = BrokerCredential.objects.order_by("pk").values_list("pk", flat=True)[0]
    other = connection.copy()
    try:
        with other.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT 1 FROM accounts_brokercredential WHERE id = %s FOR UPDATE", [locked])
            assert sum(batch.sealed for batch in reseal()) == 2
            cursor.execute("ROLLBACK")
    finally:
        other.close()
    assert sum(batch.sealed for batch in reseal()) == 1


def test_a_new_seal_changes_the_bytes_and_keeps_no_copy(old_and_new: tuple[str, str]) -> None:
    before = set(map(bytes, BrokerCredential.objects.values_list("ciphertext", flat=True)))
    list(reseal())
    after = list(BrokerCredential.objects.all())
    assert len(after) == 3
    assert not before & {bytes(credential.ciphertext) for credential in after}
