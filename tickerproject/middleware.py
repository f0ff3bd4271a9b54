"""What every HTTP answer carries: a request id and the content security policy."""

import re
import uuid
from collections.abc import Callable

import structlog
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils.cache import add_never_cache_headers

GetResponse = Callable[[HttpRequest], HttpResponse]

# A caller may bring its own id, to follow a request through several services; anything odd is replaced.
ACCEPTABLE_ID = re.compile(r"[A-Za-z0-9._-]{8,64}")

PAGES_POLICY = "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
# The admin's and the API documentation's own pages carry inline scripts and styles; nothing comes from another host.
FOREIGN_PAGES_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; object-src 'none'; base-uri 'none'; frame-ancestors 'none'"
)


class RequestIdMiddleware:
    """`X-Request-ID` in and out, and in every log line of the request."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        brought = request.headers.get("X-Request-ID", "")
        request_id = brought if ACCEPTABLE_ID.fullmatch(brought) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=request_id):
            response = self.get_response(request)
        response["X-Request-ID"] = request_id
        return response


class ContentSecurityPolicyMiddleware:
    """Nothing is loaded from another host; our own pages carry no inline script or style."""

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        foreign = request.path.startswith(("/admin/", "/api/docs/"))
        response.setdefault("Content-Security-Policy", FOREIGN_PAGES_POLICY if foreign else PAGES_POLICY)
        response.setdefault("Cross-Origin-Opener-Policy", "same-origin")
        if request.path.startswith("/api/") and not settings.DEBUG:
            add_never_cache_headers(response)
        return response
