"""What is refused before there is an order, in the broker's words."""

from typing import Any

import pytest

from simulator.clock import SessionCalendar
from simulator.market import Market
from simulator.refusals import Refused
from simulator.rules import Rules
from simulator.tests.running import CLOSED
from simulator.tests.trading import INFY, NIFTY_CALL, NIFTY_FUTURE, TradingFloor
from simulator.trading.hours import TradingHours
from simulator.trading.terms import read_terms, read_variety

LOWER = "Your order price is lower than the current lower circuit limit of 1456.70."
UPPER = "Your order price is higher than the current upper circuit limit of 1780.40."


def refusal(floor: TradingFloor, key: str, side: str, quantity: Any, **more: Any) -> Refused:
    with pytest.raises(Refused) as refused:
        floor.place(key, side, quantity, **more)
    assert floor.account.orders == {}
    return refused.value


@pytest.mark.parametrize(
    ("quantity", "more", "message"),
    [
        (10, {"tradingsymbol": "NOBODY"}, "The instrument you are placing an order for has either expired"),
        (10, {"tradingsymbol": "NIFTY 50"}, "The instrument you are placing an order for has either expired"),
        (10, {"exchange": ""}, "Missing or empty field `exchange`"),
        (10, {"transaction_type": "HOLD"}, "Invalid `transaction_type`."),
        (10, {"order_type": "STOP"}, "Invalid `order_type`."),
        (10, {"validity": "GTC"}, "Invalid `validity`."),
        (10, {"product": "CO"}, "Invalid `product`."),
        (10, {"product": "NRML"}, "Product NRML is not allowed for NSE."),
        ("", {}, "Missing or empty field `quantity`"),
        (0, {}, "Invalid `quantity`."),
        (-1, {}, "Invalid `quantity`."),
        ("1.5", {}, "Invalid `quantity`."),
        ("٣", {}, "Invalid `quantity`."),
        (10**10, {}, "Invalid `quantity`."),
        (10, {"price": "much"}, "Invalid `price`."),
        (10, {"price": "NaN"}, "Invalid `price`."),
        (10, {"price": "-1"}, "Invalid `price`."),
        (10, {"price": ""}, "Missing or empty field `price`"),
        (
            10,
            {"price": "1600.05"},
            "Tick size for this script is 0.10. Kindly enter price in the multiple of",
        ),
        (10, {"price": "1600.005"}, "Invalid `price`."),
        (10, {"price": "1400"}, LOWER),
        (10, {"price": "1900"}, UPPER),
        (10, {"order_type": "SL", "trigger_price": ""}, "Missing or empty field `trigger_price`"),
        (10, {"order_type": "SL", "trigger_price": "1500"}, "Trigger price for stoploss buy orders should be higher"),
        (10, {"order_type": "SL", "trigger_price": "1700"}, "Trigger price for stoploss buy orders cannot be above"),
        (
            10,
            {"order_type": "MARKET", "market_protection": 0},
            "Market orders without market protection are",
        ),
        (10, {"order_type": "MARKET", "market_protection": 101}, "Invalid `market_protection`."),
        (10, {"order_type": "MARKET", "market_protection": -2}, "Invalid `market_protection`."),
        (10, {"validity": "TTL"}, "Invalid `validity_ttl`."),
        (100, {"disclosed_quantity": 9}, "Invalid `disclosed_quantity`."),
        (100, {"disclosed_quantity": 101}, "Invalid `disclosed_quantity`."),
        (10, {"tag": "x" * 21}, "`tag` should be max 8 characters"),
        (10, {"tag": "a;b"}, "Invalid `tag`."),
        (10, {"variety": "bo"}, "Invalid `variety`."),
        (10, {"variety": "auction", "auction_number": "1"}, "Invalid `auction_number`."),
        (10, {"variety": "co"}, "Missing or empty field `trigger_price`"),
        (10, {"variety": "iceberg", "iceberg_legs": 1, "iceberg_quantity": 10}, "Invalid `iceberg_legs`."),
        (10, {"variety": "iceberg", "iceberg_legs": 51, "iceberg_quantity": 1}, "Invalid `iceberg_legs`."),
        (10, {"variety": "iceberg", "iceberg_legs": 3, "iceberg_quantity": 3}, "Invalid `iceberg_quantity`."),
        (10, {"variety": "amo"}, "After market orders (AMO) are not allowed while the market is open."),
    ],
)
def test_a_share_order_that_makes_no_sense_is_a_400(
    floor: TradingFloor, quantity: Any, more: dict[str, Any], message: str
) -> None:
    refused = refusal(floor, INFY, "BUY", quantity, **({"price": 1600} | more))
    assert (refused.status, refused.error_type) == (400, "InputException")
    assert refused.message.startswith(message)


@pytest.mark.parametrize(
    ("quantity", "more", "message"),
    [
        (64, {}, "Quantity should be in multiples of the lot size 65."),
        (65 * 28, {}, "The order quantity 1820 (28 lots) is higher than the maximum quantity of 1800 (27 lots)"),
        (65 * 271, {"autoslice": "true"}, "Order quantity 17615 needs more than 10 slices."),
        (65, {"product": "CNC"}, "Product CNC is not allowed for NFO."),
        (130, {"disclosed_quantity": 65}, "Invalid `disclosed_quantity`."),
    ],
)
def test_a_derivative_order_that_makes_no_sense_is_a_400(
    floor: TradingFloor, quantity: int, more: dict[str, Any], message: str
) -> None:
    refused = refusal(floor, NIFTY_CALL, "BUY", quantity, **({"price": 100, "product": "NRML"} | more))
    assert refused.message.startswith(message)


def test_the_freeze_quantity_counts_for_a_leg_and_not_for_the_iceberg(floor: TradingFloor) -> None:
    legs = {"variety": "iceberg", "iceberg_legs": 2, "iceberg_quantity": 65 * 20}
    assert floor.place(NIFTY_CALL, "BUY", 65 * 40, price=5, product="NRML", **legs).order_id


def test_a_float_with_noise_is_the_price_it_means(floor: TradingFloor) -> None:
    assert floor.order(INFY, "BUY", 10, price="1573.1000000001").terms.price == 157310


@pytest.mark.parametrize(("key", "product"), [(INFY, "CNC"), (INFY, "MIS"), (NIFTY_FUTURE, "NRML")])
def test_regular_orders_are_for_the_session_only(floor: TradingFloor, key: str, product: str) -> None:
    floor.clock.moment = CLOSED
    more = {"quantity": 65 if key == NIFTY_FUTURE else 10, "product": product}
    with pytest.raises(Refused, match="arkets are not open") as refused:
        floor.place(key, "BUY", **more)  # type: ignore[arg-type]
    assert ("MIS (intraday) are blocked" in refused.value.message) == (product == "MIS")


@pytest.mark.parametrize(
    ("switch", "more"),
    [("market_protection", {"market_protection": 0}), ("session_checks", {})],
)
def test_each_check_has_its_switch(still_market: Market, switch: str, more: dict[str, Any]) -> None:
    floor = TradingFloor(still_market, rules=Rules(rate_limits=False, **{switch: False}))
    if switch == "session_checks":
        floor.clock.moment = CLOSED
    assert floor.place(INFY, "BUY", 10, **more).order_id


def test_orders_for_the_next_session_have_hours_of_their_own(calendar: SessionCalendar) -> None:
    hours = TradingHours(calendar)
    at = {
        name: CLOSED + (offset - 20) * 3600 for name, offset in {"15:30": 15.5, "15:50": 15.83, "16:30": 16.5}.items()
    }
    assert not hours.takes_amo("NSE", at["15:30"])
    assert not hours.takes_amo("NSE", at["15:50"])
    assert hours.takes_amo("NFO", at["15:50"])
    assert hours.takes_amo("NSE", at["16:30"])
    assert hours.takes_amo("NSE", CLOSED + 13 * 3600 - 60 * 5)  # 08:55
    assert not hours.takes_amo("NSE", CLOSED + 13 * 3600)  # 09:00


def test_only_what_its_variety_allows_is_changed(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 100, price=1500, variety="iceberg", iceberg_legs=2, iceberg_quantity=50)
    floor.modify(order, price=1510, order_type="MARKET", validity="IOC")
    assert (order.terms.price, order.terms.order_type, order.terms.validity) == (151000, "LIMIT", "DAY")


def test_a_modification_is_checked_as_an_order_is(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 100, price=1500)
    for change in ({"price": "1500.03"}, {"price": 1}, {"quantity": 0}, {"validity": "TTL"}, {"quantity": 10**9}):
        with pytest.raises(Refused):
            floor.modify(order, **change)
    assert (order.modifications, order.terms) == (0, order.asked)


def test_absent_members_have_the_brokers_defaults() -> None:
    form = {"exchange": "NSE", "tradingsymbol": "INFY", "transaction_type": "BUY", "quantity": "1", "product": "CNC"}
    terms = read_terms(read_variety("regular"), form | {"order_type": "LIMIT", "price": "1"})
    assert (terms.validity, terms.disclosed_quantity, terms.tag, terms.autoslice) == ("DAY", 0, None, False)
