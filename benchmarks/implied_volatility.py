"""Implied volatilities of a chain, against scalar, compiled and general solvers.

Every peer finds the same volatilities, checked before the timing. `lbriv` computes delta, gamma and vega along with
them and cannot leave them out. `py_vollib_vectorized` excludes the other peers' versions, hence an interpreter of its
own, which BENCH_VECTORIZED_PYTHON names.
"""

import math
import os
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from scipy.special import ndtr

from benchmarks.harness import PeerMissing, Result, compare_or_miss
from benchmarks.option_chain import CASE, OPTIONS, RATE, SUBSET, OptionChain, option_chain
from benchmarks.vectorized import NAME as VECTORIZED
from benchmarks.vectorized import SOLVES, Vectorized
from greeks import ImpliedVolatility, black76
from greeks.arrays import Floats

NAME = "implied-volatility"
MICRO = 1e6 / OPTIONS
SAME = 1e-8
"""Relative: what the least exact of the peers reaches on options a tick above their intrinsic value."""
Solve = Callable[[], object]


def run(rounds: int) -> Iterator[Result]:
    """Microseconds per option."""
    chain = option_chain()
    for name, make in PEERS.items():
        yield _against(name, chain, partial(make, chain), rounds, share=SUBSET / OPTIONS)
    for name, make in VECTOR_PEERS.items():
        yield _against(name, chain, partial(make, chain), rounds)
    with Vectorized(os.environ.get("BENCH_VECTORIZED_PYTHON")) as peer:
        yield _against(VECTORIZED, chain, partial(peer.prepare, chain, RATE), rounds, share=SOLVES)


def _against(
    name: str, chain: OptionChain, make: Callable[[], tuple[Solve, Floats]], rounds: int, share: float = 1.0
) -> Result:
    """`make` gives the peer's work to time, and what it found."""

    def prepare() -> Solve:
        solve, found = make()
        np.testing.assert_allclose(found, ours().volatility[: len(found)], rtol=SAME, err_msg=name)
        return solve

    ours = partial(_ours, chain)
    timing = compare_or_miss(ours, prepare, rounds=rounds, share=share)
    peer_value = None if timing.peer is None else timing.peer * MICRO
    return Result(NAME, CASE, timing.ours * MICRO, "us/option", name, peer_value, timing.ratio)


def _ours(chain: OptionChain) -> ImpliedVolatility:
    return black76.implied_volatility(chain.price, chain.forward, chain.strike, chain.years, RATE, chain.is_call)


def _one_by_one(chain: OptionChain, solve: Callable[[float, float, float, float, bool], float]) -> tuple[Solve, Floats]:
    columns = chain.price, chain.forward, chain.strike, chain.years, chain.is_call
    rows = list(zip(*(column[:SUBSET].tolist() for column in columns), strict=True))

    def work() -> list[float]:
        return [solve(*row) for row in rows]

    return work, np.array(work())


def _vollib(chain: OptionChain) -> tuple[Solve, Floats]:
    try:
        from vollib.black.implied_volatility import implied_volatility
    except ImportError:
        raise PeerMissing("vollib") from None
    return _one_by_one(chain, lambda p, f, k, t, is_call: implied_volatility(p, f, k, RATE, t, "c" if is_call else "p"))


def _quantlib(chain: OptionChain) -> tuple[Solve, Floats]:
    try:
        import QuantLib
    except ImportError:
        raise PeerMissing("QuantLib") from None
    call, put, none = QuantLib.Option.Call, QuantLib.Option.Put, QuantLib.nullDouble()
    accuracy, iterations = 1e-12, 200

    def solve(p: float, f: float, k: float, t: float, is_call: bool) -> float:
        side, discount = call if is_call else put, math.exp(-RATE * t)
        deviation: float = QuantLib.blackFormulaImpliedStdDevLiRS(
            side, k, f, p, discount, 0.0, none, 1.0, accuracy, iterations
        )
        return deviation / math.sqrt(t)

    return _one_by_one(chain, solve)


def _lbriv(chain: OptionChain) -> tuple[Solve, Floats]:
    try:
        import lbriv
    except ImportError:
        raise PeerMissing("lbriv") from None
    calls = chain.is_call.astype(np.int8)
    deviation, delta, gamma, vega = (np.empty(OPTIONS) for _ in range(4))

    def work() -> Floats:
        discount = np.exp(-RATE * chain.years)
        undiscounted = chain.price / discount
        lbriv.compute_trades_greeks(
            undiscounted, chain.forward, chain.strike, calls, discount, deviation, delta, gamma, vega
        )
        return deviation / np.sqrt(chain.years)

    return work, work()


def _scipy(chain: OptionChain) -> tuple[Solve, Floats]:
    from scipy.optimize.elementwise import find_root

    def excess(sigma: Floats, p: Floats, f: Floats, k: Floats, t: Floats, discount: Floats, w: Floats) -> Floats:
        v = sigma * np.sqrt(t)
        d1 = np.log(f / k) / v + 0.5 * v
        return np.asarray(discount * w * (f * ndtr(w * d1) - k * ndtr(w * (d1 - v))) - p)

    w = np.where(chain.is_call, 1.0, -1.0)
    bracket = np.full(OPTIONS, 1e-6), np.full(OPTIONS, 10.0)

    def work() -> Floats:
        terms = chain.price, chain.forward, chain.strike, chain.years, np.exp(-RATE * chain.years), w
        found = find_root(excess, bracket, args=terms, tolerances={"xatol": 0.0, "xrtol": 1e-14})
        return np.asarray(found.x)

    return work, work()


PEERS = {"vollib": _vollib, "quantlib": _quantlib}
VECTOR_PEERS = {"lbriv": _lbriv, "scipy-find-root": _scipy}
