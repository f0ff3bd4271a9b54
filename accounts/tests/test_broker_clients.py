"""The four clients by subject: whose account, what they may do, and answers that lack what the broker documents."""

import inspect
from typing import Any

import pytest

from accounts.broker import (
    DataClient,
    OrdersClient,
    PortfolioClient,
    SessionClient,
    data_client,
    orders_client,
    portfolio_client,
    session_client,
)
from accounts.broker.words import Variety
from accounts.exceptions import OutcomeUnknown, RequestRejected, SessionExpired
from accounts.models import TradingAccount
from accounts.sessions import store_session
from accounts.tests.fakes import Answer, ScriptedBroker


@pytest.fixture
def logged_in(account: TradingAccount, broker: ScriptedBroker) -> TradingAccount:
    store_session(account, {"user_id": "AB1234", "access_token": "token-of-the-day"})
    return account


def public(client: type) -> set[str]:
    return {name for name, _ in inspect.getmembers(client, inspect.isfunction) if not name.startswith("_")}


def test_no_client_offers_what_belongs_to_another() -> None:
    subjects = [public(one) for one in (DataClient, OrdersClient, PortfolioClient, SessionClient)]
    assert sum(map(len, subjects)) == len(set().union(*subjects))
    assert {"place", "modify", "cancel"} <= public(OrdersClient)


def test_each_client_is_bound_to_the_account_it_was_made_for(logged_in: TradingAccount, broker: ScriptedBroker) -> None:
    broker.answer("GET /orders", Answer([]))
    client = orders_client(logged_in)
    assert client.book() == []
    assert client.account == logged_in
    assert broker.asked[0].headers["Authorization"] == "token appkey1:token-of-the-day"


@pytest.mark.parametrize("make", [data_client, orders_client, portfolio_client])
def test_who_is_not_logged_in_has_no_client(account: TradingAccount, make: Any) -> None:
    with pytest.raises(SessionExpired, match="not logged in"):
        make(account)


@pytest.mark.parametrize(
    "answer", [None, {}, {"order_id": None}, {"order_id": ""}, [], "ok", 7, {"order_id": 5}], ids=str
)
def test_an_order_whose_answer_lacks_its_id_is_unknown(
    logged_in: TradingAccount, broker: ScriptedBroker, answer: Any
) -> None:
    broker.answer("POST /orders/regular", Answer(answer))
    with pytest.raises(OutcomeUnknown):
        orders_client(logged_in).place(Variety.REGULAR, **ORDER)


@pytest.mark.parametrize("answer", [None, {}, "ok", [1], 7], ids=str)
def test_a_book_that_is_no_list_of_orders_is_unknown_and_not_empty(
    logged_in: TradingAccount, broker: ScriptedBroker, answer: Any
) -> None:
    broker.answer("GET /orders", Answer(answer))
    with pytest.raises(OutcomeUnknown):
        orders_client(logged_in).book()


@pytest.mark.parametrize("answer", [None, {}, {"net": []}, {"net": {}, "day": []}, []], ids=str)
def test_positions_of_another_form_are_unknown(logged_in: TradingAccount, broker: ScriptedBroker, answer: Any) -> None:
    broker.answer("GET /portfolio/positions", Answer(answer))
    with pytest.raises(OutcomeUnknown):
        portfolio_client(logged_in).positions()


def test_an_unknown_field_is_our_mistake_and_sends_nothing(logged_in: TradingAccount, broker: ScriptedBroker) -> None:
    with pytest.raises(TypeError):
        orders_client(logged_in).place(Variety.REGULAR, **ORDER, colour="red")
    assert broker.asked == []


@pytest.mark.parametrize(("method", "most"), [("quote", 500), ("ohlc", 1000), ("ltp", 1000)])
def test_more_instruments_than_a_call_takes_are_not_asked_for(
    logged_in: TradingAccount, broker: ScriptedBroker, method: str, most: int
) -> None:
    for instruments in ([], ["NSE:INFY"] * (most + 1)):
        with pytest.raises(RequestRejected, match=f"1 to {most}"):
            getattr(data_client(logged_in), method)(instruments)
    assert broker.asked == []


def test_the_user_of_a_token_is_asked_with_that_token(account: TradingAccount, broker: ScriptedBroker) -> None:
    broker.answer("GET /user/profile", Answer({"user_id": "AB1234"}))
    assert session_client(account).user_of("pasted") == "AB1234"
    assert broker.asked[0].headers["Authorization"] == "token appkey1:pasted"


ORDER = {
    "exchange": "NSE",
    "tradingsymbol": "INFY",
    "transaction_type": "BUY",
    "quantity": 1,
    "product": "MIS",
    "order_type": "LIMIT",
    "price": 1500.0,
}
