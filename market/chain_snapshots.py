"""Whole option chains, a row per expiry and minute: made of the stream's columns, and stored."""

import math
from collections.abc import Iterable, Mapping
from datetime import date, datetime
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from market.chain_models import OF_AN_OPTION, PRICES, SIDES, ChainSnapshot
from market.option_chain import DECIMALS

_KEY: Final = ("underlying", "expiry", "minute", "source")
_VALUES: Final = tuple(field.name for field in ChainSnapshot._meta.concrete_fields if field.name not in ("id", *_KEY))
_ROWS_A_STATEMENT: Final = 50
_PRICING: Final = ("underlying_price", "spot", "time_to_expiry", "rate", "dividend_yield")


def chain_snapshot(
    *,
    underlying: str,
    expiry: date,
    at: datetime,
    source: str,
    pricing: Mapping[str, Any],
    columns: Mapping[str, NDArray[Any]],
) -> ChainSnapshot:
    """A row, not yet stored, of one expiry's options.

    Parameters
    ----------
    at : market time, aware
    pricing : what the options were priced with, as a part's line says it
    columns : one element per option, in any order: `strike`, `is_call`, and `OF_AN_OPTION`; nan where a number is not
        known, and a price of zero is none
    """
    strikes, place = np.unique(columns["strike"], return_inverse=True)
    arrays: dict[str, list[Any]] = {}
    for side, is_call in ((SIDES["CE"], True), (SIDES["PE"], False)):
        rows = np.flatnonzero(columns["is_call"] == is_call)
        for name in OF_AN_OPTION:
            values = np.full(len(strikes), np.nan)
            values[place[rows]] = columns[name][rows]
            arrays[f"{side}_{name}"] = _elements(name, values)
    return ChainSnapshot(
        underlying=underlying,
        expiry=expiry,
        minute=at.replace(second=0, microsecond=0),
        source=source,
        underlying_source=pricing["underlying_source"],
        **{name: _finite(pricing[name]) for name in _PRICING},
        strike=strikes.tolist(),
        **arrays,
    )


def record(snapshots: Iterable[ChainSnapshot]) -> int:
    """Store the rows; one that is there already takes the new values. Of two for one minute the later one counts.

    Returns how many rows were written.
    """
    by_key = {tuple(getattr(row, name) for name in _KEY): row for row in snapshots}
    if by_key:
        ChainSnapshot.objects.bulk_create(
            by_key.values(),
            update_conflicts=True,
            unique_fields=_KEY,
            update_fields=_VALUES,
            batch_size=_ROWS_A_STATEMENT,
        )
    return len(by_key)


def _elements(name: str, values: NDArray[np.float64]) -> list[Any]:
    """As they are stored: rounded as in the stream's lines, null where not finite."""
    if name in PRICES:
        values = np.where(values == 0, np.nan, values)
    elif name in DECIMALS:
        values = np.round(values, DECIMALS[name])
    number = float if name in PRICES or name in DECIMALS else int
    return [number(value) if math.isfinite(value) else None for value in values.tolist()]


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
