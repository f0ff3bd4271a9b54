"""Current prices over REST: the stream's where they are fresh, the broker's otherwise, and what was known at last."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import redis
from django.core.cache import cache
from django.test import Client
from pytest_django import Settings

from accounts.models import TradingAccount
from accounts.sessions import store_session
from market import instrument_cache
from market.instruments import import_instruments
from market.lines import encode
from market.quotes import MOST_SYMBOLS
from market.tests.dumps import dump, index, option, stock

pytestmark = pytest.mark.django_db

INFY, TCS, NIFTY, GONE = "NSE:INFY", "NSE:TCS", "NSE:NIFTY 50", "NSE:SHARE0"
ROWS = [index(), stock(), stock("TCS", 2953217), option(), *(stock(f"SHARE{n}", 900_000 + n) for n in range(1100))]


def row(token: int, price: float, **others: Any) -> dict[str, Any]:
    depth = {"buy": [{"price": price - 0.05, "quantity": 1, "orders": 1}], "sell": [{"price": 0, "quantity": 0}]}
    ohlc = {"open": 1, "high": 1, "low": 1, "close": price - 10}
    return {"instrument_token": token, "last_price": price, "ohlc": ohlc, "depth": depth} | others


class QuoteBroker(ThreadingHTTPServer):
    """Quotes every symbol at its token in `rows`, or fails with `status`."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[list[str]] = []
        self.status = 200
        self.rows: dict[str, Any] = {INFY: row(408065, 1500.5), TCS: row(2953217, 4100.0)}


class _Handler(BaseHTTPRequestHandler):
    server: QuoteBroker

    def do_GET(self) -> None:
        asked = parse_qs(urlsplit(self.path).query).get("i", [])
        self.server.asked.append(asked)
        answer: dict[str, Any] = {"status": "error", "message": "Gateway", "error_type": "NetworkException"}
        if self.server.status == 200:
            answer = {"status": "success", "data": {s: self.server.rows[s] for s in asked if s in self.server.rows}}
        body = json.dumps(answer).encode()
        self.send_response(self.server.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def broker(settings: Settings, account: TradingAccount) -> Iterator[QuoteBroker]:
    store_session(account, {"user_id": account.kite_user_id, "access_token": "token-of-asha"})
    settings.DATA_BUDGET_WINDOW_SECONDS = 0.01  # the budget has its own tests; here it only has to be asked
    settings.FEED_SOURCE = "simulated"
    cache.clear()
    with QuoteBroker() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        settings.KITE_API_ROOT = f"http://127.0.0.1:{server.server_port}"
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def reader(client: Client, account: TradingAccount, valkey: "redis.Redis") -> Client:
    import_instruments([dump(ROWS)])
    client.force_login(account.owner)
    return client


def quotes(client: Client, *symbols: str) -> Any:
    answer = client.get("/api/v1/quotes", {"i": list(symbols)})
    assert answer.status_code == 200, answer.content
    return answer.json()


def streamed(valkey: "redis.Redis", *, seconds_ago: float = 0.0) -> None:
    """INFY as the stream leaves it."""
    columns = {
        "instrument_token": [408065],
        "last_price": [1499.0],
        "bid": [1498.95],
        "ask": [1499.05],
        "close": [1490.0],
        "age_ms": [400],
        "flags": [0],
    }
    sent_at = time.time() - seconds_ago
    head = {"kind": "snapshot", "source": "simulated", "feed_state": "live", "sent_at": sent_at}
    valkey.hset("ticker:parts", mapping={"408065": "infy:underlying"})
    valkey.set("ticker:latest:infy:underlying", encode(head | {"market_time": sent_at, "columns": columns}))


def test_a_fresh_price_of_the_stream_is_taken_and_only_the_rest_is_asked_for(
    reader: Client, broker: QuoteBroker, valkey: "redis.Redis"
) -> None:
    streamed(valkey)
    found = quotes(reader, INFY, TCS)
    assert broker.asked == [[TCS]]
    assert list(found["quotes"]) == [INFY, TCS]
    infy, tcs = found["quotes"][INFY], found["quotes"][TCS]
    assert (infy["last_price"], infy["bid"], infy["origin"], infy["is_fresh"]) == ("1499", "1498.95", "stream", True)
    assert 400 <= infy["age_ms"] < 3000
    assert tcs == {
        "instrument_token": 2953217, "last_price": "4100", "bid": "4099.95", "ask": None, "close": "4090",
        "age_ms": 0, "is_fresh": True, "origin": "broker", "source": "simulated",
    }  # fmt: skip
    assert found["missing"] == {}


def test_an_old_price_of_the_stream_is_replaced_by_the_brokers(
    reader: Client, broker: QuoteBroker, valkey: "redis.Redis"
) -> None:
    streamed(valkey, seconds_ago=60)
    assert quotes(reader, INFY)["quotes"][INFY]["last_price"] == "1500.5"


def test_while_the_broker_is_down_what_is_known_is_served_with_its_age_and_the_rest_named(
    reader: Client, broker: QuoteBroker, valkey: "redis.Redis"
) -> None:
    streamed(valkey, seconds_ago=60)
    broker.status = 503
    found = quotes(reader, INFY, TCS)
    infy = found["quotes"][INFY]
    assert (infy["last_price"], infy["origin"], infy["is_fresh"]) == ("1499", "stream", False)
    assert infy["age_ms"] >= 60_000
    assert list(found["quotes"]) == [INFY]
    assert list(found["missing"]) == [TCS]


def test_while_the_broker_is_down_its_last_answer_is_served_with_its_age(
    reader: Client, broker: QuoteBroker, settings: Settings
) -> None:
    settings.QUOTE_KEPT_SECONDS = 0.0
    quotes(reader, TCS)
    broker.status = 503
    found = quotes(reader, TCS)["quotes"][TCS]
    assert (found["last_price"], found["is_fresh"]) == ("4100", False)
    assert len(broker.asked) == 2


def test_when_nothing_is_known_of_anything_it_is_a_503_that_says_which_and_why(
    reader: Client, broker: QuoteBroker
) -> None:
    broker.status = 503
    answer = reader.get("/api/v1/quotes", {"i": [INFY, TCS]})
    assert answer.status_code == 503
    assert answer.json()["error"]["details"]["missing"].keys() == {INFY, TCS}


def test_a_quote_of_a_moment_ago_spares_the_broker_a_call(
    reader: Client, broker: QuoteBroker, settings: Settings
) -> None:
    settings.QUOTE_KEPT_SECONDS = 60.0
    quotes(reader, TCS)
    assert quotes(reader, TCS)["quotes"][TCS]["is_fresh"] is True
    assert len(broker.asked) == 1


def test_what_a_token_s_former_bearer_cost_is_not_remembered_for_the_new_one(
    reader: Client, broker: QuoteBroker, settings: Settings
) -> None:
    settings.QUOTE_KEPT_SECONDS = 60.0
    quotes(reader, TCS)
    moved = [stock("TCS", 7), *(one for one in ROWS if one.tradingsymbol != "TCS")]
    import_instruments([dump(moved)])
    broker.rows[TCS] = row(7, 3.0)
    instrument_cache.forget()  # the import does it when its transaction ends
    assert quotes(reader, TCS)["quotes"][TCS]["last_price"] == "3"


def test_what_the_broker_leaves_out_or_gets_wrong_is_named(reader: Client, broker: QuoteBroker) -> None:
    broker.rows = {INFY: row(408065, 1500.5), TCS: row(1, 4100.0), GONE: {"instrument_token": 900_000}}
    found = quotes(reader, INFY, TCS, NIFTY, GONE)
    assert list(found["quotes"]) == [INFY]
    assert found["missing"][NIFTY] == "the broker has no quote of it"
    assert "bears the token 1" in found["missing"][TCS]
    assert "not what the broker documents" in found["missing"][GONE]


def test_a_thousand_are_asked_for_in_calls_of_five_hundred(reader: Client, broker: QuoteBroker) -> None:
    symbols = [f"NSE:SHARE{n}" for n in range(MOST_SYMBOLS)]
    broker.rows = {symbol: row(900_000 + n, 10.0) for n, symbol in enumerate(symbols)}
    answer = reader.post("/api/v1/quotes", json.dumps({"i": symbols}), content_type="application/json")
    assert (answer.status_code, len(answer.json()["quotes"])) == (200, 1000)
    assert [len(asked) for asked in broker.asked] == [500, 500]


def test_a_call_that_fails_loses_its_own_instruments_only(reader: Client, broker: QuoteBroker) -> None:
    symbols = [f"NSE:SHARE{n}" for n in range(501)]
    broker.rows = {symbols[-1]: row(900_500, 10.0)}
    answer = reader.post("/api/v1/quotes", json.dumps({"i": symbols}), content_type="application/json").json()
    assert list(answer["quotes"]) == [symbols[-1]]
    assert len(answer["missing"]) == 500


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ("", "required"),
        ("?i=INFY", "required pattern"),
        ("?i=NSE:NOSUCH&i=NSE:INFY", "There is no instrument NSE:NOSUCH."),
        ("?i=NSE:INFY&mode=full", "Unknown field."),
        ("?i=%00:%00", "pattern"),
    ],
)
def test_a_question_that_makes_no_sense_is_400_and_says_why(
    reader: Client, broker: QuoteBroker, query: str, said: str
) -> None:
    answer = reader.get(f"/api/v1/quotes{query}")
    assert answer.status_code == 400
    assert said in json.dumps(answer.json()["error"]["details"])
    assert broker.asked == []


def test_more_than_a_thousand_are_refused_with_the_limit_named(reader: Client, broker: QuoteBroker) -> None:
    symbols = [f"NSE:SHARE{n}" for n in range(1001)]
    long_address = reader.get("/api/v1/quotes?" + "&".join(f"i={symbol}" for symbol in symbols))
    body = reader.post("/api/v1/quotes", json.dumps({"i": symbols}), content_type="application/json")
    assert (long_address.status_code, body.status_code) == (400, 400)
    assert "1,000" in long_address.json()["error"]["message"]
    assert body.json()["error"]["details"] == {"i": ["Name 1 to 1,000 instruments, not 1,001."]}
    assert broker.asked == []


def test_without_redis_the_broker_is_asked_for_everything(
    reader: Client, broker: QuoteBroker, without_redis: None
) -> None:
    assert quotes(reader, INFY)["quotes"][INFY]["origin"] == "broker"


def test_without_any_account_it_is_a_503(client: Client, reader: Client, settings: Settings) -> None:
    cache.clear()
    TradingAccount.objects.update(is_data=False)
    answer = client.get("/api/v1/quotes", {"i": INFY})
    assert answer.status_code == 503
    assert "no enabled account may feed market data" in answer.json()["error"]["details"]["missing"][INFY]
