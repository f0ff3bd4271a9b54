"""One order, told of by several ways at once: whatever comes in whatever order, what is known only grows."""

import itertools
import logging
import random
import threading
from datetime import date
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts import clock
from accounts.models import TradingAccount
from orders import ledger
from orders.arrivals import look_through
from orders.broker_orders import record_book, record_broker_update
from orders.models import BrokerOrder, OrderTask, PortfolioReading, TradingState
from orders.states import Status
from orders.tests.conftest import Submit

FIELDS = ("status", "filled_quantity", "price")


@pytest.fixture(autouse=True)
def today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "today", lambda: date(2026, 11, 25))


def row(**changes: Any) -> dict[str, Any]:
    return {
        "order_id": "2511000000000009",
        "status": "OPEN",
        "exchange": "NFO",
        "tradingsymbol": "NIFTY26DEC26000CE",
        "transaction_type": "BUY",
        "quantity": 75,
        "filled_quantity": 0,
        "product": "NRML",
        "price": 120.5,
        "order_timestamp": "2026-11-25 10:42:07",
    } | changes


def known() -> tuple[Any, ...]:
    found: tuple[Any, ...] = BrokerOrder.objects.values_list(*FIELDS).get()
    return found


def test_f37_in_whatever_order_the_news_come_the_end_is_the_same(account: TradingAccount) -> None:
    news = [
        row(),
        row(filled_quantity=25, exchange_update_timestamp="2026-11-25 10:42:08"),
        row(filled_quantity=25, price=121, order_timestamp="2026-11-25 10:42:09"),
        row(status="COMPLETE", filled_quantity=75, price=121, order_timestamp="2026-11-25 10:42:09"),
    ]
    ends = set()
    for order in itertools.permutations(news):
        BrokerOrder.objects.all().delete()
        for one in order:
            record_broker_update(account, one, source="socket")
        status, filled, price = known()
        ends.add((status, filled, str(price)))
    assert ends == {("COMPLETE", 75, "121.0000")}


def test_news_from_before_a_modification_do_not_bring_the_old_price_back(account: TradingAccount) -> None:
    before, after = row(), row(price=121, order_timestamp="2026-11-25 10:42:09")
    for one in (after, before):
        record_broker_update(account, one, source="socket")
    assert str(known()[2]) == "121.0000"


def test_an_update_is_no_status(account: TradingAccount) -> None:
    record_broker_update(account, row(status="UPDATE", filled_quantity=25), source="socket")
    assert known()[:2] == ("OPEN", 25)
    record_broker_update(account, row(status="TRIGGER PENDING", filled_quantity=25), source="book")
    record_broker_update(account, row(status="UPDATE", filled_quantity=50), source="socket")
    assert known()[:2] == ("TRIGGER PENDING", 50)
    record_broker_update(account, row(status="CANCELLED", filled_quantity=50), source="book")
    record_broker_update(account, row(status="UPDATE", filled_quantity=25), source="socket")
    assert known()[:2] == ("CANCELLED", 50)


def test_what_one_way_does_not_tell_takes_nothing_away(account: TradingAccount) -> None:
    whole = {"exchange_order_id": "1100", "parent_order_id": "77", "tag": "mine", "exchange_timestamp": "2026-11-25"}
    record_broker_update(account, row(**whole), source="book")
    record_broker_update(account, row(filled_quantity=25), source="socket")
    order = BrokerOrder.objects.get()
    assert (order.exchange_order_id, order.parent_order_id, order.tag) == ("1100", "77", "mine")
    assert order.exchange_timestamp is not None


def test_a_fill_says_that_the_positions_are_to_be_read_again_and_nothing_else_does(account: TradingAccount) -> None:
    record_broker_update(account, row(), source="socket")
    record_broker_update(account, row(price=121), source="socket")
    assert not PortfolioReading.objects.exists()
    record_broker_update(account, row(filled_quantity=25), source="socket")
    first = PortfolioReading.objects.get().wanted_at
    assert first is not None
    record_broker_update(account, row(filled_quantity=25), source="socket")
    assert PortfolioReading.objects.get().wanted_at == first
    record_broker_update(account, row(filled_quantity=50), source="socket")
    assert PortfolioReading.objects.get().wanted_at != first


def test_an_orphan_is_told_once(account: TradingAccount, caplog: pytest.LogCaptureFixture) -> None:
    orphan = row(tag="T" + "X" * 19)
    for _ in range(3):
        record_broker_update(account, orphan, source="book")
        look_through(account, [orphan])
    assert BrokerOrder.objects.get().orphan_since is not None
    told = [one for one in caplog.records if one.levelno == logging.CRITICAL]
    assert len(told) == 1
    assert "2511000000000009" in told[0].getMessage()
    assert TradingState.objects.get(account=account).state == TradingState.State.REDUCING


def test_an_orphan_is_told_of_once_whatever_its_parts_and_orders_of_others_are_none(account: TradingAccount) -> None:
    tag = "T" + "X" * 19
    rows = [
        row(order_id="1", tag=tag, tags=[tag, "autoslice", "autoslice:1"]),
        row(order_id="2", tag="autoslice", tags=["autoslice", "autoslice:1", tag]),
        row(order_id="3", tag=tag, parent_order_id="1"),
        row(order_id="4", tag="somebody"),
    ]
    for one in rows:
        record_broker_update(account, one, source="book")
    look_through(account, rows)
    assert [order.order_id for order in BrokerOrder.objects.exclude(orphan_since=None)] == ["1"]


def test_an_order_of_unknown_outcome_that_is_heard_of_is_looked_up_at_once(
    account: TradingAccount, submit: Submit
) -> None:
    task = submit()
    claim = ledger.claim(account, "w")
    assert claim is not None
    ledger.mark(claim)
    ledger.leave_unknown(claim, "timeout", "no answer in 7 s")
    before = OrderTask.objects.get().recon_after
    heard = row(tag=task.tag)
    record_broker_update(account, heard, source="socket")
    look_through(account, [heard])
    after = OrderTask.objects.get()
    assert after.status == Status.UNKNOWN, "the book decides, and nothing else"
    assert before is not None
    assert after.recon_after is not None
    assert after.recon_after < before


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("seed", [1, 2])
def test_f40_news_that_come_by_three_ways_at_once_are_one_order_each(account: TradingAccount, seed: int) -> None:
    news = [
        row(order_id=str(number), **change)
        for number in range(10)
        for change in (
            {},
            {"filled_quantity": 25, "exchange_update_timestamp": "2026-11-25 10:42:08"},
            {"status": "UPDATE", "filled_quantity": 50, "exchange_update_timestamp": "2026-11-25 10:42:09"},
            {"status": "COMPLETE", "filled_quantity": 75, "exchange_update_timestamp": "2026-11-25 10:42:10"},
        )
    ]

    ends: list[str] = []

    def tell(source: str, number: int) -> None:
        mine = list(news)
        random.Random(seed * 10 + number).shuffle(mine)
        try:
            for one in mine:
                record_broker_update(account, one, source=source)
            ends.append("ended")
        finally:
            connection.close()

    tellers = [
        threading.Thread(target=tell, args=(source, number))
        for number, source in enumerate(("socket", "socket", "history", "book"))
    ]
    for teller in tellers:
        teller.start()
    for teller in tellers:
        teller.join(60)
    assert ends == ["ended"] * 4
    assert set(BrokerOrder.objects.values_list("status", "filled_quantity")) == {("COMPLETE", 75)}
    assert BrokerOrder.objects.count() == 10


def test_only_the_rows_of_a_book_are_looked_at_and_not_all_that_ever_were(account: TradingAccount) -> None:
    record_broker_update(account, row(order_id="1"), source="book")
    record_broker_update(account, row(order_id="2"), source="book")
    with CaptureQueriesContext(connection) as asked:
        record_book(account, [row(order_id="2")])
    assert len(asked) == 1
    assert "IN ('2')" in asked[0]["sql"]


def test_a_book_of_orders_never_heard_of_is_taken_over_in_few_steps(account: TradingAccount, submit: Submit) -> None:
    task = submit()
    rows = [row(order_id=str(number), tag=task.tag if number == 7 else None) for number in range(1, 301)]
    rows += [row(order_id="1"), {"order_id": "400"}]
    with CaptureQueriesContext(connection) as asked:
        readable = record_book(account, rows)
    assert len(asked) < 10
    assert len(readable) == 301
    assert BrokerOrder.objects.count() == 300
    assert BrokerOrder.objects.get(order_id="7").task == task
    assert not PortfolioReading.objects.exists()
    record_book(account, [row(order_id="500", filled_quantity=25)])
    assert PortfolioReading.objects.get().wanted_at is not None


@pytest.mark.django_db(transaction=True)
def test_two_that_read_the_same_first_book_at_once_leave_each_order_once(account: TradingAccount) -> None:
    rows = [row(order_id=str(number), filled_quantity=25) for number in range(200)]
    ends: list[int] = []

    def read(seed: int) -> None:
        mine = list(rows)
        random.Random(seed).shuffle(mine)
        try:
            ends.append(len(record_book(account, mine)))
        finally:
            connection.close()

    readers = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join(60)
    assert ends == [200] * 4
    assert BrokerOrder.objects.count() == 200
