"""The rules of risk against every order there can be: what they let through, and what they say."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounts.broker.words import Exchange, OrderType, Product, TransactionType, Variety
from market.prices import MarketPrice
from orders import risk_rules
from orders.limits import Limits, ScopedLimits
from orders.requests import OrderRequest
from orders.risk_rules import LEAST_BAND, OpenPosition, RiskFacts, Stopped, Usage, checks_of

ORDER = OrderRequest(
    variety=Variety.REGULAR,
    exchange=Exchange.NFO,
    tradingsymbol="NIFTY26DEC26000CE",
    transaction_type=TransactionType.BUY,
    quantity=75,
    product=Product.NRML,
    order_type=OrderType.LIMIT,
    price=Decimal("120.50"),
)
MARKET = replace(ORDER, order_type=OrderType.MARKET, price=None, market_protection=Decimal(-1))
EXIT = replace(ORDER, transaction_type=TransactionType.SELL, is_exit=True)

rupees = st.decimals(min_value="0.05", max_value=500_000, places=2)
sides = st.sampled_from(TransactionType)
quantities = st.integers(min_value=1, max_value=100_000)


def at(last_price: Any, *, is_fresh: bool = True, close: Any = None) -> MarketPrice:
    last = None if last_price is None else Decimal(str(last_price))
    before = None if close is None else Decimal(str(close))
    return MarketPrice(last, None, None, before, 0.0, is_fresh=is_fresh, source="simulated")


def limited(**figures: Any) -> list[ScopedLimits]:
    return [ScopedLimits(Limits(**figures), "AB1234")]


# --- the price -------------------------------------------------------------------------------------------------------


@given(last=rupees, price=rupees, side=sides, percent=st.decimals(min_value="0.01", max_value=100, places=2))
def test_a_price_passes_the_band_unless_it_costs_more_than_the_band_allows(
    last: Decimal, price: Decimal, side: TransactionType, percent: Decimal
) -> None:
    order = replace(ORDER, price=price, transaction_type=side)
    (check,) = risk_rules.price_band(order, limited(price_band_percent=percent), at(last))
    worse_by = price - last if side is TransactionType.BUY else last - price
    assert check.passed == (worse_by <= max(last * percent / 100, LEAST_BAND))
    assert check.figures["reference"] == f"{last.normalize():f}"


@given(order=st.sampled_from([ORDER, replace(ORDER, transaction_type=TransactionType.SELL)]), last=rupees)
def test_the_price_that_the_band_names_as_its_bound_is_within_it(order: OrderRequest, last: Decimal) -> None:
    band = limited(price_band_percent=Decimal(10))
    (check,) = risk_rules.price_band(order, band, at(last))
    bound = Decimal(check.figures["bound"])
    if bound > 0:
        (again,) = risk_rules.price_band(replace(order, price=bound), band, at(last))
        assert again.passed


@pytest.mark.parametrize("price", [None, at(None), at(100, is_fresh=False)], ids=["none", "empty", "old"])
@pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.SL_M])
def test_without_a_current_price_nothing_goes_to_the_market_but_exits(
    price: MarketPrice | None, order_type: OrderType
) -> None:
    order = replace(MARKET, order_type=order_type)
    (check,) = risk_rules.market_price(order, price)
    assert check.passed is False
    assert "LIMIT" in check.message
    (exiting,) = risk_rules.market_price(replace(order, is_exit=True), price)
    assert exiting.passed is None


@pytest.mark.parametrize(
    ("price", "reference"),
    [
        (at(100, is_fresh=False), "last known price"),
        (at(None, is_fresh=False, close=100), "previous close"),
        (at(100), "last price"),
    ],
    ids=["old", "close", "fresh"],
)
def test_without_a_current_price_a_limit_is_held_against_the_best_that_is_known(
    price: MarketPrice, reference: str
) -> None:
    band = limited(price_band_percent=Decimal(20))
    (near,) = risk_rules.price_band(replace(ORDER, price=Decimal(115)), band, price)
    (far,) = risk_rules.price_band(replace(ORDER, price=Decimal("120.05")), band, price)
    assert (near.passed, far.passed) == (True, False)
    assert f"the {reference} of 100" in far.message
    assert "at most 120" in far.message


@pytest.mark.parametrize("price", [None, at(None)], ids=["none", "empty"])
def test_without_any_price_the_band_cannot_be_told_and_says_so(price: MarketPrice | None) -> None:
    (check,) = risk_rules.price_band(ORDER, limited(price_band_percent=Decimal(20)), price)
    assert check.passed is None
    assert "No price" in check.message


def test_a_stop_is_measured_from_its_trigger_and_not_from_where_the_market_is_now() -> None:
    stop = replace(ORDER, order_type=OrderType.SL, trigger_price=Decimal(200), price=Decimal(210))
    band = limited(price_band_percent=Decimal(20))
    (check,) = risk_rules.price_band(stop, band, at(100))
    (too_far,) = risk_rules.price_band(replace(stop, price=Decimal(2100)), band, at(100))
    assert (check.passed, too_far.passed) == (True, False)


def test_an_exit_far_from_an_old_price_goes_out_and_far_from_a_current_one_does_not() -> None:
    order, band = replace(EXIT, price=Decimal(10)), limited(price_band_percent=Decimal(20))
    (old,) = risk_rules.price_band(order, band, at(100, is_fresh=False))
    (current,) = risk_rules.price_band(order, band, at(100))
    assert (old.passed, current.passed) == (None, False)


# --- exits -----------------------------------------------------------------------------------------------------------


@given(
    position=st.integers(min_value=-10_000, max_value=10_000),
    under_way=st.integers(min_value=0, max_value=20_000),
    quantity=quantities,
    side=sides,
)
def test_an_exit_passes_exactly_where_the_position_ends_up_smaller_and_on_its_side(
    position: int, under_way: int, quantity: int, side: TransactionType
) -> None:
    order = replace(EXIT, transaction_type=side, quantity=quantity)
    check = risk_rules.really_exits(order, OpenPosition(position, under_way))
    sign = 1 if position > 0 else -1
    after = position - sign * under_way + (quantity if side is TransactionType.BUY else -quantity)
    shrinks = (side is TransactionType.SELL) == (position > 0) and position != 0
    assert check.passed == (shrinks and after * sign >= 0)
    if not check.passed and check.figures["at_most"]:
        assert risk_rules.really_exits(
            replace(order, quantity=check.figures["at_most"]), OpenPosition(position, under_way)
        ).passed


def test_an_exit_of_positions_that_nobody_knows_is_none() -> None:
    check = risk_rules.really_exits(EXIT, None)
    assert check.passed is False
    assert "not known" in check.message


@given(state=st.sampled_from(["halted", "reduced to exits"]), is_exit=st.booleans(), is_change=st.booleans())
def test_while_trading_is_stopped_only_new_exits_pass(state: str, is_exit: bool, is_change: bool) -> None:
    order = EXIT if is_exit else ORDER
    check = risk_rules.state(order, Stopped("AB1234", state, "looked odd"), is_change=is_change)
    assert check.passed == (is_exit and not is_change)
    if not check.passed:
        assert "looked odd" in check.message


def test_a_limit_keeps_nobody_in_a_position() -> None:
    tight = limited(
        max_quantity=1,
        max_notional=Decimal(1),
        max_open_notional=Decimal(1),
        max_orders_per_minute=1,
        max_day_loss=Decimal(1),
        max_net_delta=Decimal(1),
    )
    facts = RiskFacts(
        limits=tight,
        usage={"": Usage(Decimal(10**9), 999)},
        price=at(120),
        day_pnl=Decimal(-(10**6)),
        net_delta=10**6,
        order_delta=75,
        position=OpenPosition(75),
    )
    assert all(check.passed for check in checks_of(EXIT, facts))
    refused = {check.code for check in checks_of(ORDER, facts) if check.passed is False}
    assert refused == {
        "max_quantity",
        "max_notional",
        "max_open_notional",
        "orders_per_minute",
        "max_day_loss",
        "max_net_delta",
    }


# --- figures ---------------------------------------------------------------------------------------------------------

figures = st.fixed_dictionaries(
    {
        "max_quantity": st.none() | quantities,
        "max_notional": st.none() | rupees,
        "max_open_notional": st.none() | rupees,
        "max_orders_per_minute": st.none() | st.integers(min_value=1, max_value=400),
    }
)


@given(
    wide=figures,
    narrow=figures,
    quantity=quantities,
    price=rupees,
    used=st.tuples(rupees, st.integers(min_value=0, max_value=500)),
)
def test_an_order_passes_all_limits_at_once_exactly_if_it_passes_each_by_itself(
    wide: dict[str, Any], narrow: dict[str, Any], quantity: int, price: Decimal, used: tuple[Decimal, int]
) -> None:
    order = replace(ORDER, quantity=quantity, price=price)
    scopes = [ScopedLimits(Limits(**wide), "every account"), ScopedLimits(Limits(**narrow), "AB1234, x", "x")]
    usage = {"": Usage(*used), "x": Usage(used[0] / 2, used[1] // 2)}

    def passes(limits: list[ScopedLimits]) -> bool:
        found = list(risk_rules.figures(order, RiskFacts(limits=limits, usage=usage)))
        return all(check.passed for check in found)

    assert passes(scopes) == (passes(scopes[:1]) and passes(scopes[1:]))
    for scope in scopes:
        one, own = scope.limits, usage[scope.strategy]
        by_hand = (
            (one.max_quantity is None or quantity <= one.max_quantity)
            and (one.max_notional is None or quantity * price <= one.max_notional)
            and (one.max_open_notional is None or own.open_notional + quantity * price <= one.max_open_notional)
            and (one.max_orders_per_minute is None or own.orders_in_last_minute + 1 <= one.max_orders_per_minute)
        )
        assert passes([scope]) == by_hand


def test_without_a_figure_nothing_is_asked() -> None:
    assert list(risk_rules.figures(ORDER, RiskFacts(limits=limited()))) == []


def test_what_is_not_known_refuses_nothing_and_is_said() -> None:
    limits = limited(max_notional=Decimal(1), max_open_notional=Decimal(1), max_day_loss=Decimal(1), max_net_delta=1)
    found = list(risk_rules.figures(replace(ORDER, exchange=Exchange.MCX), RiskFacts(limits=limits)))
    assert [check.passed for check in found] == [None] * 4
    assert all("not known" in check.message for check in found)


@given(before=st.floats(-(10**6), 10**6), change=st.floats(-(10**6), 10**6), most=st.integers(1, 10**6))
def test_what_makes_the_net_delta_smaller_passes_whatever_it_is(before: float, change: float, most: int) -> None:
    (check,) = risk_rules.net_delta(limited(max_net_delta=Decimal(most)), before, change)
    after = abs(before + change)
    assert check.passed == (after <= most or after <= abs(before))


@given(pnl=st.decimals(min_value=-(10**6), max_value=10**6, places=2), most=rupees)
def test_entries_end_once_the_day_has_lost_the_limit(pnl: Decimal, most: Decimal) -> None:
    (check,) = risk_rules.day_loss(limited(max_day_loss=most), pnl)
    assert check.passed == (pnl > -most)


def test_a_message_says_what_was_found_and_what_is_allowed() -> None:
    (check,) = risk_rules.order_notional(ORDER, limited(max_notional=Decimal(5000)), Decimal("9037.50"))
    assert check.message == "An order of ₹9,037.50: above the ₹5,000 that AB1234 may have."
    assert check.figures == {"notional": "9037.5", "most": "5000"}
    check = risk_rules.really_exits(replace(EXIT, quantity=150), OpenPosition(75))
    assert check.message == (
        "The NRML position in NFO:NIFTY26DEC26000CE is 75: an exit of 150 is more than the 75 that are left."
    )


# --- duplicates ------------------------------------------------------------------------------------------------------


def test_a_twin_is_refused_unless_both_are_meant() -> None:
    assert risk_rules.duplicate(ORDER, "").passed is True
    refused = risk_rules.duplicate(ORDER, "0b0c")
    assert (refused.passed, refused.figures) == (False, {"order": "0b0c"})
    assert risk_rules.duplicate(replace(ORDER, allow_duplicate=True), "0b0c").passed is True


@pytest.mark.parametrize(
    ("changes", "is_twin"),
    [
        ({}, True),
        ({"product": Product.MIS}, True),
        ({"strategy": "other"}, True),
        ({"quantity": 150}, False),
        ({"price": Decimal("120.55")}, False),
        ({"price": Decimal("120.5")}, True),
        ({"transaction_type": TransactionType.SELL}, False),
        ({"tradingsymbol": "NIFTY26DEC26100CE"}, False),
        ({"trigger_price": Decimal(121), "order_type": OrderType.SL}, False),
    ],
    ids=str,
)
def test_twins_are_of_one_symbol_side_quantity_and_price(changes: dict[str, Any], is_twin: bool) -> None:
    assert risk_rules.is_twin(ORDER.params(), replace(ORDER, **changes).params()) == is_twin
