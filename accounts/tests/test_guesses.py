"""Wrong keys, tokens and passwords: counted by where they really come from, at the expense of nobody else."""

import pytest
from django.contrib.auth.models import User
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings
from redis.exceptions import ConnectionError as RedisConnectionError

from accounts import guesses
from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.guesses import TooManyTries, is_shut_out, note_wrong
from accounts.models import TradingAccount

ME = "/api/v1/me"
WRONG = {"X-API-Key": "kts_test_abcd1234_" + "A" * 43}


@pytest.fixture(autouse=True)
def _three_tries(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.AUTH_FAILURES_PER_MINUTE = 3
    monkeypatch.setattr("accounts.minute_counts._minute", lambda: 1)  # no test ends in the next minute
    cache.clear()
    guesses._wrong.forget()


def tries(client: Client, count: int, **headers: str) -> list[int]:
    return [client.get(ME, headers=WRONG | headers).status_code for _ in range(count)]


def test_f85_wrong_keys_are_told_to_wait_whatever_address_they_claim(client: Client, db: None) -> None:
    found = [client.get(ME, headers=WRONG | {"X-Forwarded-For": f"10.1.2.{number}"}).status_code for number in range(6)]
    assert found == [401, 401, 401, 429, 429, 429]
    refused = client.get(ME, headers=WRONG)
    assert refused["Retry-After"] == "60"
    assert refused.json()["error"]["code"] == "too_many_tries"


def test_f85_behind_our_proxy_the_address_it_saw_counts(client: Client, db: None, settings: Settings) -> None:
    settings.REST_FRAMEWORK = settings.REST_FRAMEWORK | {"NUM_PROXIES": 1}
    claimed = [f"10.9.9.{number}, 203.0.113.7" for number in range(5)]
    found = [client.get(ME, headers=WRONG | {"X-Forwarded-For": hops}).status_code for hops in claimed]
    assert found == [401, 401, 401, 429, 429]
    assert tries(client, 1, **{"X-Forwarded-For": "203.0.113.8"}) == [401], "another client of the same proxy"


def test_f85_a_good_key_does_not_suffer_from_its_neighbours(
    client: Client, asha: User, account: TradingAccount
) -> None:
    _, text = create_api_key(owner=asha, label="k", scopes=[Action.READ], accounts=[account])
    tries(client, 10)
    assert client.get(ME, headers={"X-API-Key": text}).status_code == 200


def test_wrong_tokens_count_too(client: Client, db: None) -> None:
    found = [client.get(ME, headers={"Authorization": "Bearer x"}).status_code for _ in range(5)]
    assert found == [401, 401, 401, 429, 429]


@pytest.mark.parametrize("page", ["/login/", "/admin/login/"])
def test_over_the_limit_not_even_the_right_password_is_looked_at(
    client: Client, administrator: User, page: str
) -> None:
    right = {"username": "root", "password": "correct horse battery"}
    for _ in range(3):
        client.post(page, right | {"password": "wrong"})
    assert client.post(page, right).status_code == (429 if page == "/login/" else 200)
    assert "_auth_user_id" not in client.session
    elsewhere = Client(REMOTE_ADDR="10.0.0.9")
    elsewhere.post(page, right)
    assert "_auth_user_id" in elsewhere.session


def test_wrong_login_links_count_too(client: Client, db: None) -> None:
    assert [client.get(f"/login/link/{number}/").status_code for number in range(5)] == [410, 410, 410, 429, 429]


def test_the_next_minute_is_a_new_one(client: Client, db: None, monkeypatch: pytest.MonkeyPatch) -> None:
    tries(client, 5)
    monkeypatch.setattr("accounts.minute_counts._minute", lambda: 2)
    assert tries(client, 1) == [401]


def test_a_customer_with_many_addresses_of_the_new_kind_is_one() -> None:
    for number in range(3):
        note_wrong(f"2001:db8::{number:x}")
    assert is_shut_out("2001:db8::ffff")
    assert not is_shut_out("2001:db8:0:1::1")


class CacheThatIsAway:
    def get(self, *_: object) -> None:
        raise RedisConnectionError("no answer")

    add = incr = get


def test_without_redis_this_process_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("accounts.minute_counts.cache", CacheThatIsAway())
    for _ in range(3):
        note_wrong("10.0.0.1")
    assert is_shut_out("10.0.0.1")
    with pytest.raises(TooManyTries):
        note_wrong("10.0.0.1")
