"""Candles: asked of the broker once, within its windows and its budget, stored, and read from there ever after.

Only minutes and days are fetched: what lies between is made of minutes. A day is asked for again until it is over; of
the one that is going on the stream's own bars are the tail, where it carries the instrument.
"""

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from itertools import pairwise
from typing import Any, Final

import numpy as np
from django.db import connections
from django.db.models import Max, Min

from accounts import clock
from accounts.broker import DataClient, borrow_data_client
from accounts.broker.words import Interval
from accounts.clock import IST
from accounts.exceptions import BrokerError, CredentialError, NoDataAccount, OutcomeUnknown, RateLimited
from accounts.models import TradingAccount
from market import candle_coverage
from market.bar_partitions import month_of, next_month
from market.bar_reading import read_minutes
from market.bar_store import Bars, store
from market.calendar import SEGMENTS, Calendar, current
from market.candle_coverage import Days, Kind
from market.candle_models import CandleCoverage, DayBar, MinuteBar
from market.candle_series import UNKNOWN, CandleInterval, Series, longer
from market.exceptions import CalendarMissing, NoAccountForData
from market.gap_models import FeedGap, FeedGapQuerySet
from market.models import Instrument

logger = logging.getLogger(__name__)

WINDOW_DAYS: Final = {Kind.MINUTE: 60, Kind.DAY: 2000, Kind.CONTINUOUS: 2000}
"""What the broker answers at once."""
AT_ONCE: Final = 2  # an account has no more calls at a time
PATIENCE_SECONDS: Final = 20.0
FRESH: Final = timedelta(minutes=1)
"""A day that is going on is not asked for again within this time."""
LIVE_TAIL: Final = timedelta(minutes=3)

Row = Mapping[str, Any]
Fetch = Callable[[Instrument, datetime, datetime, Kind], Sequence[Row]]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Candles of an instrument that begin between two moments (aware), both included."""

    instrument: Instrument
    start: datetime
    end: datetime
    interval: CandleInterval
    continuous: bool = False

    @property
    def kind(self) -> Kind:
        if self.interval is not CandleInterval.DAY:
            return Kind.MINUTE
        return Kind.CONTINUOUS if self.continuous else Kind.DAY


@dataclass(slots=True)
class Found:
    """What is stored now: `missing` says which days are not, and why; `asked_at` when the broker was asked last."""

    missing: list[tuple[Days, str]] = field(default_factory=list)
    asked_at: datetime | None = None


def prepare(wanted: Wanted, *, fetch: Fetch | None = None) -> Found:
    """Fetch and store what is not stored yet. Whatever keeps the broker from answering is in the result."""
    fetch = fetch or ask_broker
    now = clock.now()
    today = now.astimezone(IST).date()
    first, last = wanted.start.astimezone(IST).date(), min(wanted.end, now).astimezone(IST).date()
    past = min(last, today - timedelta(days=1))
    stretches = candle_coverage.missing_days(wanted.instrument.pk, wanted.kind, first, past) if first <= past else []
    asked: list[Days] = candle_coverage.windows(stretches, WINDOW_DAYS[wanted.kind])
    if last == today and _needs_today(wanted, now):
        asked.append((today, today))
    found = Found()
    give_up_at = time.monotonic() + PATIENCE_SECONDS
    failure: list[str] = []

    def take(days: Days) -> str | None:
        if failure:  # what keeps one window from being answered keeps the next one
            return failure[0]
        try:
            _take(wanted, days, fetch, give_up_at, now)
        except (BrokerError, CredentialError, NoAccountForData) as exc:
            logger.warning("candles of %s from %s to %s are not to be had: %s", wanted.instrument, *days, exc)
            failure.append(str(exc))
            return str(exc)
        return None

    found.missing = [(days, why) for days, why in zip(asked, _each(take, asked), strict=True) if why is not None]
    if found.missing and found.missing[-1][0] == (today, today) and wanted.kind is Kind.MINUTE:
        days, why = found.missing[-1]
        missed = [_span_of(gap) for gap in _gaps(wanted.instrument, wanted.start, min(wanted.end, now))]
        found.missing[-1] = days, "; ".join([why, *(f"the stream missed {span}" for span in reversed(missed))])
    found.asked_at = (
        CandleCoverage.objects.filter(instrument=wanted.instrument, series=wanted.kind)
        .values_list("asked_at", flat=True)
        .first()
    )
    return found


def repair(
    instrument: Instrument, start: datetime, end: datetime, *, give_up_at: float, fetch: Fetch | None = None
) -> int:
    """Put the broker's candles in the place of the minutes that begin between two moments (both included); how many.

    The minutes have to be over. A budget that is spent is waited for until `give_up_at` (of the monotonic clock). What
    was asked of the broker since those minutes ended is not asked for again.

    Raises
    ------
    NoAccountForData, BrokerError, CredentialError
        As `ask_broker`: nothing was written.
    """
    if _has_been_asked(instrument, start, end):
        return 0
    window = start.astimezone(IST), end.astimezone(IST)
    series = _fetched(instrument, *window, Kind.MINUTE, fetch or ask_broker, give_up_at)
    series = series.at((series.start >= start.timestamp()) & (series.start <= end.timestamp()))
    return store(_bars(instrument, series), MinuteBar.Origin.REPAIRED)


def read_months(wanted: Wanted) -> Iterator[tuple[datetime, datetime]]:
    """The range in pieces that are read one after the other: the months of its table, or all of it where it is days."""
    if wanted.interval is CandleInterval.DAY:
        yield wanted.start, wanted.end
        return
    months = [month_of(wanted.start.astimezone(UTC).date())]
    while (following := next_month(months[-1])) <= wanted.end.astimezone(UTC).date():
        months.append(following)
    begins = [datetime.combine(month, time_of_day(), UTC) for month in [*months, next_month(months[-1])]]
    for begin, end in pairwise(begins):
        yield max(begin, wanted.start), min(end - timedelta(seconds=1), wanted.end)


def read(wanted: Wanted, start: datetime, end: datetime) -> Series:
    """What is stored between two moments, both included, in the interval that is wanted."""
    if wanted.interval is CandleInterval.DAY:
        return read_days(wanted, start, end)
    minutes = read_minutes(wanted.instrument.pk, start, end)
    step = wanted.interval.minutes
    return minutes if step == 1 else longer(minutes, step, openings(wanted.instrument, minutes, current()))


def is_stored(wanted: Wanted) -> bool:
    """Whether anything of it is."""
    if wanted.interval is CandleInterval.DAY:
        return bool(len(read_days(wanted, wanted.start, wanted.end)))
    return MinuteBar.objects.filter(
        instrument=wanted.instrument, minute__gte=wanted.start, minute__lte=wanted.end
    ).exists()


def ask_broker(instrument: Instrument, start: datetime, end: datetime, kind: Kind) -> Sequence[Row]:
    """Candles through an account of the first owner, by priority, whose accounts answer.

    Raises
    ------
    NoAccountForData, BrokerError, CredentialError
        As `market.refresh`.
    """

    def question(data: DataClient) -> Sequence[Row]:
        interval = Interval.MINUTE if kind is Kind.MINUTE else Interval.DAY
        return data.candles(
            instrument.instrument_token, start, end, interval, continuous=kind is Kind.CONTINUOUS, oi=True
        )

    failure: BrokerError | CredentialError | None = None
    accounts = TradingAccount.objects.for_data().select_related("owner")
    for owner in dict.fromkeys(account.owner for account in accounts):
        try:
            return borrow_data_client(owner).ask(question).answer
        except NoDataAccount:
            continue
        except (BrokerError, CredentialError) as exc:
            failure = exc
    if failure is not None:
        raise failure
    raise NoAccountForData("no enabled account may feed market data: mark one in the admin, under Trading accounts")


def _each(take: Callable[[Days], str | None], asked: list[Days]) -> list[str | None]:
    if len(asked) < 2:
        return [take(days) for days in asked]

    def in_thread(days: Days) -> str | None:
        try:
            return take(days)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="candles") as pool:
        return list(pool.map(in_thread, asked))


def _take(wanted: Wanted, days: Days, fetch: Fetch, give_up_at: float, now: datetime) -> None:
    first, last = days
    start, end = (
        datetime.combine(day, at, IST) for day, at in ((first, time_of_day()), (last, time_of_day(23, 59, 59)))
    )
    series = _fetched(wanted.instrument, start, end, wanted.kind, fetch, give_up_at)
    is_today = last == now.astimezone(IST).date()
    if is_today and wanted.kind is Kind.MINUTE:
        # The minute that is going on is not over, whatever the broker says of it.
        series = series.at(series.start < int(now.timestamp()) // 60 * 60)
    _keep(wanted, series)
    candle_coverage.add_days(
        wanted.instrument.pk, wanted.kind, None if is_today else days, today_until=now if is_today else None
    )


def _fetched(
    instrument: Instrument, start: datetime, end: datetime, kind: Kind, fetch: Fetch, give_up_at: float
) -> Series:
    """The broker's candles; a budget that is spent is waited for until `give_up_at` (of the monotonic clock)."""
    while True:
        try:
            rows = fetch(instrument, start, end, kind)
            break
        except RateLimited as exc:
            if time.monotonic() + exc.retry_after_seconds > give_up_at:
                raise
            time.sleep(exc.retry_after_seconds)
    return _series(rows, has_oi=instrument.expiry is not None)


def _series(rows: Sequence[Row], *, has_oi: bool) -> Series:
    """The broker's rows as columns; rows that contradict themselves are left out. Raises OutcomeUnknown."""
    try:
        start = np.array([row["date"].timestamp() for row in rows], np.float64).astype(np.int64)
        prices = {name: np.array([row[name] for row in rows], np.float64) for name in ("open", "high", "low", "close")}
        volume = np.array([row["volume"] for row in rows], np.int64)
        oi = np.array([row.get("oi", UNKNOWN) if has_oi else UNKNOWN for row in rows], np.int64)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as exc:
        raise OutcomeUnknown(f"the broker's candles are not what it documents ({type(exc).__name__})") from exc
    o, h, low, c = (prices[name] for name in ("open", "high", "low", "close"))
    sound = (low <= o) & (low <= c) & (o <= h) & (c <= h) & np.isfinite(low) & np.isfinite(h) & (volume >= 0)
    if len(rows) != np.count_nonzero(sound):
        logger.warning("%d of the broker's candles contradict themselves and are left out", np.count_nonzero(~sound))
    _, newest = np.unique(start[::-1], return_index=True)  # of two for one time the later one counts
    keep = len(rows) - 1 - newest
    return Series(start, o, h, low, c, volume, oi).at(keep[sound[keep]])


def _bars(instrument: Instrument, series: Series) -> Bars:
    owner = np.full(len(series), instrument.pk, np.int64)
    prices = (series.open, series.high, series.low, series.close)
    no_vwap = np.full(len(series), np.nan)
    return Bars(owner, series.start // 60 * 60, *prices, series.volume, series.oi, no_vwap)


def _keep(wanted: Wanted, series: Series) -> None:
    if wanted.kind is Kind.MINUTE:
        store(_bars(wanted.instrument, series), MinuteBar.Origin.HISTORY)
        return
    values = ("open", "high", "low", "close", "volume", "oi")
    columns = (getattr(series, name).tolist() for name in values)
    DayBar.objects.bulk_create(
        (
            DayBar(
                instrument=wanted.instrument,
                day=datetime.fromtimestamp(start, IST).date(),
                continuous=wanted.continuous,
                **dict(zip(values, (*rest, None if oi == UNKNOWN else oi), strict=True)),
            )
            for start, *rest, oi in zip(series.start.tolist(), *columns, strict=True)
        ),
        update_conflicts=True,
        unique_fields=("instrument", "continuous", "day"),
        update_fields=values,
        batch_size=1000,
    )


def _needs_today(wanted: Wanted, now: datetime) -> bool:
    """Whether the day that is going on has to be asked for: not if that was just done, nor if the stream has it."""
    until = (
        CandleCoverage.objects.filter(instrument=wanted.instrument, series=wanted.kind)
        .values_list("today_until", flat=True)
        .first()
    )
    end = min(wanted.end, now)
    midnight = datetime.combine(now.astimezone(IST).date(), time_of_day(), IST)
    session = _session_opens(wanted.instrument, now.astimezone(IST).date(), current())
    begin = max(until or midnight, session or midnight)
    if begin >= end - FRESH:
        return False
    if wanted.kind is not Kind.MINUTE or session is None:
        return True
    if _gaps(wanted.instrument, begin, end).exists():
        return True
    # Repaired ones stand for what the stream missed; the broker's own say nothing of the minutes beside them.
    live = (
        MinuteBar.objects.filter(instrument=wanted.instrument, minute__gte=begin - FRESH, minute__lte=end)
        .exclude(origin=MinuteBar.Origin.HISTORY)
        .aggregate(first=Min("minute"), last=Max("minute"))
    )
    if live["first"] is None:
        return True
    return bool(live["first"] > begin + FRESH or live["last"] < end - LIVE_TAIL)


def _gaps(instrument: Instrument, start: datetime, end: datetime) -> FeedGapQuerySet:
    return FeedGap.objects.unrepaired().over(start, end).lacking(instrument.pk)


def _span_of(gap: FeedGap) -> str:
    until = "now" if gap.ended_at is None else f"{gap.ended_at.astimezone(IST):%H:%M:%S}"
    return f"{gap.started_at.astimezone(IST):%H:%M:%S} to {until}"


def _has_been_asked(instrument: Instrument, start: datetime, end: datetime) -> bool:
    """Whether the broker has answered for these minutes since they were over."""
    today = clock.today()
    first, last = start.astimezone(IST).date(), end.astimezone(IST).date()
    past = min(last, today - timedelta(days=1))
    if first <= past and candle_coverage.missing_days(instrument.pk, Kind.MINUTE, first, past):
        return False
    if last < today:
        return True
    known = CandleCoverage.objects.filter(instrument=instrument, series=Kind.MINUTE)
    return known.filter(today_until__gte=end + FRESH).exists()


def _session_opens(instrument: Instrument, day: date, calendar: Calendar) -> datetime | None:
    try:
        session = calendar.session_of(instrument.exchange, SEGMENTS.get(instrument.exchange, ""), day)
    except CalendarMissing:
        return None
    return None if session is None else session.opens_at


def openings(instrument: Instrument, minutes: Series, calendar: Calendar) -> "np.ndarray[Any, np.dtype[np.int64]]":
    """When the session of each minute's day began: by the calendar, else with the day's first candle."""
    days, first, place = np.unique((minutes.start + 19_800) // 86_400, return_index=True, return_inverse=True)
    opens = []
    for day, row in zip(days.tolist(), first.tolist(), strict=True):
        known = _session_opens(instrument, date(1970, 1, 1) + timedelta(days=day), calendar)
        opens.append(int(minutes.start[row]) if known is None else int(known.timestamp()))
    return np.array(opens, np.int64)[place]


def read_days(wanted: Wanted, start: datetime, end: datetime) -> Series:
    rows = DayBar.objects.filter(
        instrument=wanted.instrument,
        continuous=wanted.continuous,
        day__gte=start.astimezone(IST).date(),
        day__lte=end.astimezone(IST).date(),
    ).values_list("day", "open", "high", "low", "close", "volume", "oi")
    found = list(rows)
    starts = [int(datetime.combine(row[0], time_of_day(), IST).timestamp()) for row in found]
    o, h, low, c = (np.array([row[n] for row in found], np.float64) for n in range(1, 5))
    volume = np.array([row[5] for row in found], np.int64)
    oi = np.array([UNKNOWN if row[6] is None else row[6] for row in found], np.int64)
    return Series(np.array(starts, np.int64), o, h, low, c, volume, oi)
