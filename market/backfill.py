"""Fetch the candles of an underlying before anybody asks for them. What is stored already costs nothing again."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import date, datetime, time, timedelta

from accounts import clock
from accounts.clock import IST
from market.candle_series import CandleInterval
from market.candles import Fetch, Wanted, prepare
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


def backfill(
    instruments: Iterable[Instrument], days: int, *, on_progress: Progress | None = None, fetch: Fetch | None = None
) -> Backfilled:
    """Store the minutes of the last `days` days of market time, today not among them.

    It may be stopped and started again at any moment: each window counts once it is stored. An instrument that the
    broker does not answer for does not keep the others from being fetched.
    """
    some = list(instruments)
    last = clock.today() - timedelta(days=1)
    start = datetime.combine(last - timedelta(days=days - 1), time(), IST)
    result = Backfilled(len(some))
    for done, instrument in enumerate(some):
        if on_progress is not None:
            on_progress(done, len(some), instrument)
        wanted = Wanted(instrument, start, datetime.combine(last, time(23, 59), IST), CandleInterval.MINUTE)
        if missing := prepare(wanted, fetch=fetch).missing:
            result.missing[instrument.symbol] = [(*stretch, why) for stretch, why in missing]
    return result
