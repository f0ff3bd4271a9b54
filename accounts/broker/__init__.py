"""The broker, as one account sees it."""

from accounts.broker.clients import (
    DataClient,
    OrdersClient,
    PortfolioClient,
    SessionClient,
    data_client,
    orders_client,
    portfolio_client,
    session_client,
)

__all__ = [
    "DataClient",
    "OrdersClient",
    "PortfolioClient",
    "SessionClient",
    "data_client",
    "orders_client",
    "portfolio_client",
    "session_client",
]
