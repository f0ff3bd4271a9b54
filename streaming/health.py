"""What the service depends on, and how each part is: for `/health`, and for the people's page that says the same.

Asking costs one query and a few round trips; no part that is away keeps the others from being told.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, TypedDict

import redis
from django.conf import settings
from django.core.cache import caches
from django.db import DatabaseError, connection

from accounts import clock
from accounts.breaker import BreakerState, breaker_names, states
from accounts.models import TradingAccount
from market.calendar import is_open
from market.exceptions import CalendarMissing
from market.models import Instrument, InstrumentImport
from market.names import RedisNames
from streaming.state import AccountState, StreamState, read_states

logger = logging.getLogger(__name__)

Status = Literal["ok", "degraded", "critical"]
WORST: dict[Status, int] = {"ok": 0, "degraded": 1, "critical": 2}
REDIS_TIMEOUT_SECONDS = 1.0
REGISTRY_CACHE_SECONDS = 5


class Registry(TypedDict):
    """The instruments: how many are listed, and what the last import that was believed brought."""

    status: Status
    instruments: int
    imported_at: datetime | None  # system time
    added: int
    retired: int


@dataclass(frozen=True, slots=True)
class Reason:
    """Why the feed is not well; `account` (a Kite user id) is empty where it is about none."""

    account: str
    text: str


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    database: Status
    redis: Status
    registry: Registry
    feed: Status
    reasons: tuple[Reason, ...]
    streams: tuple[StreamState, ...]
    breakers: dict[str, BreakerState]  # by name, of every enabled account

    @property
    def broker(self) -> Status:
        return "ok" if all(state is BreakerState.CLOSED for state in self.breakers.values()) else "degraded"

    @property
    def overall(self) -> Status:
        parts = (self.database, self.redis, self.registry["status"], self.feed, self.broker)
        return max(parts, key=WORST.__getitem__)

    @property
    def feeds(self) -> dict[str, AccountState]:
        """What each account's sockets do, in all processes together, by Kite user id."""
        return merged(stream["accounts"] for stream in self.streams)

    @property
    def newest_stream(self) -> StreamState | None:
        """The process that has written last: each of them knows of all slots."""
        return max(self.streams, key=lambda stream: stream["written_at"], default=None)


def merged(states: Iterable[Mapping[str, AccountState]]) -> dict[str, AccountState]:
    """Accounts as several processes see each of them: the worst status counts, of those that have sockets."""
    seen: defaultdict[str, list[AccountState]] = defaultdict(list)
    for accounts in states:
        for name, account in accounts.items():
            seen[name].append(account)
    return {
        name: AccountState(
            status=min((one["status"] for one in found), key=lambda status: {"idle": 2, "open": 1}.get(status, 0)),
            subscriptions=sum(one["subscriptions"] for one in found),
            last_tick_at=max((one["last_tick_at"] for one in found if one["last_tick_at"] is not None), default=None),
        )
        for name, found in seen.items()
    }


def service_health() -> ServiceHealth:
    """The service as it is now. Raises nothing that a lost database or Redis would raise."""
    database = _database()
    redis_status, streams = _redis_and_streams()
    is_there = database == "ok"
    feed, reasons = _feed(streams)
    return ServiceHealth(
        database=database,
        redis=redis_status,
        registry=_registry() if is_there else _unknown_registry(),
        feed=feed,
        reasons=reasons,
        streams=tuple(streams),
        breakers=_breakers() if is_there else {},
    )


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


def _registry() -> Registry:
    """Counting 115,000 rows is kept for a few seconds: monitors ask often."""
    try:
        known: Registry | None = caches["default"].get("health:instruments")
    except redis.RedisError:
        known = None
    if known is not None:
        return known
    count = Instrument.objects.filter(is_active=True).count()
    newest = InstrumentImport.objects.filter(outcome=InstrumentImport.Outcome.COMPLETED).first()
    found = Registry(
        status="ok" if count else "degraded",
        instruments=count,
        imported_at=newest.started_at if newest else None,
        added=newest.added if newest else 0,
        retired=newest.retired if newest else 0,
    )
    try:
        caches["default"].set("health:instruments", found, REGISTRY_CACHE_SECONDS)
    except redis.RedisError as exc:
        logger.debug("health: not cached: %s", exc)
    return found


def _unknown_registry() -> Registry:
    return Registry(status="critical", instruments=0, imported_at=None, added=0, retired=0)


def _feed(streams: Iterable[StreamState]) -> tuple[Status, tuple[Reason, ...]]:
    """The feed is well when a stream runs and, while the market is open, its ticks are young."""
    streams = list(streams)
    if not streams:
        return "degraded", (Reason("", "no stream process is running"),)
    try:
        market_is_open = is_open("NFO", "derivatives", clock.now())
    except CalendarMissing as exc:
        return "degraded", (Reason("", str(exc)),)
    reasons: list[Reason] = []
    for stream in streams:
        for name, account in stream["accounts"].items():
            if account["status"] not in {"open", "idle"}:
                reasons.append(Reason(name, f"account {name} is {account['status']}"))
            elif market_is_open and account["subscriptions"]:
                age = stream["written_at"] - (account["last_tick_at"] or stream["started_at"])
                if age > settings.STREAM_STALE_SECONDS:
                    reasons.append(Reason(name, f"account {name} is connected but silent for {age:.0f} s"))
    accounts = merged(stream["accounts"] for stream in streams)
    in_use = {name for name, account in accounts.items() if account["status"] != "idle"}
    is_every_account = bool(reasons) and in_use <= {reason.account for reason in reasons}
    newest = max(streams, key=lambda stream: stream["written_at"])
    reasons += [Reason(alert["account"], alert["text"]) for stream in streams for alert in stream["alerts"]]
    if overflow := {part: why for part, why in newest["overflow"].items() if not why.endswith("is not connected")}:
        part, why = min(overflow.items())
        reasons.append(Reason("", f"{len(overflow)} parts are not streamed; {part}: {why}"))
    if not reasons:
        return "ok", ()
    return "critical" if is_every_account else "degraded", tuple(dict.fromkeys(reasons))
