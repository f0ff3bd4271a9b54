"""What the exchanges ask of a program's orders."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from pytest_django import Settings

from accounts.broker.words import Exchange, OrderType, Validity
from accounts.models import TradingAccount
from orders.compliance import compliance_checks
from orders.tests.test_risk_rules import ORDER
from orders.tests.trading import Trader

ACCOUNT = TradingAccount(kite_user_id="AB1234")


def outcomes(**changes: Any) -> dict[str, bool | None]:
    return {check.code: check.passed for check in compliance_checks(ACCOUNT, replace(ORDER, **changes))}


@pytest.mark.parametrize("order_type", [OrderType.MARKET, OrderType.SL_M])
@pytest.mark.parametrize(
    ("protection", "passes"), [(None, False), (Decimal(0), False), (Decimal(-1), True), (Decimal(2), True)]
)
def test_an_order_at_the_market_needs_protection(
    order_type: OrderType, protection: Decimal | None, passes: bool
) -> None:
    assert outcomes(order_type=order_type, market_protection=protection)["market_protection"] == passes


def test_on_mcx_nothing_is_ioc() -> None:
    assert outcomes(exchange=Exchange.MCX, validity=Validity.IOC)["validity"] is False
    assert "validity" not in outcomes(exchange=Exchange.MCX)
    assert "validity" not in outcomes(validity=Validity.IOC)


@pytest.mark.parametrize(("algo_id", "passes"), [("ALGO7", True), ("", False), ("a b", False), ("x" * 31, False)])
def test_an_algo_id_has_the_exchanges_form(algo_id: str, passes: bool) -> None:
    assert outcomes(algo_id=algo_id)["algo_id"] == passes
    assert "algo_id" not in outcomes()


@pytest.mark.parametrize(("addresses", "passes"), [([], None), (["none"], False), (["93.184.216.34"], True)], ids=str)
def test_orders_leave_from_an_address_that_is_known(
    settings: Settings, addresses: list[str], passes: bool | None
) -> None:
    settings.ORDER_EGRESS_IP, settings.FEED_SOURCE = addresses, "live"
    assert outcomes()["egress_ip"] == passes


def test_where_no_orders_are_sent_none_is_taken_on(trader: Trader, settings: Settings) -> None:
    settings.ORDER_EGRESS_IP = ["none"]
    refused = trader.place().json()["error"]
    assert refused["code"] == "egress_ip"
    assert "No orders are sent from here" in refused["message"]


def test_a_simulated_broker_asks_for_no_address(settings: Settings) -> None:
    settings.ORDER_EGRESS_IP, settings.FEED_SOURCE = [], "simulated"
    assert "egress_ip" not in outcomes()
