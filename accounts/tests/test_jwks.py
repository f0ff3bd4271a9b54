"""The user service's keys: fetched beside the requests, bounded, and kept through an outage for a day."""

import json
import threading
from typing import Any

import pytest

from accounts import jwks
from accounts.jwks import BadKeySet, KeyStore, KeysUnavailable, read_key_set
from accounts.outside import OutsideFailed
from accounts.tests.tokens import b64, ec_jwk, key_set, rsa_jwk, rsa_key

GOOD = key_set(rsa_jwk(rsa_key(1), "k1"))
HOUR = 3600.0


class Source:
    """What is fetched next; an exception is raised."""

    def __init__(self) -> None:
        self.next: Any = GOOD
        self.asked = 0

    def __call__(self) -> bytes:
        self.asked += 1
        if isinstance(self.next, Exception):
            raise self.next
        return bytes(self.next)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(source: Source, clock: Clock) -> KeyStore:
    return KeyStore(source, ["RS256", "ES256"], clock)


def test_a_key_is_bound_to_the_one_algorithm_that_fits_it() -> None:
    found = read_key_set(key_set(rsa_jwk(rsa_key(1), "k1"), ec_jwk("e1")), ["RS256", "ES256"])
    assert {key_id: key.algorithm for key_id, key in found.items()} == {"k1": "RS256", "e1": "ES256"}


@pytest.mark.parametrize(
    "passed_over",
    [
        rsa_jwk(rsa_key(1), "x", use="enc"),
        rsa_jwk(rsa_key(1), "x", key_ops=["encrypt"]),
        rsa_jwk(rsa_key(1), "x", alg="PS256"),
        rsa_jwk(rsa_key(1), "x", alg="none"),
        rsa_jwk(rsa_key(1), "x", d="AQAB"),
        rsa_jwk(rsa_key(3, 1024), "x"),
        rsa_jwk(rsa_key(1), "x") | {"kty": "EC"},
        rsa_jwk(rsa_key(1), "x") | {"n": "!!"},
        rsa_jwk(rsa_key(1), "x") | {"n": 7},
        ec_jwk("x", alg="RS256"),
        ec_jwk("x") | {"crv": "P-384"},
        ec_jwk("x") | {"x": b64(b"\1" * 32)},
        {"kty": "oct", "kid": "x", "k": b64(b"secret"), "alg": "HS256"},
        {"kty": "RSA", "kid": "x"},
        {"kid": "x"},
        rsa_jwk(rsa_key(1), ""),
        rsa_jwk(rsa_key(1), "x" * 200),
        "x",
        7,
        None,
    ],
)
def test_a_key_that_cannot_be_used_is_passed_over_and_spoils_no_other(passed_over: Any) -> None:
    assert set(read_key_set(key_set(passed_over, rsa_jwk(rsa_key(1), "k1")), ["RS256", "ES256"])) == {"k1"}


def test_a_key_that_two_algorithms_fit_has_to_name_its_own() -> None:
    unnamed, named = rsa_jwk(rsa_key(1), "k1"), rsa_jwk(rsa_key(1), "k2", alg="PS256")
    found = read_key_set(key_set(unnamed, named), ["RS256", "PS256"])
    assert {key_id: key.algorithm for key_id, key in found.items()} == {"k2": "PS256"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"7",
        b"{}",
        b'{"keys": {}}',
        b'{"keys": []}',
        b'{"keys": [], "keys": []}',
        b"[" * 5000,
        b"\xff",
        key_set(*[rsa_jwk(rsa_key(1), f"k{number}") for number in range(21)]),
        key_set(rsa_jwk(rsa_key(1), "k1"), rsa_jwk(rsa_key(2), "k1")),
        json.dumps({"keys": [{"kty": "oct", "kid": "x", "k": "AAAA"}]}).encode(),
    ],
)
def test_what_is_no_usable_set_is_refused_and_the_last_good_one_stays(
    store: KeyStore, source: Source, body: bytes
) -> None:
    with pytest.raises(BadKeySet):
        read_key_set(body, ["RS256"])
    assert store.refresh()
    source.next = body
    assert not store.refresh()
    assert store.key("k1") is not None


def test_f51_an_outage_is_lived_through_for_a_day(store: KeyStore, source: Source, clock: Clock) -> None:
    assert store.refresh()
    source.next = OutsideFailed()
    clock.now += 23.9 * HOUR
    assert not store.refresh()
    assert store.key("k1") is not None
    clock.now += 0.2 * HOUR
    with pytest.raises(KeysUnavailable):
        store.key("k1")
    source.next = GOOD
    assert store.refresh()
    assert store.key("k1") is not None


def test_without_any_fetch_nothing_can_be_checked(store: KeyStore) -> None:
    with pytest.raises(KeysUnavailable):
        store.key("k1")


def test_f77_a_new_key_works_within_a_minute_and_a_withdrawn_one_not_for_five(
    store: KeyStore, source: Source, clock: Clock
) -> None:
    store.refresh()
    source.next = key_set(rsa_jwk(rsa_key(2), "k2"))
    clock.now += 10
    assert store.key("k2") is None
    assert store.seconds_to_next() <= 50, "the thread looks because somebody asked"
    clock.now += store.seconds_to_next()
    store.refresh()
    assert store.key("k2") is not None
    assert store.key("k1") is None
    assert store.seconds_to_next() <= 300


def test_strangers_cannot_make_it_look_more_often_than_once_in_half_a_minute(
    store: KeyStore, source: Source, clock: Clock
) -> None:
    store.refresh()
    fetched = source.asked
    for second in range(300):
        clock.now += 1
        for number in range(20):
            assert store.key(f"made-up-{second}-{number}") is None
        if store.seconds_to_next() == 0:
            store.refresh()
    assert source.asked - fetched <= 10


def test_the_same_unknown_key_makes_it_look_once_a_minute(store: KeyStore, source: Source, clock: Clock) -> None:
    store.refresh()
    fetched = source.asked
    for _ in range(180):
        clock.now += 1
        store.key("not-there")
        if store.seconds_to_next() == 0:
            store.refresh()
    assert source.asked - fetched <= 4


def test_what_is_remembered_of_unknown_keys_is_bounded(store: KeyStore) -> None:
    store.refresh()
    for number in range(3000):
        store.key(f"made-up-{number}")
    assert len(store._unknown) <= jwks.MOST_UNKNOWN_KEYS


def test_a_failed_fetch_is_tried_again_soon(store: KeyStore, source: Source) -> None:
    source.next = OutsideFailed()
    store.refresh()
    assert 0 < store.seconds_to_next() <= jwks.EXTRA_REFRESH_SECONDS


def test_reading_a_key_does_not_wait_for_a_fetch_that_hangs() -> None:
    hanging, go_on = threading.Event(), threading.Event()
    answers = iter([GOOD])

    def source() -> bytes:
        if (first := next(answers, None)) is not None:
            return first
        hanging.set()
        go_on.wait(10)
        return GOOD

    store = KeyStore(source, ["RS256"])
    store.refresh()
    thread = threading.Thread(target=store.refresh)
    thread.start()
    assert hanging.wait(10)
    assert store.key("k1") is not None, "read while the fetch hangs"
    assert store.key("k2") is None
    go_on.set()
    thread.join()


def test_the_thread_fetches_at_once_and_survives_what_nobody_expected() -> None:
    fetched = threading.Event()
    stop = threading.Event()

    def source() -> bytes:
        fetched.set()
        raise LookupError("unexpected")

    store = KeyStore(source, ["RS256"])
    thread = threading.Thread(target=store.run, args=(stop,))
    thread.start()
    try:
        assert fetched.wait(10)
        assert thread.is_alive()
    finally:
        stop.set()
        thread.join(10)
    assert not thread.is_alive()


def test_a_process_has_one_thread_for_its_store(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []

    def run(self: KeyStore, stop: threading.Event) -> None:
        started.append("run")
        stop.wait(0.2)

    monkeypatch.setattr(KeyStore, "run", run)
    store = KeyStore(lambda: GOOD, ["RS256"])
    for _ in range(5):
        jwks.ensure_refresher(store)
    assert started == ["run"]
