"""What the end of a call means for its task. The broker client has classified the call; here it becomes a decision."""

from dataclasses import dataclass
from enum import Enum

from accounts.exceptions import (
    BrokerError,
    BudgetExhausted,
    NotSent,
    OutcomeUnknown,
    PlacesTaken,
    RateLimited,
    RequestRejected,
    SessionExpired,
)


class Decision(Enum):
    COMPLETED = "completed"
    FAILED = "failed"
    RETRY = "retry"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`after_seconds` and `costs_an_attempt` are of a retry: what was never tried costs nothing."""

    decision: Decision
    code: str
    message: str = ""
    http_status: int | None = None
    after_seconds: float = 0.0
    costs_an_attempt: bool = True


def verdict_on(failure: Exception) -> Verdict:
    """What a failed call means. Whatever is not provably harmless leaves the task unknown."""
    message = str(failure)
    match failure:
        case SessionExpired():
            # Not accepted; it waits for a login, which costs it nothing but time.
            return _later("session_expired", message, failure.retry_after_seconds)
        case BudgetExhausted() | PlacesTaken():
            return _later("over_budget", message, failure.retry_after_seconds)
        case RateLimited():
            return _later("rate_limited", message, failure.retry_after_seconds)
        case NotSent():
            return Verdict(Decision.RETRY, "not_sent", message, after_seconds=failure.retry_after_seconds)
        case RequestRejected():
            code = failure.error_type or "rejected"
            return Verdict(Decision.FAILED, code, message, http_status=failure.status or None)
        case OutcomeUnknown():
            return Verdict(Decision.UNKNOWN, "outcome_unknown", message)
        case BrokerError():
            return Verdict(Decision.UNKNOWN, "outcome_unknown", message)
    return Verdict(Decision.UNKNOWN, "unexpected_error", f"{type(failure).__name__} after the mark was made")


def _later(code: str, message: str, seconds: float) -> Verdict:
    return Verdict(Decision.RETRY, code, message, after_seconds=seconds, costs_an_attempt=False)
