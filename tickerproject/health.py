"""`/health`: the truth about this installation, and `/health/live`: whether this process answers."""

import logging
from datetime import UTC, datetime
from typing import Any, Literal, TypedDict

import redis
from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError, connection
from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from accounts import clock
from accounts.breaker import BreakerState, breaker_names, states
from accounts.models import TradingAccount
from market.calendar import is_open
from market.exceptions import CalendarMissing
from market.models import Instrument, InstrumentImport
from market.names import RedisNames
from streaming.state import StreamState, read_states

logger = logging.getLogger(__name__)

Status = Literal["ok", "degraded", "critical"]
WORST: dict[Status, int] = {"ok": 0, "degraded": 1, "critical": 2}
REDIS_TIMEOUT_SECONDS = 1.0
REGISTRY_CACHE_SECONDS = 5


class RegistryHealth(TypedDict):
    status: Status
    cached_instruments: int
    last_refresh: str | None


@require_safe
def live(request: HttpRequest) -> JsonResponse:
    """Whether this process answers at all. It asks nothing else: a lost Redis is no reason to restart it."""
    return JsonResponse({"status": "ok"})


@require_safe
def health(request: HttpRequest) -> JsonResponse:
    """The state of the stream, its accounts and what the service depends on; 200 when all is well, else 503."""
    database = _database()
    redis_status, states = _redis_and_streams()
    registry = (
        _registry() if database == "ok" else RegistryHealth(status="critical", cached_instruments=0, last_refresh=None)
    )
    feed, reasons = _feed(states)
    breakers = _breakers() if database == "ok" else {}
    broker: Status = "ok" if all(state is BreakerState.CLOSED for state in breakers.values()) else "degraded"
    statuses: list[Status] = [database, redis_status, registry["status"], feed, broker]
    overall = max(statuses, key=WORST.__getitem__)
    body: dict[str, Any] = {
        "status": overall,
        "environment": settings.ENVIRONMENT,
        "source": settings.FEED_SOURCE,
        "ticker": {
            "status": feed,
            "reasons": reasons,
            "running": any(state["running"] for state in states),
            "active_subscriptions": sum(state["active_subscriptions"] for state in states),
            "active_accounts": sum(state["active_accounts"] for state in states),
            "accounts": {
                name: {**account, "last_tick_at": _iso(account["last_tick_at"])}
                for state in states
                for name, account in state["accounts"].items()
            },
        },
        "broker": {"status": broker, "breakers": breakers},
        "dependencies": {"redis": redis_status, "database": database, "instrument_registry": registry},
    }
    return JsonResponse(body, status=200 if overall == "ok" else 503)


def _database() -> Status:
    try:
        with connection.cursor() as cursor:
            cursor.execute("select 1")
    except DatabaseError as exc:
        logger.warning("health: PostgreSQL does not answer: %s", exc)
        return "critical"
    return "ok"


def _redis_and_streams() -> tuple[Status, list[StreamState]]:
    timeouts = {"socket_timeout": REDIS_TIMEOUT_SECONDS, "socket_connect_timeout": REDIS_TIMEOUT_SECONDS}
    try:
        with redis.Redis.from_url(settings.REDIS_URL, **timeouts) as client:
            return "ok", read_states(client, RedisNames(settings.REDIS_PREFIX))
    except redis.RedisError as exc:
        logger.warning("health: Redis does not answer: %s", exc)
        # Ticks and limits suffer, orders and accounts do not.
        return "degraded", []


def _breakers() -> dict[str, BreakerState]:
    """Of each enabled account, by name; of this process alone while Redis is away."""
    accounts = TradingAccount.objects.enabled().values_list("kite_user_id", flat=True)
    return states(name for account in accounts for name in breaker_names(account))


def _registry() -> RegistryHealth:
    """Counting 115,000 rows is kept for a few seconds: monitors ask often."""
    try:
        known: RegistryHealth | None = caches["default"].get("health:registry")
    except redis.RedisError:
        known = None
    if known is not None:
        return known
    count = Instrument.objects.filter(is_active=True).count()
    newest = InstrumentImport.objects.filter(outcome=InstrumentImport.Outcome.COMPLETED).first()
    found = RegistryHealth(
        status="ok" if count else "degraded",
        cached_instruments=count,
        last_refresh=newest.started_at.isoformat() if newest else None,
    )
    try:
        caches["default"].set("health:registry", found, REGISTRY_CACHE_SECONDS)
    except redis.RedisError as exc:
        logger.debug("health: not cached: %s", exc)
    return found


def _feed(states: list[StreamState]) -> tuple[Status, list[str]]:
    """The feed is well when a stream runs and, while the market is open, its ticks are young."""
    if not states:
        return "degraded", ["no stream process is running"]
    try:
        market_is_open = is_open("NFO", "derivatives", clock.now())
    except CalendarMissing as exc:
        return "degraded", [str(exc)]
    reasons: list[str] = []
    for state in states:
        for name, account in state["accounts"].items():
            if account["status"] not in {"open", "idle"}:
                reasons.append(f"account {name} is {account['status']}")
            elif market_is_open and account["subscriptions"]:
                age = state["written_at"] - (account["last_tick_at"] or state["started_at"])
                if age > settings.STREAM_STALE_SECONDS:
                    reasons.append(f"account {name} is connected but silent for {age:.0f} s")
    return (
        "critical" if reasons and len(reasons) >= sum(len(state["accounts"]) for state in states) else "degraded"
    ) if reasons else "ok", reasons


def _iso(seconds: float | None) -> str | None:
    return None if seconds is None else datetime.fromtimestamp(seconds, UTC).isoformat()
