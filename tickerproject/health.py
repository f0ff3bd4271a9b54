"""`/health`: the truth about this installation, and `/health/live`: whether this process answers."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from streaming.health import service_health


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Whether this process answers at all. It asks nothing else: a lost Redis is no reason to restart it."""
    return JsonResponse({"status": "ok"})


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """The state of the stream, its accounts and what the service depends on; 200 when all is well, else 503."""
    found = service_health()
    imported_at = found.registry["imported_at"]
    body: dict[str, Any] = {
        "status": found.overall,
        "environment": settings.ENVIRONMENT,
        "source": settings.FEED_SOURCE,
        "ticker": {
            "status": found.feed,
            "reasons": [reason.text for reason in found.reasons],
            "running": any(stream["running"] for stream in found.streams),
            "active_subscriptions": sum(stream["active_subscriptions"] for stream in found.streams),
            "active_accounts": sum(feed["status"] in {"open", "stalled"} for feed in found.feeds.values()),
            "processes": len(found.streams),
            "slots": found.newest_stream["slots"] if found.newest_stream else [],
            "capacity": found.newest_stream["capacity"] if found.newest_stream else None,
            "unconfirmed": sum(len(stream["unconfirmed"]) for stream in found.streams),
            "alerts": [alert for stream in found.streams for alert in stream["alerts"]],
            "accounts": {
                name: {**account, "last_tick_at": _iso(account["last_tick_at"])}
                for name, account in found.feeds.items()
            },
        },
        "broker": {"status": found.broker, "breakers": found.breakers},
        "dependencies": {
            "redis": found.redis,
            "database": found.database,
            "instrument_registry": {
                "status": found.registry["status"],
                "cached_instruments": found.registry["instruments"],
                "last_refresh": imported_at.isoformat() if imported_at else None,
            },
        },
    }
    return JsonResponse(body, status=200 if found.overall == "ok" else 503)


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
