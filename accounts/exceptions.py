"""What can go wrong: requests that are refused, secrets that do not open, and a broker that does not do as asked."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar


class Refused(Exception):
    """A request that is not carried out, for a reason its sender may know.

    Every app's own refusals derive from this one. `code` is for programs, the message for people; the edges (REST,
    pages, sockets) turn them into their own forms of an answer.
    """

    status_code: int = HTTPStatus.BAD_REQUEST
    code: str = "refused"
    default_message: ClassVar[str] = "The request was refused."

    def __init__(self, message: str = "", *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message or self.default_message)
        self.details: dict[str, Any] = dict(details or {})


class NotAuthenticated(Refused):
    """Nobody we know is asking."""

    status_code = HTTPStatus.UNAUTHORIZED
    code = "not_authenticated"
    default_message = "Log in, or send an API key in the X-API-Key header."


class Denied(Refused):
    """We know who is asking, and they may not do this."""

    status_code = HTTPStatus.FORBIDDEN
    code = "permission_denied"
    default_message = "You may not do this."


class NotFound(Refused):
    """It does not exist, or its existence is none of the principal's business: the two look alike."""

    status_code = HTTPStatus.NOT_FOUND
    code = "not_found"
    default_message = "Not found."


class LoginUnderWay(Refused):
    """Another process is logging the account in at this moment."""

    status_code = HTTPStatus.CONFLICT
    code = "login_under_way"
    default_message = "The account is being logged in at this moment; look again in a few seconds."


class CredentialError(Exception):
    """Base of what can be wrong with a stored secret. Messages never hold the secret."""


class CredentialMissing(CredentialError):
    """The secret was never stored."""


class CredentialUnreadable(CredentialError):
    """No key of the ring opens it."""


class CredentialMisplaced(CredentialError):
    """It opens, but was sealed for another account or another purpose: somebody moved the row."""


class SessionMismatch(Exception):
    """The broker logged in another user than the one asked for."""


class LoginFailed(Exception):
    """The broker's login form did not lead to a request token. It is not tried again: some tries lock the account."""


class NoDataAccount(Exception):
    """Nobody's session may be used for a data call: no enabled account is marked for it."""


class BrokerError(Exception):
    """Base of everything the broker client raises."""


class NotSent(BrokerError):
    """No byte of the request left: sending it again is safe."""

    retry_after_seconds = 1.0


class RequestRejected(BrokerError):
    """The broker understood the request and refused it: nothing happened."""

    def __init__(self, message: str, *, error_type: str = "", status: int = 0) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.status = status


class SessionExpired(BrokerError):
    """The access token is dead or was never there: a login is needed. Nothing happened."""

    retry_after_seconds = 60.0


class RateLimited(BrokerError):
    """Too many requests: nothing happened, and asking again before the wait is over will not help."""

    def __init__(self, message: str, *, retry_after_seconds: float = 1.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class BudgetExhausted(RateLimited):
    """Our own count says that the broker would refuse: nothing was sent."""


class BudgetUnavailable(NotSent):
    """Redis does not say how many orders were sent, so none may be."""


class PlacesTaken(RateLimited):
    """As many calls of this account as may run at once are running: nothing was sent."""


class BreakerOpen(NotSent):
    """The broker failed too often just now and is left alone for a while."""

    def __init__(self, message: str, *, retry_after_seconds: float) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class OutcomeUnknown(BrokerError):
    """Timeout, lost connection or an answer that does not say: the request may have been carried out.

    `is_fault` is False where the broker did answer in its own form, only with words not known here: that says nothing
    about its health.
    """

    def __init__(self, message: str, *, is_fault: bool = True) -> None:
        super().__init__(message)
        self.is_fault = is_fault
