"""The broker clients' contract: the same calls and the same checks against the recorded answers and the simulator."""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from pytest_django import Settings

from accounts.broker import data_client, portfolio_client, session_client
from accounts.broker.words import Exchange, Interval, MarginSegment
from accounts.models import KiteApp, TradingAccount
from accounts.sessions import store_session
from accounts.tests.fakes import Answer, running_broker
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator, options_for_tests, running

pytestmark = pytest.mark.django_db

NUMBER = (int, float)
RECORDED = {
    "GET /user/profile": "profile.json",
    "GET /user/margins": "margins.json",
    "GET /user/margins/equity": "margins_equity.json",
    "GET /quote": "quote.json",
    "GET /quote/ohlc": "ohlc.json",
    "GET /quote/ltp": "ltp.json",
    "GET /instruments/historical/408065/minute": "historical_minute.json",
    "GET /instruments/NSE": "instruments_nse.csv",
    "POST /session/token": "generate_session.json",
}


@dataclass(frozen=True)
class Broker:
    """One of the two, its account logged in, and what it knows of."""

    account: TradingAccount
    request_token: str
    instruments: dict[str, Sequence[str]]  # by call


@pytest.fixture(scope="module")
def simulator() -> Iterator[RunningSimulator]:
    with running(options_for_tests(Path(django_settings.MARKET_DATA_DIR))) as simulator:
        yield simulator


@pytest.fixture
def account(db: None, valkey: Any) -> TradingAccount:
    app = KiteApp.objects.create(api_key=DEMO_APP.api_key, label="App")
    return TradingAccount.objects.create(
        kite_user_id="AB1234", label="Asha", app=app, owner=User.objects.create_user("asha")
    )


@pytest.fixture
def recorded(account: TradingAccount, settings: Settings) -> Iterator[Broker]:
    folder = os.environ.get("KITE_MOCKS_DIR", "")
    if not folder:
        pytest.skip("KITE_MOCKS_DIR does not name a folder with zerodha/kiteconnect-mocks")
    with running_broker() as broker:
        for request, file in RECORDED.items():
            broker.answer(request, _answer(Path(folder) / file))
        settings.KITE_API_ROOT = broker.root
        store_session(account, {"user_id": "AB1234", "access_token": "recorded"})
        yield Broker(account, "any", {"quote": ["NSE:INFY"], "ohlc": ["NSE:INFY"], "ltp": ["NSE:INFY"]})


def _answer(file: Path) -> Answer:
    kind = "text/csv" if file.suffix == ".csv" else "application/json"
    return Answer(file.read_bytes(), content_type=kind)


@pytest.fixture
def simulated(account: TradingAccount, simulator: RunningSimulator, settings: Settings) -> Broker:
    settings.KITE_API_ROOT = simulator.http_root
    store_session(account, {"user_id": "AB1234", "access_token": simulator.logged_in().access_token})
    return Broker(account, "", {"quote": ["NSE:INFY"], "ohlc": ["NSE:INFY"], "ltp": ["NSE:INFY"]})


@pytest.fixture(params=["recorded", "simulated"])
def broker(request: pytest.FixtureRequest) -> Broker:
    found: Broker = request.getfixturevalue(request.param)
    return found


def has(row: Any, **types: Any) -> None:
    """Each field is there with its type."""
    wrong = {name: row.get(name) for name, kind in types.items() if not isinstance(row.get(name), kind)}
    assert not wrong


def test_the_profile_says_who_it_is(broker: Broker) -> None:
    profile = portfolio_client(broker.account).profile()
    has(profile, user_id=str, user_name=str, email=str, broker=str, exchanges=list, products=list, order_types=list)


def test_funds_come_for_both_segments_or_for_one(broker: Broker) -> None:
    client = portfolio_client(broker.account)
    both, equity = client.funds(), client.funds(MarginSegment.EQUITY)
    assert {"equity", "commodity"} <= set(both)
    for segment in (both["equity"], both["commodity"], equity):
        has(segment, enabled=bool, net=NUMBER, available=dict, utilised=dict)
        has(segment["available"], cash=NUMBER, collateral=NUMBER, live_balance=NUMBER, opening_balance=NUMBER)
        has(segment["utilised"], debits=NUMBER, span=NUMBER, exposure=NUMBER, option_premium=NUMBER)


def test_quotes_have_prices_times_and_five_levels_a_side(broker: Broker) -> None:
    quotes = data_client(broker.account).quote(broker.instruments["quote"])
    quote = quotes["NSE:INFY"]
    has(quote, instrument_token=int, last_price=NUMBER, volume=int, average_price=NUMBER, oi=NUMBER)
    has(quote, timestamp=datetime, last_trade_time=datetime, ohlc=dict, depth=dict)
    for side in ("buy", "sell"):
        assert len(quote["depth"][side]) == 5
        for level in quote["depth"][side]:
            has(level, price=NUMBER, quantity=int, orders=int)


def test_ohlc_and_last_prices_come_by_the_name_that_was_asked_for(broker: Broker) -> None:
    client = data_client(broker.account)
    ohlc, ltp = client.ohlc(broker.instruments["ohlc"]), client.ltp(broker.instruments["ltp"])
    has(ohlc["NSE:INFY"], instrument_token=int, last_price=NUMBER, ohlc=dict)
    has(ohlc["NSE:INFY"]["ohlc"], open=NUMBER, high=NUMBER, low=NUMBER, close=NUMBER)
    has(ltp["NSE:INFY"], instrument_token=int, last_price=NUMBER)


def test_candles_come_in_order_with_their_times(broker: Broker) -> None:
    start, end = datetime(2026, 11, 25, 9, 15), datetime(2026, 11, 25, 9, 30)  # noqa: DTZ001 - Indian, as the broker's
    candles = data_client(broker.account).candles(408065, start, end, Interval.MINUTE)
    assert candles
    for candle in candles:
        has(candle, date=datetime, open=NUMBER, high=NUMBER, low=NUMBER, close=NUMBER, volume=int)
        assert candle["low"] <= min(candle["open"], candle["close"]) <= max(candle["open"], candle["close"])
        assert candle["date"].utcoffset().total_seconds() == 19_800
    moments = [candle["date"] for candle in candles]
    assert moments == sorted(set(moments))


def test_the_instrument_dump_has_the_columns_that_are_read(broker: Broker) -> None:
    dump = b"".join(data_client(broker.account).instruments_csv(Exchange.NSE)).decode()
    header, first = dump.splitlines()[:2]
    assert header.split(",") == [
        "instrument_token",
        "exchange_token",
        "tradingsymbol",
        "name",
        "last_price",
        "expiry",
        "strike",
        "tick_size",
        "lot_size",
        "instrument_type",
        "segment",
        "exchange",
    ]
    assert first.count(",") >= 11


def test_a_request_token_becomes_a_session(broker: Broker, simulator: RunningSimulator) -> None:
    request_token = broker.request_token or simulator.request_token()
    session = session_client(broker.account).exchange(request_token, DEMO_APP.api_secret)
    has(session, user_id=str, access_token=str, public_token=str, login_time=datetime, exchanges=list, products=list)
