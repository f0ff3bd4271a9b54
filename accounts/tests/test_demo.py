import json
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone
from pytest_django import Settings

from accounts.api_keys import check_api_key
from accounts.demo import DEMO_HOOK_SLUG
from accounts.models import ApiKey, KiteApp, TradingAccount


def seeded(capsys: pytest.CaptureFixture[str]) -> dict[str, str | None]:
    call_command("seed_demo", "--json")
    found: dict[str, str | None] = json.loads(capsys.readouterr().out)
    return found


def test_what_is_shown_once_is_shown_on_the_first_run_only(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = seeded(capsys), seeded(capsys)
    assert first["api_key"] is not None
    assert check_api_key(first["api_key"], address="127.0.0.1").scopes == ["read", "stream", "trade"]
    assert User.objects.get(username="admin").check_password(first["admin_password"] or "")
    assert second == first | {"admin_password": None, "api_key": None}
    assert (TradingAccount.objects.count(), ApiKey.objects.count()) == (1, 1)


def test_the_simulated_broker_knows_where_its_postbacks_go(db: None, capsys: pytest.CaptureFixture[str]) -> None:
    seeded(capsys)
    app = KiteApp.objects.get()
    assert app.hook_path == f"/hooks/kite/{DEMO_HOOK_SLUG}"
    assert reverse("kite-postback", args=[app.hook_slug]) == app.hook_path


@pytest.mark.parametrize(("name", "value"), [("FEED_SOURCE", "live"), ("PRODUCTION", True)])
def test_the_demo_stays_away_from_real_accounts(db: None, settings: Settings, name: str, value: object) -> None:
    setattr(settings, name, value)
    with pytest.raises(CommandError, match="simulator only"):
        call_command("seed_demo")
    assert not User.objects.exists()


def test_the_admin_shows_a_new_key_once(account: TradingAccount, administrator: User, client: Client) -> None:
    client.force_login(administrator)
    local = timezone.localtime(timezone.now() + timedelta(days=30))
    form = {"label": "New", "owner": account.owner.pk, "scopes": ["read"], "accounts": [account.pk], "networks": ""}
    form |= {"expires_at_0": local.strftime("%Y-%m-%d"), "expires_at_1": local.strftime("%H:%M:%S")}
    page = client.post(reverse("admin:accounts_apikey_add"), form, follow=True).content.decode()
    key = ApiKey.objects.get()
    text = next(word for word in page.replace(".", " ").split() if word.startswith(f"kts_test_{key.key_id}_"))
    assert check_api_key(text, address="127.0.0.1") == key
    assert list(key.accounts.all()) == [account]
    assert text not in client.get(reverse("admin:accounts_apikey_change", args=[key.pk])).content.decode()


@pytest.mark.parametrize(
    "model", ["kiteapp", "tradingaccount", "brokercredential", "brokersession", "apikey", "grant", "loginlink"]
)
def test_every_list_of_the_admin_opens(
    account: TradingAccount, administrator: User, client: Client, model: str
) -> None:
    client.force_login(administrator)
    assert client.get(reverse(f"admin:accounts_{model}_changelist")).status_code == 200
