"""Trades and positions: whole or not at all, and never wiped because the broker has nothing to say."""

import logging
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db.models.functions import Now
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts import clock
from accounts.models import TradingAccount
from accounts.sessions import end_session
from accounts.tests.fakes import Answer, ScriptedBroker
from orders.broker_orders import record_broker_update
from orders.execute import drain
from orders.models import BrokerOrder, PortfolioReading, Position, Trade
from orders.readings import Known, doubts, positions_of
from orders.tests.conftest import Submit
from orders.trade_sync import accounts_due, is_due, sync, sync_if_due

TODAY = date(2026, 11, 25)


@pytest.fixture(autouse=True)
def today(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.ORDER_DOUBT_SECONDS = 0.0
    monkeypatch.setattr(clock, "today", lambda: TODAY)


def position(**changes: Any) -> dict[str, Any]:
    return {
        "tradingsymbol": "NIFTY26DEC26000CE",
        "exchange": "NFO",
        "instrument_token": 12345,
        "product": "NRML",
        "quantity": 75,
        "overnight_quantity": 0,
        "multiplier": 1,
        "average_price": 120.5,
        "last_price": 130.0,
        "value": -9037.5,
        "pnl": 712.5,
        "buy_quantity": 75,
        "buy_value": 9037.5,
        "sell_quantity": 0,
        "sell_value": 0,
        "day_buy_quantity": 75,
        "day_buy_value": 9037.5,
        "day_sell_quantity": 0,
        "day_sell_value": 0,
    } | changes


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "trade_id": "10001",
        "order_id": "1511220000000001",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "product": "NRML",
        "transaction_type": "BUY",
        "quantity": 75,
        "average_price": 120.5,
        "fill_timestamp": "2026-11-25 10:42:07",
    } | changes


def shows(broker: ScriptedBroker, positions: list[Any] | None = None, trades: list[Any] | None = None) -> None:
    """What the broker answers from now on."""
    net = [position()] if positions is None else positions
    broker.answer("GET /portfolio/positions", Answer({"net": net, "day": []}))
    broker.answer("GET /trades", Answer([trade()] if trades is None else trades))
    broker.answer("GET /user/profile", Answer({"user_id": "AB1234"}))


def held() -> dict[str, int]:
    return {row.tradingsymbol: row.quantity for row in Position.objects.all()}


def test_trades_and_positions_are_taken_over_and_say_when(account: TradingAccount, broker: ScriptedBroker) -> None:
    shows(broker)
    assert sync(account)
    assert sync(account)
    row, fill = Position.objects.get(), Trade.objects.get()
    assert (row.quantity, str(row.pnl), str(row.average_price)) == (75, "712.5000", "120.5000")
    assert (fill.quantity, str(fill.price), fill.trading_date) == (75, "120.5000", TODAY)
    reading = PortfolioReading.objects.get()
    assert (reading.read_at, reading.trading_date, reading.failure) == (row.read_at, TODAY, "")


@pytest.mark.parametrize(
    ("route", "answer"),
    [
        ("GET /orders", Answer(b"<html>", 502)),
        ("GET /trades", Answer({"status": "error", "message": "x", "error_type": "NetworkException"}, 503)),
        ("GET /portfolio/positions", Answer(b"[", 200)),
        ("GET /portfolio/positions", Answer({"net": [position(quantity="many")], "day": []})),
        ("GET /portfolio/positions", Answer({"net": [position(), position()], "day": []})),
        ("GET /trades", Answer([trade(), trade(trade_id="2", average_price="NaN")])),
        ("GET /trades", Answer([trade(transaction_type="GIFT")])),
    ],
    ids=lambda one: one if isinstance(one, str) else str(one.body)[:30],
)
def test_a_reading_that_fails_changes_nothing_and_says_so(
    account: TradingAccount, broker: ScriptedBroker, route: str, answer: Answer
) -> None:
    shows(broker)
    sync(account)
    before = PortfolioReading.objects.get()
    broker.answer(route, answer)
    assert not sync(account)
    after = PortfolioReading.objects.get()
    assert held() == {"NIFTY26DEC26000CE": 75}
    assert (after.read_at, after.trading_date) == (before.read_at, before.trading_date)
    assert after.failure
    assert after.failed_at is not None


def test_an_empty_answer_is_not_believed(
    account: TradingAccount, broker: ScriptedBroker, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    settings.ORDER_DOUBT_SECONDS = 60.0
    shows(broker)
    sync(account)
    shows(broker, [], [])
    for _ in range(3):
        assert not sync(account)
    assert held() == {"NIFTY26DEC26000CE": 75}
    assert Trade.objects.count() == 1
    reading = PortfolioReading.objects.get()
    assert reading.doubts[0] == "NFO:NIFTY26DEC26000CE NRML is not there"
    assert len([one for one in caplog.records if one.levelno == logging.ERROR]) == 1, "it is said once"
    shows(broker)
    assert sync(account)
    assert PortfolioReading.objects.get().doubts == []


def test_what_the_broker_insists_on_is_believed_in_the_end(account: TradingAccount, broker: ScriptedBroker) -> None:
    shows(broker)
    sync(account)
    shows(broker, [position(product="MIS")])
    assert not sync(account), "once is not enough"
    assert sync(account)
    assert [row.product for row in Position.objects.all()] == ["MIS"]


def test_the_broker_has_to_insist_on_the_same(account: TradingAccount, broker: ScriptedBroker) -> None:
    shows(broker, [position(), position(tradingsymbol="INFY", exchange="NSE")])
    sync(account)
    shows(broker, [position()])
    assert not sync(account)
    shows(broker, [])
    assert not sync(account)
    assert len(held()) == 2


def test_who_is_not_known_to_the_broker_any_more_loses_no_positions(
    account: TradingAccount, broker: ScriptedBroker
) -> None:
    shows(broker)
    sync(account)
    shows(broker, [], [])
    broker.answer("GET /user/profile", Answer({"status": "error", "message": "x", "error_type": "TokenException"}, 403))
    for _ in range(3):
        sync(account)
    assert held() == {"NIFTY26DEC26000CE": 75}


def test_a_book_that_lost_an_order_makes_the_positions_doubtful(
    account: TradingAccount, broker: ScriptedBroker, submit: Submit
) -> None:
    shows(broker)
    sync(account)
    submit()
    drain(account)
    shows(broker, [position(quantity=150, day_buy_quantity=150)])
    assert not sync(account)
    assert held() == {"NIFTY26DEC26000CE": 75}


def test_the_next_day_closed_positions_go_and_carried_ones_have_to_be_there(
    account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = position(tradingsymbol="INFY", exchange="NSE", product="MIS", quantity=0)
    shows(broker, [position(), closed])
    sync(account)
    monkeypatch.setattr(clock, "today", lambda: TODAY + timedelta(days=1))
    shows(broker, [], [])
    assert not sync(account)
    assert PortfolioReading.objects.get().doubts == [
        "NFO:NIFTY26DEC26000CE NRML: 75 of the day before are not there",
    ]
    carried = position(overnight_quantity=75, day_buy_quantity=0, day_buy_value=0)
    shows(broker, [carried], [])
    assert sync(account)
    assert held() == {"NIFTY26DEC26000CE": 75}
    assert Trade.objects.count() == 1, "yesterday's trades are kept"


def test_two_readings_at_once_leave_the_one_that_began_later(account: TradingAccount, broker: ScriptedBroker) -> None:
    shows(broker)
    sync(account)
    PortfolioReading.objects.update(read_at=Now() + timedelta(seconds=60))
    shows(broker, [position(quantity=150, day_buy_quantity=150)])
    assert not sync(account)
    assert held() == {"NIFTY26DEC26000CE": 75}


def test_only_one_worker_reads_what_is_due(account: TradingAccount, broker: ScriptedBroker) -> None:
    shows(broker)
    assert accounts_due() == [account]
    assert sync_if_due(account)
    assert not sync_if_due(account)
    assert accounts_due() == []
    PortfolioReading.objects.update(tried_at=Now() - timedelta(seconds=31))
    assert accounts_due() == [account]


def test_outside_of_sessions_the_day_is_read_once(
    account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    shows(broker)
    monkeypatch.setattr("orders.trade_sync.is_session", lambda: False)
    assert accounts_due() == [account]
    assert sync_if_due(account)
    PortfolioReading.objects.update(tried_at=Now() - timedelta(hours=1))
    assert accounts_due() == []
    monkeypatch.setattr(clock, "today", lambda: TODAY + timedelta(days=1))
    assert accounts_due() == [account]


def test_an_account_that_may_not_trade_is_read_when_somebody_asks(
    account: TradingAccount, broker: ScriptedBroker
) -> None:
    TradingAccount.objects.update(is_trading=False)
    shows(broker)
    assert accounts_due() == []
    PortfolioReading.want(account)
    assert accounts_due() == [account]


def test_a_trade_is_of_the_day_on_which_it_was_made(account: TradingAccount, broker: ScriptedBroker) -> None:
    shows(broker, trades=[trade(), trade(trade_id="2", fill_timestamp="2026-11-24 23:40:00")])
    assert sync(account)
    days = dict(Trade.objects.values_list("trade_id", "trading_date"))
    assert days == {"10001": TODAY, "2": TODAY - timedelta(days=1)}


def test_who_is_logged_out_is_not_read(account: TradingAccount, broker: ScriptedBroker) -> None:
    end_session(account)
    assert accounts_due() == []


NOW = datetime(2026, 11, 25, 5, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds_ago", "by_clock", "due"),
    [
        (None, True, True),
        (None, False, False),
        ({"wanted_at": 1}, False, True),
        ({"tried_at": 29, "read_at": 29}, True, False),
        ({"tried_at": 31, "read_at": 31}, True, True),
        ({"tried_at": 31, "read_at": 31}, False, False),
        ({"tried_at": 4, "read_at": 4, "wanted_at": 1}, False, True),
        ({"tried_at": 2, "read_at": 2, "wanted_at": 1}, False, False),
        ({"tried_at": 4, "read_at": 4, "wanted_at": 5}, False, False),
        ({"tried_at": 4, "failed_at": 3, "read_at": 50, "wanted_at": 5}, False, False),
        ({"tried_at": 11, "failed_at": 10, "read_at": 50, "wanted_at": 15}, False, True),
    ],
    ids=str,
)
def test_a_reading_is_due_by_the_clock_in_a_session_and_whenever_it_is_wanted(
    seconds_ago: dict[str, int] | None, by_clock: bool, due: bool
) -> None:
    moments = {name: NOW - timedelta(seconds=seconds) for name, seconds in (seconds_ago or {}).items()}
    reading = None if seconds_ago is None else PortfolioReading(**moments)
    assert is_due(reading, NOW, by_clock=by_clock) == due


def test_an_order_that_fills_while_it_is_read_is_read_again(account: TradingAccount, broker: ScriptedBroker) -> None:
    shows(broker)
    sync(account)
    fill = {
        "order_id": "1",
        "status": "OPEN",
        "exchange": "NFO",
        "tradingsymbol": "X",
        "transaction_type": "BUY",
        "quantity": 75,
    }
    record_broker_update(account, fill | {"filled_quantity": 25}, source="socket")
    PortfolioReading.objects.update(tried_at=Now() - timedelta(seconds=4))
    assert accounts_due() == [account]
    assert BrokerOrder.objects.count() == 1


KEYS = st.sampled_from([("NFO", "A", "NRML"), ("NFO", "A", "MIS"), ("NSE", "B", "CNC"), ("NFO", "C", "NRML")])
ROWS = st.dictionaries(KEYS, st.tuples(st.integers(0, 500), st.integers(0, 500)))


def rows_of(book: dict[tuple[str, str, str], tuple[int, int]]) -> list[Position]:
    net = [
        position(
            exchange=exchange,
            tradingsymbol=symbol,
            product=product,
            quantity=bought - sold,
            day_buy_quantity=bought,
            day_sell_quantity=sold,
        )
        for (exchange, symbol, product), (bought, sold) in book.items()
    ]
    return positions_of({"net": net})


@given(before=ROWS, more=ROWS)
def test_a_day_that_only_goes_on_is_never_doubted_and_one_that_goes_back_always_is(
    before: dict[tuple[str, str, str], tuple[int, int]], more: dict[tuple[str, str, str], tuple[int, int]]
) -> None:
    after = {key: tuple(map(sum, zip(before.get(key, (0, 0)), more.get(key, (0, 0)), strict=True))) for key in before}
    after |= {key: more[key] for key in more.keys() - before.keys()}
    known, later = rows_of(before), rows_of(after)  # type: ignore[arg-type]
    assert doubts(Known(known, TODAY, ()), later, (), TODAY) == []
    went_back = after.keys() - before.keys() or any(after[key] != before[key] for key in before)
    assert bool(doubts(Known(later, TODAY, ()), known, (), TODAY)) == bool(went_back)
