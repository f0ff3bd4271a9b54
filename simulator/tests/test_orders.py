"""The official client and its orders."""

import time
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
import requests
from kiteconnect import KiteConnect
from kiteconnect import exceptions as kite_exceptions

from simulator.options import SimulatorOptions
from simulator.tests.running import OPEN, RunningSimulator, SetClock, running

SHARE: dict[str, Any] = {"exchange": "NSE", "tradingsymbol": "INFY", "product": "CNC", "quantity": 10}
OPTION: dict[str, Any] = {"exchange": "NFO", "tradingsymbol": "NIFTY26D0126000CE", "product": "NRML", "quantity": 65}
BUY = {"transaction_type": "BUY"}
MARKET = {"order_type": "MARKET", "market_protection": -1}
FAR = {"order_type": "LIMIT", "price": 1500}


def settled(kite: KiteConnect, order_id: str) -> dict[str, Any]:
    """The order, once nothing is under way."""
    for _ in range(200):
        order: dict[str, Any] = kite.order_history(order_id)[-1]
        if order["status"] in {"COMPLETE", "CANCELLED", "REJECTED", "OPEN", "TRIGGER PENDING"}:
            return order
        time.sleep(0.01)
    raise AssertionError(f"still {order['status']}")


def test_a_day_with_the_official_client(trader: KiteConnect) -> None:
    bought = trader.place_order("regular", **SHARE, **BUY, **MARKET, tag="morning")
    resting = trader.place_order("regular", **SHARE, **BUY, **FAR)
    assert settled(trader, bought)["status"] == "COMPLETE"
    assert settled(trader, resting)["status"] == "OPEN"

    assert trader.modify_order("regular", resting, price=1510.5, quantity=12) == resting
    changed = settled(trader, resting)
    assert (changed["price"], changed["quantity"]) == (1510.5, 12)
    assert trader.cancel_order("regular", resting) == resting
    assert settled(trader, resting)["status"] == "CANCELLED"

    book = {order["order_id"]: order for order in trader.orders()}
    assert list(book) == [bought, resting]
    assert isinstance(book[bought]["order_timestamp"], datetime)
    assert (book[bought]["tag"], len(bought)) == ("morning", 19)
    (trade,) = trader.trades()
    assert trader.order_trades(bought) == [trade]
    assert trader.order_trades(resting) == []
    (position,) = trader.positions()["net"]
    assert (position["quantity"], position["average_price"]) == (10, trade["average_price"])
    assert {h["tradingsymbol"]: h["quantity"] for h in trader.holdings()} == {"INFY": 100, "RELIANCE": 50, "SBIN": 200}
    assert trader.margins("equity")["net"] == pytest.approx(1_000_000 - 10 * trade["average_price"])


def test_an_order_the_freeze_quantity_forbids_is_sliced_when_asked(trader: KiteConnect) -> None:
    more = {"transaction_type": "BUY", "order_type": "LIMIT", "price": 5}
    large = OPTION | {"quantity": 65 * 28}
    with pytest.raises(kite_exceptions.InputException) as refused:
        trader.place_order("regular", **large, **more)
    assert str(refused.value) == (
        "The order quantity 1820 (28 lots) is higher than the maximum quantity of 1800 (27 lots) "
        "allowed by the exchanges."
    )
    placed = trader.place_autoslice_order("regular", **large, **more, tag="cut")
    children = [settled(trader, child["order_id"]) for child in placed["children"]]
    assert [child["quantity"] for child in children] == [1755, 65]
    assert children[0]["tags"] == ["cut", "autoslice", f"autoslice:{placed['order_id']}"]


def test_a_position_is_converted_and_a_second_time_again(trader: KiteConnect) -> None:
    settled(trader, trader.place_order("regular", **(SHARE | {"product": "MIS"}), **BUY, **MARKET))
    change = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "position_type": "day"}
    for _ in range(2):
        assert trader.convert_position(**change, quantity=4, old_product="MIS", new_product="CNC") is True
    rows = {row["product"]: row["quantity"] for row in trader.positions()["net"]}
    assert rows == {"MIS": 2, "CNC": 8}
    with pytest.raises(kite_exceptions.InputException, match="less than that quantity"):
        trader.convert_position(**change, quantity=4, old_product="MIS", new_product="CNC")


def test_margins_and_charges_are_told_without_an_order(trader: KiteConnect) -> None:
    order = {**OPTION, "transaction_type": "SELL", "variety": "regular", "order_type": "LIMIT", "price": 100}
    (margin,) = trader.order_margins([order])
    assert margin["total"] == margin["span"] + margin["exposure"] > 100_000
    bought = order | {"transaction_type": "BUY"}
    basket = trader.basket_order_margins([order, bought])
    assert basket["initial"]["total"] == pytest.approx(margin["total"] + 6500)
    assert basket["final"]["total"] < basket["initial"]["total"]
    (note,) = trader.get_virtual_contract_note([order | {"order_id": "1", "average_price": 100}])
    assert note["charges"]["total"] > 20
    assert trader.orders() == []


def test_the_lists_of_a_user_without_orders_are_empty(trader: KiteConnect) -> None:
    assert (trader.orders(), trader.trades(), trader.positions()) == ([], [], {"net": [], "day": []})
    assert trader.get_auction_instruments() == []


def test_the_path_counts_and_not_what_the_form_repeats(trader: KiteConnect) -> None:
    headers = {"Authorization": f"token {trader.api_key}:{trader.access_token}"}
    form = {**SHARE, **BUY, **FAR, "variety": "amo", "order_id": "1"}
    answer = requests.post(f"{trader.root}/orders/regular", data=form, headers=headers, timeout=5).json()
    assert trader.order_history(answer["data"]["order_id"])[0]["variety"] == "regular"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/orders"), ("POST", "/orders/regular"), ("PUT", "/orders/regular/1"), ("DELETE", "/orders/regular/1"),
        ("GET", "/trades"), ("GET", "/portfolio/positions"), ("PUT", "/portfolio/positions"),
        ("GET", "/portfolio/holdings"), ("POST", "/margins/orders"), ("POST", "/charges/orders"),
    ],
)  # fmt: skip
def test_nothing_of_it_is_for_who_is_not_logged_in(trading_simulator: RunningSimulator, method: str, path: str) -> None:
    headers = {"Authorization": "token simkey1:wrong"}
    answer = requests.request(method, trading_simulator.http_root + path, headers=headers, timeout=5)
    assert (answer.status_code, answer.json()["error_type"]) == (403, "TokenException")


@pytest.mark.parametrize("body", [b"", b"\xff\xfe", b"quantity=%ff", b"[1]", b"price=1e999999&quantity=9" * 1000])
@pytest.mark.parametrize(
    "path", ["POST /orders/regular", "POST /orders/../x", "PUT /portfolio/positions", "POST /margins/basket"]
)
def test_nonsense_is_refused_in_the_envelope(trader: KiteConnect, path: str, body: bytes) -> None:
    method, _, where = path.partition(" ")
    headers = {
        "Authorization": f"token {trader.api_key}:{trader.access_token}",
        "Content-Type": "application/x-www-form-urlencoded; charset=nonsense",
    }
    answer = requests.request(method, trader.root + where, data=body, headers=headers, timeout=5)
    assert answer.status_code in {400, 404, 405}, answer.text
    if body != b"[1]":
        assert answer.json()["error_type"] in {"InputException", "GeneralException"}


def test_the_next_morning_the_book_is_empty_and_the_shares_have_come(options: SimulatorOptions) -> None:
    clock = SetClock(OPEN)
    rules = replace(options.rules, token_flush=False)
    with running(replace(options, rules=rules, order_ms=0, frame_ms=10), clock) as simulator:
        kite = simulator.logged_in()
        settled(kite, kite.place_order("regular", **SHARE, **BUY, **MARKET))
        resting = kite.place_order("regular", **SHARE, **BUY, **FAR)
        clock.moment += 24 * 3600
        patience = time.monotonic() + 20
        while kite.orders() and time.monotonic() < patience:
            time.sleep(0.05)
        assert (kite.orders(), kite.trades(), kite.positions()["net"]) == ([], [], [])
        (infy,) = [h for h in kite.holdings() if h["tradingsymbol"] == "INFY"]
        assert (infy["quantity"], infy["t1_quantity"]) == (100, 10)
        with pytest.raises(kite_exceptions.GeneralException, match="Couldn't find"):
            kite.order_history(resting)
        assert settled(kite, kite.place_order("regular", **SHARE, **BUY, **MARKET))["status"] == "COMPLETE"
