"""Rows of options that a request brings along: read with every mistake named, and priced all at once.

A row is bad if it makes no sense (a strike below zero, a price and a volatility); it is answered with a reason if it
makes sense and has no answer (a price below what exercising brings).
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from greeks import black76, black_scholes
from market.exceptions import RowsInvalid
from market.pricing_rules import REASON_NAMES, Model

Floats = NDArray[np.float64]
YearsUntil = Callable[[str, date], float]
"""Exchange and expiry → years from now to the contract's close; raises LookupError in words where that is not known."""

MOST_ROWS: Final = 5_000
NOT_FINITE: Final = "not_finite"
DEFAULT_EXCHANGE: Final = "NFO"


class Range(NamedTuple):
    """What a number may be; `above` excludes the lower end."""

    lowest: float
    highest: float
    above: bool = False

    def holds(self, value: float) -> bool:
        return (self.lowest < value if self.above else self.lowest <= value) and value <= self.highest

    def __str__(self) -> str:
        return f"{'above' if self.above else 'from'} {self.lowest:g} up to {self.highest:g}"


PRICE, LEVEL = Range(0, 1e9), Range(0, 1e9, above=True)
VOLATILITY, YEARS, RATE = Range(0, 100), Range(0, 100), Range(-1, 1)
RANGES: Final = {
    "underlying_price": LEVEL,
    "strike": LEVEL,
    "time_to_expiry": YEARS,
    "price": PRICE,
    "volatility": VOLATILITY,
    "rate": RATE,
    "dividend_yield": RATE,
}
TEXTS: Final = ("instrument_type", "expiry", "exchange")
KNOWN: Final = frozenset((*RANGES, *TEXTS))

FIRST_ORDER: Final = ("delta", "gamma", "theta_per_day", "vega_per_point", "rho_per_point")
SECOND_ORDER: Final = ("vanna_per_point", "charm_per_day", "vomma_per_point", "speed")


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows as arrays of one length; of `price` and `volatility` one is nan in each."""

    underlying_price: Floats
    strike: Floats
    is_call: NDArray[np.bool_]
    time_to_expiry: Floats
    price: Floats
    volatility: Floats
    rate: Floats
    dividend_yield: Floats


def read_rows(rows: Sequence[Any], *, rate: float, dividend_yield: float, years_until: YearsUntil) -> Rows:
    """The rows of a request, with what stands in where they name no rate or yield.

    Raises
    ------
    RowsInvalid
        Naming index and field of what makes no sense.
    """
    problems: list[tuple[int, str, str]] = []
    names = [name for name in RANGES if name not in ("rate", "dividend_yield")]
    columns: dict[str, list[float]] = {name: [math.nan] * len(rows) for name in names}
    columns |= {"rate": [rate] * len(rows), "dividend_yield": [dividend_yield] * len(rows)}
    is_call = [False] * len(rows)
    closes: dict[tuple[str, str], float] = {}

    def years(index: int, row: Mapping[str, Any]) -> None:
        key = row["expiry"], row.get("exchange", DEFAULT_EXCHANGE)
        if not all(isinstance(text, str) for text in key):
            problems.append((index, "expiry", "Expected a date as text, and an exchange as text."))
            return
        if key not in closes:
            try:
                closes[key] = years_until(key[1], date.fromisoformat(key[0]))
            except LookupError as exc:
                problems.append((index, "expiry", str(exc.args[0])))
                return
            except ValueError:
                problems.append((index, "expiry", "Expected a date like 2026-12-01."))
                return
        columns["time_to_expiry"][index] = closes[key]

    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            problems.append((index, "", "Expected an object."))
            continue
        given = {name: value for name, value in row.items() if value is not None}
        problems += [(index, str(name), "Unknown field.") for name in sorted(given.keys() - KNOWN)]
        for name, limits in RANGES.items():
            if (value := given.get(name)) is None:
                continue
            if type(value) not in (int, float) or not limits.holds(value):
                problems.append((index, name, f"Expected a number {limits}."))
            else:
                columns[name][index] = value
        problems += [(index, field, message) for field, message in _missing(given)]
        kind = given.get("instrument_type")
        if kind in ("CE", "PE"):
            is_call[index] = kind == "CE"
        elif kind is not None:
            problems.append((index, "instrument_type", "Expected CE or PE."))
        if "expiry" in given:
            years(index, given)
    if problems:
        raise RowsInvalid("rows", problems)
    return Rows(
        is_call=np.array(is_call, np.bool_), **{name: np.array(values, np.float64) for name, values in columns.items()}
    )


def _missing(given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What a row lacks, or says twice."""
    found = [(name, "Required.") for name in ("underlying_price", "strike", "instrument_type") if name not in given]
    for one, other in (("price", "volatility"), ("time_to_expiry", "expiry")):
        if (one in given) == (other in given):
            found.append((one, f"Expected either {one} or {other}."))
    if "exchange" in given and "expiry" not in given:
        found.append(("exchange", "It only goes with an expiry."))
    return found


def answers(rows: Rows, model: Model, *, second_order: bool) -> list[dict[str, Any]]:
    """Row by row, in their order: price, implied volatility, Greeks, and a reason where one of them is null."""
    level, strike, years, rate, is_call = (
        rows.underlying_price,
        rows.strike,
        rows.time_to_expiry,
        rows.rate,
        rows.is_call,
    )
    carry = () if model is Model.BLACK_76 else (rows.dividend_yield,)
    module = black76 if model is Model.BLACK_76 else black_scholes
    from_price = np.isfinite(rows.price)
    solved = module.implied_volatility(
        np.where(from_price, rows.price, 0.0), level, strike, years, rate, is_call, *carry
    )
    volatility = np.where(from_price, solved.volatility, rows.volatility)
    terms = level, strike, years, rate, volatility, is_call, *carry
    found = module.greeks(*terms)
    columns = {"price": np.where(from_price, rows.price, found.price), "implied_volatility": volatility}
    columns |= {name: getattr(found, name) for name in FIRST_ORDER}
    if second_order:
        more = module.second_order(*terms)
        columns |= {name: getattr(more, name) for name in SECOND_ORDER}
    finite = np.logical_and.reduce([np.isfinite(values) for values in columns.values()])
    reasons = [
        REASON_NAMES[reason] or (None if whole else NOT_FINITE)
        for reason, whole in zip(np.where(from_price, solved.reason, 0).tolist(), finite.tolist(), strict=True)
    ]
    names = (*columns, "time_to_expiry", "greeks_reason")
    values = [*(_or_none(column) for column in columns.values()), years.tolist(), reasons]
    return [dict(zip(names, row, strict=True)) for row in zip(*values, strict=True)]


def _or_none(column: Floats) -> list[float | None]:
    return [value if math.isfinite(value) else None for value in column.tolist()]
