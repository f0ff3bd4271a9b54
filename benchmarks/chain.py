"""Analysing one expiry, against the same done strike by strike in plain Python with a smile from scipy.

Both sides get the same chain: 160 strikes of a weekly index expiry, prices on the exchange's ticks, volatilities solved
from them. That both say the same is checked before the timing.
"""

import math
import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from scipy.optimize import least_squares

from benchmarks.harness import Result, compare
from greeks import black76, smile
from greeks.arrays import Floats
from greeks.chain import Chain, ChainAnalytics, analyse, strike_implied_volatility
from greeks.smile import Smile

SPOT, YEARS, RATE, TICK = 24_000.0, 7 / 365, 0.065, 0.05
FORWARD = SPOT * math.exp(RATE * YEARS)
LEVELS, REACH, ZOOMS, ZOOM_LEVELS = 65, 4.0, 2, 17
LEAST_VEGA = 1e-4
FARTHEST_DEVIATIONS = 3.5


def run(rounds: int) -> Iterator[Result]:
    """Microseconds for one expiry: all of its analytics, and its fitted smile alone."""
    chain = _chain()
    plain = PlainChain.of(chain)
    _check(analyse(chain), plain_analytics(plain), chain)
    yield _result("analyse-160", "loop", rounds, partial(analyse, chain), partial(plain_analytics, plain))

    volatility = strike_implied_volatility(chain)
    ours = partial(smile.fit, chain.strike, volatility, chain.forward, chain.time_to_expiry)
    peer = partial(scipy_smile, plain.strikes, volatility.tolist(), chain.forward, chain.time_to_expiry)
    _check_smile(ours(), peer(), chain)
    yield _result("smile-160", "scipy", rounds, ours, peer)


def _result(case: str, peer: str, rounds: int, ours: Callable[[], object], theirs: Callable[[], object]) -> Result:
    timing = compare(ours, theirs, rounds=rounds)
    return Result("chain", case, timing.ours * 1e6, "us/expiry", peer, timing.peer * 1e6, timing.ratio)


def _chain() -> Chain:
    strikes = SPOT + 50.0 * np.arange(-80, 80)
    x = np.log(strikes / FORWARD) / (0.13 * math.sqrt(YEARS))
    volatility = 0.13 * np.sqrt(0.7 - 0.12 * x + 0.25 * np.sqrt((x - 0.4) ** 2 + 1.2))
    rng = np.random.default_rng(1)
    prices, volatilities = [], []
    for is_call in (True, False):
        price = black76.price(FORWARD, strikes, YEARS, RATE, volatility, is_call)
        price = np.asarray(np.maximum(np.round(price / TICK), 1.0) * TICK)
        prices.append(price)
        volatilities.append(black76.implied_volatility(price, FORWARD, strikes, YEARS, RATE, is_call).volatility)
    held = [75.0 * np.round(rng.gamma(2.0, 2_000.0, 160) * np.exp(-0.1 * (x - at) ** 2)) for at in (1.0, -1.0)]
    return Chain(
        strike=strikes, call_price=prices[0], put_price=prices[1], call_implied_volatility=volatilities[0],
        put_implied_volatility=volatilities[1], call_oi=held[0], put_oi=held[1], call_oi_change=held[0] - held[1],
        put_oi_change=held[1] - held[0], call_volume=3 * held[0], put_volume=2 * held[1],
        spot=SPOT, forward=FORWARD, time_to_expiry=YEARS, rate=RATE,
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class PlainChain:
    """The same as lists, converted beforehand: reading them is not what is timed."""

    strikes: list[float]
    call_price: list[float]
    put_price: list[float]
    call_volatility: list[float]
    put_volatility: list[float]
    call_oi: list[float]
    put_oi: list[float]
    call_oi_change: list[float]
    put_oi_change: list[float]
    call_volume: list[float]
    put_volume: list[float]

    @classmethod
    def of(cls, chain: Chain) -> "PlainChain":
        columns = (
            chain.strike, chain.call_price, chain.put_price, chain.call_implied_volatility,
            chain.put_implied_volatility, chain.call_oi, chain.put_oi, chain.call_oi_change, chain.put_oi_change,
            chain.call_volume, chain.put_volume,
        )  # fmt: skip
        return cls(*(column.tolist() for column in columns))


@dataclass(frozen=True, slots=True)
class PlainAnalytics:
    forward: float
    atm_strike: float
    atm_volatility: float
    straddle: float
    ratios: tuple[float, float]
    max_pain: float
    walls: list[list[float]]
    net_gamma: float
    flip: float
    smile: list[float]


def plain_analytics(chain: PlainChain) -> PlainAnalytics:
    strikes = chain.strikes
    pairs = sorted(
        zip(strikes, chain.call_price, chain.put_price, strict=True), key=lambda pair: abs(pair[1] - pair[2])
    )
    forward = statistics.median(k + (call - put) * math.exp(RATE * YEARS) for k, call, put in pairs[:10])
    near = min(range(len(strikes)), key=lambda n: abs(strikes[n] - FORWARD))
    below = max(n for n, k in enumerate(strikes) if k <= FORWARD)
    share = (FORWARD - strikes[below]) / (strikes[below + 1] - strikes[below])
    middle = [(chain.call_volatility[n] + chain.put_volatility[n]) / 2 for n in (below, below + 1)]

    def paid(level: float) -> float:
        calls = sum(oi * (level - k) for k, oi in zip(strikes, chain.call_oi, strict=True) if k < level)
        return calls + sum(oi * (k - level) for k, oi in zip(strikes, chain.put_oi, strict=True) if k > level)

    volatility = [
        put if (k < FORWARD and put == put) or call != call else call
        for k, call, put in zip(strikes, chain.call_volatility, chain.put_volatility, strict=True)
    ]
    held = [
        (k, v * math.sqrt(YEARS), call - put)
        for k, v, call, put in zip(strikes, volatility, chain.call_oi, chain.put_oi, strict=True)
        if v == v
    ]
    reach = volatility[near] * math.sqrt(YEARS) * REACH
    levels = [SPOT * math.exp(reach * (2 * n / (LEVELS - 1) - 1)) for n in range(LEVELS)]
    walls = [
        [strikes[n] for n in sorted(range(len(strikes)), key=lambda n, of=of: -of[n])[:3]]  # type: ignore[misc]
        for of in (chain.call_oi, chain.put_oi, chain.call_oi_change, chain.put_oi_change)
    ]
    return PlainAnalytics(
        forward=forward,
        atm_strike=strikes[near],
        atm_volatility=(1 - share) * middle[0] + share * middle[1],
        straddle=chain.call_price[near] + chain.put_price[near],
        ratios=(sum(chain.put_oi) / sum(chain.call_oi), sum(chain.put_volume) / sum(chain.call_volume)),
        max_pain=min(strikes, key=paid),
        walls=walls,
        net_gamma=_net_gamma(SPOT, held),
        flip=_flip(levels, held),
        smile=scipy_smile(strikes, volatility, FORWARD, YEARS),
    )


def _net_gamma(level: float, held: list[tuple[float, float, float]]) -> float:
    total = 0.0
    forward = level * FORWARD / SPOT
    for k, v, oi in held:
        d1 = math.log(forward / k) / v + v / 2
        total += oi / v * math.exp(-d1 * d1 / 2)
    return total * level * 0.01 / math.sqrt(2 * math.pi) * math.exp(-RATE * YEARS) * FORWARD / SPOT


def _flip(levels: list[float], held: list[tuple[float, float, float]]) -> float:
    for _ in range(ZOOMS + 1):
        profile = [_net_gamma(level, held) for level in levels]
        crossings = [
            (low, high, low - below * (high - low) / (above - below))
            for low, high, below, above in zip(levels, levels[1:], profile, profile[1:], strict=False)
            if (below > 0) != (above > 0)
        ]
        low, high, crossing = min(crossings, key=lambda found: abs(found[2] - SPOT))
        levels = [low + (high - low) * n / (ZOOM_LEVELS - 1) for n in range(ZOOM_LEVELS)]
    return crossing


def scipy_smile(strikes: list[float], volatility: list[float], forward: float, years: float) -> list[float]:
    """Raw SVI by `scipy.optimize.least_squares`, weighted by vega, on the same scale and points as ours."""
    k = np.log(np.array(strikes) / forward)
    sigma = np.array(volatility)
    with np.errstate(invalid="ignore"):
        d1 = -k / (sigma * math.sqrt(years)) + 0.5 * sigma * math.sqrt(years)
        weight = np.exp(-0.25 * d1 * d1)
        unit = float(sigma[np.argmin(np.abs(k))]) * math.sqrt(years)
        telling = (weight * weight >= LEAST_VEGA) & (np.abs(k / unit) <= FARTHEST_DEVIATIONS)
    k, sigma, weight = k[telling], sigma[telling], weight[telling]
    x, w = k / unit, sigma * sigma * years / (unit * unit)

    def errors(p: Floats) -> Floats:
        a, b, rho, m, roundness = p
        fitted = a + b * (rho * (x - m) + np.sqrt((x - m) ** 2 + roundness**2))
        return np.asarray(weight * (fitted - w) / np.sqrt(w))

    bounds = ([-10.0, 0.0, -1.0, -5.0, 0.01], [10.0, 10.0, 1.0, 5.0, 30.0])
    a, b, rho, m, roundness = least_squares(errors, [0.5, 0.3, -0.3, 0.0, 1.0], bounds=bounds).x
    return [a * unit * unit, b * unit, rho, m * unit, roundness * unit]


def _check(ours: ChainAnalytics, theirs: PlainAnalytics, chain: Chain) -> None:
    walls = [ours.resistance, ours.support, ours.call_additions, ours.put_additions]
    pairs = {
        "forward": (ours.synthetic_forward.forward, theirs.forward, 1e-6),
        "strike": (ours.atm_strike, theirs.atm_strike, 0.0),
        "volatility": (ours.atm_implied_volatility, theirs.atm_volatility, 1e-12),
        "straddle": (ours.straddle.price, theirs.straddle, 1e-12),
        "ratio by oi": (ours.put_call_ratio_oi, theirs.ratios[0], 1e-12),
        "ratio by volume": (ours.put_call_ratio_volume, theirs.ratios[1], 1e-12),
        "max pain": (ours.max_pain, theirs.max_pain, 0.0),
        "gamma exposure": (ours.gamma_exposure.net, theirs.net_gamma, 1e-10),
        "flip": (ours.gamma_exposure.flip, theirs.flip, 1e-10),
    }
    for name, (own, other, tolerance) in pairs.items():
        if not math.isclose(own, other, rel_tol=tolerance):
            raise AssertionError(f"{name}: {own} is not {other}")
    if (found := [wall.strike.tolist() for wall in walls]) != theirs.walls:
        raise AssertionError(f"walls: {found} are not {theirs.walls}")
    _check_smile(ours.smile, theirs.smile, chain)


def _check_smile(ours: Smile, theirs: list[float], chain: Chain) -> None:
    """Within a hundredth of a point over three deviations: the data are not an SVI, and both stop at a tolerance."""
    strikes = chain.strike[np.abs(np.log(chain.strike / chain.forward)) < 3 * 0.13 * math.sqrt(YEARS)]
    a, b, rho, m, sigma = theirs
    other = Smile(a, b, rho, m, sigma, FORWARD, YEARS, 0.0, 0, 0.0, math.inf)
    apart = float(np.abs(ours.implied_volatility(strikes) - other.implied_volatility(strikes)).max())
    if not apart < 1e-4:
        raise AssertionError(f"smiles are {apart} apart")
