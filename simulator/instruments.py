"""The instrument dump: every contract of one trading day, as arrays for the market and as CSV for the client."""

import gzip
import math
from dataclasses import dataclass, field, replace
from datetime import date
from enum import IntEnum
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from simulator.clock import SessionCalendar
from simulator.expiries import Expiry, expiries
from simulator.underlyings import INDEX_SEGMENT, NSE_SEGMENT, UNDERLYINGS, Underlying

EXCHANGES = ("NSE", "BSE", "NFO", "BFO")
_DERIVATIVE_SEGMENT = {"NFO": 2, "BFO": 5}
_MONTH_LETTERS = "123456789OND"
_HEADER = (
    "instrument_token,exchange_token,tradingsymbol,name,last_price,expiry,strike,tick_size,lot_size,"
    "instrument_type,segment,exchange"
)
OPTION_TICK = 5  # paise

# A derivative's exchange_token, 23 bits, is made from its terms, so that a contract has the same token in every dump,
# however large: underlying (6), week of expiry (6), strike in quarter steps (10, the last value for futures), put (1).
# Like the exchange's own, tokens are reused, here after 64 weeks.
_WEEKS, _STRIKE_SLOTS = 64, 1023


class Kind(IntEnum):
    INDEX = 0
    EQUITY = 1
    FUTURE = 2
    CALL = 3
    PUT = 4


_TYPE_OF_KIND = {Kind.INDEX: "EQ", Kind.EQUITY: "EQ", Kind.FUTURE: "FUT", Kind.CALL: "CE", Kind.PUT: "PE"}


@dataclass(frozen=True, slots=True)
class Contract:
    """One row of the dump. `underlying` is a position in UNDERLYINGS, `tick` in paise; an index has no tick, no lot."""

    underlying: int
    kind: Kind
    exchange: str
    tradingsymbol: str
    exchange_token: int
    tick: int
    lot_size: int
    expiry: date | None = None
    strike: float = 0.0

    @property
    def token(self) -> int:
        if self.kind is Kind.INDEX:
            return self.exchange_token << 8 | INDEX_SEGMENT
        return self.exchange_token << 8 | _DERIVATIVE_SEGMENT.get(self.exchange, NSE_SEGMENT)

    @property
    def segment(self) -> str:
        if self.kind is Kind.INDEX:
            return "INDICES"
        if self.kind is Kind.EQUITY:
            return self.exchange
        return f"{self.exchange}-{'FUT' if self.kind is Kind.FUTURE else 'OPT'}"

    def expiring(self, day: date) -> "Contract":
        """The same terms with another last day."""
        return replace(self, expiry=day)

    def csv_row(self) -> str:
        terms = UNDERLYINGS[self.underlying]
        # Numbers are never blank: the official client would fail on them.
        return (
            f"{self.token},{self.exchange_token},{self.tradingsymbol},"
            f"{terms.name if self.expiry else terms.full_name},0.0,{self.expiry or ''},{self.strike:.10g},"
            f"{self.tick / 100:g},{self.lot_size},{_TYPE_OF_KIND[self.kind]},{self.segment},{self.exchange}"
        )


@dataclass(frozen=True)
class Universe:
    """The contracts of one trading day; a row number means the same contract in every array.

    tokens : uint32; underlyings : position in UNDERLYINGS; kinds : `Kind`; strikes in rupees, 0 where none;
    ticks in paise (an index moves by 5 paise); lots in units; expiries : ordinal of the day, 0 where none.
    """

    day: date
    contracts: list[Contract] = field(repr=False)

    @cached_property
    def tokens(self) -> NDArray[np.uint32]:
        return np.array([c.token for c in self.contracts], dtype=np.uint32)

    @cached_property
    def underlyings(self) -> NDArray[np.int64]:
        return np.array([c.underlying for c in self.contracts])

    @cached_property
    def kinds(self) -> NDArray[np.int8]:
        return np.array([c.kind for c in self.contracts], dtype=np.int8)

    @cached_property
    def strikes(self) -> NDArray[np.float64]:
        return np.array([c.strike for c in self.contracts])

    @cached_property
    def ticks(self) -> NDArray[np.int64]:
        return np.array([c.tick or 5 for c in self.contracts])

    @cached_property
    def lots(self) -> NDArray[np.int64]:
        return np.array([c.lot_size or 1 for c in self.contracts])

    @cached_property
    def expiries(self) -> NDArray[np.int64]:
        return np.array([c.expiry.toordinal() if c.expiry else 0 for c in self.contracts])

    @cached_property
    def exchanges(self) -> NDArray[np.int64]:
        """Position in EXCHANGES."""
        return np.array([EXCHANGES.index(c.exchange) for c in self.contracts])

    @cached_property
    def row_of_token(self) -> dict[int, int]:
        return {c.token: row for row, c in enumerate(self.contracts)}

    @cached_property
    def row_of_symbol(self) -> dict[str, int]:
        """Row of `EXCHANGE:TRADINGSYMBOL`."""
        return {f"{c.exchange}:{c.tradingsymbol}": row for row, c in enumerate(self.contracts)}

    @cached_property
    def _csv_rows(self) -> list[str]:
        return [c.csv_row() for c in self.contracts]

    def csv(self, exchange: str | None = None) -> bytes:
        """The dump, of all exchanges or of one, in UTF-8. An exchange with nothing listed gives the header alone."""
        pairs = zip(self._csv_rows, self.contracts, strict=True)
        rows = [row for row, contract in pairs if exchange in {None, contract.exchange}]
        return "\n".join((_HEADER, *rows, "")).encode()

    @cached_property
    def gzipped_csv(self) -> bytes:
        """The whole dump, compressed once a day: it is the largest answer by far."""
        return gzip.compress(self.csv(), compresslevel=4, mtime=0)


def build_universe(day: date, calendar: SessionCalendar, rows: int) -> Universe:
    """All contracts alive on `day`, at least `rows` of them.

    The chain grows outwards first and becomes denser when the strikes would leave the range of sensible prices.
    """
    listed = [(u, _expiries(u, day, calendar)) for u in UNDERLYINGS]
    flat = sum(2 for _ in UNDERLYINGS)
    per_scale = sum(2 * len(dates) * (2 * u.wing + 1) for u, (_, dates) in listed)
    scale = max((rows - flat) / per_scale, 1.0)
    contracts: list[Contract] = []
    for position, (underlying, (future_dates, option_dates)) in enumerate(listed):
        contracts.append(_cash(position, underlying))
        contracts += [_future(position, underlying, expiry) for expiry in future_dates]
        strikes = _strikes(underlying, scale)
        for expiry in option_dates:
            contracts += _options(position, underlying, expiry, strikes)
    return Universe(day, contracts)


def _expiries(underlying: Underlying, day: date, calendar: SessionCalendar) -> tuple[list[Expiry], list[Expiry]]:
    """Expiries of the futures and of the options."""
    exchange = underlying.derivatives
    futures = expiries(exchange, day, calendar, weeklies=False, quarterlies=False)
    options = expiries(exchange, day, calendar, weeklies=underlying.has_weeklies, quarterlies=underlying.is_index)
    return futures, options


def _strikes(underlying: Underlying, scale: float) -> list[float]:
    wing = math.ceil(underlying.wing * scale)
    step = underlying.strike_step
    divisor = 1
    while wing * step / divisor > 0.6 * underlying.level and divisor < 4:
        divisor *= 2
    centre = round(underlying.level / step) * step
    step /= divisor
    return [strike for n in range(-wing, wing + 1) if (strike := centre + n * step) > 0]


def _cash(position: int, underlying: Underlying) -> Contract:
    kind, tick, lot = (Kind.INDEX, 0, 0) if underlying.is_index else (Kind.EQUITY, underlying.future_tick, 1)
    return Contract(position, kind, underlying.exchange, underlying.tradingsymbol, underlying.exchange_token, tick, lot)


def _exchange_token(position: int, expiry: Expiry, strike_slot: int, is_put: bool) -> int:
    week = expiry.nominal.toordinal() // 7 % _WEEKS
    return ((position * _WEEKS + week) * (_STRIKE_SLOTS + 1) + strike_slot) * 2 + is_put


def _future(position: int, underlying: Underlying, expiry: Expiry) -> Contract:
    return Contract(
        position,
        Kind.FUTURE,
        underlying.derivatives,
        f"{underlying.name}{expiry.nominal:%y%b}FUT".upper(),
        _exchange_token(position, expiry, _STRIKE_SLOTS, is_put=False),
        underlying.future_tick,
        underlying.lot_size,
        expiry.day,
    )


def _options(position: int, underlying: Underlying, expiry: Expiry, strikes: list[float]) -> list[Contract]:
    prefix = f"{underlying.name}{_expiry_code(expiry)}"
    first_token = _exchange_token(position, expiry, 0, is_put=False)
    contracts = []
    for strike in strikes:
        slot = round(strike / underlying.strike_step * 4) % _STRIKE_SLOTS
        for is_put, kind, suffix in ((0, Kind.CALL, "CE"), (1, Kind.PUT, "PE")):
            contracts.append(
                Contract(
                    position,
                    kind,
                    underlying.derivatives,
                    f"{prefix}{strike:.10g}{suffix}",
                    first_token + slot * 2 + is_put,
                    OPTION_TICK,
                    underlying.lot_size,
                    expiry.day,
                    strike,
                )
            )
    return contracts


def _expiry_code(expiry: Expiry) -> str:
    """`26DEC` for a month's last expiry, `26D08` for a weekly of 8 December 2026: the day the contract really ends."""
    if expiry.is_monthly:
        return f"{expiry.nominal:%y%b}".upper()
    return f"{expiry.day:%y}{_MONTH_LETTERS[expiry.day.month - 1]}{expiry.day:%d}"
