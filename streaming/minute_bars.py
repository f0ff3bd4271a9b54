"""Minute bars on their way into the database: a short queue, and nobody who makes bars waits for it."""

import asyncio
import logging
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import numpy as np
from channels.db import database_sync_to_async
from django.db import OperationalError
from numpy.typing import NDArray

from accounts.cancellation import raise_if_cancelled
from market.bar_store import UNKNOWN, Bars, Spans, store
from market.candle_models import MinuteBar
from market.models import Instrument
from streaming.bars import BarColumns, Span

logger = logging.getLogger(__name__)

MOST_MINUTES: Final = 15
"""What waits while the database is away: 27,000 bars take two megabytes."""
RETRY_SECONDS: Final = 5.0

Tokens = NDArray[np.uint32]


class MinuteBarWriter:
    """`put` minutes as they end; `run` writes them one by one. Writing twice is harmless: a failed one is."""

    def __init__(
        self,
        counters: Counter[str],
        *,
        write: Callable[[BarColumns, Tokens], int] | None = None,
        retry_seconds: float = RETRY_SECONDS,
    ) -> None:
        self._counters = counters
        self._write = write or write_minute
        self._retry_seconds = retry_seconds
        self._waiting: deque[tuple[BarColumns, Tokens]] = deque()
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def put(self, bars: BarColumns, tokens: Tokens) -> None:
        """Queue a minute's bars; `tokens` are those of all slots. The oldest minute goes if there are too many."""
        if len(self._waiting) == MOST_MINUTES:
            self._waiting.popleft()
            self._counters["minute_bars_dropped"] += 1
            logger.error("a minute of bars is lost: the database has not taken any for %d minutes", MOST_MINUTES)
        self._waiting.append((bars, tokens[bars.slots]))
        self._idle.clear()
        self._ready.set()

    async def drained(self) -> None:
        """Wait until nothing is queued."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            await self._ready.wait()
            while self._waiting:
                minute = self._waiting[0]
                try:
                    self._counters["minute_bars"] += await database_sync_to_async(self._write)(*minute)
                except OperationalError as exc:
                    logger.warning("minute bars are not taken by the database, trying again soon: %s", exc)
                    raise_if_cancelled()
                    await asyncio.sleep(self._retry_seconds)
                    continue
                except Exception:  # refused, and again if tried again; bars must cost nobody the next ones, nor prices
                    logger.exception("a minute of bars cannot be stored, and is lost")
                    self._counters["minute_bars_dropped"] += 1
                raise_if_cancelled()
                if self._waiting and self._waiting[0] is minute:
                    self._waiting.popleft()
            self._ready.clear()
            self._idle.set()


def write_minute(bars: BarColumns, tokens: Tokens) -> int:
    """Store bars as live ones; `tokens` are theirs. Bars of tokens that nobody bears any more are left out."""
    rows = Instrument.objects.active().filter(instrument_token__in=tokens.tolist()).order_by("first_seen", "pk")
    bearer = dict(rows.values_list("instrument_token", "pk"))
    owners = np.array([bearer.get(token, -1) for token in tokens.tolist()], np.int64)
    known = owners != -1
    return store(
        Bars(
            instrument=owners[known],
            minute=np.full(np.count_nonzero(known), bars.start, np.int64),
            open=bars.open[known],
            high=bars.high[known],
            low=bars.low[known],
            close=bars.close[known],
            volume=bars.volume[known],
            oi=bars.oi[known],
            vwap=bars.vwap[known],
            spans=_spans(bars.span, bars.start, known),
        ),
        MinuteBar.Origin.LIVE,
    )


def _spans(span: Span, start: int, rows: NDArray[np.bool_]) -> Spans | None:
    """Told where the bar is a part of its minute; None where none is, as in nearly every minute."""
    is_partial = span.is_partial[rows]
    if not is_partial.any():
        return None

    def of_parts(values: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.where(is_partial, values[rows], UNKNOWN)

    return Spans(
        first_second=of_parts(span.first - start),
        last_second=of_parts(span.last - start),
        volume_from=of_parts(span.volume_from),
        volume_until=of_parts(span.volume_until),
    )
