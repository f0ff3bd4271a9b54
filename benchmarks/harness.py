"""Fair timing: ours and the peer take turns in one process, and the middle of several rounds counts."""

import gc
import json
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass

ROUNDS = 7
LEAST_SECONDS = 0.1
"""Per measurement: shorter ones are repeated, so that what the other side left in the caches counts little."""


class PeerMissing(Exception):
    """What is compared with is not installed."""

    def __init__(self, package: str, remedy: str = "pip install -r requirements-bench.txt") -> None:
        super().__init__(f"{package} is not installed: {remedy}")


@dataclass(frozen=True, slots=True)
class Result:
    """One line of output. `ratio` is how many times better ours is; greater is better. No `peer`: it is compared with
    nothing.
    """

    benchmark: str
    case: str
    value: float
    unit: str
    peer: str
    peer_value: float | None
    ratio: float | None

    def as_json(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Timing:
    """Median seconds of one call each, and the median of the rounds' ratios, peer to ours."""

    ours: float
    peer: float
    ratio: float


@dataclass(frozen=True, slots=True)
class OursAlone:
    """As `Timing`, without a peer."""

    ours: float
    peer: None = None
    ratio: None = None


def compare(ours: Callable[[], object], peer: Callable[[], object], *, rounds: int = ROUNDS) -> Timing:
    """Time both in turns. The ratio is taken within each round, so that a slow minute of the machine hits both sides.

    Garbage collection is off meanwhile: it would charge one side for what the other one left.
    """
    repeats = _repeats(ours), _repeats(peer)
    times: tuple[list[float], list[float]] = [], []
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for number in range(rounds):
            sides = list(zip((ours, peer), repeats, times, strict=True))
            for call, repeat, taken in sides if number % 2 == 0 else reversed(sides):
                taken.append(_seconds(call, repeat))
            gc.collect()
    finally:
        gc.enable()
        gc.unfreeze()
    ratio = statistics.median(theirs / own for own, theirs in zip(*times, strict=True))
    return Timing(statistics.median(times[0]), statistics.median(times[1]), ratio)


def compare_or_miss(
    ours: Callable[[], object], prepare: Callable[[], Callable[[], object]], *, rounds: int = ROUNDS, share: float = 1.0
) -> Timing | OursAlone:
    """As `compare`, with a peer that may not be installed: then that is said, and ours is timed alone.

    `prepare` makes the peer, and checks that it answers as ours does. A slow peer may do a `share` of the work only;
    its time is scaled up.
    """
    try:
        peer = prepare()
    except PeerMissing as exc:
        print(exc, file=sys.stderr)
        return OursAlone(compare(ours, ours, rounds=rounds).ours)
    timing = compare(ours, peer, rounds=rounds)
    return Timing(timing.ours, timing.peer / share, timing.ratio / share)


def _seconds(call: Callable[[], object], repeat: int) -> float:
    began = time.perf_counter()
    for _ in range(repeat):
        call()
    return (time.perf_counter() - began) / repeat


def _repeats(call: Callable[[], object]) -> int:
    """How many calls make a measurement long enough; also warms up."""
    call()
    return math.ceil(LEAST_SECONDS / max(_seconds(call, 1), 1e-7))


def table(results: Iterable[Result]) -> str:
    """The results for people."""
    rows = [("benchmark", "case", "ours", "peer", "", "ratio")]
    for r in results:
        peer_value = f"{_short(r.peer_value)} {r.unit}" if r.peer_value is not None else "not installed" * bool(r.peer)
        ratio = "–" if r.ratio is None else f"{_short(r.ratio)}×"
        rows.append((r.benchmark, r.case, f"{_short(r.value)} {r.unit}", r.peer, peer_value, ratio))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def _short(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.4g}"
