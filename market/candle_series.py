"""Larger candles made of smaller ones, and rows as JSON. Arrays in, arrays or bytes out: no I/O."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import numpy as np
import orjson
from numpy.typing import NDArray

IST_SECONDS: Final = 19_800
UNKNOWN: Final = -1


class CandleInterval(StrEnum):
    """What is asked for, in the broker's words."""

    MINUTE = "minute"
    MINUTE_3 = "3minute"
    MINUTE_5 = "5minute"
    MINUTE_10 = "10minute"
    MINUTE_15 = "15minute"
    MINUTE_30 = "30minute"
    MINUTE_60 = "60minute"
    DAY = "day"

    @property
    def minutes(self) -> int:
        """How many minutes one candle spans; 0 of a day, which is as long as its session."""
        return 0 if self is CandleInterval.DAY else int(self.value.removesuffix("minute") or 1)


@dataclass(frozen=True, slots=True)
class Series:
    """Candles of one instrument in order of time: `start` in Unix seconds; `oi` may be `UNKNOWN`."""

    start: NDArray[np.int64]
    open: NDArray[np.float64]
    high: NDArray[np.float64]
    low: NDArray[np.float64]
    close: NDArray[np.float64]
    volume: NDArray[np.int64]
    oi: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.start)

    def at(self, rows: NDArray[Any]) -> "Series":
        """Those candles alone, by place or by mask."""
        return Series(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))


def longer(minutes: Series, step: int, opens_at: NDArray[np.int64]) -> Series:
    """Candles of `step` minutes, counted from `opens_at`: when the session of each minute's day begins (Unix seconds).

    As the broker has them: 15 minutes from 9:15 are a candle, and none goes over midnight. Open interest is the last
    one that is known.
    """
    if step == 1 or not len(minutes):
        return minutes
    start = minutes.start - (minutes.start - opens_at) % (step * 60)
    last = last_of_each(minutes, step, opens_at)
    begins = np.append(0, last[:-1] + 1)
    newest = np.maximum.accumulate(np.where(minutes.oi != UNKNOWN, np.arange(len(start)), UNKNOWN))[last]
    return Series(
        start[begins],
        minutes.open[begins],
        np.maximum.reduceat(minutes.high, begins),
        np.minimum.reduceat(minutes.low, begins),
        minutes.close[last],
        np.add.reduceat(minutes.volume, begins),
        np.where(newest >= begins, minutes.oi[newest], UNKNOWN),
    )


def last_of_each(minutes: Series, step: int, opens_at: NDArray[np.int64]) -> NDArray[np.intp]:
    """The place of the last minute of each of these longer candles: the one whose close is the candle's."""
    start = minutes.start - (minutes.start - opens_at) % (step * 60)
    return np.flatnonzero(np.append(start[1:] != start[:-1], True)[: len(start)])


def as_rows(series: Series, *, oi: bool, more: Sequence[list[Any]] = ()) -> bytes:
    """Each `[time, open, high, low, close, volume]`, and `oi` where it is asked for, as JSON without brackets around.

    `more` are further columns, of one value per candle.

    Times are written as the broker writes them, in Indian time: `2026-11-27T09:15:00+0530`.
    """
    if not len(series):
        return b""
    times = np.char.add(np.datetime_as_string((series.start + IST_SECONDS).astype("datetime64[s]")), "+0530")
    columns: list[list[Any]] = [times.tolist()]
    columns += [values.tolist() for values in (series.open, series.high, series.low, series.close, series.volume)]
    if oi:
        columns.append([None if value == UNKNOWN else value for value in series.oi.tolist()])
    return orjson.dumps(list(zip(*columns, *more, strict=True)))[1:-1]
