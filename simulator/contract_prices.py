"""What every contract of a universe trades at, at any step of one session. Pure: nothing here remembers."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from simulator import pricing
from simulator.clock import Session, SessionCalendar
from simulator.instruments import EXCHANGES, Kind, Universe
from simulator.noise import bits_of, hashed
from simulator.paths import DayPath
from simulator.underlyings import UNDERLYINGS

STEPS_A_SECOND = 10
_SEGMENTS = {"NSE": "equity", "BSE": "equity", "NFO": "derivatives", "BFO": "derivatives"}
_RANK_LIQUIDITY = np.array([1.0, 0.5, 0.3, 0.2, 0.12, 0.08])  # by nearness of the expiry
_LIQUIDITIES = np.array([u.liquidity for u in UNDERLYINGS])
_LIQUIDITY_WIDTH = 1.1  # of the strikes that people trade, in standard deviations

Rows = NDArray[np.int64]


class Hours(NamedTuple):
    """A trading day: Unix seconds of its first opening, and for each exchange its first and last step since then."""

    opens_at: float
    first_steps: NDArray[np.int64]
    last_steps: NDArray[np.int64]

    @property
    def seconds(self) -> int:
        return int(self.last_steps.max()) // STEPS_A_SECOND

    @classmethod
    def of(cls, day: date, calendar: SessionCalendar) -> "Hours":
        """Hours of a day on which NFO trades; an exchange without a session of its own keeps NFO's."""
        reference = calendar.session_of("NFO", "derivatives", day)
        if reference is None:
            raise ValueError(f"{day} is no trading day")
        sessions: list[Session] = [calendar.session_of(e, _SEGMENTS[e], day) or reference for e in EXCHANGES]
        opens_at = min(s.opens for s in sessions).timestamp()
        first, last = (
            np.array([round((moment.timestamp() - opens_at) * STEPS_A_SECOND) for moment in moments])
            for moments in zip(*sessions, strict=True)
        )
        return cls(opens_at, first, last)


class Book(NamedTuple):
    """Best bid, best offer and last trade in paise; a bid of 0 means that nobody bids."""

    bid: NDArray[np.int64]
    ask: NDArray[np.int64]
    last: NDArray[np.int64]


def expiry_closes(universe: Universe, calendar: SessionCalendar) -> NDArray[np.float64]:
    """Unix seconds at which each contract stops trading, infinite for cash instruments."""
    keys = list(zip(universe.exchanges.tolist(), universe.expiries.tolist(), strict=True))
    closes: dict[tuple[int, int], float] = {}
    for exchange, ordinal in set(keys):
        day = date.fromordinal(ordinal or 1)
        session = calendar.session_of(EXCHANGES[exchange], "derivatives", day) if ordinal else None
        closes[exchange, ordinal] = session.closes.timestamp() if session else np.inf
    return np.array([closes[key] for key in keys])


@dataclass(frozen=True)
class ContractPrices:
    """Prices of one session. `volatility` is per underlying, at the opening; `known_liquidity` saves working it out."""

    universe: Universe
    path: DayPath
    volatility: NDArray[np.float64]
    hours: Hours
    expiry_closes: NDArray[np.float64]
    seed: int
    known_liquidity: NDArray[np.float64] | None = None

    def _spot_and_years(self, rows: Rows, steps: Rows) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        seconds = steps / STEPS_A_SECOND
        spot = self.path.at(self.universe.underlyings[rows], seconds)
        years = (self.expiry_closes[rows] - self.hours.opens_at - seconds) / pricing.YEAR_SECONDS
        return spot, np.where(np.isfinite(years), np.maximum(years, 0.0), 0.0)

    def _at_the_money(self, rows: Rows, spot: NDArray[np.float64], years: NDArray[np.float64]) -> NDArray[np.float64]:
        underlyings = self.universe.underlyings[rows]
        opening = self.path.at(underlyings, np.zeros(len(rows)))
        return pricing.at_the_money_volatility(self.volatility[underlyings], spot, opening, years)

    def fair(self, rows: Rows, steps: Rows) -> NDArray[np.float64]:
        """Fair value in rupees of each row at its step."""
        spot, years = self._spot_and_years(rows, steps)
        value = pricing.forward(spot, years)
        options = np.flatnonzero(self.universe.kinds[rows] >= Kind.CALL)
        if len(options):
            chosen = rows[options]
            strike, years = self.universe.strikes[chosen], years[options]
            at_the_money = self._at_the_money(chosen, spot[options], years)
            distance = pricing.moneyness(value[options], strike, years, at_the_money)
            is_call = self.universe.kinds[chosen] == Kind.CALL
            value[options] = pricing.option_price(
                value[options], strike, years, pricing.smile(at_the_money, distance), is_call
            )
        return value

    @cached_property
    def liquidity(self) -> NDArray[np.float64]:
        """How much each row is traded, 1 for the at-the-money option of the busiest index. Fixed at the opening."""
        if self.known_liquidity is not None:
            return self.known_liquidity
        universe, rows = self.universe, np.arange(len(self.universe.contracts))
        liquidity = _LIQUIDITIES[universe.underlyings]
        kinds = universe.kinds
        liquidity[kinds == Kind.EQUITY] *= 3
        liquidity[kinds == Kind.INDEX] = 1.0
        derivative = np.flatnonzero(kinds >= Kind.FUTURE)
        liquidity[derivative] *= _RANK_LIQUIDITY[_expiry_ranks(universe, derivative)]
        options = rows[kinds >= Kind.CALL]
        spot, years = self._spot_and_years(options, np.zeros_like(options))
        at_the_money = self._at_the_money(options, spot, years)
        distance = pricing.moneyness(pricing.forward(spot, years), universe.strikes[options], years, at_the_money)
        liquidity[options] *= np.exp(-0.5 * (distance / _LIQUIDITY_WIDTH) ** 2)
        return np.asarray(np.clip(liquidity, 1e-5, 1.0))

    def book(self, rows: Rows, steps: Rows) -> Book:
        """Bid, offer and last price of each row at its step, on its tick grid."""
        fair = self.fair(rows, steps) * 100  # paise from here on
        kinds, tick = self.universe.kinds[rows], self.universe.ticks[rows]
        relative = np.where(kinds >= Kind.CALL, 0.0015 + 0.008 * (1 - np.sqrt(self.liquidity[rows])), 0.00002)
        half_spread = np.maximum(fair * relative, tick * 0.4)
        bid = np.maximum(np.floor((fair - half_spread) / tick) * tick, 0).astype(np.int64)
        ask = np.maximum((np.ceil((fair + half_spread) / tick) * tick).astype(np.int64), bid + tick)
        at_ask = bits_of(hashed(self.seed, 1, self.universe.tokens[rows].astype(np.int64), steps), 0, 1).astype(bool)
        last = np.where(at_ask | (bid == 0), ask, bid)
        is_index = kinds == Kind.INDEX
        last[is_index] = np.round(fair[is_index] / tick[is_index]).astype(np.int64) * tick[is_index]
        return Book(bid, ask, last)


def _expiry_ranks(universe: Universe, derivative: Rows) -> NDArray[np.int64]:
    """0 for the contracts that expire next of their underlying and kind (future or option), then 1, …"""
    dates: dict[tuple[int, bool], set[int]] = {}
    keys = list(
        zip(
            universe.underlyings[derivative].tolist(),
            (universe.kinds[derivative] == Kind.FUTURE).tolist(),
            universe.expiries[derivative].tolist(),
            strict=True,
        )
    )
    for underlying, is_future, expiry in set(keys):
        dates.setdefault((underlying, is_future), set()).add(expiry)
    ranks: Mapping[tuple[int, bool, int], int] = {
        (*group, expiry): min(rank, len(_RANK_LIQUIDITY) - 1)
        for group, found in dates.items()
        for rank, expiry in enumerate(sorted(found))
    }
    return np.array([ranks[key] for key in keys])
