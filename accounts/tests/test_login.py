"""Logging in to this service: password, and links that work once."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from threading import Barrier

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import connection
from django.test import Client
from django.utils import timezone

from accounts.models import LoginLink


def is_logged_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_a_link_logs_in_once(asha: User, client: Client) -> None:
    address = f"/login/link/{LoginLink.objects.issue(asha)}/"
    first = client.get(address)
    assert (first.status_code, first["Location"]) == (302, "/")
    assert is_logged_in(client)
    again = Client()
    assert again.get(address).status_code == 410
    assert not is_logged_in(again)


def test_a_preview_with_head_uses_nothing_up(asha: User, client: Client) -> None:
    address = f"/login/link/{LoginLink.objects.issue(asha)}/"
    assert client.head(address).status_code == 405
    assert client.get(address).status_code == 302


@pytest.mark.parametrize("fields", [{"expires_at": timezone.now() - timedelta(seconds=1)}, {"used_at": timezone.now()}])
def test_an_old_or_used_link_logs_nobody_in(asha: User, client: Client, fields: dict[str, object]) -> None:
    token = LoginLink.objects.issue(asha)
    LoginLink.objects.update(**fields)
    assert client.get(f"/login/link/{token}/").status_code == 410


def test_a_link_ends_with_its_user(asha: User) -> None:
    token = LoginLink.objects.issue(asha)
    User.objects.update(is_active=False)
    assert LoginLink.objects.redeem(token) is None


def test_the_token_is_stored_nowhere(asha: User) -> None:
    token = LoginLink.objects.issue(asha)
    with connection.cursor() as cursor:
        cursor.execute("SELECT l::text FROM accounts_loginlink l")
        assert token not in str(cursor.fetchall())


@pytest.mark.django_db(transaction=True)
def test_of_two_at_once_one_wins() -> None:
    token = LoginLink.objects.issue(User.objects.create_user("both"))
    ready = Barrier(4)

    def redeem(_: int) -> User | None:
        try:
            ready.wait(10)
            return LoginLink.objects.redeem(token)
        finally:
            connection.close()

    with ThreadPoolExecutor(4) as pool:
        winners = [user for user in pool.map(redeem, range(4)) if user is not None]
    assert len(winners) == 1


def test_the_command_prints_a_path_that_works(asha: User, client: Client, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("login_link", "asha")
    assert client.get(capsys.readouterr().out.strip()).status_code == 302


def test_a_password_logs_in_and_goes_on_to_where_one_wanted_to_be(asha: User, client: Client) -> None:
    form = {"username": "asha", "password": "correct horse battery", "next": "/api/v1/me"}
    response = client.post("/login/", form)
    assert (response.status_code, response["Location"]) == (302, "/api/v1/me")


def test_login_does_not_lead_to_foreign_pages(asha: User, client: Client) -> None:
    form = {"username": "asha", "password": "correct horse battery", "next": "https://evil.example/"}
    assert client.post("/login/", form)["Location"] == "/"


def test_a_wrong_password_says_so_and_no_more(asha: User, client: Client) -> None:
    page = client.post("/login/", {"username": "asha", "password": "wrong"}).content.decode()
    assert 'role="alert"' in page
    assert "wrong" not in page.split("</form>")[0].split("<form")[1]


def test_the_page_needs_no_inline_script_or_style(db: None, client: Client) -> None:
    page = client.get("/login/").content.decode()
    assert "Simulated market" in page
    for forbidden in ("<style", " style=", "onsubmit", "<script>", "https://"):
        assert forbidden not in page


def test_logging_out_takes_a_post(asha: User, client: Client) -> None:
    client.force_login(asha)
    assert client.get("/logout/").status_code == 405
    assert client.post("/logout/").status_code == 302
    assert not is_logged_in(client)
