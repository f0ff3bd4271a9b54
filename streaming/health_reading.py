"""One look at everything that the feed depends on: `/ws/health/` tells of it, and the page of the feed's health.

Asking costs a few queries and round trips, so a web process looks once a second for all its readers.
"""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from datetime import time as time_of_day
from typing import Final
from uuid import UUID

from django.db import DatabaseError
from django.db.models import F

from accounts import clock
from accounts.budget_meters import Meter, data_meters, order_meters
from accounts.clock import IST
from accounts.models import KiteApp, TradingAccount
from market import calendar
from market.calendar import Session
from market.exceptions import CalendarMissing
from market.gap_models import FeedGap
from streaming.health import ServiceHealth, service_health

logger = logging.getLogger(__name__)

EXCHANGE: Final = "NFO"
"""The market whose session the feed is held to, as on every page."""
MOST_GAPS: Final = 500
"""Of one day. Three sockets that are cut every minute make a thousand; nobody reads more."""


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """What the tables know of one account that is enabled."""

    kite_user_id: str
    label: str
    monogram: str
    monogram_colour: str
    public_id: UUID
    app_id: int
    is_data: bool
    is_logged_in: bool
    meters: tuple[Meter, ...]  # of its orders; none where it sends none


@dataclass(frozen=True, slots=True)
class AppFacts:
    """A Kite app, whose data calls all of its accounts share."""

    pk: int
    label: str
    meters: tuple[Meter, ...]


@dataclass(frozen=True, slots=True)
class GapFacts:
    """One outage of the ledger, with numbers of instruments in place of their ids."""

    feed: str
    cause: str
    status: str
    started_at: datetime  # market time, as `ended_at`
    ended_at: datetime | None
    bars_refilled: int
    reason: str
    instruments: int
    remaining: int
    refused: int


@dataclass(frozen=True, slots=True)
class Tables:
    """What only PostgreSQL knows."""

    accounts: tuple[AccountFacts, ...] = ()
    apps: tuple[AppFacts, ...] = ()
    gaps: tuple[GapFacts, ...] = ()  # of the day, the newest first


@dataclass(frozen=True, slots=True)
class Reading:
    """`at` is system time, Unix seconds. `session` is today's; None on a day without one, or that nobody entered."""

    at: float
    market_time: datetime
    session: Session | None
    calendar_problem: str
    health: ServiceHealth
    tables: Tables

    @property
    def is_open(self) -> bool:
        """Whether prices are to come now. Where the calendar does not say, they are."""
        return self.market_time in self.session if self.session else bool(self.calendar_problem)


def take_reading() -> Reading:
    """Look now. A lost database or Redis is part of what is found, and raises nothing."""
    health = service_health()
    market_time = clock.now()
    tables, session, problem = Tables(), None, ""
    try:
        session = calendar.session_of(EXCHANGE, calendar.SEGMENTS[EXCHANGE], market_time.astimezone(IST).date())
    except CalendarMissing as exc:
        problem = str(exc)
    except DatabaseError as exc:
        logger.warning("health: the calendar cannot be read: %s", exc)
        problem = "the calendar cannot be read"
    if health.database == "ok":
        try:
            tables = _tables(market_time)
        except DatabaseError as exc:  # it went away since
            logger.warning("health: accounts and gaps cannot be read: %s", exc)
    return Reading(time.time(), market_time, session, problem, health, tables)


def _tables(market_time: datetime) -> Tables:
    rows = list(TradingAccount.objects.enabled().select_related("app", "session").order_by("kite_user_id"))
    apps: dict[int, KiteApp] = {row.app_id: row.app for row in rows}
    return Tables(
        accounts=tuple(_facts(row, market_time) for row in rows),
        apps=tuple(AppFacts(app.pk, app.label, tuple(data_meters(app))) for app in apps.values()),
        gaps=_gaps(market_time),
    )


def _facts(row: TradingAccount, market_time: datetime) -> AccountFacts:
    session = getattr(row, "session", None)
    meters: Sequence[Meter] = order_meters(row) if row.is_trading else ()
    return AccountFacts(
        kite_user_id=row.kite_user_id,
        label=row.label,
        monogram=row.monogram,
        monogram_colour=row.monogram_colour,
        public_id=row.public_id,
        app_id=row.app_id,
        is_data=row.is_data,
        is_logged_in=session is not None and session.is_live(market_time),
        meters=tuple(meters),
    )


def _gaps(market_time: datetime) -> tuple[GapFacts, ...]:
    midnight = datetime.combine(market_time.astimezone(IST).date(), time_of_day(), IST)
    rows = FeedGap.objects.over(midnight, midnight + timedelta(days=1)).counted()
    names = ("feed", "cause", "status", "started_at", "ended_at", "bars_refilled", "reason")
    counts = {"instruments": "instrument_count", "remaining": "remaining_count", "refused": "refused_count"}
    found = rows.values(*names, **{f"n_{name}": F(count) for name, count in counts.items()})[:MOST_GAPS]
    return tuple(
        GapFacts(**{name: row[name] for name in names}, **{name: row[f"n_{name}"] for name in counts}) for row in found
    )
