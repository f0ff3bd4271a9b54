"""An option's candles with volatility and Greeks: which instruments it is priced on, and their stored closes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from datetime import time as time_of_day
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from accounts import clock
from accounts.clock import IST
from greeks.expiry import years_between
from market.bar_reading import Closes, read_closes, read_minutes
from market.calendar import SEGMENTS, Calendar, current
from market.candle_coverage import Days
from market.candle_greeks import (
    OptionTerms,
    PricedCandles,
    UnderlyingCloses,
    price_candles,
    strikes_needed,
)
from market.candle_models import DayBar
from market.candle_series import IST_SECONDS, CandleInterval, Series, last_of_each, longer
from market.candles import Wanted, openings, prepare, read_days
from market.exceptions import CalendarMissing
from market.models import OPTION_TYPES, Instrument
from market.pricing_rules import Floats
from market.pricing_terms import PricingTerms, UnderlyingSource
from market.underlying_pricing import terms_of

_MINUTE_SECONDS: Final = 60
_DAY_SECONDS: Final = 86_400


@dataclass(frozen=True, slots=True)
class PricedOn:
    """What an option's candles are priced on."""

    option: Instrument
    terms: PricingTerms
    expires_at: datetime | None
    """None where the calendar does not know it: then there are no Greeks."""
    spot: Instrument | None
    future: Instrument | None
    """The one that expires with the option."""
    pairs: Sequence[tuple[float, int, int]]
    """Strike, and the keys of its call and its put, by ascending strike: all of the option's expiry."""
    missing: Sequence[tuple[Instrument, Days, str]] = field(default_factory=list)
    """Days of the spot and the future that could not be had, and why."""


def prepare_underlying(wanted: Wanted, source: UnderlyingSource | None = None) -> PricedOn:
    """Find what the option is priced on, and fetch its spot and its future where they are not stored yet.

    The options that parity needs are not fetched, there are hundreds of them: what is stored of them counts.

    Parameters
    ----------
    wanted : candles of an option
    source : in place of the one that its underlying is priced on
    """
    option = wanted.instrument
    terms = terms_of(option.name)
    if source is not None:
        terms = replace(terms, underlying_source=source)
    try:
        expires_at = current().close_of(option)
    except CalendarMissing:
        expires_at = None
    # Expired contracts are in the table too, and no longer active.
    family = Instrument.objects.filter(exchange=option.exchange, name=option.name, expiry=option.expiry)
    spot = Instrument.objects.underlying_of(option.name, exchange=option.exchange)
    future = family.filter(instrument_type="FUT").first()
    missing = [
        (instrument, days, why)
        for instrument in (spot, future)
        if instrument is not None
        for days, why in prepare(replace(wanted, instrument=instrument)).missing
    ]
    return PricedOn(option, terms, expires_at, spot, future, _pairs(family), missing)


def read_priced(wanted: Wanted, priced_on: PricedOn, start: datetime, end: datetime) -> tuple[Series, PricedCandles]:
    """The option's stored candles between two moments, both included, each with what its last minute is worth."""
    if wanted.interval is CandleInterval.DAY:
        candles = read_days(wanted, start, end)
        at = _ends_of_days(wanted.instrument, candles, current())
        return candles, _priced(priced_on, candles, at, _DayCloses(start, end))
    minutes = read_minutes(wanted.instrument.pk, start, end)
    step = wanted.interval.minutes
    opens_at = openings(wanted.instrument, minutes, current())
    candles = longer(minutes, step, opens_at)
    last = minutes.at(last_of_each(minutes, step, opens_at))
    return candles, _priced(
        priced_on, last, (last.start + _MINUTE_SECONDS).astype(np.float64), _MinuteCloses(start, end)
    )


def _priced(priced_on: PricedOn, series: Series, at: Floats, stored: "_MinuteCloses | _DayCloses") -> PricedCandles:
    terms = priced_on.terms
    expires_at = math.nan if priced_on.expires_at is None else priced_on.expires_at.timestamp()
    spot, spot_age = stored.newest(priced_on.spot, series.start)
    future, future_age = stored.newest(priced_on.future, series.start)
    years = years_between(at, expires_at)
    carried = spot * np.exp((terms.rate - terms.dividend_yield) * years)
    strikes = np.array([strike for strike, _, _ in priced_on.pairs], np.float64)
    known = carried[np.isfinite(carried)]
    needed = strikes_needed(strikes, known.min(initial=np.inf), known.max(initial=-np.inf))
    pairs = priced_on.pairs[needed] if len(series) else []
    call = stored.at_once([call for _, call, _ in pairs], series.start)
    put = stored.at_once([put for _, _, put in pairs], series.start)
    closes = UnderlyingCloses(spot, spot_age, future, future_age, np.array([pair[0] for pair in pairs]), call, put)
    option = OptionTerms(float(priced_on.option.strike), priced_on.option.instrument_type == "CE", expires_at)
    return price_candles(series.close, at, option, closes, terms)


class _MinuteCloses:
    """Stored closes of the minutes between two moments."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self._start, self._end = start, end

    def newest(self, instrument: Instrument | None, starts: NDArray[np.int64]) -> tuple[Floats, Floats]:
        """The instrument's newest close of the same day at each minute, as the stream holds it, and its age in seconds.

        An index is not computed while options trade on after the shares, and a future may rest for a minute.
        """
        if instrument is None:
            return _nothing(len(starts)), _nothing(len(starts))
        since = datetime.combine(self._start.astimezone(IST).date(), time_of_day(), IST)
        minutes = read_minutes(instrument.pk, since, self._end)
        if not len(minutes):
            return _nothing(len(starts)), _nothing(len(starts))
        place = np.searchsorted(minutes.start, starts, side="right") - 1
        found = minutes.start[place]
        of_today = (place >= 0) & (_day_of(found) == _day_of(starts))
        return (
            np.where(of_today, minutes.close[place], np.nan),
            np.where(of_today, (starts - found).astype(np.float64), np.nan),
        )

    def at_once(self, keys: Sequence[int], starts: NDArray[np.int64]) -> Floats:
        """The closes of these instruments in the very same minutes, shape (minutes, instruments)."""
        if not keys:
            return np.full((len(starts), 0), np.nan)
        return _as_matrix(starts, keys, read_closes(keys, self._start, self._end))


class _DayCloses:
    """Stored closes of days."""

    def __init__(self, start: datetime, end: datetime) -> None:
        self._days = start.astimezone(IST).date(), end.astimezone(IST).date()

    def newest(self, instrument: Instrument | None, starts: NDArray[np.int64]) -> tuple[Floats, Floats]:
        if instrument is None:
            return _nothing(len(starts)), _nothing(len(starts))
        found = self.at_once([instrument.pk], starts)[:, 0]
        return found, np.where(np.isfinite(found), 0.0, np.nan)

    def at_once(self, keys: Sequence[int], starts: NDArray[np.int64]) -> Floats:
        rows = list(
            DayBar.objects.filter(instrument_id__in=keys, continuous=False, day__range=self._days)
            .order_by()
            .values_list("day", "instrument_id", "close")
        )
        by_key: dict[int, list[tuple[int, float]]] = {}
        for day, key, close in rows:
            by_key.setdefault(key, []).append((_midnight(day), close))
        columns = {key: tuple(zip(*pairs, strict=True)) for key, pairs in by_key.items()}
        closes = {key: (np.array(days, np.int64), np.array(values)) for key, (days, values) in columns.items()}
        return _as_matrix(starts, keys, closes)


def _as_matrix(starts: NDArray[np.int64], keys: Sequence[int], closes: Mapping[int, Closes]) -> Floats:
    """Closes put where their time and instrument are, shape (starts, keys); nan where there is none."""
    matrix = np.full((len(starts), len(keys)), np.nan)
    if not len(starts):
        return matrix
    for column, key in enumerate(keys):
        if key in closes:
            times, values = closes[key]
            rows = np.minimum(np.searchsorted(starts, times), len(starts) - 1)
            wanted = starts[rows] == times
            matrix[rows[wanted], column] = values[wanted]
    return matrix


def _pairs(family: Any) -> list[tuple[float, int, int]]:
    by_strike: dict[float, dict[str, int]] = {}
    options = family.filter(instrument_type__in=OPTION_TYPES).order_by("strike")
    for key, strike, side in options.values_list("pk", "strike", "instrument_type"):
        by_strike.setdefault(float(strike), {})[side] = key
    return [
        (strike, sides["CE"], sides["PE"]) for strike, sides in by_strike.items() if len(sides) == len(OPTION_TYPES)
    ]


def _ends_of_days(instrument: Instrument, days: Series, calendar: Calendar) -> Floats:
    """The moments that the closes of days stand for: the session's close, or now on the day that is going on."""
    now = clock.now().timestamp()
    ends = []
    for start in days.start.tolist():
        day = datetime.fromtimestamp(start, IST).date()
        try:
            session = calendar.session_of(instrument.exchange, SEGMENTS.get(instrument.exchange, ""), day)
        except CalendarMissing:
            session = None
        ends.append(math.nan if session is None else min(session.closes_at.timestamp(), now))
    return np.array(ends, np.float64)


def _midnight(day: date) -> int:
    return int(datetime.combine(day, time_of_day(), IST).timestamp())


def _day_of(seconds: NDArray[np.int64]) -> NDArray[np.int64]:
    return (seconds + IST_SECONDS) // _DAY_SECONDS


def _nothing(count: int) -> Floats:
    return np.full(count, np.nan)
