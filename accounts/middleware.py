"""Who a request's doings are written down to in the audit."""

from collections.abc import Callable
from dataclasses import replace

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from accounts.addresses import client_address
from accounts.audit import ADMIN, NOBODY, Actor, acting
from accounts.principals import principal_of


class AuditActorMiddleware:
    """Whatever a request records, its sender did. Who that is comes out late: REST knows it inside the view."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        place = ADMIN if request.path.startswith(reverse("admin:index")) else ""
        with acting(lambda: actor_of(request), place):
            return self.get_response(request)


def actor_of(request: HttpRequest) -> Actor:
    """The sender as the audit writes it."""
    address = client_address(request.META)
    principal = principal_of(request) if hasattr(request, "user") else None
    if principal is None:
        return replace(NOBODY, address=address)
    return Actor(principal.name, principal.label, address)
