"""How much is traded, when, and how much is held: a pure function of contract, day and seed."""

from datetime import date

import numpy as np
from numpy.typing import NDArray

from simulator.contract_prices import Hours, Rows
from simulator.instruments import Kind, Universe
from simulator.noise import hashed, uniform
from simulator.underlyings import UNDERLYINGS

_FASTEST_PERIOD_STEPS, _SLOWEST_PERIOD_STEPS = 4.0, 3000
_MOST_UNITS = 2**30  # of volume or open interest: what surely fits a packet's field
_OPTION_LOTS, _FUTURE_LOTS, _SHARE_TURNOVER = 1.2e6, 9e4, 5e10  # a day, at liquidity 1; turnover in rupees
_LEVELS = np.array([u.level for u in UNDERLYINGS])
_OPTION_OI_LOTS, _FUTURE_OI_LOTS = 3e5, 2e5


class Activity:
    """Trading of one session. `liquidity` is per row, 0 to 1; `dial` multiplies how often rows trade."""

    def __init__(
        self, universe: Universe, liquidity: NDArray[np.float64], hours: Hours, seed: int, dial: float = 1.0
    ) -> None:
        self._lots = universe.lots
        self._tokens = universe.tokens.astype(np.int64)
        self._seed = seed
        self.first_steps = hours.first_steps[universe.exchanges]
        self.last_steps = hours.last_steps[universe.exchanges]
        periods = _FASTEST_PERIOD_STEPS / liquidity**0.55 / dial
        self.periods = np.clip(periods, 1, _SLOWEST_PERIOD_STEPS).astype(np.int64)
        self._phases = (hashed(seed, 2, self._tokens, 0) >> np.uint64(33)).astype(np.int64) % self.periods

        kinds = universe.kinds
        lots = np.where(kinds >= Kind.CALL, _OPTION_LOTS, _FUTURE_LOTS) * liquidity
        lots = np.where(kinds == Kind.EQUITY, _SHARE_TURNOVER * liquidity / _LEVELS[universe.underlyings], lots)
        lots = np.where(kinds == Kind.INDEX, 0, lots) * (0.25 + self._daily_share(3, universe.day))
        self.day_volume = np.minimum(lots * self._lots, _MOST_UNITS).astype(np.int64)

        held = np.where(kinds >= Kind.CALL, _OPTION_OI_LOTS, _FUTURE_OI_LOTS) * liquidity**0.6 * self._lots
        held = np.where(kinds >= Kind.FUTURE, np.minimum(held, _MOST_UNITS / 2), 0)
        # From this day's share to the next one's: a day opens with what the one before it ended with.
        self._oi_at_open = held * self._daily_share(4, universe.day)
        self._oi_at_close = held * self._daily_share(4, date.fromordinal(universe.day.toordinal() + 1))

    def _daily_share(self, salt: int, day: date) -> NDArray[np.float64]:
        """0.75 to 1.25, for each contract and day another."""
        return 0.75 + 0.5 * uniform(hashed(self._seed, salt, self._tokens, day.toordinal()))

    def last_trades(self, rows: Rows, steps: NDArray[np.int64] | int) -> Rows:
        """The last step up to `steps` at which each row traded; everything trades at its opening."""
        now = np.minimum(steps, self.last_steps[rows])
        return np.asarray(np.maximum(now - (now + self._phases[rows]) % self.periods[rows], self.first_steps[rows]))

    def volume_until(self, rows: Rows, steps: Rows) -> NDArray[np.int64]:
        """Units traded from the opening to that step: busy at both ends of the session, in whole lots."""
        share = self._elapsed_share(rows, steps)
        busy = share + 0.11 * np.sin(2 * np.pi * share)
        return self._whole_lots(rows, self.day_volume[rows] * busy)

    def oi_at(self, rows: Rows, steps: Rows) -> NDArray[np.int64]:
        """Open interest in units, in whole lots."""
        opening = self._oi_at_open[rows]
        grown = opening + (self._oi_at_close[rows] - opening) * self._elapsed_share(rows, steps)
        return self._whole_lots(rows, grown)

    def _elapsed_share(self, rows: Rows, steps: Rows) -> NDArray[np.float64]:
        first = self.first_steps[rows]
        return np.asarray(np.clip((steps - first) / (self.last_steps[rows] - first), 0, 1))

    def _whole_lots(self, rows: Rows, units: NDArray[np.float64]) -> NDArray[np.int64]:
        return (units / self._lots[rows]).astype(np.int64) * self._lots[rows]
