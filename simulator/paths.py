"""How the underlyings move: levels from day to day, and paths within a day. Pure functions of seed and date."""

from dataclasses import dataclass
from datetime import date, timedelta
from functools import cache, lru_cache

import numpy as np
from numpy.typing import NDArray

from simulator.underlyings import UNDERLYINGS

FIRST_DAY = date(2019, 1, 1)  # of the simulated past; every level starts at its table value there
SKELETON_SECONDS = 10
_HALF_LIFE_DAYS = 60  # levels return to their table value, so that listed strikes stay around the market
_DAY = 1 / 365
_OVERNIGHT_SHARE = 0.3  # of a day's move, the opening gap
_JUMPS_A_DAY = 1.2
_VOLATILITY_OF_VOLATILITY = 0.06  # a day, in logs
_VOLATILITIES = np.array([u.volatility for u in UNDERLYINGS])


@dataclass(frozen=True)
class DayPath:
    """Prices within one session, evenly spaced: one row per underlying, or the row of one only."""

    prices: NDArray[np.float64]
    spacing_seconds: int
    only: int | None = None

    def at(self, underlyings: NDArray[np.int64], seconds: NDArray[np.float64]) -> NDArray[np.float64]:
        """Prices at `seconds` after the opening, linear between points, constant outside."""
        last = self.prices.shape[1] - 1
        position = np.clip(seconds / self.spacing_seconds, 0, last)
        left = np.minimum(position.astype(np.int64), last - 1)
        rows = underlyings if self.only is None else np.zeros_like(underlyings)
        before = self.prices[rows, left]
        return np.asarray(before + (self.prices[rows, left + 1] - before) * (position - left))


class Paths:
    """Everything the underlyings do, for one seed."""

    def __init__(self, seed: int, until: date) -> None:
        self._seed = seed
        self._betas = np.array([u.beta for u in UNDERLYINGS])
        self._own_parts = np.sqrt(1 - self._betas**2)
        # Options are dearer than the moves that follow them.
        self._sigmas = _VOLATILITIES * 0.92
        self._levels, self._volatilities = self._daily(until)
        self._market_move = lru_cache(maxsize=128)(self._draw_market_move)
        self.skeleton = lru_cache(maxsize=512)(self._skeleton)

    def _daily(self, until: date) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Log distance of each day's last price from the table's level, and log distance of volatility from its own."""
        days, width = (until - FIRST_DAY).days + 1, len(UNDERLYINGS)
        # Drawn day by day in one array: a longer history has the shorter one as its beginning.
        draws = np.random.default_rng([self._seed, 1]).standard_normal((days, 2 + width))
        steps = self._betas * draws[:, :1] + self._own_parts * draws[:, 2:]
        steps *= self._sigmas * np.sqrt(_DAY)
        # A falling market is a nervous one.
        nerves = _VOLATILITY_OF_VOLATILITY * (-0.7 * draws[:, 0] + 0.71 * draws[:, 1])
        keep, levels, volatilities = 0.5 ** (1 / _HALF_LIFE_DAYS), np.zeros((days, width)), np.zeros(days)
        for day in range(1, days):
            levels[day] = keep * levels[day - 1] + steps[day]
            volatilities[day] = 0.95 * volatilities[day - 1] + nerves[day]
        return levels, volatilities

    def volatility(self, day: date) -> NDArray[np.float64]:
        """At-the-money volatility of each underlying at that day's opening, per year."""
        return np.asarray(_VOLATILITIES * np.exp(self._volatilities[self._index(day - timedelta(days=1))]))

    def fine(self, day: date, seconds: int) -> DayPath:
        """All underlyings, second by second, through the same points as their skeletons."""
        skeletons = np.stack([np.log(self.skeleton(u, day, seconds).prices[0]) for u in range(len(UNDERLYINGS))])
        blocks = skeletons.shape[1] - 1
        rng = np.random.default_rng([self._seed, 3, day.toordinal()])
        shape = (len(UNDERLYINGS) + 1, blocks, SKELETON_SECONDS)
        walk = np.cumsum(rng.standard_normal(shape, dtype=np.float32), axis=2, dtype=np.float32)
        fraction = np.arange(1, SKELETON_SECONDS + 1, dtype=np.float32) / SKELETON_SECONDS
        walk -= walk[:, :, -1:] * fraction  # bridges: back at zero where the next skeleton point is
        per_second = self._sigmas * np.sqrt(_DAY * (1 - _OVERNIGHT_SHARE) / seconds)
        own = (self._own_parts * per_second)[:, None, None] * walk[1:]
        noise = own + (self._betas * per_second)[:, None, None] * walk[0]
        rise = np.diff(skeletons)[:, :, None] * fraction
        logs = (skeletons[:, :-1, None] + rise + noise).reshape(len(UNDERLYINGS), -1)
        return DayPath(np.exp(np.concatenate((skeletons[:, :1], logs), axis=1)), 1)

    def _skeleton(self, underlying: int, day: date, seconds: int) -> DayPath:
        """One underlying every ten seconds, from the opening to that day's level at the close."""
        points = -(-seconds // SKELETON_SECONDS)
        terms = UNDERLYINGS[underlying]
        sigma = self._sigmas[underlying] * np.sqrt(_DAY * (1 - _OVERNIGHT_SHARE))
        rng = np.random.default_rng([self._seed, 2, day.toordinal(), underlying])
        own = rng.standard_normal(points) * np.sqrt(_profile(points))
        if not terms.is_index:
            _add_jumps(own, rng, 0.6)
        moves = self._betas[underlying] * self._market_move(day, points) + self._own_parts[underlying] * own
        walk = np.concatenate(([0.0], np.cumsum(moves))) * sigma
        index = self._index(day)
        yesterday, today = self._levels[index - 1 : index + 1, underlying]
        opening = yesterday + _OVERNIGHT_SHARE * (today - yesterday)
        fraction = np.linspace(0, 1, points + 1)
        logs = opening + walk + (today - opening - walk[-1]) * fraction
        return DayPath(terms.level * np.exp(logs)[None, :], SKELETON_SECONDS, only=underlying)

    def _draw_market_move(self, day: date, points: int) -> NDArray[np.float64]:
        """The move that all underlyings share, in units of a day's."""
        rng = np.random.default_rng([self._seed, 4, day.toordinal()])
        moves: NDArray[np.float64] = rng.standard_normal(points) * np.sqrt(_profile(points))
        _add_jumps(moves, rng, _JUMPS_A_DAY)
        return moves

    def _index(self, day: date) -> int:
        return min(max((day - FIRST_DAY).days, 1), len(self._levels) - 1)


@cache
def _profile(points: int) -> NDArray[np.float64]:
    """How a day's variance is spread over it: most at the opening, more again at the close. Adds up to 1."""
    minutes = np.arange(points) * (SKELETON_SECONDS / 60)
    weight = 1 + 1.6 * np.exp(-minutes / 25) + 0.5 * np.exp((minutes - minutes[-1]) / 20)
    return np.asarray(weight / weight.sum())


def _add_jumps(moves: NDArray[np.float64], rng: np.random.Generator, a_day: float) -> None:
    """The odd piece of news: a fifth to a half of an ordinary day's move within ten seconds."""
    for _ in range(rng.poisson(a_day)):
        moment, size = rng.random(2)
        moves[int(moment * len(moves))] += (0.2 + 0.3 * size) * (1 if rng.random() < 0.5 else -1)
