"""The one form of an order: the same for every way of writing it down, and read back as it was."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from accounts.broker.words import Exchange, OrderType, Product, TransactionType, Validity, Variety
from orders.requests import OrderChanges, OrderRequest, fingerprint
from orders.states import Operation

PARAMS = {
    "variety": "regular",
    "exchange": "NFO",
    "tradingsymbol": "NIFTY26DEC26000CE",
    "transaction_type": "BUY",
    "quantity": 75,
    "product": "NRML",
    "order_type": "LIMIT",
    "price": "121",
}
prices = st.none() | st.decimals("0.01", "100000", places=2)
requests = st.builds(
    OrderRequest,
    variety=st.sampled_from(Variety),
    exchange=st.sampled_from(Exchange),
    tradingsymbol=st.from_regex(r"\A[A-Z0-9&-]{1,20}\Z"),
    transaction_type=st.sampled_from(TransactionType),
    quantity=st.integers(1, 10**7),
    product=st.sampled_from(Product),
    order_type=st.sampled_from(OrderType),
    price=prices,
    trigger_price=prices,
    validity=st.sampled_from(Validity),
    validity_ttl=st.none() | st.integers(1, 1440),
    market_protection=st.none() | st.sampled_from([Decimal(-1), Decimal("2.5")]),
    strategy=st.sampled_from(["", "straddle"]),
)


@given(requests)
def test_what_is_kept_of_an_order_is_read_back_as_the_same_order(request: OrderRequest) -> None:
    assert OrderRequest.of_params(request.params()) == request


@given(requests, st.integers(0, 3))
def test_noughts_behind_the_point_make_no_other_order(request: OrderRequest, noughts: int) -> None:
    price = None if request.price is None else Decimal(f"{request.price}{'0' * noughts}")
    other = replace(request, price=price)
    assert fingerprint(Operation.PLACE, "a", request.params()) == fingerprint(Operation.PLACE, "a", other.params())


@given(requests, st.integers(1, 10))
def test_another_quantity_account_or_operation_is_another_order(request: OrderRequest, more: int) -> None:
    prints = {
        fingerprint(Operation.PLACE, "a", request.params()),
        fingerprint(Operation.PLACE, "b", request.params()),
        fingerprint(Operation.EXIT, "a", request.params()),
        fingerprint(Operation.PLACE, "a", replace(request, quantity=request.quantity + more).params()),
    }
    assert len(prints) == 4


@given(requests, st.integers(1, 10**7), prices)
def test_a_change_leaves_what_it_does_not_name(request: OrderRequest, quantity: int, price: Decimal | None) -> None:
    changed = request.changed(OrderChanges(quantity=quantity, price=price))
    assert changed == replace(request, quantity=quantity, price=request.price if price is None else price)


def test_with_another_type_goes_what_an_order_of_that_type_has_not() -> None:
    stop = OrderRequest.of_params(PARAMS | {"order_type": "SL", "trigger_price": "120"})
    limit = stop.changed(OrderChanges(order_type=OrderType.LIMIT))
    assert (limit.price, limit.trigger_price) == (Decimal(121), None)
    market = stop.changed(OrderChanges(order_type=OrderType.MARKET, market_protection=Decimal(2)))
    assert (market.price, market.trigger_price, market.market_protection) == (None, None, Decimal(2))
    assert market.changed(OrderChanges(order_type=OrderType.LIMIT, price=Decimal(9))).market_protection is None


def test_what_a_change_names_is_kept_even_where_it_does_not_fit() -> None:
    """So that it is refused, not quietly left out."""
    request = OrderRequest.of_params(PARAMS)
    changed = request.changed(OrderChanges(order_type=OrderType.MARKET, price=Decimal(9)))
    assert changed.price == 9


@given(st.builds(OrderChanges, quantity=st.none() | st.integers(1, 10**7), price=prices))
def test_the_changes_of_a_task_are_read_back(changes: OrderChanges) -> None:
    assert OrderChanges.of_params({"target": "x", "variety": "regular", **changes.params()}) == changes
