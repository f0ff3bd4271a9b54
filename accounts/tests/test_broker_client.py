"""The broker client over a real socket: what is sent, and what each answer says about the request."""

import logging
import socket

import pytest
from pytest_django import Settings

from accounts.broker.client import BrokerClient
from accounts.broker.responses import data_of_response
from accounts.exceptions import BrokerError, NotSent, OutcomeUnknown, RateLimited, RequestRejected, SessionExpired
from accounts.tests.fakes import Answer, ScriptedBroker

pytestmark = pytest.mark.usefixtures("valkey")  # its budget, breaker and places: fresh ones for each test


@pytest.fixture
def client(broker: ScriptedBroker) -> BrokerClient:
    return BrokerClient("appkey1", "canarytoken", account="AB1234")


def test_a_call_carries_the_brokers_headers_and_gives_its_data(broker: ScriptedBroker, client: BrokerClient) -> None:
    broker.answer("GET /user/profile", Answer({"user_id": "AB1234"}))
    assert client.profile() == {"user_id": "AB1234"}
    [asked] = broker.asked
    assert asked.headers["Authorization"] == "token appkey1:canarytoken"
    assert asked.headers["X-Kite-Version"] == "3"


def test_repeated_parameters_and_forms_are_sent_as_the_official_client_does(
    broker: ScriptedBroker, client: BrokerClient
) -> None:
    broker.answer("GET /quote/ltp", Answer({}))
    broker.answer("DELETE /orders/regular/1", Answer({"order_id": "1"}))
    broker.answer("POST /session/token", Answer({"access_token": "t", "user_id": "AB1234", "login_time": None}))
    client.ltp("NSE:NIFTY 50")
    client.cancel_order("regular", "1")
    client.generate_session("request", "secret")
    ltp, _, token = broker.asked
    assert ltp.query == {"i": "NSE:NIFTY 50"}
    assert token.form["request_token"] == "request"
    assert "api_secret" not in token.form


@pytest.mark.parametrize(
    ("status", "error_type", "message", "expected"),
    [
        (403, "TokenException", "Incorrect `api_key` or `access_token`.", SessionExpired),
        (403, "PermissionException", "Insufficient permission for that call.", RequestRejected),
        (400, "InputException", "Invalid `checksum`.", RequestRejected),
        (400, "MarginException", "Insufficient funds.", RequestRejected),
        (400, "OrderException", "Order request timed out. Please check the order book.", OutcomeUnknown),
        (400, "InputException", "Order is being processing", OutcomeUnknown),
        (400, "NewException", "?", OutcomeUnknown),
        (429, "NetworkException", "Too many requests", RateLimited),
        (500, "InputException", "?", OutcomeUnknown),
        (503, "NetworkException", "?", OutcomeUnknown),
        (200, "InputException", "an error with a good status", OutcomeUnknown),
    ],
)
def test_refusals_are_told_apart(status: int, error_type: str, message: str, expected: type[BrokerError]) -> None:
    body = f'{{"status": "error", "message": "{message}", "error_type": "{error_type}"}}'
    with pytest.raises(BrokerError) as caught:
        data_of_response(status, body)
    assert type(caught.value) is expected


@pytest.mark.parametrize(
    ("status", "text"),
    [
        (200, ""),
        (200, "[]"),
        (200, "null"),
        (200, '{"data": 1}'),
        (200, '{"status": "success"}'),
        (403, "<html>"),
        (302, ""),
    ],
)
def test_an_answer_that_does_not_say_leaves_it_unknown(status: int, text: str) -> None:
    with pytest.raises(OutcomeUnknown):
        data_of_response(status, text)


def test_a_refusal_keeps_the_brokers_words_without_control_characters() -> None:
    body = '{"status":"error","message":"no\\u0000\\nfunds' + "x" * 900 + '","error_type":"MarginException"}'
    with pytest.raises(RequestRejected) as caught:
        data_of_response(400, body)
    assert str(caught.value).startswith("no  funds")
    assert len(str(caught.value)) <= 500


def test_the_wait_of_a_rate_limit_is_told(broker: ScriptedBroker, client: BrokerClient) -> None:
    broker.refuse("GET /user/profile", 429, "NetworkException", "Too many requests", **{"Retry-After": "7"})
    with pytest.raises(RateLimited) as caught:
        client.profile()
    assert caught.value.retry_after_seconds == 7


def test_no_connection_means_not_sent(settings: Settings) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        settings.KITE_API_ROOT = f"http://127.0.0.1:{closed.getsockname()[1]}"
        with pytest.raises(NotSent):
            BrokerClient("appkey1", "t", account="AB1234").profile()


def test_no_answer_in_time_means_unknown(settings: Settings) -> None:
    settings.KITE_TIMEOUT_SECONDS = 0.2
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings.KITE_API_ROOT = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(OutcomeUnknown):
            BrokerClient("appkey1", "t", account="AB1234").profile()


def test_a_redirect_is_not_followed(broker: ScriptedBroker, client: BrokerClient) -> None:
    broker.answer("GET /user/profile", Answer(b"", 302, {"Location": f"{broker.root}/elsewhere"}))
    with pytest.raises(OutcomeUnknown):
        client.profile()
    assert [asked.path for asked in broker.asked] == ["/user/profile"]


@pytest.mark.parametrize("order_id", ["..", "", ".", "../../session/token", "1?x", "1/trades", "٣", "1\n", "9" * 21])
def test_a_cancel_cannot_become_another_call(broker: ScriptedBroker, client: BrokerClient, order_id: str) -> None:
    with pytest.raises(RequestRejected, match="not sent"):
        client.cancel_order("regular", order_id)
    assert broker.asked == []


def test_the_instrument_dump_streams(broker: ScriptedBroker, client: BrokerClient) -> None:
    dump = b"instrument_token\n" + b"1\n" * 100_000
    broker.answer("GET /instruments", Answer(dump, content_type="text/csv"))
    broker.answer("GET /instruments/NFO", Answer(b"nfo", content_type="text/csv"))
    chunks = list(client.instruments_csv())
    assert b"".join(chunks) == dump
    assert len(chunks) > 1
    assert b"".join(client.instruments_csv("NFO")) == b"nfo"


def test_a_dump_that_breaks_off_or_is_none_is_said(broker: ScriptedBroker, client: BrokerClient) -> None:
    broker.answer("GET /instruments", Answer(b"x" * 1000, content_type="text/csv", cut_after=500))
    with pytest.raises(OutcomeUnknown, match="no complete answer"):
        list(client.instruments_csv())
    broker.refuse("GET /instruments", 403, "TokenException", "Incorrect `api_key` or `access_token`.")
    with pytest.raises(SessionExpired):
        client.instruments_csv()


def test_no_token_is_in_errors_reprs_or_logs(broker: ScriptedBroker, caplog: pytest.LogCaptureFixture) -> None:
    client = BrokerClient("appkey1", "canarytoken", account="AB1234")
    with caplog.at_level(logging.INFO):
        for answer in (Answer(b"<html>", 500), Answer(b"x", cut_after=0)):
            broker.answer("GET /user/profile", answer)
            with pytest.raises(BrokerError) as caught:
                client.profile()
            assert "canarytoken" not in repr(caught.value) + str(caught.value.__cause__) + repr(client)
    assert "canarytoken" not in caplog.text
