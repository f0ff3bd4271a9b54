"""Fetch the candles of an underlying before anybody asks for them. What is stored already costs nothing again."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from accounts import clock
from accounts.clock import IST
from accounts.stopping import raise_if_worker_stops
from market.calendar import LONGEST_BREAK_DAYS, SEGMENTS, current
from market.candle_models import MinuteBar
from market.candle_series import CandleInterval
from market.candles import Fetch, Wanted, prepare
from market.exceptions import CalendarMissing
from market.models import Instrument
from market.underlyings import canonical_name

Progress = Callable[[int, int, Instrument], None]
"""How many instruments are done, of how many, and which comes next."""


@dataclass(slots=True)
class Backfilled:
    """What came of a run: how many instruments, and the days that could not be had, by symbol."""

    instruments: int = 0
    missing: dict[str, list[tuple[date, date, str]]] = field(default_factory=dict)


def instruments_of(name: str, *, with_options: bool) -> list[Instrument]:
    """An underlying's spot, its living futures and, if asked for, options: the order in which they are fetched."""
    underlying, today = canonical_name(name), clock.today()
    exchanges = list(Instrument.objects.active().filter(name=underlying).values_list("exchange", flat=True).distinct())
    spots = [Instrument.objects.underlying_of(underlying, exchange=exchange) for exchange in sorted(exchanges)]
    found = [spot for spot in dict.fromkeys(spots) if spot is not None]
    found += Instrument.objects.futures(underlying).filter(expiry__gte=today)
    if with_options:
        options = Instrument.objects.options(underlying).filter(expiry__gte=today)
        found += options.order_by("expiry", "strike", "instrument_type")
    return found


def by_importance(instruments: Iterable[Instrument]) -> list[Instrument]:
    """Underlyings first, then futures, then options: the nearest to the money first.

    The money is the last close that is stored of an underlying's spot or else of its nearest future; where none is, the
    middle of the strikes.
    """
    some = list(instruments)
    strikes: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    for one in some:
        if one.is_option:
            strikes[one.name, one.exchange].append(float(one.strike))
    money = {chain: _last_close(*chain) or (min(of) + max(of)) / 2 for chain, of in strikes.items()}

    def place(one: Instrument) -> tuple[int, float, date, str]:
        if not one.is_option:
            return int(one.expiry is not None), 0.0, one.expiry or date.min, one.tradingsymbol
        at = money[one.name, one.exchange]
        return 2, abs(float(one.strike) - at) / at, one.expiry or date.min, one.tradingsymbol

    return sorted(some, key=place)


def _last_close(name: str, exchange: str) -> float | None:
    spot = Instrument.objects.underlying_of(name, exchange=exchange)
    carrier = spot or Instrument.objects.futures(name).filter(exchange=exchange, expiry__gte=clock.today()).first()
    bars = MinuteBar.objects.filter(instrument=carrier, minute__gte=clock.now() - timedelta(days=LONGEST_BREAK_DAYS))
    close = bars.order_by("-minute").values_list("close", flat=True).first()
    return close if close and close > 0 else None


def load_last_session(instruments: Iterable[Instrument], *, most: int, fetch: Fetch | None = None) -> Backfilled:
    """Store the minutes of each instrument's last session, of `most` of them at most.

    Underlyings and futures come first, then the options that are nearest to the money by what was just stored of them.
    Raises WorkerStops.
    """
    some = list(instruments)
    others, options = ([one for one in some if one.is_option is kind] for kind in (False, True))
    result = Backfilled()
    for group in (others, options):
        chosen = by_importance(group)[: most - result.instruments]
        of_exchange: defaultdict[str, list[Instrument]] = defaultdict(list)
        for one in chosen:
            of_exchange[one.exchange].append(one)
        for exchange, listed in of_exchange.items():
            loaded = backfill(listed, _days_to_last_session(exchange), fetch=fetch)
            result.instruments += loaded.instruments
            result.missing |= loaded.missing
    return result


def _days_to_last_session(exchange: str) -> int:
    """How many days back the last session before today lies: 1 for yesterday, and where the calendar does not say."""
    today, calendar = clock.today(), current()
    for days in range(1, LONGEST_BREAK_DAYS + 1):
        try:
            if calendar.session_of(exchange, SEGMENTS.get(exchange, ""), today - timedelta(days=days)) is not None:
                return days
        except CalendarMissing:
            continue
    return 1


def backfill(
    instruments: Iterable[Instrument], days: int, *, on_progress: Progress | None = None, fetch: Fetch | None = None
) -> Backfilled:
    """Store the minutes of the last `days` days of market time, today not among them.

    It may be stopped and started again at any moment: each window counts once it is stored. An instrument that the
    broker does not answer for does not keep the others from being fetched. Raises WorkerStops.
    """
    some = list(instruments)
    last = clock.today() - timedelta(days=1)
    start = datetime.combine(last - timedelta(days=days - 1), time(), IST)
    result = Backfilled(len(some))
    for done, instrument in enumerate(some):
        raise_if_worker_stops()
        if on_progress is not None:
            on_progress(done, len(some), instrument)
        wanted = Wanted(instrument, start, datetime.combine(last, time(23, 59), IST), CandleInterval.MINUTE)
        if missing := prepare(wanted, fetch=fetch).missing:
            result.missing[instrument.symbol] = [(*stretch, why) for stretch, why in missing]
    return result
