"""What the exchanges ask of orders sent by a program (in force since 1 April 2026)."""

from accounts.models import TradingAccount
from orders.checks import Check
from orders.requests import AT_MARKET, OrderRequest


def compliance_checks(account: TradingAccount, request: OrderRequest) -> list[Check]:
    """Every rule that bears on the order."""
    if request.order_type not in AT_MARKET:
        return []
    has = bool(request.market_protection)
    return [
        Check(
            "market_protection",
            has,
            "Market protection is set."
            if has
            else f"A {request.order_type} order needs market_protection: -1 (the broker's own band) or per cent.",
        )
    ]
