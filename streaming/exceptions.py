"""What can go wrong in streaming, one class for each thing a caller would do differently."""

from accounts.exceptions import NotFound


class StreamingError(Exception):
    """Base of everything this app raises."""


class UnknownInstrument(NotFound):
    """No active instrument has this token."""

    code = "unknown_instrument"

    def __init__(self, instrument_token: int) -> None:
        super().__init__(
            f"No active instrument has the token {instrument_token}.", details={"instrument_token": instrument_token}
        )


class NotSubscribed(NotFound):
    """Nobody subscribed to this token."""

    code = "not_subscribed"

    def __init__(self, instrument_token: int) -> None:
        super().__init__(
            f"There is no subscription to the token {instrument_token}.", details={"instrument_token": instrument_token}
        )


class AnotherStreamRuns(StreamingError):
    """A second stream process: two would share the broker's three sockets and write the same parts."""


class HandshakeRefused(StreamingError):
    """The broker answered the WebSocket handshake with something other than 101."""

    def __init__(self, status: int) -> None:
        super().__init__(f"the broker refused the connection with HTTP {status}")
        self.status = status


class SessionExpired(HandshakeRefused):
    """HTTP 403: the access token is dead or lacks the right to data. Dialling again with it is useless."""


class TooManyConnections(HandshakeRefused):
    """HTTP 429: the key's three sockets are in use, or it dialled too often."""


class ConnectionLost(StreamingError):
    """The socket ended, or nothing at all came through it for too long."""
