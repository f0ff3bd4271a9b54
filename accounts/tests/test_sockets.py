"""Who opens a WebSocket: header or cookie, and the rule of origins."""

from importlib import import_module
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.test import Client

from accounts.actions import Action
from accounts.api_keys import KeyInAddress, create_api_key
from accounts.exceptions import Denied, NotAuthenticated
from accounts.models import TradingAccount
from accounts.principals import ApiKeyPrincipal, UserPrincipal
from accounts.sockets import principal_of_scope

HOST = (b"host", b"127.0.0.1:8080")
OWN = (b"origin", b"http://127.0.0.1:8080")


def scope(*headers: tuple[bytes, bytes], client: Client | None = None, query: bytes = b"") -> dict[str, Any]:
    key = client.cookies[django_settings.SESSION_COOKIE_NAME].value if client else None
    session = import_module(django_settings.SESSION_ENGINE).SessionStore(key)
    return {"headers": [HOST, *headers], "query_string": query, "client": ["127.0.0.1", 5], "session": session}


@pytest.fixture
def key(asha: User, account: TradingAccount) -> bytes:
    return create_api_key(owner=asha, label="k", scopes=[Action.STREAM], accounts=[account])[1].encode()


@pytest.fixture
def browser(asha: User, client: Client) -> Client:
    client.force_login(asha)
    return client


def test_a_cookie_from_our_own_page_is_its_person(browser: Client, asha: User) -> None:
    assert principal_of_scope(scope(OWN, client=browser)) == UserPrincipal(asha)


def test_a_cookie_without_an_origin_is_refused(browser: Client) -> None:
    with pytest.raises(NotAuthenticated, match="Origin"):
        principal_of_scope(scope(client=browser))


@pytest.mark.parametrize(
    "origin", [b"http://evil.example", b"null", b"", b"http://127.0.0.1:9999", b"http://[", b"file://127.0.0.1:8080"]
)
def test_a_foreign_origin_is_refused_with_cookie_and_with_key(browser: Client, key: bytes, origin: bytes) -> None:
    for also in ((), ((b"x-api-key", key),)):
        with pytest.raises(Denied):
            principal_of_scope(scope((b"origin", origin), *also, client=browser))


def test_a_name_pointed_at_us_does_not_make_an_origin_ours(browser: Client) -> None:
    hostile = scope((b"origin", b"http://evil.example"), client=browser)
    hostile["headers"][0] = (b"host", b"evil.example")
    with pytest.raises(Denied):
        principal_of_scope(hostile)


def test_a_trusted_origin_of_the_settings_is_ours(browser: Client, settings: Any, asha: User) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://desk.example"]
    assert principal_of_scope(scope((b"origin", b"https://desk.example"), client=browser)) == UserPrincipal(asha)


def test_a_program_with_a_key_needs_no_origin(key: bytes) -> None:
    principal = principal_of_scope(scope((b"x-api-key", key)))
    assert isinstance(principal, ApiKeyPrincipal)


def test_two_keys_or_a_bad_one_are_refused(key: bytes) -> None:
    for headers in ([(b"x-api-key", key), (b"x-api-key", key)], [(b"x-api-key", key[:-1])]):
        with pytest.raises(NotAuthenticated):
            principal_of_scope(scope(*headers))


def test_a_key_in_the_address_is_refused(key: bytes) -> None:
    with pytest.raises(KeyInAddress):
        principal_of_scope(scope(query=b"api_key=" + key))


def test_a_page_of_ours_without_a_login_is_refused(db: None) -> None:
    with pytest.raises(NotAuthenticated):
        principal_of_scope(scope(OWN))


def test_a_session_ends_with_its_user(browser: Client) -> None:
    User.objects.update(is_active=False)
    with pytest.raises(NotAuthenticated):
        principal_of_scope(scope(OWN, client=browser))
