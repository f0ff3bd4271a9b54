"""What a tick must be to be believed: masks over columns, counted by reason.

A tick is *dropped* (the last good value stays) when it cannot be true, and *flagged* when it may be but must not be
computed with: a flagged row is shown, and feeds no Greek and no risk figure. Of either the row's age goes on growing.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from market.pricing_rules import Flag


class Reason(StrEnum):
    """Why a tick was dropped or flagged."""

    UNKNOWN_TOKEN = "unknown_token"  # noqa: S105  (not a credential)
    MARKET_CLOSED = "market_closed"
    NEGATIVE_DEPTH = "negative_depth"
    FUTURE_TIME = "future_time"
    PRICE_BAND = "price_band"
    OPTION_BOUND = "option_bound"
    OLDER = "older"
    UNTRADED = "untraded"
    CROSSED = "crossed"
    NEGATIVE_PRICE = "negative_price"


FLAGGED: Final = frozenset({Reason.UNTRADED, Reason.CROSSED, Reason.NEGATIVE_PRICE})
"""For these a tick is flagged, for the others dropped."""


@dataclass(frozen=True, slots=True)
class Policy:
    """The settings of the checks. Bands are fractions of the previous close, by segment (the low byte of a token)."""

    price_band: float = 0.30
    price_band_of_segment: Mapping[int, float] = field(default_factory=dict)
    future_tolerance_seconds: float = 5.0

    def bands(self) -> NDArray[np.float64]:
        """The band of each of the 256 segments."""
        bands = np.full(256, self.price_band)
        for segment, band in self.price_band_of_segment.items():
            bands[segment] = band
        return bands


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of each tick's instrument before the tick, aligned with the ticks; nan or -1 where it is not."""

    subscribed: NDArray[np.bool_]
    is_option: NDArray[np.bool_]
    price_bound: NDArray[np.float64]
    """What an option cannot cost more than: the spot for a call, the strike for a put."""
    close: NDArray[np.float64]
    exchange_timestamp: NDArray[np.int64]
    volume_traded: NDArray[np.int64]
    shut_out: NDArray[np.bool_] | None = None
    """Where the tick is of no session of its exchange; None while every market is open."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which ticks are kept, their flags, and what was counted."""

    keep: NDArray[np.bool_]
    flags: NDArray[np.uint8]
    counts: Counter[str]
    examples: dict[Reason, int]
    """The newest tick of each reason that was counted."""


def judge(
    columns: Mapping[str, NDArray[Any]],
    known: Known,
    *,
    bands: NDArray[np.float64],
    latest_time: float,
) -> Verdict:
    """Check the ticks of one packet length.

    Parameters
    ----------
    columns : the fields of the ticks, as `packets.Block.columns` has them.
    known : aligned with them.
    bands : fractions of the previous close by segment, shape (256,).
    latest_time : market time plus what is tolerated, Unix seconds.

    Returns
    -------
    Verdict
        A tick that is dropped for two reasons is counted under the first of `Reason`'s order.
    """
    counts: Counter[str] = Counter()  # by plain words: they become keys of JSON, which may be no enum's members
    examples: dict[Reason, int] = {}
    keep = np.ones(len(known.subscribed), np.bool_)

    def drop(reason: Reason, wrong: NDArray[np.bool_]) -> None:
        newly = wrong & keep
        if found := int(np.count_nonzero(newly)):
            counts[reason.value] += found
            examples[reason] = int(np.flatnonzero(newly)[-1])
            keep[newly] = False

    price = columns["last_price"]
    drop(Reason.UNKNOWN_TOKEN, ~known.subscribed)
    if known.shut_out is not None:
        drop(Reason.MARKET_CLOSED, known.shut_out)
    if "depth_quantity" in columns:
        negative = columns["depth_quantity"] < 0
        if negative.any():
            drop(Reason.NEGATIVE_DEPTH, np.any(negative, axis=1))
    if "exchange_timestamp" in columns:
        drop(Reason.FUTURE_TIME, columns["exchange_timestamp"] > latest_time)
    close = np.where(columns["close"] != 0, columns["close"], known.close) if "close" in columns else known.close
    band = bands[columns["instrument_token"] & 0xFF] * np.abs(close)
    drop(Reason.PRICE_BAND, ~known.is_option & (price != 0) & (close != 0) & (np.abs(price - close) > band))
    drop(Reason.OPTION_BOUND, known.is_option & ((price > known.price_bound) | (price < 0)))
    if "exchange_timestamp" in columns:
        drop(Reason.OLDER, _is_older(columns, known))

    flags = np.zeros(len(keep), np.uint8)

    def flag(reason: Reason, bit: Flag, doubtful: NDArray[np.bool_]) -> None:
        kept = doubtful & keep
        if found := int(np.count_nonzero(kept)):
            counts[reason.value] += found
            examples[reason] = int(np.flatnonzero(kept)[-1])
            flags[doubtful] |= np.uint8(bit)

    flag(Reason.UNTRADED, Flag.UNTRADED, price == 0)
    flag(Reason.NEGATIVE_PRICE, Flag.NEGATIVE_PRICE, price < 0)
    if "bid" in columns:
        bid, ask = columns["bid"], columns["ask"]
        flag(Reason.CROSSED, Flag.CROSSED, (bid > ask) & (ask > 0))
    return Verdict(keep, flags, counts, examples)


def _is_older(columns: Mapping[str, NDArray[Any]], known: Known) -> NDArray[np.bool_]:
    """Ticks that came late. Times are whole seconds; within one, the day's volume tells the order: it never falls."""
    timestamp = columns["exchange_timestamp"]
    older: NDArray[np.bool_] = timestamp < known.exchange_timestamp
    if "volume_traded" in columns:
        older |= (timestamp == known.exchange_timestamp) & (columns["volume_traded"] < known.volume_traded)
    return older
