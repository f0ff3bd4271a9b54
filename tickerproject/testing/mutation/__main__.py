"""`python -m tickerproject.testing.mutation [PROOF …]`: run mutation proofs; the exit code is 1 if one fails."""

import argparse
import hashlib
import os
import sys
import time
from collections.abc import Sequence

from tickerproject.testing.mutation import running
from tickerproject.testing.mutation.mutants import Mutant
from tickerproject.testing.mutation.proofs import PROOFS, Proof
from tickerproject.testing.mutation.running import Fate, Module, Outcome

TELL_EVERY = 50


def say(text: str) -> None:
    print(text, flush=True)  # noqa: T201


def drawn(mutants: Sequence[Mutant], most: int) -> list[Mutant]:
    """At most so many, the same ones however the rest of the module changes."""
    if len(mutants) <= most:
        return list(mutants)
    by_hash = sorted(mutants, key=lambda mutant: hashlib.sha256(repr(mutant.change).encode()).digest())
    return sorted(by_hash[:most], key=lambda mutant: mutant.line)


def try_module(name: str, tests: Sequence[str], most: int, workers: int) -> tuple[Module, list[Outcome]]:
    module = Module(name)
    chosen = drawn(module.mutants, most)
    unchanged = running.seconds_unchanged(module, tests)
    limit = max(running.SHORTEST_LIMIT_SECONDS, running.TIMES_AS_LONG * unchanged)
    say(f"{name}: {len(chosen)} of {len(module.mutants)} mutants; its tests take {unchanged:.1f} s")
    started, outcomes = time.monotonic(), list[Outcome]()
    for outcome in running.run(module, chosen, tests, limit_seconds=limit, workers=workers):
        outcomes.append(outcome)
        if len(outcomes) % TELL_EVERY == 0 or len(outcomes) == len(chosen):
            survived = sum(o.fate is Fate.SURVIVED for o in outcomes)
            say(f"  {len(outcomes)} tried, {survived} survived, {time.monotonic() - started:.0f} s")
    return module, outcomes


def holds(proof: Proof, workers: int) -> bool:
    """Run one proof and print its report."""
    killed = survived = 0
    faults: list[str] = []
    for name, tests in proof.tests_of.items():
        module, outcomes = try_module(name, tests, proof.most_mutants, workers)
        excused = {known.change: known for known in proof.equivalents if known.module == name}
        alive = [outcome.mutant for outcome in outcomes if outcome.fate is Fate.SURVIVED]
        for mutant in alive:
            if mutant.change not in excused:
                survived += 1
                say(f"  survived: {module.path.name} {mutant}")
        killed += len(outcomes) - len(alive)
        all_changes = {mutant.change for mutant in module.mutants}
        tried = {outcome.mutant.change for outcome in outcomes}
        for change in excused:
            if change not in all_changes:
                faults.append(f"{name} has no such mutant any more: {change}")
            elif change in tried and change not in {mutant.change for mutant in alive}:
                faults.append(f"{name}: listed as equivalent, but a test noticed it: {change}")
    share = killed / max(killed + survived, 1)
    noticed = f"{killed} of {killed + survived} mutants noticed, {share:.1%}"
    say(f"{proof.name}: {noticed} (at least {proof.share:.0%} wanted)")
    for fault in faults:
        say(f"  {fault}")
    return share >= proof.share and not faults


def main(argv: Sequence[str]) -> int:
    names = [proof.name for proof in PROOFS]
    parser = argparse.ArgumentParser(prog="python -m tickerproject.testing.mutation", description=__doc__)
    parser.add_argument("proofs", nargs="*", metavar="PROOF", help=f"of {', '.join(names)} (all)")
    parser.add_argument("--workers", type=int, default=min(os.cpu_count() or 1, 4), help="processes at a time")
    options = parser.parse_args(argv)
    if unknown := set(options.proofs) - set(names):
        parser.error(f"no proof is called {', '.join(sorted(unknown))}")
    running.prepare()
    results = [holds(proof, options.workers) for proof in PROOFS if not options.proofs or proof.name in options.proofs]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
