"""Places: how many calls of an account run at once, and who may free which."""

import threading
import time

import pytest
import redis
from pytest_django import Settings

from accounts import shared_scripts
from accounts.broker import places
from accounts.broker.places import ProcessPlaces, calls_under_way, held_seconds, place, take_place
from accounts.exceptions import PlacesTaken, RateLimited

pytestmark = pytest.mark.usefixtures("valkey", "fresh_places")

ACCOUNT = "AB1234"


@pytest.fixture
def fresh_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(places, "_of_this_process", ProcessPlaces())
    shared_scripts._server.cache_clear()


@pytest.fixture(params=["in Redis", "in this process"])
def anywhere(request: pytest.FixtureRequest, settings: Settings, valkey: "redis.Redis") -> None:
    if request.param == "in this process":
        settings.REDIS_URL = "redis://127.0.0.1:1/0"


@pytest.mark.usefixtures("anywhere")
def test_two_calls_at_once_and_a_third_place_for_cancels_and_exits() -> None:
    with place(ACCOUNT), place(ACCOUNT):
        with pytest.raises(PlacesTaken) as caught:
            take_place(ACCOUNT)
        assert isinstance(caught.value, RateLimited)
        assert 0 < caught.value.retry_after_seconds <= 1
        with place(ACCOUNT, may_use_kept=True), pytest.raises(PlacesTaken):
            take_place(ACCOUNT, may_use_kept=True)
        with place("CD5678"):
            pass
    assert calls_under_way(ACCOUNT) == 0


@pytest.mark.usefixtures("anywhere")
def test_a_place_is_free_again_after_an_error() -> None:
    for _ in range(3):
        with pytest.raises(ZeroDivisionError), place(ACCOUNT):
            raise ZeroDivisionError
    assert calls_under_way(ACCOUNT) == 0


@pytest.mark.usefixtures("anywhere")
def test_who_waits_gets_the_place_that_becomes_free_or_is_told_in_time() -> None:
    first, _second = take_place(ACCOUNT), take_place(ACCOUNT)
    began = time.monotonic()
    with pytest.raises(PlacesTaken):
        take_place(ACCOUNT, patience_seconds=0.2)
    assert 0.2 <= time.monotonic() - began < 1
    timer = threading.Timer(0.1, first.release)
    timer.start()
    take_place(ACCOUNT, patience_seconds=5).release()
    timer.join()
    assert calls_under_way(ACCOUNT) == 1


@pytest.mark.usefixtures("anywhere")
def test_a_holder_that_died_holds_its_place_for_its_time_and_frees_nobody_elses(settings: Settings) -> None:
    settings.KITE_TIMEOUT_SECONDS = -2.4  # a place then lasts 0.2 s
    late, _dead = take_place(ACCOUNT), take_place(ACCOUNT)
    time.sleep(0.25)
    settings.KITE_TIMEOUT_SECONDS = 7
    with place(ACCOUNT), place(ACCOUNT):
        late.release()
        late.release()
        assert calls_under_way(ACCOUNT) == 2


@pytest.mark.usefixtures("anywhere")
def test_a_long_answer_keeps_its_place(settings: Settings) -> None:
    settings.KITE_TIMEOUT_SECONDS = -2.4
    held = take_place(ACCOUNT)
    for _ in range(6):
        time.sleep(0.06)
        held.keep()
    assert calls_under_way(ACCOUNT) == 1
    held.release()
    held.keep()
    assert calls_under_way(ACCOUNT) == 0


def test_a_place_outlasts_a_call_and_ends_by_itself(settings: Settings, valkey: "redis.Redis") -> None:
    take_place(ACCOUNT)
    assert held_seconds() > settings.KITE_TIMEOUT_SECONDS
    assert 0 < valkey.pttl(f"ticker:places:{ACCOUNT}") <= held_seconds() * 1000


def test_threads_never_hold_more_than_the_places_there_are() -> None:
    holding, most, lock = 0, 0, threading.Lock()

    def work() -> None:
        nonlocal holding, most
        for _ in range(4):
            with place(ACCOUNT, patience_seconds=10):
                with lock:
                    holding += 1
                    most = max(most, holding)
                time.sleep(0.005)
                with lock:
                    holding -= 1

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 2
