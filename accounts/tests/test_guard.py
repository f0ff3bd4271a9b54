"""The broker client behind budget, breaker and places, over a real socket."""

import threading
import time
from collections.abc import Iterator

import pytest
from pytest_django import Settings

from accounts.breaker import BreakerState, states
from accounts.broker.client import BrokerClient
from accounts.broker.guard import Caller, group_of, guarded, outcome_of, route_class_of
from accounts.broker.places import calls_under_way, take_place
from accounts.budget import data_wait
from accounts.budget_limits import RouteClass
from accounts.exceptions import (
    BreakerOpen,
    BrokerError,
    BudgetExhausted,
    NotSent,
    OutcomeUnknown,
    PlacesTaken,
    RateLimited,
    RequestRejected,
    SessionExpired,
)
from accounts.tests.fakes import Answer, ScriptedBroker

pytestmark = pytest.mark.usefixtures("valkey")


@pytest.fixture
def client(broker: ScriptedBroker, settings: Settings) -> BrokerClient:
    settings.KITE_PATIENCE_SECONDS = 0.1
    return BrokerClient("appkey1", "canarytoken", account="AB1234")


def data_state() -> BreakerState:
    return states(["AB1234:data"])["AB1234:data"]


def test_every_route_of_the_official_client_has_a_class_and_a_breaker() -> None:
    routes = BrokerClient._routes
    orders = {route for route in routes if route_class_of(route) is RouteClass.ORDERS}
    quotes = {route for route in routes if route_class_of(route) is RouteClass.QUOTE}
    assert orders == {"order.place", "order.modify", "order.cancel"}
    assert quotes == {"market.quote", "market.quote.ohlc", "market.quote.ltp"}
    assert {route for route in routes if group_of(route) == "session"} == {
        "api.token",
        "api.token.invalidate",
        "api.token.renew",
    }


def test_calls_wait_their_turn_within_the_callers_patience(broker: ScriptedBroker, settings: Settings) -> None:
    settings.KITE_PATIENCE_SECONDS = 2
    client = BrokerClient("appkey1", "t", account="AB1234")
    broker.answer("GET /quote/ltp", Answer({}))
    began = time.monotonic()
    client.ltp("NSE:INFY")
    client.ltp("NSE:INFY")
    assert 1 <= time.monotonic() - began < 2
    settings.KITE_PATIENCE_SECONDS = 0.1
    with pytest.raises(BudgetExhausted) as caught:
        client.ltp("NSE:INFY")
    assert 0.5 < caught.value.retry_after_seconds <= 1.05
    assert "appkey1" not in str(caught.value)
    assert len(broker.asked) == 2


def test_five_faults_open_the_breaker_and_nothing_more_is_sent(broker: ScriptedBroker, client: BrokerClient) -> None:
    broker.refuse("GET /portfolio/holdings", 503, "NetworkException", "down")
    for _ in range(5):
        with pytest.raises(OutcomeUnknown):
            client.holdings()
    with pytest.raises(BreakerOpen) as caught:
        client.holdings()
    assert 50 < caught.value.retry_after_seconds <= 60
    assert len(broker.asked) == 5
    broker.answer("POST /session/token", Answer({"access_token": "t", "user_id": "AB1234", "login_time": None}))
    client.generate_session("request", "secret")  # logging in has a breaker of its own


@pytest.mark.parametrize(
    ("status", "error_type"),
    [(400, "InputException"), (403, "TokenException"), (400, "MarginException"), (404, "GeneralException")],
)
def test_refusals_leave_the_breaker_closed(
    broker: ScriptedBroker, client: BrokerClient, status: int, error_type: str
) -> None:
    broker.refuse("GET /portfolio/holdings", status, error_type, "Couldn't find that")
    for _ in range(7):
        with pytest.raises(BrokerError):
            client.holdings()
    assert data_state() is BreakerState.CLOSED


def test_too_many_requests_freezes_the_class_and_leaves_the_breaker_closed(
    broker: ScriptedBroker, client: BrokerClient
) -> None:
    broker.refuse("GET /portfolio/holdings", 429, "NetworkException", "Too many requests", **{"Retry-After": "9"})
    with pytest.raises(RateLimited):
        client.holdings()
    with pytest.raises(BudgetExhausted, match="to wait"):
        client.holdings()
    assert len(broker.asked) == 1
    assert 8 < data_wait("appkey1", RouteClass.OTHER) <= 9
    assert data_state() is BreakerState.CLOSED


def test_two_hanging_calls_hold_up_a_third_but_not_a_cancel(broker: ScriptedBroker, client: BrokerClient) -> None:
    broker.answer("DELETE /orders/regular/1", Answer({"order_id": "1"}))
    first, second = take_place("AB1234"), take_place("AB1234")
    with pytest.raises(PlacesTaken):
        client.holdings()
    with pytest.raises(PlacesTaken):
        client.place_order("regular", "NSE", "INFY", "BUY", 1, "CNC", "MARKET")
    assert client.cancel_order("regular", "1") == "1"
    assert [asked.method for asked in broker.asked] == ["DELETE"]
    first.release()
    second.release()
    assert calls_under_way("AB1234") == 0


def test_a_probe_that_found_no_place_lets_the_next_one_through(
    broker: ScriptedBroker, client: BrokerClient, settings: Settings
) -> None:
    settings.BREAKER_OPEN_SECONDS, settings.BREAKER_FAILURES = 0.05, 1
    broker.refuse("GET /portfolio/holdings", 503, "NetworkException", "down")
    with pytest.raises(OutcomeUnknown):
        client.holdings()
    time.sleep(0.06)
    held = [take_place("AB1234"), take_place("AB1234")]
    with pytest.raises(PlacesTaken):
        client.holdings()
    for one in held:
        one.release()
    broker.answer("GET /portfolio/holdings", Answer([]))
    assert client.holdings() == []


def test_the_dump_holds_its_place_until_it_is_read_or_let_go(broker: ScriptedBroker, client: BrokerClient) -> None:
    broker.answer("GET /instruments", Answer(b"x" * 300_000, content_type="text/csv"))
    chunks = client.instruments_csv()
    assert calls_under_way("AB1234") == 1
    assert b"".join(chunks) == b"x" * 300_000
    assert calls_under_way("AB1234") == 0
    half_read = client.instruments_csv()
    next(half_read)
    assert isinstance(half_read, Iterator)
    half_read.close()  # type: ignore[attr-defined]
    assert calls_under_way("AB1234") == 0


def test_without_redis_calls_still_go_one_after_the_other(broker: ScriptedBroker, settings: Settings) -> None:
    settings.REDIS_URL, settings.KITE_PATIENCE_SECONDS = "redis://127.0.0.1:1/0", 3
    broker.answer("GET /portfolio/holdings", Answer([]))
    client = BrokerClient("appkey-without-redis", "t", account="NR1234")
    assert [client.holdings() for _ in range(3)] == [[]] * 3


def test_a_session_of_its_own_for_each_thread_shares_the_places(broker: ScriptedBroker, settings: Settings) -> None:
    settings.KITE_PATIENCE_SECONDS = 3
    broker.answer("GET /portfolio/holdings", Answer([]))
    answers: list[object] = []

    def work() -> None:
        answers.append(BrokerClient("appkey1", "t", account="AB1234").holdings())

    threads = [threading.Thread(target=work) for _ in range(5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [[]] * 5


@pytest.mark.parametrize(
    ("exc", "outcome"),
    [
        (None, "ok"),
        (OutcomeUnknown("timeout"), "failed"),
        (OutcomeUnknown("odd words", is_fault=False), "ok"),
        (NotSent("refused"), "failed"),
        (RateLimited("429"), "neither"),
        (RequestRejected("no"), "ok"),
        (SessionExpired("403"), "ok"),
        (KeyboardInterrupt(), "neither"),
    ],
)
def test_what_an_end_says_about_the_brokers_health(exc: BaseException | None, outcome: str) -> None:
    assert outcome_of(exc) == outcome


def test_no_secret_is_in_the_callers_repr() -> None:
    assert repr(Caller("AB1234", "appkey1")) == "Caller(AB1234, …key1)"
    with guarded(Caller("AB1234", "appkey1"), "user.profile"):
        assert calls_under_way("AB1234") == 1
