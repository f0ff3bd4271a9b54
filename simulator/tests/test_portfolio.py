"""Positions, holdings and funds: whatever is traded, it adds up to the paisa."""

from collections import defaultdict
from datetime import date

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.clock import SessionCalendar
from simulator.market import Market
from simulator.refusals import Refused
from simulator.rules import Rules
from simulator.tests.running import OPEN
from simulator.tests.trading import INFY, NIFTY_CALL, NIFTY_FUTURE, TradingFloor
from simulator.trading.funds import is_paid_in_full
from simulator.trading.terms import Product, Side

LOTS = {INFY: 1, NIFTY_CALL: 65, NIFTY_FUTURE: 65}
PRICES = {INFY: 1600.0, NIFTY_CALL: 400.0, NIFTY_FUTURE: 26_000.0}
PRODUCTS = {INFY: ("CNC", "MIS", "MTF"), NIFTY_CALL: ("NRML", "MIS"), NIFTY_FUTURE: ("NRML", "MIS")}

deals = st.lists(
    st.tuples(
        st.sampled_from(sorted(LOTS)),
        st.sampled_from(("BUY", "SELL")),
        st.integers(1, 20),
        st.integers(-200, 200),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=25,
)
over_the_floor = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


def deal(floor: TradingFloor, key: str, side: str, lots: int, ticks: int, choice: int) -> None:
    """A deal at a price that is some ticks from the usual one; half of the quantity may be there."""
    price = round(PRICES[key] + ticks * 0.1, 2)
    book = [(price, lots * LOTS[key] if choice else max(lots // 2, 1) * LOTS[key])]
    floor.show(key, bids=book if side == "SELL" else (), offers=book if side == "BUY" else (), last=price)
    product = PRODUCTS[key][choice % len(PRODUCTS[key])]
    floor.order(key, side, lots * LOTS[key], price=price, product=product)


@over_the_floor
@given(deals)
def test_positions_are_the_sum_of_the_trades_and_money_is_neither_made_nor_lost(
    still_market: Market, asked: list[tuple[str, str, int, int, int]]
) -> None:
    floor = TradingFloor(still_market)
    for one in asked:
        deal(floor, *one)
    account, listings = floor.account, floor.desk.listings
    quantities: defaultdict[object, int] = defaultdict(int)
    flows: defaultdict[object, int] = defaultdict(int)
    for trade in account.trades:
        terms = trade.order.terms
        key = (terms.exchange, terms.tradingsymbol, terms.product)
        quantities[key] += terms.transaction_type.sign * trade.quantity
        flows[key] -= terms.transaction_type.sign * trade.quantity * trade.price
    for position_key, position in account.portfolio.positions.items():
        assert position.quantity == quantities[position_key]
        assert position.value == flows[position_key]
    funds = account.funds(listings)
    # What is free and what is used are what the account began with and what its trades brought.
    paid = sum(p.value for p in account.portfolio.positions.values() if is_paid_in_full(p.listing, p.product))
    margined = [p for p in account.portfolio.positions.values() if not is_paid_in_full(p.listing, p.product)]
    margins = funds.span + funds.exposure + sum(funds.blocked.values())
    losses = min(sum(p.pnl(listings.last_price(p.listing)) - p.realised for p in margined), 0)
    assert funds.net + margins == account.cash + paid + sum(p.realised for p in margined) + losses
    # Open orders hold exactly what is blocked.
    held: defaultdict[str, int] = defaultdict(int)
    for order in account.live.values():
        for use, amount in order.blocked.items():
            held[use] += amount
    assert {use: amount for use, amount in funds.blocked.items() if amount} == {u: a for u, a in held.items() if a}


@over_the_floor
@given(deals)
def test_an_orders_figures_are_those_of_its_trades(
    still_market: Market, asked: list[tuple[str, str, int, int, int]]
) -> None:
    floor = TradingFloor(still_market)
    for one in asked:
        deal(floor, *one)
    for order in floor.account.orders.values():
        trades = [trade for trade in floor.account.trades if trade.order is order]
        assert order.filled_quantity == sum(trade.quantity for trade in trades) <= order.terms.quantity
        assert order.filled_value == sum(trade.quantity * trade.price for trade in trades)
        side, limit = order.terms.transaction_type, order.terms.price
        assert all(trade.price <= limit if side is Side.BUY else trade.price >= limit for trade in trades)
    ids = [(trade.order.terms.exchange, trade.trade_id) for trade in floor.account.trades]
    assert len(ids) == len(set(ids))


@over_the_floor
@given(deals, st.integers(1, 20))
def test_a_conversion_moves_quantity_and_value_and_loses_neither(
    still_market: Market, asked: list[tuple[str, str, int, int, int]], quantity: int
) -> None:
    floor = TradingFloor(still_market)
    for one in asked:
        deal(floor, *one)
    positions = floor.account.portfolio.positions
    before = (sum(p.quantity for p in positions.values()), sum(p.value for p in positions.values()))
    listing = floor.desk.listings.find("NSE", "INFY")
    assert listing is not None
    for side in Side:
        try:
            floor.desk.convert(floor.access, listing, Product.MIS, Product.MTF, side, quantity, overnight=False)
        except Refused as refusal:
            assert refusal.error_type in {"InputException", "MarginException"}
    assert (sum(p.quantity for p in positions.values()), sum(p.value for p in positions.values())) == before


@over_the_floor
@given(deals)
def test_the_same_orders_in_the_same_market_come_to_the_same(
    still_market: Market, asked: list[tuple[str, str, int, int, int]]
) -> None:
    outcomes = []
    for _ in range(2):
        floor = TradingFloor(still_market)
        for one in asked:
            deal(floor, *one)
        rows = [[row.data for row in order.history] for order in floor.account.orders.values()]
        outcomes.append((rows, [trade.as_json() for trade in floor.account.trades], floor.events))
    assert outcomes[0] == outcomes[1]


def test_a_bought_option_costs_its_premium_and_a_sold_one_needs_a_margin(floor: TradingFloor) -> None:
    floor.show(NIFTY_CALL, bids=[(100, 650)], offers=[(100, 650)], last=100)
    floor.order(NIFTY_CALL, "BUY", 65, price=100, product="NRML")
    assert floor.account.funds(floor.desk.listings).net == 100_000_000 - 650_000
    floor.order(NIFTY_CALL, "SELL", 130, price=100, product="NRML")
    funds = floor.account.funds(floor.desk.listings)
    assert (funds.option_premium, funds.span, funds.exposure) == (-650_000, 16_900_000, 3_380_000)


def test_closing_a_position_needs_nothing(floor: TradingFloor) -> None:
    floor.show(NIFTY_FUTURE, bids=[(26_000, 650)], offers=[(26_000, 650)], last=26_000)
    for _ in range(4):
        floor.order(NIFTY_FUTURE, "SELL", 65, price=26_000, product="NRML")
    blocked = floor.order(NIFTY_FUTURE, "SELL", 65, price=26_010, product="NRML")
    assert blocked.status == "REJECTED"
    closing = floor.order(NIFTY_FUTURE, "BUY", 260, price=26_000, product="NRML")
    assert closing.status == "COMPLETE"
    assert floor.account.funds(floor.desk.listings).net == 100_000_000


def test_a_profit_that_is_not_realised_is_not_spent_and_a_loss_counts(floor: TradingFloor) -> None:
    floor.show(INFY, offers=[(1600, 100)], last=1600)
    floor.order(INFY, "BUY", 100, price=1600)
    margin = 1600_00 * 100 // 5
    for last, expected in ((1610, 0), (1590, -10_00 * 100)):
        floor.show(INFY, last=last)
        assert floor.account.funds(floor.desk.listings).net == 100_000_000 - margin + expected


def test_the_next_day_settles_carries_and_delivers(still_market: Market, calendar: SessionCalendar) -> None:
    floor = TradingFloor(still_market, rules=Rules(rate_limits=False, session_checks=False))
    for key, price in ((INFY, 1600), (NIFTY_CALL, 100), (NIFTY_FUTURE, 26_000)):
        floor.show(key, bids=[(price, 1000)], offers=[(price, 1000)], last=price)
    floor.order(INFY, "BUY", 30, price=1600, product="CNC")
    floor.order(INFY, "SELL", 10, price=1600, product="CNC")
    floor.order("NSE:SBIN", "SELL", 50, product="CNC")
    floor.order(NIFTY_CALL, "BUY", 65, price=100, product="NRML")
    floor.order(NIFTY_FUTURE, "BUY", 65, price=26_000, product="NRML")
    sold = sum(t.price * t.quantity for t in floor.account.trades if t.order.terms.tradingsymbol == "SBIN")
    net_before = floor.account.funds(floor.desk.listings).net

    tomorrow = Market(date(2026, 11, 26), calendar, seed=1)
    tomorrow.advance(OPEN + 86_400)
    floor.desk.follow(tomorrow)
    account = floor.account
    assert (account.orders, account.trades) == ({}, [])
    assert {key: p.overnight_quantity for key, p in account.portfolio.positions.items()} == {
        ("NFO", "NIFTY26D0126000CE", Product.NRML): 65,
        ("NFO", "NIFTY26DECFUT", Product.NRML): 65,
    }
    infy, sbin = account.portfolio.holdings["NSE", "INFY"], account.portfolio.holdings["NSE", "SBIN"]
    assert (infy.realised_quantity, infy.t1_quantity, sbin.quantity) == (100, 20, 150)
    assert account.cash == 100_000_000 - 20 * 1600_00 + sold - 65 * 100_00
    future = account.portfolio.positions["NFO", "NIFTY26DECFUT", Product.NRML]
    loss = min(future.pnl(floor.desk.listings.last_price(future.listing)), 0)
    assert account.funds(floor.desk.listings).net == net_before + loss


@pytest.mark.parametrize("side", ["BUY", "SELL"])
def test_a_row_shows_what_recorded_ones_do(floor: TradingFloor, side: str) -> None:
    floor.show(INFY, bids=[(1600, 10)], offers=[(1600, 10)], last=1600)
    floor.order(INFY, side, 10, price=1600)
    floor.show(INFY, last=1610)
    listings = floor.desk.listings
    (row,) = floor.account.portfolio.rows(listings.last_price, listings.close_price)["net"]
    sign = 1 if side == "BUY" else -1
    assert (row["quantity"], row["average_price"], row["close_price"]) == (10 * sign, 1600, 0)
    assert (row["value"], row["pnl"], row["unrealised"], row["realised"]) == (-16_000 * sign, 100 * sign, 100 * sign, 0)
