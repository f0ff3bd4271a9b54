"""Live option chains and prices from a ticker service."""

from ticker_client.errors import AccessRefused, RequestRefused, TickerError
from ticker_client.feed import Feed, Pauses, Update, connect
from ticker_client.state import Bar, Bars, Part, Row, State, Strike

__all__ = [
    "AccessRefused",
    "Bar",
    "Bars",
    "Feed",
    "Part",
    "Pauses",
    "RequestRefused",
    "Row",
    "State",
    "Strike",
    "TickerError",
    "Update",
    "connect",
]
