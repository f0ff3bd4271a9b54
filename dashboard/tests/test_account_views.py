"""The accounts page and the page of one account, as the server makes them."""

import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.contrib.staticfiles import finders
from django.test import Client
from pytest_django import Settings

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.credentials import Kind, store_secret
from accounts.models import Grant, KiteApp, TradingAccount
from dashboard.tests.conftest import log_in
from market.calendar_loading import load_calendar

pytestmark = pytest.mark.usefixtures("valkey")

BOARD = "/accounts/"
SECRETS = {Kind.API_SECRET: "planted-api-secret", Kind.PASSWORD: "planted-password", Kind.TOTP_SEED: "PLANTEDSEED"}


@pytest.fixture
def calendar(db: None) -> None:
    load_calendar(django_settings.MARKET_DATA_DIR)


def as_user(client: Client, user: User) -> Client:
    client.force_login(user)
    return client


def read(client: Client, path: str = BOARD) -> str:
    answer = client.get(path)
    assert answer.status_code == 200, answer.content
    return answer.content.decode()


@pytest.mark.parametrize("path", [BOARD, "/accounts/AB1234/"])
def test_who_is_not_logged_in_is_sent_to_log_in_and_comes_back(
    client: Client, account: TradingAccount, path: str
) -> None:
    answer = client.get(path)

    assert (answer.status_code, answer["Location"]) == (302, f"/login/?next={path}")


def test_only_accounts_one_may_read_are_shown(
    client: Client, asha: User, account: TradingAccount, foreign: TradingAccount
) -> None:
    html = read(as_user(client, asha))

    assert "AB1234" in html
    assert "CD5678" not in html
    assert foreign.label not in html


def test_a_foreign_account_and_one_that_does_not_exist_look_alike(
    client: Client, asha: User, account: TradingAccount, foreign: TradingAccount
) -> None:
    as_user(client, asha)
    real, made_up = (client.get(f"/accounts/{name}/") for name in ("CD5678", "ZZ9999"))

    assert (real.status_code, made_up.status_code) == (404, 404)
    assert without_id(real.content.decode()) == without_id(made_up.content.decode())


def without_id(html: str) -> str:
    return re.sub(r"<code>\w+</code>", "", html)


def test_an_administrator_sees_every_account(
    client: Client, admin_user: User, account: TradingAccount, foreign: TradingAccount
) -> None:
    html = read(as_user(client, admin_user))

    assert "AB1234" in html
    assert "Not ready: Ravi desk needs a login" in html
    assert f"/accounts/kite/login/{foreign.public_id}/" in html


def test_who_may_only_read_gets_no_button(client: Client, ravi: User, account: TradingAccount) -> None:
    Grant.objects.create(user=ravi, account=account, action=Action.READ)
    TradingAccount.objects.update(automated_login=True)
    for path in (BOARD, "/accounts/AB1234/"):
        html = read(as_user(client, ravi), path)

        assert "AB1234" in html
        for action in ("login", "logout", "refresh"):
            assert f"/accounts/kite/{action}/" not in html


def test_refresh_is_offered_only_where_the_automated_login_is_on(
    client: Client, asha: User, account: TradingAccount
) -> None:
    address = f"/accounts/kite/refresh/{account.public_id}/"
    assert address not in read(as_user(client, asha))

    TradingAccount.objects.update(automated_login=True)
    html = read(client)
    assert f'<form method="post" action="{address}">' in html
    assert "csrfmiddlewaretoken" in html
    assert '<input type="hidden" name="next" value="/accounts/">' in html


def test_once_all_are_logged_in_the_page_says_what_else_is_missing(
    client: Client, asha: User, account: TradingAccount, calendar: None
) -> None:
    page = as_user(client, asha).get(BOARD)

    assert page.context["verdict"].title == "Logged in, but: No instruments are listed"
    assert page.context["rows"][0].login.text == "until 06:00 Thu"
    assert page.context["day"].lines[0].title.startswith("Open, closes in")


def test_an_old_login_is_offered_a_new_one(client: Client, asha: User, app: KiteApp) -> None:
    log_in(TradingAccount.objects.create(kite_user_id="HD9032", label="HUF desk", app=app, owner=asha), days_ago=1)
    html = read(as_user(client, asha))

    assert "Not ready: HUF desk needs a login" in html
    assert "ended 06:00" in html
    assert "Log in to Kite as HD9032" in html


def test_who_may_read_no_account_is_told_so(client: Client, ravi: User, account: TradingAccount) -> None:
    answer = as_user(client, ravi).get(BOARD)

    assert answer.status_code == 403
    assert b"No account is open to you" in answer.content
    assert b"AB1234" not in answer.content


def test_an_administrator_without_accounts_is_shown_how_to_add_one(client: Client, admin_user: User) -> None:
    assert "No account yet" in read(as_user(client, admin_user))


def test_htmx_is_given_the_board_alone(client: Client, asha: User, account: TradingAccount) -> None:
    html = as_user(client, asha).get(BOARD, headers={"HX-Request": "true"}).content.decode()

    assert html.startswith('<div id="board"')
    assert "<html" not in html


def test_the_pages_carry_no_inline_script_or_style(client: Client, asha: User, account: TradingAccount) -> None:
    for path in (BOARD, "/accounts/AB1234/"):
        html = read(as_user(client, asha), path)
        assert "<style" not in html
        assert " style=" not in html
        assert "<script>" not in html
        assert re.search(r"\son\w+=", html) is None


def test_one_account_tells_which_secrets_there_are_and_none_of_them(
    client: Client, asha: User, account: TradingAccount
) -> None:
    store_secret(account.app, Kind.API_SECRET, SECRETS[Kind.API_SECRET])
    for kind in (Kind.PASSWORD, Kind.TOTP_SEED):
        store_secret(account, kind, SECRETS[kind])
    store_secret(account, Kind.ACCESS_TOKEN, "planted-access-token")
    html = read(as_user(client, asha), "/accounts/AB1234/")
    everything = html + read(client)

    for name in ("API secret", "Password", "TOTP seed", "Access token"):
        assert name in html
    for secret in (*SECRETS.values(), "planted-access-token", account.app.api_key):
        assert secret not in everything


def test_grants_keys_and_kinds_of_secrets_are_for_those_who_administer(
    client: Client, asha: User, ravi: User, account: TradingAccount
) -> None:
    Grant.objects.create(user=ravi, account=account, action=Action.READ)
    create_api_key(owner=asha, label="Strategy one", scopes=[Action.READ], accounts=[account])

    assert "Strategy one" in read(as_user(client, asha), "/accounts/AB1234/")
    html = read(as_user(client, ravi), "/accounts/AB1234/")
    assert "Strategy one" not in html
    assert "Secrets stored" not in html
    assert "everything, as its owner" not in html


def test_a_failed_automated_login_is_told_with_its_reason(client: Client, asha: User, account: TradingAccount) -> None:
    account.session.login_failures, account.session.login_failure = 3, "the form refused the <password>"
    account.session.save()
    html = read(as_user(client, asha), "/accounts/AB1234/")

    assert "The automated login failed" in html
    assert "the form refused the &lt;password&gt;" in html


def test_the_page_comes_without_redis(client: Client, asha: User, account: TradingAccount, settings: Settings) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    html = read(as_user(client, asha))

    assert "Redis does not answer" in html
    assert "– of" in html


def test_queries_do_not_grow_with_the_accounts(
    client: Client, admin_user: User, asha: User, app: KiteApp, django_assert_max_num_queries: Any
) -> None:
    for at in range(8):
        log_in(TradingAccount.objects.create(kite_user_id=f"AB100{at}", label=f"A{at}", app=app, owner=asha))
    read(as_user(client, admin_user))
    with django_assert_max_num_queries(14):
        read(client)


@pytest.mark.parametrize("path", ["/accounts/ab1234/", "/accounts/A/", "/accounts/%00/", "/accounts/AB1234/x/"])
def test_odd_addresses_are_not_found(client: Client, asha: User, account: TradingAccount, path: str) -> None:
    assert as_user(client, asha).get(path).status_code == 404


def test_pages_are_only_read(client: Client, asha: User, account: TradingAccount) -> None:
    assert as_user(client, asha).post(BOARD).status_code == 405
    assert client.post("/accounts/AB1234/").status_code == 405


def test_htmx_and_its_licence_are_among_the_static_files() -> None:
    """It comes with the admin's theme: nothing of it is kept here, so an upgrade that moves it has to be noticed."""
    script, licence = (finders.find(f"unfold/js/htmx/{name}") for name in ("htmx.js", "LICENSE"))

    assert isinstance(script, str)
    assert isinstance(licence, str)
    assert "Zero-Clause BSD" in Path(licence).read_text()
    assert 'version:"2.' in Path(script).read_text()
