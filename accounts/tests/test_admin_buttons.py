"""The admin's buttons: they ask first, go by POST, and say what came of it."""

import pytest
from django.contrib.auth.models import User
from django.contrib.messages import get_messages
from django.test import Client
from django.urls import reverse

from accounts.actions import Action
from accounts.api_keys import check_api_key, create_api_key
from accounts.models import ApiKey, BrokerSession, TradingAccount

PRESSED = {"_form_submitted": "True"}


@pytest.fixture
def browser(client: Client, administrator: User) -> Client:
    client.force_login(administrator)
    return client


@pytest.fixture
def key(asha: User, account: TradingAccount) -> ApiKey:
    return create_api_key(owner=asha, label="Backtest", scopes=[Action.READ], accounts=[account])[0]


def address(account: TradingAccount | ApiKey, press: str) -> str:
    model = "tradingaccount" if isinstance(account, TradingAccount) else "apikey"
    return reverse(f"admin:accounts_{model}_{press}", args=[account.pk])


def said(client: Client, path: str, **headers: str) -> str:
    answer = client.post(path, PRESSED, headers=headers)
    assert answer.status_code in (200, 302), answer.content
    return " ".join(str(message) for message in get_messages(answer.wsgi_request))


@pytest.mark.parametrize("press", ["press_disable", "press_enable", "press_refresh"])
def test_a_link_alone_changes_nothing_and_asks(browser: Client, account: TradingAccount, press: str) -> None:
    answer = browser.get(address(account, press))
    account.refresh_from_db()

    assert answer.status_code == 200
    assert b'<form method="post"' in answer.content
    assert account.state == TradingAccount.State.ENABLED


def test_an_account_is_disabled_and_enabled(browser: Client, account: TradingAccount) -> None:
    assert "is disabled" in said(browser, address(account, "press_disable"))
    account.refresh_from_db()
    assert account.state == TradingAccount.State.DISABLED

    said(browser, address(account, "press_enable"))
    account.refresh_from_db()
    assert account.state == TradingAccount.State.ENABLED


def test_log_in_leads_to_the_broker(browser: Client, account: TradingAccount) -> None:
    answer = browser.get(address(account, "press_log_in"))

    assert answer["Location"] == reverse("accounts:kite-login", args=[account.public_id])


def test_refresh_logs_in_who_has_opted_in(browser: Client, opted_in: TradingAccount) -> None:
    assert "is logged in" in said(browser, address(opted_in, "press_refresh"))
    assert BrokerSession.objects.get(account=opted_in).status == "active"


def test_refresh_is_refused_without_the_opt_in(browser: Client, account: TradingAccount) -> None:
    assert "not opted in" in said(browser, address(account, "press_refresh"))


def test_only_buttons_that_would_change_something_stand_on_an_accounts_page(
    browser: Client, account: TradingAccount
) -> None:
    html = browser.get(reverse("admin:accounts_tradingaccount_change", args=[account.pk])).content.decode()

    assert address(account, "press_disable") in html
    for useless in ("press_enable", "press_refresh"):
        assert address(account, useless) not in html


def test_a_key_is_replaced_and_its_text_shown_once(browser: Client, key: ApiKey) -> None:
    words = said(browser, address(key, "press_replace"))
    text = next(word.rstrip(".") for word in words.split() if word.startswith("kts_"))

    assert check_api_key(text, address="127.0.0.1").label == "Backtest"


def test_a_key_is_revoked_and_then_not_replaced(browser: Client, key: ApiKey) -> None:
    assert "is revoked" in said(browser, address(key, "press_revoke"))
    assert "was revoked before" in said(browser, address(key, "press_revoke"))
    assert "cannot be replaced" in said(browser, address(key, "press_replace"))


def test_the_dialog_is_told_where_to_go_on_and_never_to_another_host(browser: Client, account: TradingAccount) -> None:
    path = address(account, "press_disable")
    for current, target in (
        ("http://testserver/admin/accounts/tradingaccount/", "/admin/accounts/tradingaccount/"),
        ("https://evil.example/admin/", reverse("admin:index")),
        (f"http://testserver{path}", reverse("admin:index")),
    ):
        answer = browser.post(path, PRESSED, headers={"HX-Request": "true", "HX-Current-URL": current})
        assert answer["HX-Redirect"] == target


@pytest.mark.parametrize("press", ["press_disable", "press_refresh", "press_log_in"])
def test_who_may_not_change_accounts_presses_nothing(client: Client, account: TradingAccount, press: str) -> None:
    client.force_login(User.objects.create_user("clerk", is_staff=True))

    assert client.post(address(account, press), PRESSED).status_code == 403
    account.refresh_from_db()
    assert account.state == TradingAccount.State.ENABLED


def test_a_form_of_another_site_is_refused(administrator: User, account: TradingAccount) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(administrator)

    assert client.post(address(account, "press_disable"), PRESSED).status_code == 403


@pytest.mark.parametrize("press", ["press_disable", "press_log_in"])
def test_an_account_that_is_gone_is_not_found(browser: Client, account: TradingAccount, press: str) -> None:
    path = address(account, press)
    account.delete()

    assert browser.post(path, PRESSED).status_code == 404
