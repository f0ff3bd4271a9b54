"""Breakers: what opens them and closes them, and that Redis' rules and the process's own are the same."""

import time
import uuid
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given
from hypothesis import settings as checked
from hypothesis import strategies as st
from pytest_django import Settings

from accounts import breaker, shared_scripts
from accounts.breaker import BreakerState, Group, Outcome, Permit, ProcessBreakers, breaker_name
from accounts.exceptions import BreakerOpen

pytestmark = pytest.mark.usefixtures("valkey", "quick_breakers")

NAME = "AB1234:data"
OK, FAILED, NEITHER = Outcome.OK, Outcome.FAILED, Outcome.NEITHER


@pytest.fixture
def quick_breakers(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.BREAKER_OPEN_SECONDS, settings.BREAKER_PROBE_SECONDS = 0.15, 0.3
    monkeypatch.setattr(breaker, "_of_this_process", ProcessBreakers())
    shared_scripts._server.cache_clear()


@pytest.fixture(params=["in Redis", "in this process"])
def anywhere(request: pytest.FixtureRequest, settings: Settings, valkey: "redis.Redis") -> None:
    if request.param == "in this process":
        settings.REDIS_URL = "redis://127.0.0.1:1/0"


def call(outcome: Outcome, name: str = NAME) -> None:
    breaker.report(breaker.ask(name), outcome)


def open_it() -> None:
    for _ in range(5):
        call(FAILED)


def state() -> BreakerState:
    return breaker.states([NAME])[NAME]


@pytest.mark.usefixtures("anywhere")
def test_failures_in_a_row_open_it_for_its_time(settings: Settings) -> None:
    for outcome in (FAILED, FAILED, FAILED, FAILED, OK, FAILED, FAILED, FAILED, FAILED):
        call(outcome)
    assert state() is BreakerState.CLOSED
    call(FAILED)
    assert state() is BreakerState.OPEN
    with pytest.raises(BreakerOpen) as caught:
        breaker.ask(NAME)
    assert 0 < caught.value.retry_after_seconds <= settings.BREAKER_OPEN_SECONDS
    call(OK, "CD5678:data")


@pytest.mark.usefixtures("anywhere")
def test_f16_one_probe_at_a_time_and_three_successes_close_it() -> None:
    open_it()
    time.sleep(0.16)
    assert state() is BreakerState.HALF_OPEN
    for _ in range(3):
        probe = breaker.ask(NAME)
        with pytest.raises(BreakerOpen):
            breaker.ask(NAME)
        breaker.report(probe, OK)
    assert state() is BreakerState.CLOSED


@pytest.mark.usefixtures("anywhere")
def test_a_failed_probe_opens_it_again() -> None:
    open_it()
    time.sleep(0.16)
    call(OK)
    call(FAILED)
    assert state() is BreakerState.OPEN


@pytest.mark.usefixtures("anywhere")
def test_a_probe_that_never_came_back_or_was_not_sent_makes_way_for_another() -> None:
    open_it()
    time.sleep(0.16)
    breaker.ask(NAME)
    time.sleep(0.31)
    call(NEITHER)
    call(OK)


@pytest.mark.usefixtures("anywhere")
def test_f17_a_result_of_an_earlier_generation_is_ignored() -> None:
    late = [breaker.ask(NAME) for _ in range(6)]
    open_it()
    time.sleep(0.16)
    for _ in range(3):
        call(OK)
    assert state() is BreakerState.CLOSED
    for permit in late:
        breaker.report(permit, FAILED)
    assert state() is BreakerState.CLOSED

    open_it()
    breaker.report(late[0], OK)
    assert state() is BreakerState.OPEN


@pytest.mark.usefixtures("anywhere")
def test_calls_that_were_under_way_together_all_count() -> None:
    for permit in [breaker.ask(NAME) for _ in range(5)]:
        breaker.report(permit, FAILED)
    assert state() is BreakerState.OPEN


@pytest.mark.usefixtures("anywhere")
def test_what_is_urgent_goes_through_an_open_breaker_and_does_not_close_it() -> None:
    open_it()
    breaker.report(breaker.ask(NAME, urgent=True), OK)
    assert state() is BreakerState.OPEN


def test_a_generation_is_not_used_again_after_redis_lost_its_memory(valkey: "redis.Redis") -> None:
    open_it()
    time.sleep(0.16)
    late = breaker.ask(NAME)
    valkey.flushall()
    open_it()
    time.sleep(0.16)
    breaker.ask(NAME)
    breaker.report(late, OK)
    breaker.report(late, FAILED)
    assert state() is BreakerState.HALF_OPEN


def test_a_permit_of_redis_says_nothing_to_the_process_and_the_other_way_round(settings: Settings) -> None:
    url, shared = settings.REDIS_URL, breaker.ask(NAME)
    settings.REDIS_URL = "redis://127.0.0.1:1/0"
    own = breaker.ask(NAME)
    for _ in range(5):
        breaker.report(shared, FAILED)
    assert state() is BreakerState.CLOSED
    settings.REDIS_URL = url
    for _ in range(5):
        breaker.report(own, FAILED)
    assert state() is BreakerState.CLOSED


def test_breakers_end_by_themselves_in_redis(valkey: "redis.Redis") -> None:
    open_it()
    assert 0 < valkey.ttl(f"ticker:breaker:{NAME}") <= 3601
    assert breaker_name("AB1234", Group.DATA) == NAME


events = st.lists(st.tuples(st.sampled_from(["ask", "report"]), st.sampled_from(list(Outcome)), st.integers(0, 5)))


@checked(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=events, open_seconds=st.sampled_from([0.0, 1e6]))
def test_redis_and_the_process_follow_the_same_rules(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, events: list[tuple[str, Outcome, int]], open_seconds: float
) -> None:
    """Time apart (it is over at once, or never), the same events lead to the same answers."""
    settings.BREAKER_OPEN_SECONDS, settings.BREAKER_PROBE_SECONDS = open_seconds, 1e5
    settings.BREAKER_FAILURES, settings.BREAKER_SUCCESSES = 2, 2
    name, own = uuid.uuid4().hex, ProcessBreakers()
    monkeypatch.setattr(breaker, "_of_this_process", own)
    permits: list[tuple[Permit, Permit]] = []
    for what, outcome, which in events:
        if what == "ask":
            theirs: Any
            try:
                theirs = breaker.ask(name)
            except BreakerOpen:
                theirs = None
            ours, refusal = own.ask(name, theirs.asker if theirs else "refused")
            assert (refusal is None) == (theirs is not None)
            if theirs is not None:
                assert ours.is_clean == theirs.is_clean
                permits.append((theirs, ours))
        elif permits:
            for permit in permits[which % len(permits)]:
                breaker.report(permit, outcome)
        assert breaker.states([name])[name] == own.state(name)
