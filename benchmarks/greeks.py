"""Price, delta, gamma, theta, vega and rho of a chain, against libraries, a scalar formula, and the least it can cost.

The peers answer the same question with the same numbers, checked before the timing. `special-functions` is no library:
it is the time of the two normal probabilities, three exponentials and the logarithm of the formula alone, on arrays
that are ready: a ratio of 0.5 means that all the rest costs as much again.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
from scipy.special import ndtr

from benchmarks.harness import PeerMissing, Result, compare_or_miss
from benchmarks.option_chain import CASE, DIVIDEND_YIELD, OPTIONS, RATE, SUBSET, OptionChain, option_chain
from greeks import Greeks, black76, black_scholes

Six = tuple[float, float, float, float, float, float]
Scalar = Callable[[float, float, float, float, bool], Six]
YEAR, HUNDRED = 365.0, 100.0
MICRO = 1e6 / OPTIONS


def run(rounds: int) -> Iterator[Result]:
    """Microseconds per option."""
    chain = option_chain()
    ours = partial(_black_scholes, chain)
    for name, make in PEERS.items():
        yield _against_scalar(name, make, ours, chain, rounds)
    yield _against_floor(CASE, ours, _special_functions(chain, exponentials=3), rounds)
    yield _against_floor(f"{CASE}-black76", partial(_black76, chain), _special_functions(chain, exponentials=2), rounds)


def _black_scholes(chain: OptionChain) -> Greeks:
    return black_scholes.greeks(
        chain.spot, chain.strike, chain.years, RATE, chain.volatility, chain.is_call, DIVIDEND_YIELD
    )


def _black76(chain: OptionChain) -> Greeks:
    return black76.greeks(chain.forward, chain.strike, chain.years, RATE, chain.volatility, chain.is_call)


def _against_scalar(
    name: str, make: Callable[[], Scalar], ours: Callable[[], Greeks], chain: OptionChain, rounds: int
) -> Result:
    def prepare() -> Callable[[], object]:
        formula, rows = make(), _rows(chain)
        found = np.array([formula(*row) for row in rows])
        np.testing.assert_allclose(found, np.array(ours()).T[:SUBSET], rtol=1e-7, atol=1e-9, err_msg=name)
        return lambda: [formula(*row) for row in rows]

    timing = compare_or_miss(ours, prepare, rounds=rounds, share=SUBSET / OPTIONS)
    peer_value = None if timing.peer is None else timing.peer * MICRO
    return Result("greeks", CASE, timing.ours * MICRO, "us/option", name, peer_value, timing.ratio)


def _rows(chain: OptionChain) -> Sequence[tuple[float, float, float, float, bool]]:
    columns = chain.spot, chain.strike, chain.years, chain.volatility, chain.is_call
    return list(zip(*(column[:SUBSET].tolist() for column in columns), strict=True))


def _against_floor(case: str, ours: Callable[[], Greeks], floor: Callable[[], object], rounds: int) -> Result:
    timing = compare_or_miss(ours, lambda: floor, rounds=rounds)
    assert timing.peer is not None
    value = timing.ours * MICRO
    return Result("greeks", case, value, "us/option", "special-functions", timing.peer * MICRO, timing.ratio)


def _special_functions(chain: OptionChain, *, exponentials: int) -> Callable[[], object]:
    change = (chain.forward - chain.strike) / chain.strike
    v = chain.volatility * np.sqrt(chain.years)
    w = np.where(chain.is_call, 1.0, -1.0)
    d1 = np.log1p(change) / v + 0.5 * v
    deviations = w * d1, w * (d1 - v)
    exponents = (-0.5 * d1 * d1, -RATE * chain.years, -DIVIDEND_YIELD * chain.years)[:exponentials]

    def floor() -> None:
        for deviation in deviations:
            ndtr(deviation)
        for exponent in exponents:
            np.exp(exponent)
        np.log1p(change)

    return floor


def _erf() -> Scalar:
    return scalar_greeks


def scalar_greeks(s: float, k: float, t: float, sigma: float, is_call: bool) -> Six:
    """The formula written out for one option with `math.erf`, as most services have it."""
    root_t = math.sqrt(t)
    d1 = (math.log(s / k) + (RATE - DIVIDEND_YIELD + 0.5 * sigma * sigma) * t) / (sigma * root_t)
    d2 = d1 - sigma * root_t
    carry, discount = math.exp(-DIVIDEND_YIELD * t), math.exp(-RATE * t)
    density = math.exp(-0.5 * d1 * d1) / math.sqrt(2 * math.pi)
    w = 1.0 if is_call else -1.0
    held = w * s * carry * 0.5 * (1 + math.erf(w * d1 / math.sqrt(2)))
    owed = w * k * discount * 0.5 * (1 + math.erf(w * d2 / math.sqrt(2)))
    slope = s * carry * density
    return (
        held - owed,
        held / s,
        carry * density / (s * sigma * root_t),
        (DIVIDEND_YIELD * held - RATE * owed - slope * sigma / (2 * root_t)) / YEAR,
        slope * root_t / HUNDRED,
        t * owed / HUNDRED,
    )


def _vollib() -> Scalar:
    try:
        from vollib.black_scholes_merton import black_scholes_merton as price
        from vollib.black_scholes_merton.greeks import analytical
    except ImportError:
        raise PeerMissing("vollib") from None

    def six(s: float, k: float, t: float, sigma: float, is_call: bool) -> Six:
        flag = "c" if is_call else "p"
        terms = flag, s, k, t, RATE, sigma, DIVIDEND_YIELD
        return (
            price(*terms),
            analytical.delta(*terms),
            analytical.gamma(*terms),
            analytical.theta(*terms),
            analytical.vega(*terms),
            analytical.rho(*terms),
        )

    return six


def _quantlib() -> Scalar:
    try:
        import QuantLib
    except ImportError:
        raise PeerMissing("QuantLib") from None
    call, put = QuantLib.Option.Call, QuantLib.Option.Put

    def six(s: float, k: float, t: float, sigma: float, is_call: bool) -> Six:
        forward, deviation = s * math.exp((RATE - DIVIDEND_YIELD) * t), sigma * math.sqrt(t)
        payoff = QuantLib.PlainVanillaPayoff(call if is_call else put, k)
        option = QuantLib.BlackCalculator(payoff, forward, deviation, math.exp(-RATE * t))
        return (
            option.value(),
            option.delta(s),
            option.gamma(s),
            option.theta(s, t) / YEAR,
            option.vega(t) / HUNDRED,
            option.rho(t) / HUNDRED,
        )

    return six


PEERS: dict[str, Callable[[], Scalar]] = {"scalar-erf": _erf, "vollib": _vollib, "quantlib": _quantlib}
