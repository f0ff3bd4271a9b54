"""Accounts from a YAML file or the environment: all or none, and never a secret in a message."""

from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from accounts.account_file import FileRefused, import_accounts, read_environment, read_file
from accounts.credentials import Kind, read_secret
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import token_of_the_day
from accounts.tests.fakes import Answer, ScriptedBroker

FILE = """
accounts:
  - kite_user_id: AB1234
    label: Morning desk
    is_trading: true
    priority: 10
    app: {api_key: appkey1, api_secret: "${SECRET}", label: Desk}
  - kite_user_id: CD5678
    label: Second
    owner: ravi
    app: {api_key: appkey1}
    automated_login: {password: "${PASSWORD}", totp_seed: JBSWY3DPEHPK3PXP, accept_warning: true}
"""
ENVIRONMENT = {"SECRET": "canary-secret", "PASSWORD": "canary ${SECRET}"}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "accounts.yaml"
    path.write_text(FILE, encoding="utf-8")
    return path


def test_a_file_takes_on_its_accounts_with_their_secrets(file: Path, asha: User, ravi: User) -> None:
    imported = import_accounts(read_file(file, ENVIRONMENT), owner=asha)
    first, second = (one.account for one in imported)
    assert [one.is_new for one in imported] == [True, True]
    assert (first.owner, first.is_trading, first.priority, first.app.label) == (asha, True, 10, "Desk")
    assert (second.owner, second.automated_login, second.app) == (ravi, True, first.app)
    assert read_secret(first.app, Kind.API_SECRET) == "canary-secret"
    assert read_secret(second, Kind.PASSWORD) == "canary ${SECRET}"  # a value is not looked into again


def test_a_second_time_it_brings_them_up_to_date(file: Path, asha: User, ravi: User) -> None:
    import_accounts(read_file(file, ENVIRONMENT), owner=asha)
    TradingAccount.objects.update(label="by hand", monogram_colour="moss")
    again = import_accounts(read_file(file, ENVIRONMENT | {"SECRET": "newer"}), owner=ravi)
    assert [one.is_new for one in again] == [False, False]
    first = TradingAccount.objects.get(kite_user_id="AB1234")
    assert (first.label, first.monogram_colour, first.owner) == ("Morning desk", "moss", asha)
    assert read_secret(first.app, Kind.API_SECRET) == "newer"


def test_one_bad_account_means_none(file: Path, asha: User) -> None:
    with pytest.raises(FileRefused, match="CD5678: there is no active user 'ravi'"):
        import_accounts(read_file(file, ENVIRONMENT), owner=asha)
    assert not TradingAccount.objects.exists()
    assert not KiteApp.objects.exists()


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("kite_user_id: AB1234", "kite_user_id: ab", "accounts 1.kite_user_id: "),
        ("label: Second", "", "accounts 2.label: This field is required."),
        ("priority: 10", "prio: 10", "accounts 1.prio: Unknown field."),
        ("accept_warning: true", "accept_warning: false", "accounts 2.automated_login.accept_warning: It has to be"),
        ("JBSWY3DPEHPK3PXP", "canary-not-a-seed!", "accounts 2.automated_login.totp_seed: "),
        ("CD5678", "AB1234", "a kite_user_id stands in it twice"),
        ("${PASSWORD}", "${NOWHERE}", "the environment has no NOWHERE"),
        ("accounts:", "people:", "people: Unknown field."),
        ("label: Morning desk", "label: [canary", "is not YAML"),
        ("label: Morning desk", "label: !!python/object/apply:os.system [canary]", "is not YAML"),
    ],
    ids=str,
)
def test_what_is_wrong_is_named_by_its_place_and_never_by_its_value(
    file: Path, old: str, new: str, problem: str
) -> None:
    file.write_text(FILE.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(FileRefused) as caught:
        read_file(file, ENVIRONMENT)
    assert any(problem in one for one in caught.value.problems), caught.value.problems
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"accounts: []", b"[]", b"7", b"\xff\xfe\x00", b"a" * 2_000_000], ids=len)
def test_a_file_that_is_none_of_ours_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    with pytest.raises(FileRefused):
        read_file(file, ENVIRONMENT)


def test_a_file_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(FileRefused, match="cannot be read"):
        read_file(tmp_path / "none.yaml")


def test_a_value_cannot_add_to_the_file(file: Path, asha: User, ravi: User) -> None:
    hostile = ENVIRONMENT | {"SECRET": 'x"}\n  - kite_user_id: EV1111\n    label: evil'}
    import_accounts(read_file(file, hostile), owner=asha)
    assert TradingAccount.objects.count() == 2


def test_the_environment_holds_one_account(asha: User) -> None:
    names = {"KITE_USER_ID": "AB1234", "KITE_API_KEY": "appkey1", "KITE_API_SECRET": "canary"}
    [imported] = import_accounts(read_environment(names), owner=asha)
    assert (imported.account.kite_user_id, imported.account.app.api_key) == ("AB1234", "appkey1")
    with pytest.raises(FileRefused, match="no KITE_API_SECRET"):
        read_environment(names | {"KITE_API_SECRET": ""})


def set_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("KITE_USER_ID", "KITE_API_KEY", "KITE_API_SECRET", "KITE_ACCESS_TOKEN")
    for name, value in zip(names, ("AB1234", "k123", "canary", "canary-token"), strict=True):
        monkeypatch.setenv(name, value)


def test_the_command_imports_and_takes_over_a_token(
    asha: User, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    set_environment(monkeypatch)
    broker.answer("GET /user/profile", Answer({"user_id": "AB1234"}))
    call_command("import_accounts", "--env", "--owner", "asha")
    out = capsys.readouterr().out
    assert "AB1234 (AB1234): taken on" in out
    assert "canary" not in out
    assert token_of_the_day(TradingAccount.objects.get()).text == "canary-token"


def test_the_command_says_which_token_the_broker_did_not_take(
    asha: User, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    set_environment(monkeypatch)
    broker.refuse("GET /user/profile", 403, "TokenException", "Incorrect `api_key` or `access_token`.")
    with pytest.raises(CommandError, match="not logged in: Incorrect") as caught:
        call_command("import_accounts", "--env", "--owner", "asha")
    assert "canary" not in str(caught.value)
    assert TradingAccount.objects.exists()  # the account itself is in order


@pytest.mark.parametrize("arguments", [["--env"], ["nowhere.yaml", "--owner", "asha"]], ids=str)
def test_the_command_says_what_is_missing(asha: User, arguments: list[Any]) -> None:
    with pytest.raises(CommandError):
        call_command("import_accounts", *arguments)
    assert not TradingAccount.objects.exists()
