"""What an account has and what that is worth: exact where everything is known, and None where something is not."""

import time
from collections.abc import Iterator
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest
import redis
from django.contrib.auth.models import User
from django.db.models.functions import Now
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from accounts import clock
from accounts.models import TradingAccount
from accounts.tests.fakes import Answer, ScriptedBroker
from market import latest
from market.lines import encode
from market.models import Instrument
from market.prices import MarketPrice
from orders import portfolio, statements
from orders.broker_orders import record_broker_update
from orders.drift import drift
from orders.execute import drain
from orders.models import OrderBook, OrderTask, PortfolioReading, Position, Trade
from orders.portfolio import booked_of, view_of
from orders.tests.conftest import Submit
from orders.trade_sync import sync

TODAY = date(2026, 11, 25)
CALL, SHARE = "NIFTY26DEC26000CE", "INFY"


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(clock, "today", lambda: TODAY)
    latest._client.cache_clear()
    yield
    latest._client.cache_clear()


def price(last: str | None, *, is_fresh: bool = True, delta: float | None = None) -> MarketPrice:
    return MarketPrice(Decimal(last) if last else None, None, None, None, 0.4, is_fresh, "simulated", delta)


def position(**changes: Any) -> dict[str, Any]:
    return {
        "tradingsymbol": CALL,
        "exchange": "NFO",
        "instrument_token": 1,
        "product": "NRML",
        "quantity": 75,
        "multiplier": 1,
        "average_price": 120.5,
        "value": -9037.5,
        "pnl": 712.5,
        "m2m": 712.5,
        "buy_quantity": 75,
        "buy_value": 9037.5,
        "day_buy_quantity": 75,
        "day_buy_value": 9037.5,
    } | changes


def trade(**changes: Any) -> dict[str, Any]:
    return {
        "trade_id": "1",
        "order_id": "1511",
        "exchange": "NFO",
        "tradingsymbol": CALL,
        "product": "NRML",
        "transaction_type": "BUY",
        "quantity": 75,
        "average_price": 120.5,
        "fill_timestamp": "2026-11-25 10:42:07",
    } | changes


def row(**changes: Any) -> dict[str, Any]:
    return {
        "order_id": "1511",
        "status": "COMPLETE",
        "exchange": "NFO",
        "tradingsymbol": CALL,
        "transaction_type": "BUY",
        "product": "NRML",
        "quantity": 75,
        "filled_quantity": 75,
        "order_timestamp": "2026-11-25 10:42:07",
    } | changes


@pytest.fixture
def read(account: TradingAccount, broker: ScriptedBroker) -> TradingAccount:
    """An account that bought 75 today, as it was read."""
    broker.answer("GET /orders", Answer([row()]))
    broker.answer("GET /trades", Answer([trade()]))
    broker.answer("GET /portfolio/positions", Answer({"net": [position()], "day": []}))
    assert sync(account)
    return account


def listed() -> None:
    shared = {"tick_size": 0.05, "first_seen": TODAY, "last_seen": TODAY}
    Instrument.objects.create(
        exchange="NFO", tradingsymbol=CALL, instrument_token=1, name="NIFTY", expiry=date(2026, 12, 29), strike=26000,
        instrument_type="CE", segment="NFO-OPT", lot_size=75, **shared,
    )  # fmt: skip
    Instrument.objects.create(
        exchange="NSE", tradingsymbol=SHARE, instrument_token=2, name="INFOSYS", instrument_type="EQ", segment="NSE",
        lot_size=1, **shared,
    )  # fmt: skip


def streamed(valkey: "redis.Redis", *, seconds_ago: float = 0.0, delta: float | None = 0.45) -> None:
    """The call's part as the stream leaves it."""
    columns = {"instrument_token": [1], "last_price": [130.0], "age_ms": [400], "flags": [0], "delta": [delta]}
    sent_at = time.time() - seconds_ago
    head = {"kind": "snapshot", "source": "simulated", "feed_state": "live", "sent_at": sent_at}
    valkey.hset("ticker:parts", mapping={"1": "nifty:2026-12-29"})
    valkey.set("ticker:latest:nifty:2026-12-29", encode(head | {"market_time": sent_at, "columns": columns}))


def test_open_and_booked_results_stand_apart() -> None:
    half_sold = Position(
        quantity=25, multiplier=1, close_price=0, overnight_quantity=0, buy_quantity=75, buy_value=Decimal(9000),
        sell_quantity=50, sell_value=Decimal(6500), value=Decimal(-2500), day_buy_value=Decimal(9000),
        day_sell_value=Decimal(6500), pnl=0, m2m=0, average_price=120, last_price=0,
    )  # fmt: skip
    view = view_of(half_sold, price("140"), None)
    assert (view.booked, view.open_pnl, view.pnl) == (Decimal(500), Decimal(500), Decimal(1000))
    assert view.day_pnl == Decimal(1000)


@pytest.mark.parametrize("unknown", [None, price(None), price("140", is_fresh=False)], ids=["none", "no", "stale"])
def test_without_a_fresh_price_what_was_closed_is_known_and_what_is_open_is_not(unknown: MarketPrice | None) -> None:
    row = Position(
        quantity=25, multiplier=1, buy_quantity=75, buy_value=Decimal(9000), sell_quantity=50,
        sell_value=Decimal(6500), value=Decimal(-2500),
    )  # fmt: skip
    view = view_of(row, unknown, None)
    assert (view.booked, view.open_pnl, view.pnl, view.day_pnl) == (Decimal(500), None, None, None)


def test_a_closed_position_needs_no_price() -> None:
    row = Position(
        quantity=0, multiplier=1, buy_quantity=75, buy_value=Decimal(9000), sell_quantity=75,
        sell_value=Decimal(9600), value=Decimal(600), day_buy_value=Decimal(9000), day_sell_value=Decimal(9600),
    )  # fmt: skip
    view = view_of(row, None, None)
    assert [view.booked, view.open_pnl, view.pnl, view.day_pnl, view.delta] == [600, 0, 600, 600, 0.0]


def test_what_was_carried_counts_from_its_last_close() -> None:
    short = Position(
        quantity=-75, overnight_quantity=-75, multiplier=1, close_price=Decimal(110), sell_quantity=75,
        sell_value=Decimal(9000), value=Decimal(9000),
    )  # fmt: skip
    view = view_of(short, price("100"), None)
    assert (view.pnl, view.day_pnl) == (Decimal(1500), Decimal(750))


AMOUNTS = st.integers(0, 10_000).map(lambda paise: Decimal(paise) / 100)


@given(bought=st.integers(0, 500), sold=st.integers(0, 500), paid=AMOUNTS, got=AMOUNTS, last=AMOUNTS)
def test_booked_and_open_always_add_up(bought: int, sold: int, paid: Decimal, got: Decimal, last: Decimal) -> None:
    row = Position(
        quantity=bought - sold, multiplier=1, buy_quantity=bought, buy_value=bought * paid, sell_quantity=sold,
        sell_value=sold * got, value=sold * got - bought * paid, day_buy_value=bought * paid,
        day_sell_value=sold * got,
    )  # fmt: skip
    view = view_of(row, price(str(last)), None)
    expected = sold * got - bought * paid + (bought - sold) * last
    if last:
        assert view.pnl == expected == view.day_pnl
        assert view.open_pnl is not None
        assert view.booked + view.open_pnl == expected
    assert abs(booked_of(row) - min(bought, sold) * (got - paid)) < Decimal("0.001")


def test_positions_are_worth_what_fresh_prices_say(read: TradingAccount, valkey: "redis.Redis") -> None:
    listed()
    assert portfolio.day_pnl(read) is None
    streamed(valkey)
    found = portfolio.positions(read)
    assert (found.pnl, found.day_pnl, found.booked) == (Decimal("712.5"), Decimal("712.5"), Decimal(0))
    assert portfolio.day_pnl(read) == Decimal("712.5")
    assert portfolio.net_delta(read) == pytest.approx(33.75)
    assert portfolio.net_deltas(read) == {"NIFTY": pytest.approx(33.75)}
    streamed(valkey, seconds_ago=60)
    assert portfolio.day_pnl(read) is None
    assert portfolio.net_delta(read) is None


def test_a_delta_that_is_not_known_makes_the_sum_unknown(read: TradingAccount, valkey: "redis.Redis") -> None:
    listed()
    streamed(valkey, delta=None)
    assert portfolio.net_delta(read) is None
    assert portfolio.day_pnl(read) == Decimal("712.5")


def test_what_was_read_yesterday_or_long_ago_says_nothing_about_today(
    read: TradingAccount, valkey: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    listed()
    streamed(valkey)
    PortfolioReading.objects.update(read_at=Now() - timedelta(minutes=6))
    assert (portfolio.day_pnl(read), portfolio.net_delta(read)) == (None, None)
    assert portfolio.open_quantity(read, "NFO", CALL, "NRML") is None
    PortfolioReading.objects.update(read_at=Now())
    monkeypatch.setattr(clock, "today", lambda: TODAY + timedelta(days=1))
    assert (portfolio.day_pnl(read), portfolio.net_delta(read)) == (None, None)
    assert portfolio.open_quantity(read, "NFO", CALL, "NRML") is None


def test_what_is_held_counts_what_was_filled_since_it_was_read(read: TradingAccount) -> None:
    assert portfolio.open_quantity(read, "NFO", CALL, "NRML") == 75
    assert portfolio.open_quantity(read, "NFO", CALL, "MIS") == 0
    exit_ = row(order_id="1512", transaction_type="SELL", status="OPEN", filled_quantity=25)
    record_broker_update(read, exit_, source="socket")
    assert portfolio.open_quantity(read, "NFO", CALL, "NRML") == 50
    record_broker_update(read, exit_ | {"status": "COMPLETE", "filled_quantity": 75}, source="socket")
    assert portfolio.open_quantity(read, "NFO", CALL, "NRML") == 0
    assert portfolio.positions(read).is_outdated


def test_what_is_held_is_not_guessed_where_trades_and_position_do_not_add_up(read: TradingAccount) -> None:
    Position.objects.update(day_buy_quantity=100, quantity=100)
    assert portfolio.open_quantity(read, "NFO", CALL, "NRML") == 100, "a conversion, and nothing has happened since"
    record_broker_update(read, row(order_id="1512", filled_quantity=25, status="OPEN"), source="socket")
    assert portfolio.open_quantity(read, "NFO", CALL, "NRML") is None


def test_without_a_reading_nothing_is_known(account: TradingAccount) -> None:
    found = portfolio.positions(account)
    assert (found.read_at, found.pnl, list(found.positions)) == (None, None, [])
    assert portfolio.open_quantity(account, "NFO", CALL, "NRML") is None
    assert drift(account) == []


def kinds(account: TradingAccount) -> list[tuple[str, str]]:
    return [(one.kind, one.order_id or one.tradingsymbol) for one in drift(account)]


def test_what_agrees_has_no_differences_but_orders_placed_elsewhere(read: TradingAccount) -> None:
    assert kinds(read) == [("external", "1511")]


def test_each_difference_is_told_in_words(read: TradingAccount) -> None:
    record_broker_update(
        read, row(order_id="1600", tag="T" + "B" * 19, filled_quantity=0, status="OPEN"), source="book"
    )
    Trade.objects.update(quantity=50)
    PortfolioReading.objects.update(read_at=Now())
    assert kinds(read) == [("external", "1511"), ("orphan", "1600"), ("trades", "1511"), ("position", CALL)]
    words = {one.kind: one.words for one in drift(read)}
    assert words["trades"] == "Order 1511 is filled 75, and its trades add up to 50."
    assert words["position"].startswith(f"NFO:{CALL} NRML has changed by +75 today, and the trades add up to +50.")


def test_an_order_that_the_book_has_lost_is_a_difference(
    read: TradingAccount, submit: Submit, broker: ScriptedBroker
) -> None:
    submit()
    drain(read)
    lost = OrderTask.objects.get().broker_order_id
    assert ("not_in_book", lost) not in kinds(read), "the book was read before it was sent"
    sync(read)
    assert ("not_in_book", lost) in kinds(read)
    assert OrderBook.objects.get().lacks == [lost]


@pytest.fixture
def reader(client: Client, account: TradingAccount) -> Client:
    client.force_login(account.owner)
    return client


def path(account: TradingAccount, name: str) -> str:
    return f"/api/v1/trading-accounts/{account.public_id}/{name}"


def test_rest_shows_positions_with_their_age(reader: Client, read: TradingAccount, valkey: "redis.Redis") -> None:
    listed()
    streamed(valkey)
    body = reader.get(path(read, "positions")).json()
    assert (body["is_of_today"], body["is_outdated"], body["doubts"], body["failure"]) == (True, False, [], "")
    assert body["pnl"] == "712.5"
    shown = body["positions"][0]
    assert (shown["tradingsymbol"], shown["quantity"], shown["open_pnl"]) == (CALL, 75, "712.5")
    assert shown["delta"] == pytest.approx(33.75)


def test_rest_pages_trades_and_orders_and_filters_them_by_day(reader: Client, read: TradingAccount) -> None:
    for name in ("trades", "broker-orders"):
        body = reader.get(path(read, name)).json()
        assert (body["total"], body["items"][0]["order_id"], body["has_more"]) == (1, "1511", False)
        assert reader.get(path(read, name) + "?date=2026-11-25").json()["total"] == 1
        assert reader.get(path(read, name) + "?date=2026-11-24").json()["total"] == 0
        assert reader.get(path(read, name) + "?date=yesterday").status_code == 400
        assert reader.get(path(read, name) + "?limit=0").status_code == 400
        assert reader.get(path(read, name) + "?colour=red").status_code == 400
    assert reader.get(path(read, "broker-orders")).json()["items"][0]["is_external"]


def test_rest_tells_of_differences(reader: Client, read: TradingAccount) -> None:
    body = reader.get(path(read, "drift")).json()
    assert [one["kind"] for one in body["items"]] == ["external"]
    assert body["book_read_at"] is not None


def test_a_reading_can_be_asked_for_but_not_over_and_over(
    reader: Client, read: TradingAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    rung: list[int] = []
    monkeypatch.setattr("orders.portfolio_views.ring_for_sync", rung.append)
    assert reader.post(path(read, "sync"), content_type="application/json").status_code == 202
    refused = reader.post(path(read, "sync"), content_type="application/json")
    assert (refused.status_code, refused["Retry-After"]) == (429, "5")
    assert rung == [read.pk]
    assert portfolio.positions(read).is_outdated


HOLDING = {"tradingsymbol": "INFY", "exchange": "NSE", "quantity": 10, "average_price": 1500.05, "pnl": -12.5}
FUNDS = {"equity": {"enabled": True, "net": 99725.05, "available": {"cash": 1000.5}}}


def test_holdings_and_funds_come_from_the_broker_and_stay_when_it_is_away(
    reader: Client, account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.answer("GET /portfolio/holdings", Answer([HOLDING]))
    broker.answer("GET /user/margins", Answer(FUNDS))
    monkeypatch.setattr(statements, "KEPT_SECONDS", -1.0)
    for _ in range(2):
        holdings, funds = reader.get(path(account, "holdings")).json(), reader.get(path(account, "funds")).json()
        shown = holdings["items"][0]
        assert (shown["quantity"], shown["average_price"], shown["pnl"]) == (10, "1500.05", "-12.5")
        assert funds["segments"]["equity"]["available"] == {"cash": "1000.5"}
        broker.answer("GET /portfolio/holdings", Answer(b"<html>", 502))
        broker.answer("GET /user/margins", Answer(b"<html>", 502))
    assert holdings["failure"]
    assert funds["failure"]


def test_holdings_that_have_all_gone_are_not_believed_of_a_dead_token(
    account: TradingAccount, broker: ScriptedBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    broker.answer("GET /portfolio/holdings", Answer([HOLDING]))
    statements.holdings(account)
    monkeypatch.setattr(statements, "KEPT_SECONDS", -1.0)
    broker.answer("GET /portfolio/holdings", Answer([]))
    broker.answer("GET /user/profile", Answer({"status": "error", "message": "x", "error_type": "TokenException"}, 403))
    found = statements.holdings(account)
    assert len(found.content) == 1
    assert found.failure


def test_what_the_broker_has_never_told_is_an_error_of_its(reader: Client, account: TradingAccount) -> None:
    assert reader.get(path(account, "holdings")).status_code in {502, 503, 504}


def test_somebody_else_sees_nothing_of_it(client: Client, read: TradingAccount) -> None:
    client.force_login(User.objects.create_user("ravi"))
    for name in ("positions", "holdings", "funds", "trades", "broker-orders", "drift"):
        assert client.get(path(read, name)).status_code in {403, 404}


@pytest.mark.parametrize("name", ["trade", "position", "portfolioreading", "postback"])
def test_the_admin_shows_what_was_told_and_changes_none_of_it(client: Client, read: TradingAccount, name: str) -> None:
    client.force_login(User.objects.create_superuser("root"))
    assert client.get(f"/admin/orders/{name}/").status_code == 200
    assert client.get(f"/admin/orders/{name}/add/").status_code == 403
