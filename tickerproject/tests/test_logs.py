"""No secret reaches a log line, and what people search logs for does."""

import io
import json
import logging
import logging.config
from collections.abc import Iterator

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from accounts.redaction import redact, redact_secrets
from tickerproject.logs import logging_configuration

SECRETS = [
    "Authorization: token simkey1:Zx81kdQQ77",
    "wss://ws.kite.trade?api_key=abcd&access_token=Zx81kdQQ77",
    "request_token=Zx81kdQQ77&action=login",
    '{"access_token": "Zx81kdQQ77", "user_id": "AB1234"}',
    "{'password': 'Zx81kdQQ77'}",
    "checksum=Zx81kdQQ77",
    "redis://:Zx81kdQQ77@127.0.0.1:6379/0",
    "postgres://ticker:Zx81kdQQ77@db/ticker",
    "X-API-Key: kts_dev_abcd1234_" + "Zx81kdQQ77" * 4 + "abc",
    "eyJhbGciOiJSUzI1NiJ9.Zx81kdQQ77.c2ln",
    "seed " + "Zx81kdQQ77" * 4,
    "csrftoken=Zx81kdQQ77; ticker_session=Zx81kdQQ77",
    "GET /login/link/Zx81kdQQ77Zx81kdQQ77/ failed",
    "Sec-WebSocket-Protocol: ticker.v1, ticket." + "Zx81kdQQ77" * 4,
    "Authorization: Bearer Zx81kdQQ77",
    "Authorization: Basic Zx81kdQQ77==",
    "authorization=token simkey1:Zx81kdQQ77",
    '{"enctoken": "Zx81kdQQ77"}',
    '{"totp": "Zx81kdQQ77"}',
    "api_secret='Zx81kdQQ77'",
    "X-API-Key: Zx81kdQQ77",
    "Cookie: Zx81kdQQ77=1",
    "public_token=Zx81kdQQ77&x=1",
    "secret_key: Zx81kdQQ77",
    "amqp://user:Zx81kdQQ77@host//",
    "sha256 " + "ab12" * 16 + " Zx81kdQQ77Zx81kdQQ77Zx81kdQQ77Zx81",
]


@pytest.mark.parametrize("text", SECRETS)
def test_a_secret_is_hidden(text: str) -> None:
    assert "Zx81kdQQ77" not in redact(text)


@pytest.mark.parametrize("text", ["mail asha@example.co.in now", "call +91 9876543210", "pan ABCDE1234F"])
def test_a_persons_data_is_hidden(text: str) -> None:
    assert "***" in redact(text)


@pytest.mark.parametrize(
    "text",
    [
        "order 2511250000000123456 accepted",
        "order 251125000012345 accepted",
        "token 408065 ticks",
        "NIFTY26DEC24600CE at 184.65",
        "task 1b4e28ba-2fa1-41d2-883f-0016d3cca427 is unknown",
        "epoch 1764150000.123456 and token 256265",
        "closed with 4401 after 2000 ms",
        "subscribed 1,200 of 3,000 on AB1234/1",
        "at /srv/a-rather-long-folder-name/with-2-digits/streaming/connection.py line 12",
    ],
)
def test_what_people_search_logs_for_is_kept(text: str) -> None:
    assert redact(text) == text


@given(st.text(st.characters(categories=["L", "N"]) | st.just("_"), max_size=26))
def test_a_short_word_alone_is_no_secret_by_any_of_the_patterns(word: str) -> None:
    """So that most texts of the audit need not be held against all of them."""
    with_blanks = f" {word} "  # which is held against all
    assert redact_secrets(with_blanks) == with_blanks
    assert redact_secrets(word) == word


@pytest.fixture
def sink() -> Iterator[io.StringIO]:
    """What the configured handler really writes: the test is of the sink, not of the function."""
    output = io.StringIO()
    configuration = logging_configuration(level="DEBUG", form="json")
    configuration["handlers"]["stdout"]["stream"] = output
    before = logging.root.handlers[:], logging.root.level
    logging.config.dictConfig(configuration)
    yield output
    logging.root.handlers[:], logging.root.level = before


def test_a_line_of_any_logger_is_json_with_the_request_id(sink: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(request_id="abc12345"):
        logging.getLogger("anything").warning("%s lost: %s", "AB1234/1", "silence")
    line = json.loads(sink.getvalue())
    assert line["event"] == "AB1234/1 lost: silence"
    assert line["request_id"] == "abc12345"
    assert line["level"] == "warning"


def test_nobody_outside_writes_lines_of_their_own(sink: io.StringIO) -> None:
    logging.getLogger("anything").warning("symbol %s", 'X\n{"level": "info"}\x1b[2J\r\u2028')
    [line] = sink.getvalue().splitlines()
    assert json.loads(line)["event"] == r'symbol X\n{"level": "info"}\x1b[2J\r\u2028'


def test_a_line_has_an_end(sink: io.StringIO) -> None:
    logging.getLogger("anything").warning("body %s", "word " * 100_000)
    assert len(sink.getvalue()) < 5000


@pytest.mark.parametrize(
    "name", ["urllib3", "httpx", "websockets", "kiteconnect", "celery", "django.request", "aiohttp"]
)
def test_every_librarys_lines_pass_the_same_redaction(sink: io.StringIO, name: str) -> None:
    logging.getLogger(name).error("GET wss://ws.kite.trade?access_token=%s", "Zx81kdQQ77")
    [line] = sink.getvalue().splitlines()
    assert "Zx81kdQQ77" not in line
    assert json.loads(line)["logger"] == name


def test_a_secret_in_an_exception_is_hidden_in_the_sink(sink: io.StringIO) -> None:
    try:
        raise ValueError("GET wss://ws.kite.trade?access_token=Zx81kdQQ77 failed")
    except ValueError:
        logging.getLogger("anything").exception(
            "dial of %s", "access_token=Zx81kdQQ77", extra={"password": "Zx81kdQQ77"}
        )
    assert "Zx81kdQQ77" not in sink.getvalue()
    assert "ValueError" in sink.getvalue()


def test_tasks_that_come_every_few_seconds_do_not_fill_the_log_but_their_failures_are_told() -> None:
    loggers = logging_configuration(level="INFO", form="json")["loggers"]
    for name in ("celery.beat", "celery.app.trace", "celery.worker.strategy"):
        assert loggers[name]["level"] == "WARNING"
