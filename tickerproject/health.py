"""`/health` and `/health/live`."""

from django.http import HttpRequest, JsonResponse


def live(request: HttpRequest) -> JsonResponse:
    """Whether this process answers at all; asks nothing else, since a lost Redis is no reason to restart it."""
    return JsonResponse({"status": "ok"})


def health(request: HttpRequest) -> JsonResponse:
    return JsonResponse({"status": "ok"})
