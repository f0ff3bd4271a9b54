"""`/health`: the truth about this installation, and `/health/live`: whether this process answers."""

from datetime import UTC, datetime
from typing import Any

from django.conf import settings
from django.db import DatabaseError
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from accounts.authorisation import is_administrator
from accounts.principals import principal_of
from streaming.health import service_health
from tickerproject.monitors import is_of_this_machine


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Whether this process answers at all. It asks nothing else: a lost Redis is no reason to restart it."""
    return JsonResponse({"status": "ok"})


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """The state of the stream, its accounts and what the service depends on; 200 when all is well, else 503.

    Accounts, sockets and reasons are for this machine's own monitor and for administrators; others are told how each
    part is, and no names. What readers may know of their accounts is on the page of the feed.
    """
    found = service_health()
    imported_at = found.registry["imported_at"]
    ticker: dict[str, Any] = {
        "status": found.feed,
        "running": any(stream["running"] for stream in found.streams),
        "active_subscriptions": sum(stream["active_subscriptions"] for stream in found.streams),
        "active_accounts": sum(feed["status"] in {"open", "stalled"} for feed in found.feeds.values()),
        "processes": len(found.streams),
        "unconfirmed": sum(len(stream["unconfirmed"]) for stream in found.streams),
    }
    broker: dict[str, Any] = {"status": found.broker}
    if is_of_this_machine(request) or _is_administrator(request):
        ticker |= {
            "reasons": [reason.text for reason in found.reasons],
            "slots": found.newest_stream["slots"] if found.newest_stream else [],
            "capacity": found.newest_stream["capacity"] if found.newest_stream else None,
            "alerts": [alert for stream in found.streams for alert in stream["alerts"]],
            "accounts": {
                name: {**account, "last_tick_at": _iso(account["last_tick_at"])}
                for name, account in found.feeds.items()
            },
        }
        broker["breakers"] = found.breakers
    body = {
        "status": found.overall,
        "environment": settings.ENVIRONMENT,
        "source": settings.FEED_SOURCE,
        "ticker": ticker,
        "broker": broker,
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


def _is_administrator(request: HttpRequest) -> bool:
    try:
        return is_administrator(principal_of(request))
    except DatabaseError:  # sessions are in it: then nobody is known
        return False


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
