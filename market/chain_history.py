"""The history of option chains, written by the stream: what each expiry's chain said, a row per expiry and minute, read
for IV rank and percentile; the chains themselves go to `market.chain_snapshots` in the same minute.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

import numpy as np
from django.db.models import DateTimeField, F, Func, Model, Value
from django.db.models.functions import TruncDate
from numpy.typing import NDArray

from accounts import clock
from accounts.clock import IST
from greeks.term_structure import constant_maturity
from market import chain_snapshots
from market.chain_models import ChainSnapshot
from market.models import ChainMinute

MATURITY_DAYS: Final = 30.0
SHORTEST_DAYS: Final = 7.0
"""An expiry nearer than this is no stand-in for a month: its volatility is that of a few days' events."""
SESSIONS_A_YEAR: Final = 252

_KEY: Final = ("underlying", "expiry", "minute", "source")
_VALUES: Final = tuple(field.name for field in ChainMinute._meta.concrete_fields if field.name not in ("id", *_KEY))
_BATCH: Final = 20_000
_BATCH_OF_SNAPSHOTS: Final = 1_000  # a hundred times as large


@dataclass(frozen=True, slots=True)
class ExpiryMinute:
    """What the stream knew of one expiry at the end of one minute; `at` is market time, aware.

    `analytics` as `market.chain_analytics` has them, `pricing` as a part's line says it, `columns` one row per option.
    """

    underlying: str
    expiry: date
    at: datetime
    source: str
    analytics: Mapping[str, Any]
    pricing: Mapping[str, Any]
    columns: Mapping[str, NDArray[Any]]


def keep(minutes: Sequence[ExpiryMinute]) -> None:
    """Store what the chains said, and the chains. Twice is as good as once.

    Raises
    ------
    django.db.Error
        If the database does not take them; what the chains said may be stored then, and the chains not.
    """
    record(
        chain_minute(
            underlying=one.underlying, expiry=one.expiry, at=one.at, source=one.source, analytics=one.analytics
        )
        for one in minutes
    )
    chain_snapshots.record(
        chain_snapshots.chain_snapshot(
            underlying=one.underlying,
            expiry=one.expiry,
            at=one.at,
            source=one.source,
            pricing=one.pricing,
            columns=one.columns,
        )
        for one in minutes
    )


def chain_minute(
    *, underlying: str, expiry: date, at: datetime, source: str, analytics: Mapping[str, Any]
) -> ChainMinute:
    """A row, not yet stored, of what `market.chain_analytics` found; `at` is market time, aware."""
    totals = analytics["totals"]
    return ChainMinute(
        underlying=underlying,
        expiry=expiry,
        minute=at.replace(second=0, microsecond=0),
        source=source,
        straddle_price=analytics["straddle"]["price"],
        net_gamma_exposure=analytics["gamma_exposure"]["net"],
        gamma_flip=analytics["gamma_exposure"]["flip"],
        **{name: totals[name] for name in ("call_oi", "put_oi", "call_volume", "put_volume")},
        **{
            name: analytics[name]
            for name in (
                "time_to_expiry",
                "spot",
                "forward",
                "atm_strike",
                "atm_implied_volatility",
                "skew_25_delta",
                "butterfly_25_delta",
                "max_pain",
            )
        },
    )


def record(minutes: Iterable[ChainMinute]) -> int:
    """Store the rows in one statement. A row that is there already takes the new values, so twice is as good as once.

    Returns how many rows were written. Of two rows for one minute the later one counts.
    """
    by_key = {tuple(getattr(row, name) for name in _KEY): row for row in minutes}
    for row in by_key.values():
        for name in _VALUES:
            value = getattr(row, name)
            if value is not None and not math.isfinite(value):
                setattr(row, name, None)
    if by_key:
        ChainMinute.objects.bulk_create(
            by_key.values(), update_conflicts=True, unique_fields=_KEY, update_fields=_VALUES
        )
    return len(by_key)


def daily_atm_iv(
    underlying: str, source: str, days: int = SESSIONS_A_YEAR, *, before: date | None = None
) -> list[tuple[date, float]]:
    """At-the-money volatility of a constant maturity of thirty days, one value per trading day, oldest first.

    Of each day, each expiry's last minute that knew it counts; between expiries total variance is drawn as a line
    (`monthly_volatility`). Days that give none are left out.

    Parameters
    ----------
    underlying, source : of the rows; sources are never mixed
    days : at most so many trading days
    before : none on or after this date in India; today in market time by default, so that a day counts once it is over
    """
    end = datetime.combine(before or clock.today(), datetime.min.time(), IST)
    rows = (
        ChainMinute.objects.filter(
            underlying=underlying,
            source=source,
            atm_implied_volatility__isnull=False,
            time_to_expiry__isnull=False,
            minute__lt=end,
            # Seven days hold five sessions, fewer around holidays.
            minute__gte=end - timedelta(days=math.ceil(days * 1.6) + 10),
        )
        .annotate(day=TruncDate("minute", tzinfo=IST))
        .order_by("day", "expiry", "-minute")
        .distinct("day", "expiry")
        .values_list("day", "time_to_expiry", "atm_implied_volatility")
    )
    chains: defaultdict[date, list[tuple[float, float]]] = defaultdict(list)
    for day, years, volatility in rows:
        if years is not None and volatility is not None:  # the filter has seen to it; this is for the type
            chains[day].append((years, volatility))
    found = ((day, monthly_volatility(chain)) for day, chain in sorted(chains.items()))
    return [(day, volatility) for day, volatility in found if math.isfinite(volatility)][-days:]


def monthly_volatility(expiries: Sequence[tuple[float, float]]) -> float:
    """The volatility at thirty days out of pairs of years to expiry and volatility, in the order of expiries.

    Total variance on a line between the expiries around thirty days; where they are all on one side, the volatility of
    the expiry nearest to it that is at least seven days away; `nan` where there is none.
    """
    known = sorted((years, volatility) for years, volatility in expiries if years > 0 and math.isfinite(volatility))
    if not known:
        return math.nan
    years, volatility = np.array(known).T
    between = float(constant_maturity(years, volatility, MATURITY_DAYS))
    if math.isfinite(between):
        return between
    far_enough = [pair for pair in known if pair[0] * 365 >= SHORTEST_DAYS]
    return min(far_enough, key=lambda pair: abs(pair[0] * 365 - MATURITY_DAYS), default=(math.nan, math.nan))[1]


def last_session(underlying: str, expiry: date, source: str, *, before: date) -> dict[str, Any] | None:
    """The date (IST) and the total open interest of an expiry's last minute before a date that knew it."""
    row = (
        ChainMinute.objects.filter(
            underlying=underlying,
            expiry=expiry,
            source=source,
            minute__lt=datetime.combine(before, datetime.min.time(), IST),
            call_oi__isnull=False,
            put_oi__isnull=False,
        )
        .order_by("-minute")
        .first()
    )
    if row is None:
        return None
    return {"date": row.minute.astimezone(IST).date(), "call_oi": row.call_oi, "put_oi": row.put_oi}


HISTORY: Final = (
    "spot",
    "forward",
    "atm_strike",
    "atm_implied_volatility",
    "straddle_price",
    "skew_25_delta",
    "butterfly_25_delta",
    "call_oi",
    "put_oi",
    "max_pain",
    "time_to_expiry",
)
"""What is told of the past of one chain."""


def history(
    underlying: str, expiry: date, source: str, start: datetime, end: datetime, *, step: timedelta, origin: datetime
) -> list[tuple[Any, ...]]:
    """The last minute of each step, in order of time: when it began, and `HISTORY`.

    Parameters
    ----------
    source : of the rows; sources are never mixed
    start, end : aware, both included
    step : a minute to a day
    origin : a moment at which a step begins
    """
    rows = ChainMinute.objects.filter(
        underlying=underlying, expiry=expiry, source=source, minute__gte=start, minute__lte=end
    ).annotate(step=Func(Value(step), F("minute"), Value(origin), function="date_bin", output_field=DateTimeField()))
    return [
        row[1:] for row in rows.order_by("step", "-minute").distinct("step").values_list("step", "minute", *HISTORY)
    ]


def forget_older_than(days: int) -> int:
    """Delete what chains said more than `days` days back in market time; how many rows were deleted."""
    return _forget(ChainMinute, days, _BATCH)


def forget_snapshots_older_than(days: int) -> int:
    """The same of the chains themselves."""
    return _forget(ChainSnapshot, days, _BATCH_OF_SNAPSHOTS)


def _forget(model: type[Model], days: int, batch: int) -> int:
    """In batches, each a transaction of its own: no statement runs long enough to stand in the writer's way."""
    cut = clock.now() - timedelta(days=days)
    deleted = 0
    while True:
        some = model._default_manager.filter(minute__lt=cut).order_by("minute").values("pk")[:batch]
        count, _ = model._default_manager.filter(pk__in=some).delete()
        deleted += count
        if count < batch:
            return deleted
