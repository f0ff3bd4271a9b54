"""`python -m benchmarks [NAME …] [--json]`, and `python -m benchmarks soak`, which has options of its own."""

import argparse
import sys

from benchmarks import (
    candles,
    chain,
    decode,
    fanout,
    greeks,
    implied_volatility,
    instruments,
    latency,
    orders,
    pipeline,
    publish,
    serialize,
    store,
)
from benchmarks.harness import ROUNDS, Result, table
from benchmarks.soak import command as soak

BENCHMARKS = {
    "candles": candles.run,
    "chain": chain.run,
    "decode": decode.run,
    fanout.NAME: fanout.run,
    "greeks": greeks.run,
    implied_volatility.NAME: implied_volatility.run,
    "instruments": instruments.run,
    latency.NAME: latency.run,
    orders.NAME: orders.run,
    "pipeline": pipeline.run,
    "publish": publish.run,
    "serialize": serialize.run,
    "store": store.run,
}
LEAST_ROUNDS = 5


def main() -> None:
    if sys.argv[1:2] == ["soak"]:
        sys.exit(soak.main(sys.argv[2:]))
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(BENCHMARKS)}; all of them by default")
    parser.add_argument("--json", action="store_true", help="one JSON object a line instead of a table")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"at least {LEAST_ROUNDS}; default {ROUNDS}")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in BENCHMARKS]:
        parser.error(f"there is no benchmark {unknown[0]!r}; there are {', '.join(BENCHMARKS)}")
    if arguments.rounds < LEAST_ROUNDS:
        parser.error(f"--rounds must be {LEAST_ROUNDS} or more: the median of fewer says little")
    results: list[Result] = []
    for name in arguments.names or BENCHMARKS:
        for result in BENCHMARKS[name](arguments.rounds):
            results.append(result)
            if arguments.json:
                print(result.as_json(), flush=True)
    if not arguments.json:
        print(table(results))
    sys.exit(0)


if __name__ == "__main__":
    main()
