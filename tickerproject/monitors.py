"""Who may see how this installation is: the monitor of its own machine sees all of it."""

from django.http import HttpRequest

LOOPBACK = {"127.0.0.1", "::1"}


def is_of_this_machine(request: HttpRequest) -> bool:
    """Whether it comes from the machine itself. What came through a proxy does not, wherever the proxy runs."""
    return request.META.get("REMOTE_ADDR") in LOOPBACK and "HTTP_X_FORWARDED_FOR" not in request.META
