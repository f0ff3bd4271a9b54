"""An order's way: its states, what it trades and when it ends."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from simulator.clock import SessionCalendar
from simulator.market import Market
from simulator.refusals import Refused
from simulator.rules import Rules
from simulator.tests.running import CLOSED
from simulator.tests.trading import INFY, NIFTY_CALL, TradingFloor, states, trades_of
from simulator.trading.orders import Order, Status
from simulator.trading.terms import Product

ARRIVAL = ["PUT ORDER REQ RECEIVED", "VALIDATION PENDING", "OPEN PENDING"]
BOOK: dict[str, Any] = {"bids": [(1599.9, 30), (1599.8, 50)], "offers": [(1600.1, 30), (1600.2, 50)], "last": 1600.0}


def test_an_order_passes_every_state_and_its_answer_comes_before_them(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    placed = floor.place(INFY, "BUY", 10, price=1600.5)
    order = floor.account.orders[placed.order_id]
    assert states(order) == ARRIVAL[:1]
    floor.schedule.run()
    assert states(order) == [*ARRIVAL, "OPEN", "COMPLETE"]
    assert [row.data["exchange_order_id"] is None for row in order.history] == [True, True, True, False, False]


def test_states_take_time_where_the_broker_is_slow(still_market: Market) -> None:
    floor = TradingFloor(still_market, order_seconds=0.1)
    order = floor.order(INFY, "BUY", 10, price=1500)
    seen = []
    for _ in range(4):
        seen.append(order.status)
        floor.schedule.run(0.1)
    assert seen == [Status.RECEIVED, Status.VALIDATION_PENDING, Status.OPEN_PENDING, Status.OPEN]


def test_an_order_that_arrives_takes_the_best_prices_first(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    order = floor.order(INFY, "BUY", 60, price=1600.5)
    assert trades_of(floor, order) == [(1600.1, 30), (1600.2, 30)]
    assert order.average_price == 1600.15
    assert floor.events[-1] == (order.order_id, "COMPLETE")


def test_what_was_taken_is_gone_until_the_market_moves(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    floor.order(INFY, "BUY", 30, price=1600.1)
    second = floor.order(INFY, "BUY", 30, price=1600.1)
    assert (second.status, second.filled_quantity) == (Status.OPEN, 0)
    floor.show(INFY, **BOOK)
    assert second.status is Status.COMPLETE


def test_the_rest_waits_and_trades_at_its_own_price(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    order = floor.order(INFY, "BUY", 100, price=1600.2)
    assert (order.status, order.filled_quantity, order.pending_quantity) == (Status.OPEN, 80, 20)
    assert floor.events[-1] == (order.order_id, "UPDATE")
    floor.show(INFY, offers=[(1599.0, 500)], last=1599.0)
    assert trades_of(floor, order)[-1] == (1600.2, 20)
    assert order.status is Status.COMPLETE


def test_a_trade_through_its_price_fills_a_waiting_order_by_its_size(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    order = floor.order(INFY, "SELL", 40, price=1601)
    floor.show(INFY, bids=[(1600.5, 10)], offers=[(1602, 10)], last=1601.5, last_quantity=25)
    assert (order.status, order.filled_quantity) == (Status.OPEN, 25)


def test_one_trade_is_not_had_twice(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    orders = [floor.order(INFY, "SELL", 20, price=1601) for _ in range(2)]
    floor.show(INFY, bids=[(1600.5, 10)], offers=[(1602, 10)], last=1601.5, last_quantity=25)
    assert [order.filled_quantity for order in orders] == [20, 5]


def test_a_market_order_with_protection_is_a_limit_order_in_the_book(floor: TradingFloor) -> None:
    floor.show(INFY, offers=[(1600.1, 5), (1700, 100)], last=1600.0)
    order = floor.order(INFY, "BUY", 20, market_protection=2)
    shown = order.history[-1].data
    assert (shown["order_type"], shown["price"], shown["tags"]) == ("LIMIT", 1632, ["mktp", "mktp:2.00"])
    assert (order.status, order.filled_quantity) == (Status.OPEN, 5)  # 1700 is beyond the protection


def test_a_market_order_without_protection_waits_where_the_market_was(still_market: Market) -> None:
    floor = TradingFloor(still_market, rules=Rules(rate_limits=False, market_protection=False))
    floor.show(INFY, offers=[(1600.1, 5)], last=1600.0)
    order = floor.order(INFY, "BUY", 20, market_protection=0)
    assert (order.history[-1].data["order_type"], order.filled_quantity, order.limit) == ("MARKET", 5, 160010)


def test_ioc_ends_with_what_it_got(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    order = floor.order(INFY, "BUY", 100, price=1600.1, validity="IOC")
    assert (order.status, order.filled_quantity, order.cancelled_quantity) == (Status.CANCELLED, 30, 70)


def test_ttl_ends_after_its_minutes_of_market_time(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 10, price=1500, validity="TTL", validity_ttl=2)
    floor.clock.moment += 119
    floor.desk.tick()
    assert order.status is Status.OPEN
    floor.clock.moment += 1
    floor.desk.tick()
    assert states(order)[-1] == "CANCELLED"


@pytest.mark.parametrize(("order_type", "more"), [("SL", {"price": 1606}), ("SL-M", {})])
def test_a_stop_waits_for_its_trigger(floor: TradingFloor, order_type: str, more: dict[str, float]) -> None:
    floor.show(INFY, **BOOK)
    order = floor.order(INFY, "BUY", 10, order_type=order_type, trigger_price=1605, **more)
    assert order.status is Status.TRIGGER_PENDING
    floor.show(INFY, offers=[(1604.9, 100)], last=1604.9)
    assert order.status is Status.TRIGGER_PENDING
    floor.show(INFY, offers=[(1605.5, 100)], last=1605.0)
    assert (order.status, order.average_price) == (Status.COMPLETE, 1605.5)
    assert states(order)[-3:] == ["TRIGGER PENDING", "OPEN", "COMPLETE"]


def test_the_price_of_a_stop_that_has_triggered_may_be_changed(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    order = floor.order(INFY, "BUY", 10, order_type="SL", trigger_price=1605, price=1606)
    floor.show(INFY, offers=[(1610, 100)], last=1608)
    assert order.status is Status.OPEN
    floor.modify(order, price=1610)
    assert (states(order)[-1], order.average_price) == ("COMPLETE", 1610)


def test_a_modification_passes_its_states_and_keeps_what_was_filled(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    order = floor.order(INFY, "BUY", 100, price=1600.1)
    floor.modify(order, price=1590, quantity=120)
    assert states(order)[-4:] == ["MODIFY VALIDATION PENDING", "MODIFY PENDING", "MODIFIED", "OPEN"]
    # As recorded: the new price shows in the row after MODIFIED.
    assert (order.terms.price, order.terms.quantity, order.filled_quantity) == (159000, 120, 30)
    assert order.pending_quantity == 90


def test_a_modification_may_cross_the_market(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    order = floor.order(INFY, "BUY", 20, price=1599)
    floor.modify(order, price=1600.1)
    assert (order.status, order.average_price) == (Status.COMPLETE, 1600.1)


def test_the_twenty_sixth_modification_is_refused(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 10, price=1500)
    for step in range(25):
        floor.modify(order, price=1500 + step)
    with pytest.raises(Refused, match="Maximum allowed order modifications exceeded") as refused:
        floor.modify(order, price=1501)
    assert refused.value.error_type == "NetworkException"


def test_an_order_that_has_ended_cannot_be_changed(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 10, price=1500)
    floor.cancel(order)
    assert states(order)[-2:] == ["CANCEL PENDING", "CANCELLED"]
    with pytest.raises(Refused, match="cannot be cancelled as it is being processed"):
        floor.cancel(order)
    with pytest.raises(Refused, match="cannot be modified as it is being processed"):
        floor.modify(order, price=1501)


def test_a_cancelled_order_keeps_its_pending_quantity_as_recorded(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 10, price=1500)
    floor.cancel(order)
    shown = order.history[-1].data
    assert (shown["pending_quantity"], shown["cancelled_quantity"]) == (10, 10)


def test_nobody_finds_an_order_under_another_variety(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 10, price=1500)
    with pytest.raises(Refused, match="Couldn't find that `order_id`") as refused:
        floor.desk.find(floor.access, "1")
    assert (refused.value.status, refused.value.error_type) == (404, "GeneralException")
    assert floor.desk.find(floor.access, order.order_id) is order


def test_an_order_without_the_money_is_taken_and_then_rejected(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 10_000, price=1600, product="CNC")
    assert states(order) == [*ARRIVAL[:2], "REJECTED"]
    assert order.status_message == (
        "Insufficient funds. Required margin is 16000000.00 but available margin is 1000000.00. "
        "Check the orderbook for open orders."
    )
    assert order.status_message_raw is not None
    assert order.status_message_raw.startswith("RMS:Margin Exceeds,Required:16000000.00, Available:1000000.00 for")
    assert order.history[-1].data["pending_quantity"] == 0


def test_it_may_be_refused_at_once_and_be_in_the_book_all_the_same(still_market: Market) -> None:
    floor = TradingFloor(still_market, rules=Rules(rate_limits=False, funds_refused_at_once=True))
    with pytest.raises(Refused, match="Insufficient funds") as refused:
        floor.order(INFY, "BUY", 10_000, price=1600, product="CNC")
    assert (refused.value.status, refused.value.error_type) == (400, "MarginException")
    assert [order.status for order in floor.account.orders.values()] == [Status.REJECTED]


def test_only_shares_that_are_held_are_sold_for_delivery_and_only_once(floor: TradingFloor) -> None:
    first = floor.order(INFY, "SELL", 60, price=1650, product="CNC")
    second = floor.order(INFY, "SELL", 60, price=1650, product="CNC")
    assert (first.status, second.status) == (Status.OPEN, Status.REJECTED)
    assert "holdings" in (second.status_message or "")


def test_open_orders_hold_funds_until_they_end(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 400, price=1500, product="CNC")
    assert floor.account.funds(floor.desk.listings).net == 40_000_000
    assert floor.order(INFY, "BUY", 400, price=1500, product="CNC").status is Status.REJECTED
    floor.cancel(order)
    assert floor.account.funds(floor.desk.listings).net == 100_000_000


def test_an_iceberg_shows_one_leg_after_another(floor: TradingFloor) -> None:
    floor.show(INFY, offers=[(1600, 1000)], last=1600)
    more = {"iceberg_legs": 3, "iceberg_quantity": 34}
    floor.order(INFY, "BUY", 100, price=1600, variety="iceberg", tag="ice", **more)
    legs = list(floor.account.orders.values())
    assert [leg.terms.quantity for leg in legs] == [34, 34, 32]
    assert [leg.meta["iceberg"]["remaining_quantity"] for leg in legs] == [66, 32, 0]
    assert {leg.terms.tag for leg in legs} == {"ice"}
    assert {leg.status for leg in legs} == {Status.COMPLETE}


def test_a_cancelled_leg_ends_the_iceberg(floor: TradingFloor) -> None:
    order = floor.order(INFY, "BUY", 100, price=1500, variety="iceberg", iceberg_legs=2, iceberg_quantity=50)
    floor.cancel(order)
    assert list(floor.account.orders) == [order.order_id]


def test_autoslice_makes_orders_below_the_freeze_quantity(floor: TradingFloor) -> None:
    placed = floor.place(NIFTY_CALL, "SELL", 65 * 60, price=100, product="NRML", autoslice="true", tag="cut")
    children = [floor.account.orders[str(child)] for child in placed.children or ()]
    assert [child.terms.quantity for child in children] == [1755, 1755, 390]
    assert placed.order_id not in floor.account.orders
    assert children[0].tags == ("cut", "autoslice", f"autoslice:{placed.order_id}")


def cover(floor: TradingFloor) -> tuple[Order, Order]:
    floor.show(INFY, **BOOK)
    first = floor.order(INFY, "BUY", 10, price=1600.1, variety="co", trigger_price=1590)
    return first, next(o for o in floor.account.orders.values() if o.parent_order_id == first.order_id)


def test_a_cover_order_brings_its_stop(floor: TradingFloor) -> None:
    first, stop = cover(floor)
    assert (first.status, first.terms.product) == (Status.COMPLETE, "CO")
    assert (stop.status, stop.terms.order_type, stop.terms.transaction_type) == (Status.TRIGGER_PENDING, "SL-M", "SELL")
    floor.modify(stop, trigger_price=1595, quantity=5)
    assert (stop.terms.trigger_price, stop.terms.quantity) == (159500, 10)
    floor.show(INFY, bids=[(1594, 100)], last=1594)
    assert (stop.status, stop.average_price) == (Status.COMPLETE, 1594)


def test_a_cover_order_is_exited_by_its_second_leg(floor: TradingFloor) -> None:
    first, stop = cover(floor)
    with pytest.raises(Refused, match="Couldn't find"):
        floor.cancel(stop, parent_order_id=stop.order_id)
    floor.cancel(stop, parent_order_id=first.order_id)
    assert (stop.status, stop.average_price) == (Status.COMPLETE, 1599.9)


def test_an_order_after_hours_waits_for_the_session(still_market: Market, calendar: SessionCalendar) -> None:
    floor = TradingFloor(still_market)
    floor.clock.moment = CLOSED
    order = floor.order(INFY, "BUY", 10, price=1700, product="CNC", variety="amo")
    assert order.status is Status.AMO_RECEIVED
    floor.modify(order, price=1690)
    assert (order.status, order.terms.price) == (Status.AMO_MODIFIED, 169000)
    stays = floor.order(INFY, "BUY", 10, price=1500, product="CNC", variety="amo")
    floor.cancel(stays)
    assert stays.status is Status.CANCELLED
    expiring = {"price": 400, "product": "NRML", "variety": "amo"}
    gone = floor.order("NFO:NIFTY26D0126000CE", "BUY", 65, **expiring)
    gone.terms = replace(gone.terms, tradingsymbol="NIFTY26N2526000CE")  # as of a contract that ends today

    next_day = Market(date(2026, 11, 26), calendar, seed=1)
    floor.clock.moment = CLOSED + 13.5 * 3600  # half past nine
    next_day.advance(floor.clock.moment)
    floor.desk.follow(next_day)
    assert (gone.status, list(floor.account.orders)) == (Status.REJECTED, [order.order_id])
    floor.system_clock.moment += 60
    floor.desk.tick()
    floor.schedule.run()
    assert states(order)[-1] == "COMPLETE"


def test_the_session_ends_what_was_for_the_day_and_closes_what_was_intraday(floor: TradingFloor) -> None:
    floor.show(INFY, **BOOK)
    resting = floor.order(INFY, "BUY", 10, price=1500, product="CNC")
    floor.order(INFY, "BUY", 10, price=1600.1)
    floor.clock.moment += 4 * 3600 + 35 * 60  # 15:17
    floor.desk.tick()
    assert floor.account.portfolio.positions["NSE", "INFY", Product.MIS].quantity == 10
    floor.clock.moment += 4 * 60
    floor.system_clock.moment += 2
    floor.desk.tick()
    floor.schedule.run()
    assert floor.account.portfolio.positions["NSE", "INFY", Product.MIS].quantity == 0
    floor.clock.moment += 15 * 60
    floor.system_clock.moment += 2
    floor.desk.tick()
    assert resting.status is Status.CANCELLED
