"""Bars as lines (`market.lines`): of each underlying one for each second and each minute, with a row per instrument."""

from collections import defaultdict
from typing import Final

import numpy as np

from market.lines import MISSING_U4, Block, Column, Layout, Shape, in_decimals
from market.names import bars_part
from streaming.bars import BarColumns
from streaming.contracts import Instruments
from streaming.packet_fields import PRICE_DECIMALS
from streaming.pricing import Moment
from streaming.snapshots import Line, Stamp, head_bytes

KIND: Final = "bars"
_COLUMNS: Final = (
    Column("instrument_token", "u4"),
    Column("open", "i4"),
    Column("high", "i4"),
    Column("low", "i4"),
    Column("close", "i4"),
    Column("volume", "u4"),
    Column("oi", "u4"),
    Column("vwap", "f8"),
    Column("is_partial", "b1"),
)
_SHAPE: Final = Shape(_COLUMNS)
_LAYOUTS: Final = {decimals: Layout(in_decimals(_COLUMNS, decimals)) for decimals in (*PRICE_DECIMALS, None)}
_VWAP_DECIMALS: Final = 4


class BarEncoder:
    """Encodes bars of these instruments."""

    def __init__(self, instruments: Instruments) -> None:
        self._tokens, self._divisor = instruments.tokens, instruments.divisor
        self._names = sorted({part.underlying for part in instruments.parts.values()})
        number = {name: place for place, name in enumerate(self._names)}
        self._of_slot = np.zeros(len(instruments), np.intp)
        found: defaultdict[str, set[int | None]] = defaultdict(set)
        for part in instruments.parts.values():
            self._of_slot[part.slots] = number[part.underlying]
            found[part.underlying].add(part.decimals)
        self._decimals = {name: decimals.pop() if len(decimals) == 1 else None for name, decimals in found.items()}

    def encode(self, bars: BarColumns, moment: Moment, stamp: Stamp) -> dict[str, Line]:
        """One line per underlying that has a bar. Each stands alone: a bar is over, and nothing is added to it."""
        order = np.argsort(self._of_slot[bars.slots], kind="stable")
        slots = bars.slots[order]
        block = Block(_SHAPE, len(slots))
        block["instrument_token"][:] = self._tokens[slots]
        divisor = self._divisor[slots]
        for name in ("open", "high", "low", "close"):
            block[name][:] = np.rint(getattr(bars, name)[order] * divisor)  # the whole numbers that had come
        block["volume"][:] = np.minimum(bars.volume[order], MISSING_U4 - 1)
        block["oi"][:] = bars.oi[order]  # MISSING becomes MISSING_U4
        block["vwap"][:] = np.round(bars.vwap[order], _VWAP_DECIMALS)
        block["is_partial"][:] = bars.span.is_partial[order]
        wide: Block | None = None
        owners = self._of_slot[slots]
        begins = np.flatnonzero(np.append(True, owners[1:] != owners[:-1])).tolist() if len(owners) else []
        lines = {}
        for start, end in zip(begins, [*begins[1:], len(slots)], strict=True) if begins else ():
            underlying = self._names[owners[start]]
            name = bars_part(underlying)
            head = head_bytes(name, underlying, KIND, moment, stamp, seconds=bars.seconds, start=bars.start)
            held, decimals = block, self._decimals[underlying]
            if decimals is None:
                held = wide = wide or block.wide(divisor)
            lines[name] = Line(_LAYOUTS[decimals].line(head, held, start, end), is_whole=True)
        return lines
