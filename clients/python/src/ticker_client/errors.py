"""What can go wrong that trying again would not mend."""

from collections.abc import Mapping
from typing import Any


class TickerError(Exception):
    """The service said no."""


class RequestRefused(TickerError):
    """One request was not carried out; the connection stays. `code` and `details` are the service's."""

    def __init__(self, code: str, message: str, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
        self.details = dict(details or {})


class AccessRefused(TickerError):
    """The service does not let this client in, nor would it the next time. `code`: the WebSocket's, or HTTP's."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} ({code})")
        self.code = code
