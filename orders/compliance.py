"""What the exchanges ask of orders sent by a program (in force since 1 April 2026).

An order's tag is not asked for here: each task has one, unique, by the database. Nor is the number of its slices: the
freeze quantity decides that (`orders.validation`).
"""

import re
from collections.abc import Iterator

from django.conf import settings

from accounts.broker.words import Exchange, Validity
from accounts.models import TradingAccount
from orders.checks import Check
from orders.egress import NO_ORDERS
from orders.requests import AT_MARKET, OrderRequest

_ALGO_ID = re.compile(r"[A-Za-z0-9]{1,30}")


def compliance_checks(account: TradingAccount, request: OrderRequest) -> list[Check]:
    """Every rule that bears on the order."""
    return [*_egress(), *_protection(request), *_validity(request), *_algo_id(request)]


def _egress() -> Iterator[Check]:
    """Of cancels nobody asks: what is at the broker came from an address that it knows."""
    told = list(settings.ORDER_EGRESS_IP)
    if told == [NO_ORDERS]:
        yield Check("egress_ip", False, f"No orders are sent from here: ORDER_EGRESS_IP is {NO_ORDERS}.")
    elif told:
        addresses = " or ".join(told)
        yield Check("egress_ip", True, f"It leaves from {addresses}, which is registered.", {"addresses": told})
    elif settings.FEED_SOURCE != "simulated":  # a simulated broker knows no addresses
        yield Check(
            "egress_ip", None, "ORDER_EGRESS_IP is not set: the broker refuses orders from an address it does not know."
        )


def _protection(request: OrderRequest) -> Iterator[Check]:
    if request.order_type not in AT_MARKET:
        return
    has = bool(request.market_protection)
    yield Check(
        "market_protection",
        has,
        "Market protection is set."
        if has
        else f"A {request.order_type} order needs market_protection: -1 (the broker's own band) or per cent.",
    )


def _validity(request: OrderRequest) -> Iterator[Check]:
    if request.exchange is Exchange.MCX and request.validity is Validity.IOC:
        yield Check(
            "validity",
            False,
            "On MCX an order sent by a program is not IOC: send DAY.",
            {"exchange": "MCX", "validity": "IOC"},
        )


def _algo_id(request: OrderRequest) -> Iterator[Check]:
    if request.algo_id is None:
        return  # the broker gives its own to whoever needs none of theirs
    fits = bool(_ALGO_ID.fullmatch(request.algo_id))
    yield Check(
        "algo_id",
        fits,
        "The algo id has the exchange's form." if fits else "An algo_id has 1 to 30 letters and digits.",
    )
