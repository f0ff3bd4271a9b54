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
from accounts.broker.failover import BorrowedDataClient, Served, borrow_data_client

__all__ = [
    "BorrowedDataClient",
    "DataClient",
    "OrdersClient",
    "PortfolioClient",
    "Served",
    "SessionClient",
    "borrow_data_client",
    "data_client",
    "orders_client",
    "portfolio_client",
    "session_client",
]
