"""`py_vollib_vectorized` in a process of its own, with the interpreter that has it.

It works only with versions from 2021 of its relatives, which install over the current ones:

    python3.11 -m venv vectorized
    vectorized/bin/pip install 'numba==0.60.0' 'numpy==1.26.4' 'scipy==1.13.1' 'pandas==2.2.3' 'py_vollib==1.0.1' \\
        'py_lets_be_rational==1.0.1'
    vectorized/bin/pip install --no-deps 'py_vollib_vectorized==0.1.1'
    BENCH_VECTORIZED_PYTHON=vectorized/bin/python python -m benchmarks implied-volatility

The other process runs `PEER`, nothing of this project. It solves the chain `SOLVES` times for every line it reads, so
that talking to it costs next to nothing.
"""

import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from benchmarks.harness import PeerMissing
from benchmarks.option_chain import OptionChain
from greeks.arrays import Floats

NAME = "py_vollib_vectorized"
SOLVES = 20
FINISHED = "finished"
PEER = """
import sys, warnings
import numpy as np
warnings.simplefilter("ignore")
from py_vollib_vectorized import vectorized_implied_volatility_black
source, target, solves = sys.argv[1], sys.argv[2], int(sys.argv[3])
given = np.load(source)
flags = given["flags"].tolist()
def solve():
    return vectorized_implied_volatility_black(
        given_price, forward, strike, rate, years, flags, return_as="numpy", on_error="ignore"
    )
given_price, forward, strike, years = (given[name] for name in ("price", "forward", "strike", "years"))
rate = float(given["rate"])
np.save(target, solve())
print("finished", flush=True)
for line in sys.stdin:
    for _ in range(solves):
        solve()
    print("finished", flush=True)
"""


class Vectorized:
    """The process and its files, gone at the end of the `with`. Without an interpreter the peer is missing."""

    def __init__(self, python: str | None) -> None:
        self._python = python
        self._folder = tempfile.TemporaryDirectory(prefix="ticker-bench-")
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.communicate()  # end of input ends it
        self._folder.cleanup()

    def prepare(self, chain: OptionChain, rate: float) -> tuple[Callable[[], object], Floats]:
        """What makes it solve the chain `SOLVES` times, and the volatilities it found."""
        if not self._python:
            raise PeerMissing(NAME, "BENCH_VECTORIZED_PYTHON names no interpreter (benchmarks/vectorized.py)")
        source, target = Path(self._folder.name, "chain.npz"), Path(self._folder.name, "found.npy")
        np.savez(
            source,
            price=chain.price,
            forward=chain.forward,
            strike=chain.strike,
            years=chain.years,
            rate=rate,
            flags=chain.flags(),
        )
        command = [self._python, "-c", PEER, str(source), str(target), str(SOLVES)]
        environment = os.environ | {"NUMBA_NUM_THREADS": "1"}  # one core, as ours
        try:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        except OSError as exc:
            raise PeerMissing(NAME, f"{self._python} does not start: {exc}") from None
        self._wait()
        return self._solve, np.load(target)

    def _solve(self) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        print("solve", file=self._process.stdin, flush=True)
        self._wait()

    def _wait(self) -> None:
        assert self._process is not None
        assert self._process.stdout is not None
        for line in self._process.stdout:
            if line.strip() == FINISHED:  # it may say other things first
                return
        raise PeerMissing(NAME, f"{self._python} cannot run it (benchmarks/vectorized.py)")
