"""One shape for errors and pages, whatever a view raises."""

import logging
from collections.abc import Callable, Iterator
from datetime import datetime

import pytest
import structlog
from django.contrib.auth.models import AnonymousUser
from django.core.exceptions import PermissionDenied
from django.core.exceptions import ValidationError as DjangoValidationError
from django.core.management import call_command
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpRequest, HttpResponse
from django.test import Client, RequestFactory
from redis.exceptions import ConnectionError as RedisConnectionError
from rest_framework import exceptions as drf
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.test import APIRequestFactory
from rest_framework.throttling import SimpleRateThrottle
from rest_framework.views import APIView

from accounts.exceptions import (
    BreakerOpen,
    BudgetExhausted,
    BudgetUnavailable,
    Denied,
    NotFound,
    NotSent,
    OutcomeUnknown,
    PlacesTaken,
    RateLimited,
    Refused,
    SessionExpired,
)
from tickerproject.api import errors
from tickerproject.api.errors import handle
from tickerproject.api.pagination import Page
from tickerproject.api.throttling import PrincipalThrottle

REQUEST_ID = "0123456789abcdef0123456789abcdef"


class OddRefusal(Refused):
    code = "odd"
    status_code = 409


@pytest.fixture(autouse=True)
def _request_id() -> Iterator[None]:
    with structlog.contextvars.bound_contextvars(request_id=REQUEST_ID):
        yield


def answer_to(error: Exception) -> Response:
    class Raises(APIView):
        authentication_classes = []
        permission_classes = []
        throttle_classes = []

        def get(self, request: Request) -> Response:
            raise error

    return Raises.as_view()(APIRequestFactory().get("/api/v1/x"))


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (Http404("secret detail"), 404, "not_found"),
        (NotFound(), 404, "not_found"),
        (PermissionDenied(), 403, "permission_denied"),
        (Denied(), 403, "permission_denied"),
        (OddRefusal("x", details={"why": "because"}), 409, "odd"),
        (drf.ValidationError({"limit": ["too big"]}), 400, "invalid_input"),
        (drf.ValidationError("no"), 400, "invalid_input"),
        (DjangoValidationError({"limit": "too big"}), 400, "invalid_input"),
        (drf.ParseError(), 400, "parse_error"),
        (drf.MethodNotAllowed("PUT"), 405, "method_not_allowed"),
        (drf.Throttled(wait=2.4), 429, "throttled"),
        (SessionExpired("log in"), 503, "broker_session_expired"),
        (RateLimited("slow"), 503, "broker_rate_limited"),
        (NotSent("no"), 503, "broker_unreachable"),
        (BreakerOpen("no", retry_after_seconds=9), 503, "broker_breaker_open"),
        (BudgetUnavailable("no"), 503, "broker_budget_unavailable"),
        (BudgetExhausted("no"), 503, "broker_budget_exhausted"),
        (PlacesTaken("no"), 503, "broker_busy"),
        (OutcomeUnknown("?"), 504, "broker_outcome_unknown"),
        (RuntimeError("password=canary"), 500, "internal_error"),
    ],
)
def test_every_error_has_the_one_shape(error: Exception, status: int, code: str) -> None:
    response = answer_to(error)
    [(name, body)] = response.data.items()
    assert (response.status_code, name, body["code"], body["request_id"]) == (status, "error", code, REQUEST_ID)
    assert set(body) == {"code", "message", "details", "request_id", "timestamp"}
    assert isinstance(body["details"], dict)
    assert datetime.fromisoformat(body["timestamp"]).utcoffset() is not None
    assert "secret detail" not in str(response.data)


def test_the_unexpected_is_logged_and_its_sender_learns_the_request_id_only(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        response = answer_to(RuntimeError("canary in the message"))
    assert "canary" not in str(response.data)
    assert "canary in the message" in caplog.text, "the traceback is in the log"


def test_fields_are_named_in_the_details() -> None:
    assert answer_to(drf.ValidationError({"limit": ["too big"]})).data["error"]["details"] == {"limit": ["too big"]}
    for error in (drf.ValidationError("no"), DjangoValidationError("no"), DjangoValidationError({"__all__": ["no"]})):
        assert answer_to(error).data["error"]["details"] == {"non_field_errors": ["no"]}


def test_waits_are_told_in_whole_seconds() -> None:
    assert answer_to(drf.Throttled(wait=2.4))["Retry-After"] == "3"
    assert answer_to(RateLimited("x", retry_after_seconds=0.2))["Retry-After"] == "1"


def test_an_unknown_address_below_api_answers_in_the_one_shape(client: Client) -> None:
    request = RequestFactory().get("/api/v1/nothing")
    response = errors.not_found(request, Http404())
    assert response.status_code == 404
    assert response["Content-Type"] == "application/json"
    page = errors.not_found(RequestFactory().get("/nothing"), Http404())
    assert page["Content-Type"].startswith("text/html")


def page_of(query: str, rows: int = 250) -> Response:
    page = Page()
    request = Request(APIRequestFactory().get(f"/?{query}"))
    items = page.paginate_queryset(list(range(rows)), request)
    assert items is not None
    return page.get_paginated_response(items)


@pytest.mark.parametrize(
    ("query", "first", "count", "more"),
    [
        ("", 0, 100, True),
        ("limit=1000", 0, 250, False),
        ("limit=50&offset=200", 200, 50, False),
        ("limit=1&offset=248", 248, 1, True),
        ("offset=250", None, 0, False),
        ("offset=999999", None, 0, False),
    ],
)
def test_a_page_says_where_it_is_and_whether_there_is_more(
    query: str, first: int | None, count: int, more: bool
) -> None:
    data = page_of(query).data
    assert set(data) == {"items", "total", "limit", "offset", "has_more"}
    assert (data["items"][0] if data["items"] else None, len(data["items"])) == (first, count)
    assert (data["total"], data["has_more"]) == (250, more)


def test_an_empty_list_is_a_page() -> None:
    assert page_of("", rows=0).data == {"items": [], "total": 0, "limit": 100, "offset": 0, "has_more": False}


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=1001", "limit=-1", "limit=x", "limit=", "limit=٣", "offset=-1", f"offset={10**30}", "limit=1e3"],
)
def test_a_limit_out_of_range_is_refused_not_corrected(query: str) -> None:
    with pytest.raises(drf.ValidationError, match=query.split("=")[0]):
        page_of(query)


def test_strangers_are_throttled_by_address_whatever_they_claim(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", {"principal": "1/min"})

    def key(**meta: str) -> str:
        plain = APIRequestFactory().get("/")
        plain.META.update(meta)
        request = Request(plain)
        request.user = AnonymousUser()
        return PrincipalThrottle().get_cache_key(request, APIView())

    assert key(REMOTE_ADDR="10.0.0.1", HTTP_X_FORWARDED_FOR="1.1.1.1") == key(REMOTE_ADDR="10.0.0.1")
    assert key(REMOTE_ADDR="10.0.0.1") != key(REMOTE_ADDR="10.0.0.2")


class CacheThatIsAway:
    def get(self, *_: object) -> None:
        raise RedisConnectionError("no answer")


def test_without_redis_requests_are_still_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SimpleRateThrottle, "THROTTLE_RATES", {"principal": "2/min"})
    monkeypatch.setattr(PrincipalThrottle, "cache", CacheThatIsAway())
    plain = APIRequestFactory().get("/", REMOTE_ADDR="10.0.0.99")
    request = Request(plain)
    request.user = AnonymousUser()
    assert [PrincipalThrottle().allow_request(request, APIView()) for _ in range(3)] == [True, True, False]


def test_the_description_of_the_interface_is_complete(capsys: pytest.CaptureFixture[str]) -> None:
    """No warning: every route, field and way to log in is described; every example fits its schema's form."""
    call_command("spectacular", "--fail-on-warn", "--validate")
    description = capsys.readouterr().out
    for path in ("/api/v1/greeks:", "/api/v1/strategies/payoff:", "/api/v1/option-chains/{underlying}/{expiry}:"):
        assert path in description
    assert "X-API-Key" in description


@pytest.mark.parametrize(
    ("answer", "status", "words"),
    [
        (lambda request: errors.bad_request(request, Exception()), 400, "cannot be understood"),
        (lambda request: errors.permission_denied(request, PermissionDenied()), 403, "no right to see"),
        (lambda request: errors.not_found(request, Http404({"tried": "much"})), 404, "There is no such page."),
        (lambda request: errors.not_found(request, Http404("No options of X expire then.")), 404, "No options of X"),
        (errors.server_error, 500, "Name the request id"),
    ],
)
def test_people_get_a_page_that_says_what_happened_and_names_the_request(
    answer: Callable[[HttpRequest], HttpResponse], status: int, words: str
) -> None:
    page = answer(RequestFactory().get("/somewhere"))
    text = page.content.decode()
    assert (page.status_code, words in text, REQUEST_ID in text) == (status, True, True)


def test_a_message_on_an_error_page_is_text_and_not_markup() -> None:
    page = errors.not_found(RequestFactory().get("/x"), Http404("<script>alert(1)</script>"))
    assert isinstance(page, HttpResponse)
    assert b"<script>alert" not in page.content


@pytest.mark.parametrize("error", [OperationalError("the server closed the connection"), InterfaceError("closed")])
def test_a_database_that_is_away_is_a_503_that_says_when_to_ask_again(error: Exception) -> None:
    answer = handle(error, {})
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert answer.data["error"]["code"] == "database_unavailable"
    assert "closed" not in answer.data["error"]["message"]
