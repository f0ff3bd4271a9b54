"""What can go wrong with an order, on the wire; and the list of what the broker has really taken."""

import time
from collections.abc import Callable
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect import exceptions as kite_exceptions

from simulator.control import ControlRefused, SimulatorControl
from simulator.rest.book_views import BookView
from simulator.tests.running import RunningSimulator
from simulator.tests.trading import TradingFloor
from simulator.trading.terms import Product

LIMIT: dict[str, Any] = {
    "exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "product": "CNC", "quantity": 10,
    "order_type": "LIMIT",
}  # fmt: skip
FAR, NEAR = LIMIT | {"price": 1500}, LIMIT | {"price": 1700}
PLACE = {"method": "POST", "path": "/orders/{variety}"}
BOOK = {"method": "GET", "path": "/orders"}
TIMED_OUT = "Order request timed out. Please check the order book and confirm before placing again."


@pytest.fixture
def control(trading_simulator: RunningSimulator, trader: KiteConnect) -> SimulatorControl:
    """The control API; the trader has it emptied before and after."""
    return trading_simulator.control()


def until(condition: Callable[[], bool], seconds: float = 5.0) -> None:
    patience = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < patience, "it never came true"
        time.sleep(0.01)


def last(kite: KiteConnect, order_id: str) -> dict[str, Any]:
    row: dict[str, Any] = kite.order_history(order_id)[-1]
    return row


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("html", {"status": 502}),
        ("error", {"status": 503}),
        ("error", {"status": 400, "message": TIMED_OUT}),
        ("hang", {}),
        ("reset", {}),
        ("delay", {"seconds": 1}),
    ],
)
def test_an_order_is_taken_and_its_client_does_not_learn_it(
    control: SimulatorControl, trader: KiteConnect, kind: str, fields: dict[str, Any]
) -> None:
    control.add(kind, **PLACE, after_work=True, times=1, **fields)
    trader.timeout = 0.5
    with pytest.raises((kite_exceptions.KiteException, requests.RequestException)) as told:
        trader.place_order("regular", **FAR, tag="lost")
    trader.timeout = 10
    if kind == "error" and fields["status"] == 400:
        assert str(told.value) == TIMED_OUT
    assert [(order.tag, order.times) for order in control.orders()] == [("lost", 1)]
    until(lambda: [order["tag"] for order in trader.orders()] == ["lost"])


@pytest.mark.parametrize("kind", ["error", "html"])
def test_a_429_takes_no_order(control: SimulatorControl, trader: KiteConnect, kind: str) -> None:
    control.add(kind, **PLACE, status=429, times=1)
    with pytest.raises(kite_exceptions.KiteException):
        trader.place_order("regular", **FAR)
    assert control.orders() == []


def test_an_order_appears_in_the_book_late(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("late", on="order", seconds=1, times=1)
    order_id = trader.place_order("regular", **NEAR)
    assert trader.orders() == []
    with pytest.raises(kite_exceptions.GeneralException, match="Couldn't find that `order_id`"):
        trader.order_history(order_id)
    assert len(control.orders()) == 1
    until(lambda: [order["status"] for order in trader.orders()] == ["COMPLETE"])


def test_it_hangs_and_appears_late(control: SimulatorControl, trader: KiteConnect) -> None:
    control.script({"kind": "hang", "after_work": True, "times": 1, **PLACE})
    control.add("late", on="order", seconds=1.5, times=1)
    trader.timeout = 0.2
    with pytest.raises(requests.ReadTimeout):
        trader.place_order("regular", **FAR, tag="slow")
    assert trader.orders() == []
    until(lambda: [order["tag"] for order in trader.orders()] == ["slow"])


def test_the_book_is_empty_short_or_stale_and_says_it_is_well(control: SimulatorControl, trader: KiteConnect) -> None:
    first = trader.place_order("regular", **NEAR)
    second = trader.place_order("regular", **NEAR)
    until(lambda: last(trader, second)["status"] == "COMPLETE")
    control.script(
        {"kind": "empty_book", "times": 1, **BOOK},
        {"kind": "short_book", "orders": 1, "times": 1, **BOOK},
        {"kind": "stale_book", "seconds": 3600, "times": 1, **BOOK},
        {"kind": "pass", "times": 1, **BOOK},
    )
    seen = [[order["order_id"] for order in trader.orders()] for _ in range(4)]
    assert seen == [[], [second], [], [first, second]]


def test_the_trades_and_positions_are_empty_too(control: SimulatorControl, trader: KiteConnect) -> None:
    order_id = trader.place_order("regular", **NEAR)
    until(lambda: last(trader, order_id)["status"] == "COMPLETE")
    control.add("empty_book", group="portfolio")
    control.add("empty_book", path="/trades")
    assert (trader.trades(), trader.positions(), trader.holdings()) == ([], {"net": [], "day": []}, [])
    control.clear()
    assert len(trader.trades()) == len(trader.positions()["net"]) == 1


def test_a_stale_book_shows_an_order_as_it_was(floor: TradingFloor) -> None:
    order = floor.order("NSE:INFY", "BUY", 10, price=1500)
    floor.system_clock.moment += 10
    floor.cancel(order)
    now = floor.system_clock.moment
    seen = [BookView(as_of=now - ago).book(floor.account) for ago in (11, 5, 0)]
    assert [[row.data["status"] for row in rows] for rows in seen] == [[], ["OPEN"], ["CANCELLED"]]


def test_stale_positions_lack_what_was_traded_since(floor: TradingFloor) -> None:
    floor.show("NSE:INFY", bids=[(1600, 10)], offers=[(1600, 50)], last=1600)
    floor.order("NSE:INFY", "BUY", 20, price=1600)
    floor.system_clock.moment += 10
    floor.order("NSE:INFY", "BUY", 30, price=1600)
    floor.order("NSE:INFY", "SELL", 10, price=1600)
    now = floor.system_clock.moment
    listing = floor.desk.listings.find("NSE", "INFY")
    assert listing is not None
    seen = [BookView(as_of=now - ago).portfolio(floor.account) for ago in (11, 5, 0)]
    assert [portfolio.quantity_of(listing, Product.MIS) for portfolio in seen] == [0, 20, 40]
    assert floor.account.portfolio.quantity_of(listing, Product.MIS) == 40


def test_the_broker_books_other_terms_under_our_tag(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("alter", on="order", tradingsymbol="SBIN", quantity=7, transaction_type="SELL", times=1)
    trader.place_order("regular", **FAR, tag="ours")
    (order,) = trader.orders()
    assert (order["tradingsymbol"], order["quantity"], order["transaction_type"]) == ("SBIN", 7, "SELL")
    (taken,) = control.orders(tag="ours")
    assert (taken.parameters["tradingsymbol"], taken.parameters["quantity"]) == ("INFY", 10)


def test_the_broker_books_it_twice(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("twin", on="order", tag="ours", times=1)
    first = trader.place_order("regular", **FAR, tag="ours")
    trader.place_order("regular", **FAR, tag="other")
    until(lambda: len(trader.orders()) == 3)
    ours = control.orders(tag="ours")
    assert [(order.order_id == first, order.sent, order.times) for order in ours] == [
        (True, True, 2),
        (False, False, 2),
    ]
    assert [order.times for order in control.orders(tag="other")] == [1]


def test_another_order_is_booked_under_our_tag(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("twin", on="order", tradingsymbol="SBIN", transaction_type="SELL", quantity=3, times=1)
    trader.place_order("regular", **FAR, tag="ours")
    until(lambda: len(trader.orders()) == 2)
    booked = [(order["tag"], order["tradingsymbol"], order["quantity"]) for order in trader.orders()]
    assert booked == [("ours", "INFY", 10), ("ours", "SBIN", 3)]


def test_the_exchange_rejects_what_was_accepted(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("reject", on="order", seconds=0.2, message="16283 : no such price", times=1)
    order_id = trader.place_order("regular", **FAR)
    until(lambda: last(trader, order_id)["status"] == "REJECTED")
    assert [row["status"] for row in trader.order_history(order_id)][-2:] == ["OPEN", "REJECTED"]
    assert last(trader, order_id)["status_message"] == "16283 : no such price"


def test_the_exchange_cancels_the_rest_after_a_partial_fill(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("cancel", on="order", filled_quantity=4, times=1)
    order_id = trader.place_order("regular", **FAR)
    until(lambda: last(trader, order_id)["status"] == "CANCELLED")
    order = last(trader, order_id)
    assert (order["filled_quantity"], order["cancelled_quantity"], order["average_price"]) == (4, 6, 1500)
    assert trader.positions()["net"][0]["quantity"] == 4


@pytest.mark.parametrize(("quantity", "status"), [(None, "COMPLETE"), (4, "CANCELLED")])
def test_a_cancel_comes_too_late(
    control: SimulatorControl, trader: KiteConnect, quantity: int | None, status: str
) -> None:
    control.add("fill_on_cancel", on="order", **({"quantity": quantity} if quantity else {}))
    order_id = trader.place_order("regular", **FAR)
    until(lambda: last(trader, order_id)["status"] == "OPEN")
    assert trader.cancel_order("regular", order_id) == order_id
    until(lambda: last(trader, order_id)["status"] == status)
    assert last(trader, order_id)["filled_quantity"] == (quantity or 10)


def test_an_order_is_stuck_on_its_way_and_cannot_be_changed(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("stick", on="order", status="OPEN PENDING", seconds=1, times=1)
    order_id = trader.place_order("regular", **FAR)
    until(lambda: last(trader, order_id)["status"] == "OPEN PENDING")
    with pytest.raises(kite_exceptions.InputException, match="being processed"):
        trader.cancel_order("regular", order_id)
    until(lambda: last(trader, order_id)["status"] == "OPEN")


def test_some_slices_are_refused_and_the_others_stand(control: SimulatorControl, trader: KiteConnect) -> None:
    passes = {"on": "order", "kind": "pass", "times": 1}
    control.script(passes, {"on": "order", "kind": "refuse", "message": "RMS: blocked", "times": 2}, passes)
    placed = trader.place_autoslice_order(
        "regular", exchange="NFO", tradingsymbol="NIFTY26D0126000CE", transaction_type="BUY", product="NRML",
        order_type="LIMIT", price=5, quantity=1755 * 4, tag="cut",
    )  # fmt: skip
    errors = [child.get("error", {}).get("message") for child in placed["children"]]
    assert errors == [None, "RMS: blocked", "RMS: blocked", None]
    refused = placed["children"][1]["error"]
    assert refused == {"code": 400, "error_type": "OrderException", "message": "RMS: blocked", "data": None}
    assert [(order.root, order.times) for order in control.orders(tag="cut")] == [(placed["order_id"], 1)] * 2


def test_a_refusal_on_request_takes_no_order(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("refuse", on="order", status=400, error_type="MarginException", message="Insufficient funds.", times=1)
    with pytest.raises(kite_exceptions.GeneralException, match=r"Insufficient funds\.") as refused:
        trader.place_order("regular", **FAR)
    assert refused.value.code == 400
    assert (control.orders(), trader.orders()) == ([], [])


def test_one_order_and_one_call_each_take_their_own_rule(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("html", **PLACE, status=502, after_work=True, times=1)
    number = control.add("reject", on="order", times=1)
    with pytest.raises(kite_exceptions.DataException):
        trader.place_order("regular", **FAR)
    until(lambda: [order["status"] for order in trader.orders()] == ["REJECTED"])
    assert control.hits(number) == 1


def test_by_chance_the_same_orders_fare_ill_for_the_same_seed(control: SimulatorControl, trader: KiteConnect) -> None:
    fates = []
    for _ in range(2):
        control.clear()
        control.reset_orders()
        control.add("refuse", on="order", probability=0.4, seed=11)
        fate = []
        for _ in range(30):
            try:
                trader.place_order("regular", **FAR)
                fate.append(True)
            except kite_exceptions.OrderException:
                fate.append(False)
        fates.append(fate)
    assert fates[0] == fates[1]
    assert 5 < fates[0].count(False) < 20


def test_the_list_of_what_was_taken_tells_whose_when_and_how_often(
    control: SimulatorControl, trader: KiteConnect
) -> None:
    before = time.time()
    first = trader.place_order("regular", **NEAR, tag="twice")
    second = trader.place_order("regular", **FAR, tag="twice")
    trader.place_order("regular", **FAR)
    trader.modify_order("regular", second, price=1501)
    with pytest.raises(kite_exceptions.InputException):
        trader.place_order("regular", **(FAR | {"quantity": 0}))
    orders = control.orders(user_id="AB1234")
    assert [(order.order_id, order.times) for order in orders[:2]] == [(first, 2), (second, 2)]
    assert (len(orders), orders[2].tag, orders[2].times) == (3, None, 1)
    assert all(before <= order.arrived_at <= time.time() and order.sent for order in orders)
    assert orders[1].parameters["price"] == 1500
    assert orders[1].modifications == 1
    assert control.orders(user_id="NOBODY") == []


def test_the_moment_of_arrival_is_before_what_delays_the_work(control: SimulatorControl, trader: KiteConnect) -> None:
    control.add("delay", **PLACE, seconds=0.3, times=1)
    trader.place_order("regular", **FAR)
    assert time.time() - control.orders()[0].arrived_at >= 0.3


@pytest.mark.parametrize(
    "rule",
    [
        {"on": "order", "kind": "hang"},
        {"on": "order", "kind": "reject", "path": "/orders"},
        {"on": "order", "kind": "alter"},
        {"on": "order", "kind": "alter", "transaction_type": "HOLD"},
        {"on": "order", "kind": "stick", "status": "OPEN"},
        {"on": "order", "kind": "refuse", "status": 200},
        {"on": "order", "kind": "twin", "copies": 0},
        {"on": "update", "kind": "late", "seconds": -1},
        {"on": "postback", "kind": "forge", "valid_checksum": "yes"},
        {"on": "postback", "kind": "drop", "method": "POST"},
        {"kind": "short_book", "orders": 0},
        {"on": "handshake", "kind": "empty_book"},
    ],
)
def test_a_rule_about_orders_that_makes_no_sense_is_refused(control: SimulatorControl, rule: dict[str, Any]) -> None:
    with pytest.raises(ControlRefused):
        control.script(rule)
    assert control.rules() == []
