"""Instruments that are asked for over and over, kept at hand in each process: bounded in number and in age.

What is kept is what the table said at most `INSTRUMENT_CACHE_SECONDS` ago; an import in the same process forgets it at
once. By symbol only: a symbol is an instrument's identity, while a token may have a new bearer tomorrow. The rows are
shared between callers, so nobody may change them.
"""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache

from django.conf import settings
from prometheus_client import Counter

from market.models import Instrument

LOOKUPS = Counter(
    "instrument_cache_lookups", "Instruments asked for by symbol: at hand (hit) or read (miss)", ["result"]
)
_HITS, _MISSES = LOOKUPS.labels("hit"), LOOKUPS.labels("miss")


class InstrumentCache:
    """The least recently used instrument goes first when there are more than `size`; thread-safe."""

    def __init__(
        self,
        read: Callable[[set[str]], Mapping[str, Instrument]],
        *,
        size: int,
        seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._read, self._size, self._seconds, self._clock = read, size, seconds, clock
        self._kept: OrderedDict[str, tuple[float, Instrument]] = OrderedDict()
        self._lock = threading.Lock()
        self._generation = 0

    def __len__(self) -> int:
        return len(self._kept)

    def by_symbols(self, symbols: Iterable[str]) -> dict[str, Instrument]:
        """Those of `symbols` (`exchange:tradingsymbol`) that exist; one query for all that are not at hand.

        What does not exist is asked for again each time: it may be listed tomorrow, and clients can make up any number.
        """
        wanted = dict.fromkeys(symbols)
        now = self._clock()
        found: dict[str, Instrument] = {}
        with self._lock:
            generation = self._generation
            for symbol in wanted:
                entry = self._kept.get(symbol)
                if entry is not None and now - entry[0] < self._seconds:
                    self._kept.move_to_end(symbol)
                    found[symbol] = entry[1]
        missing = wanted.keys() - found.keys()
        _HITS.inc(len(found))
        _MISSES.inc(len(missing))
        if missing:
            read = self._read(missing)
            found.update(read)
            with self._lock:
                if generation == self._generation:  # else the table has changed, perhaps before it was read
                    self._keep(read, now)
        return found

    def forget(self) -> None:
        """The table has changed."""
        with self._lock:
            self._generation += 1
            self._kept.clear()

    def _keep(self, read: Mapping[str, Instrument], now: float) -> None:
        for symbol, instrument in read.items():
            self._kept[symbol] = (now, instrument)
            self._kept.move_to_end(symbol)
        while len(self._kept) > self._size:
            self._kept.popitem(last=False)


@lru_cache(maxsize=1)
def _cache() -> InstrumentCache:
    return InstrumentCache(
        Instrument.objects.by_symbols,
        size=settings.INSTRUMENT_CACHE_SIZE,
        seconds=settings.INSTRUMENT_CACHE_SECONDS,
    )


def instruments_by_symbols(symbols: Iterable[str]) -> dict[str, Instrument]:
    """`InstrumentCache.by_symbols` of this process: retired instruments too."""
    return _cache().by_symbols(symbols)


def forget() -> None:
    """Read everything again: an import has changed the table."""
    _cache().forget()
