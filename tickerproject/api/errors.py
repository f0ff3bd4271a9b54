"""One shape for every error: ``{"error": {"code", "message", "details", "request_id", "timestamp"}}``."""

import logging
import sys
from collections.abc import Mapping
from http import HTTPStatus
from math import ceil
from typing import Any

import structlog
from django.conf import settings
from django.core.exceptions import NON_FIELD_ERRORS, PermissionDenied, SuspiciousOperation, TooManyFieldsSent
from django.core.exceptions import ValidationError as DjangoValidationError
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.template.loader import render_to_string
from django.utils import timezone
from rest_framework import exceptions as drf
from rest_framework.fields import get_error_detail
from rest_framework.response import Response
from rest_framework.views import set_rollback

from accounts.exceptions import (
    BreakerOpen,
    BrokerError,
    BudgetExhausted,
    BudgetUnavailable,
    CredentialError,
    CredentialMissing,
    LoginFailed,
    NotSent,
    OutcomeUnknown,
    PlacesTaken,
    RateLimited,
    Refused,
    RequestRejected,
    SessionExpired,
    SessionMismatch,
)

logger = logging.getLogger(__name__)

DATABASE_AWAY = "The database does not answer now. Ask again, with the same Idempotency-Key if you sent one."
DATABASE_AWAY_SECONDS = 1
UNEXPECTED = "Something went wrong. Name the request id to find out."

_BROKER_ERRORS: dict[type[BrokerError], tuple[int, str]] = {
    NotSent: (HTTPStatus.SERVICE_UNAVAILABLE, "broker_unreachable"),
    BreakerOpen: (HTTPStatus.SERVICE_UNAVAILABLE, "broker_breaker_open"),
    BudgetUnavailable: (HTTPStatus.SERVICE_UNAVAILABLE, "broker_budget_unavailable"),
    BudgetExhausted: (HTTPStatus.SERVICE_UNAVAILABLE, "broker_budget_exhausted"),
    PlacesTaken: (HTTPStatus.SERVICE_UNAVAILABLE, "broker_busy"),
    SessionExpired: (HTTPStatus.SERVICE_UNAVAILABLE, "broker_session_expired"),
    RateLimited: (HTTPStatus.SERVICE_UNAVAILABLE, "broker_rate_limited"),
    RequestRejected: (HTTPStatus.UNPROCESSABLE_ENTITY, "broker_rejected"),
    OutcomeUnknown: (HTTPStatus.GATEWAY_TIMEOUT, "broker_outcome_unknown"),
}


def handle(exc: Exception, context: Mapping[str, Any]) -> Response:
    """REST framework's exception handler: turns whatever a view raised into the one shape.

    What nobody expected is logged with its traceback; its sender learns the request id and nothing else.
    """
    status, code, message, details = _describe(exc)
    set_rollback()
    if status == HTTPStatus.INTERNAL_SERVER_ERROR or _is_database_away(exc):
        logger.error("unexpected error in %s", type(context.get("view")).__name__, exc_info=exc)
    return Response(body(code, message, details), status=status, headers=_headers(exc))


def body(code: str, message: str, details: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The one shape, with the request's id and the (system) time in UTC."""
    return {
        "error": {
            "code": code,
            "message": message,
            "details": dict(details or {}),
            "request_id": _request_id(),
            "timestamp": timezone.now().isoformat(),
        }
    }


def _request_id() -> str | None:
    return structlog.contextvars.get_contextvars().get("request_id")


def _describe(exc: Exception) -> tuple[int, str, str, Mapping[str, Any]]:
    """Status, code, message and details of an error."""
    match exc:
        case Refused():
            return exc.status_code, exc.code, str(exc), exc.details
        case BrokerError():
            status, code = _BROKER_ERRORS.get(type(exc), (HTTPStatus.BAD_GATEWAY, "broker_error"))
            return status, code, str(exc), {}
        case LoginFailed() | SessionMismatch():
            return HTTPStatus.UNPROCESSABLE_ENTITY, "broker_login_failed", str(exc), {}
        case CredentialMissing():
            return HTTPStatus.CONFLICT, "credential_missing", str(exc), {}
        case CredentialError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "credential_unreadable", str(exc), {}
        case OperationalError() | InterfaceError():
            return HTTPStatus.SERVICE_UNAVAILABLE, "database_unavailable", DATABASE_AWAY, {}
        case Http404():
            return HTTPStatus.NOT_FOUND, "not_found", "Not found.", {}
        case TooManyFieldsSent():
            most = settings.DATA_UPLOAD_MAX_NUMBER_FIELDS
            return HTTPStatus.BAD_REQUEST, "bad_request", f"A request may have {most:,} parameters at most.", {}
        case SuspiciousOperation():
            return HTTPStatus.BAD_REQUEST, "bad_request", "The request cannot be understood.", {}
        case PermissionDenied():
            return HTTPStatus.FORBIDDEN, "permission_denied", "You may not do this.", {}
        case drf.ValidationError():
            return exc.status_code, "invalid_input", "The input is not valid.", _by_field(exc.detail)
        case DjangoValidationError():
            return HTTPStatus.BAD_REQUEST, "invalid_input", "The input is not valid.", _by_field(get_error_detail(exc))
        case drf.APIException():
            details = {} if isinstance(exc.detail, str) else _by_field(exc.detail)
            message = str(exc.detail if isinstance(exc.detail, str) else exc.default_detail)
            return exc.status_code, str(exc.default_code), message, details
    return (
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "internal_error",
        UNEXPECTED,
        {},
    )


def _by_field(detail: Any) -> Mapping[str, Any]:
    """Errors by field; what belongs to no field stands under `non_field_errors`."""
    if not isinstance(detail, Mapping):
        return {"non_field_errors": detail}
    return {"non_field_errors" if name == NON_FIELD_ERRORS else name: found for name, found in detail.items()}


def _is_database_away(exc: BaseException | None) -> bool:
    """Restarting, full, or busy for too long: another moment may do."""
    return isinstance(exc, OperationalError | InterfaceError)


def _headers(exc: Exception) -> dict[str, str]:
    headers = {}
    if challenge := getattr(exc, "auth_header", None):
        headers["WWW-Authenticate"] = str(challenge)
    wait = getattr(exc, "wait", None) or getattr(exc, "retry_after_seconds", None)
    if _is_database_away(exc):
        wait = DATABASE_AWAY_SECONDS
    if wait:
        headers["Retry-After"] = str(max(1, ceil(wait)))
    return headers


# --- Django's own handlers (`handler400` … in the URL configuration): the same shape where a program is asking ---


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        return JsonResponse(body("bad_request", "The request cannot be understood."), status=HTTPStatus.BAD_REQUEST)
    return _page("Your browser sent something that cannot be understood.", HTTPStatus.BAD_REQUEST)


def permission_denied(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        return JsonResponse(body("permission_denied", "You may not do this."), status=HTTPStatus.FORBIDDEN)
    return _page("You have no right to see this page. Who runs the service can grant it.", HTTPStatus.FORBIDDEN)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponseBase:
    if _is_api(request):
        return JsonResponse(body("not_found", "Not found."), status=HTTPStatus.NOT_FOUND)
    reason = exception.args[0] if exception.args and isinstance(exception.args[0], str) else ""
    return _page(reason or "There is no such page.", HTTPStatus.NOT_FOUND)


def server_error(request: HttpRequest) -> HttpResponseBase:
    if _is_api(request) and _is_database_away(sys.exc_info()[1]):
        headers = {"Retry-After": str(DATABASE_AWAY_SECONDS)}
        told = body("database_unavailable", DATABASE_AWAY)
        return JsonResponse(told, status=HTTPStatus.SERVICE_UNAVAILABLE, headers=headers)
    if _is_api(request):
        return JsonResponse(body("internal_error", UNEXPECTED), status=HTTPStatus.INTERNAL_SERVER_ERROR)
    return _page(UNEXPECTED, HTTPStatus.INTERNAL_SERVER_ERROR)


def _page(message: str, status: HTTPStatus) -> HttpResponse:
    """A page in the service's look. It asks no database, not even who is logged in: that may be what failed."""
    context = {
        "title": status.phrase,
        "message": message,
        "request_id": _request_id(),
        "feed_source": settings.FEED_SOURCE,
    }
    return HttpResponse(render_to_string("error.html", context), status=status)


def _is_api(request: HttpRequest) -> bool:
    return request.path.startswith("/api/")
