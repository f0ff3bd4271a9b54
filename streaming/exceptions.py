"""What can go wrong in streaming, one class for each thing a caller would do differently."""

from http import HTTPStatus

from accounts.exceptions import NotFound, Refused


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


class CapacityExceeded(Refused):
    """More instruments than the accounts' sockets carry."""

    status_code = HTTPStatus.CONFLICT
    code = "capacity"

    def __init__(self, *, used: int, limit: int, wanted: int, account: str = "") -> None:
        whose = f"account {account}" if account else "the accounts"
        super().__init__(
            f"{wanted} more do not fit: {whose} may carry {limit} instruments, and {used} are streamed.",
            details={"limit": limit, "used": used, "wanted": wanted},
        )


class HeldByRule(Refused):
    """A strike rule streams it, and would again: the rule is what has to change."""

    status_code = HTTPStatus.CONFLICT
    code = "held_by_rule"

    def __init__(self, instrument_token: int, rule_id: int) -> None:
        super().__init__(
            f"The strike rule {rule_id} streams the token {instrument_token}: change the rule, or switch it off.",
            details={"instrument_token": instrument_token, "rule_id": rule_id},
        )


class UnknownUnderlying(NotFound):
    """No options on it are listed."""

    code = "unknown_underlying"

    def __init__(self, underlying: str) -> None:
        super().__init__(f"No options on {underlying} are listed.", details={"underlying": underlying})


class UnknownRule(NotFound):
    """There is no such strike rule."""

    code = "unknown_rule"

    def __init__(self, rule_id: int) -> None:
        super().__init__(f"There is no strike rule {rule_id}.", details={"rule_id": rule_id})


class RuleExists(Refused):
    """One rule that is switched on is enough for an underlying: two would pull at the same strikes."""

    status_code = HTTPStatus.CONFLICT
    code = "rule_exists"

    def __init__(self, underlying: str) -> None:
        super().__init__(
            f"Another rule for {underlying} is switched on.",
            details={"underlying": underlying},
        )


class NothingToGoBy(StreamingError):
    """Nothing is listed, or the price is not known or not current: strikes stay where they are. The text says which."""


class SlotLost(StreamingError):
    """The lease on a socket is over: another process may have it."""


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


class MuteFeed(ConnectionLost):
    """Heartbeats came, and for long no data, although the market is open."""
