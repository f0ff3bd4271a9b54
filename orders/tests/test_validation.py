"""The rules about an order as arithmetic: whatever is asked, each rule gives one verdict with words."""

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.broker.words import Exchange, OrderType, Product, TransactionType, Variety
from market.freeze_quantities import largest_order
from market.models import Instrument
from market.prices import MarketPrice
from orders.requests import OrderRequest
from orders.tests.test_requests import requests
from orders.validation import Facts, Hours, check, is_valid, notional

OPTION = Instrument(exchange="NFO", tradingsymbol="X", lot_size=65, tick_size=Decimal("0.05"), expiry=date(2026, 12, 1))
PRICE = MarketPrice(Decimal("83.15"), Decimal("82.8"), Decimal("83.15"), Decimal(80), 0.3, True, "live")


def facts(
    *, instrument: Instrument | None = OPTION, price: MarketPrice | None = PRICE, hours: Hours | None = None
) -> Facts:
    return Facts(
        is_enabled=True,
        is_trading=True,
        is_logged_in=True,
        kite_user_id="AB1234",
        instrument=instrument,
        freeze_quantity=1800,
        hours=hours or Hours(is_open=True),
        price=price,
    )


def order(**changes: object) -> OrderRequest:
    fields: dict[str, object] = {
        "variety": Variety.REGULAR,
        "exchange": Exchange.NFO,
        "tradingsymbol": "X",
        "transaction_type": TransactionType.BUY,
        "quantity": 65,
        "product": Product.NRML,
        "order_type": OrderType.LIMIT,
        "price": Decimal("83.15"),
    }
    return OrderRequest(**fields | changes)  # type: ignore[arg-type]


@given(requests)
def test_every_order_gets_verdicts_in_words_and_none_an_exception(request: OrderRequest) -> None:
    for known in (facts(), facts(instrument=None), facts(price=None), facts(hours=Hours(None, "Unknown."))):
        for one in check(request, known):
            assert one.passed in {True, False, None}
            assert one.message.endswith((".", "?"))


@given(st.integers(1, 30 * 65))
def test_a_quantity_passes_if_and_only_if_it_is_whole_lots_within_the_freeze(quantity: int) -> None:
    assert is_valid(check(order(quantity=quantity), facts())) == (quantity % 65 == 0 and quantity <= 1800)


@given(st.decimals("0.05", "1000", places=2))
def test_a_price_passes_if_and_only_if_it_is_on_the_tick(price: Decimal) -> None:
    on_tick = int(price * 100) % 5 == 0
    assert is_valid(check(order(price=price), facts())) == on_tick


@given(st.integers(1, 5000), st.integers(1, 200))
def test_the_largest_order_is_whole_lots_and_no_larger_one_fits(freeze: int, lot: int) -> None:
    largest = largest_order(freeze, lot)
    assert largest % lot == 0
    assert largest <= freeze < largest + lot


@pytest.mark.parametrize(
    ("side", "trigger", "passes"),
    [("BUY", "90", True), ("BUY", "80", False), ("SELL", "80", True), ("SELL", "90", False), ("BUY", "83.15", False)],
)
def test_a_stop_lies_beyond_the_last_price(side: str, trigger: str, passes: bool) -> None:
    stop = order(
        transaction_type=TransactionType(side),
        order_type=OrderType.SL_M,
        price=None,
        trigger_price=Decimal(trigger),
        market_protection=Decimal(-1),
    )
    assert is_valid(check(stop, facts())) == passes
    told = {one.code: one.passed for one in check(stop, facts(price=None))}
    assert told["trigger_side"] is None  # without a price nobody knows


def test_a_year_without_a_calendar_refuses_nothing_and_says_so() -> None:
    hours = Hours(None, "The market calendar says nothing about NFO derivatives on 2027-01-04.")
    (told,) = [one for one in check(order(), facts(hours=hours)) if one.code == "market_hours"]
    assert told.passed is None
    assert "The broker decides" in told.message


def test_what_an_order_is_worth_is_unknown_where_lots_have_no_units() -> None:
    assert notional(order(), PRICE) == Decimal("5404.75")
    assert notional(order(order_type=OrderType.MARKET, price=None), PRICE) == Decimal("5404.75")
    assert notional(order(order_type=OrderType.MARKET, price=None), None) is None
    assert notional(order(exchange=Exchange.MCX), PRICE) is None
