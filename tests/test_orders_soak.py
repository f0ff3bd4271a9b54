"""Orders through a broker, servers and processes that fail, seeded: none doubled, lost, misdirected or stuck.

And the proof that this could be seen: without any one of the protections the same soak fails.
"""

import json
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.running import ROOT

MUST_BE_0 = ("duplicates", "lost", "wrong_account", "stuck")

pytestmark = pytest.mark.processes


def soak(*arguments: str, seconds: float) -> tuple[int, list[dict[str, Any]], str]:
    """Exit code, a report for each seed, and what was said of what was found."""
    command = [sys.executable, "-m", "benchmarks", "soak", "--json", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=seconds)
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def hold(orders: int, seeds: Sequence[int], *, seconds: float) -> None:
    code, reports, said = soak("--orders", str(orders), "--seed", *map(str, seeds), seconds=seconds)
    assert {report["seed"]: [report[name] for name in MUST_BE_0] for report in reports} == {
        seed: [0, 0, 0, 0] for seed in seeds
    }, said
    assert code == 0, said
    for report in reports:
        # Each client closes with one order, and one more where a machine that stood still has lost that one. What was
        # refused are keys that came again with another order.
        assert report["orders"] == orders + report["closing"]
        assert 8 <= report["closing"] <= 2 * 8
        # Else nothing was put to the test.
        assert report["faults"] > 0.25 * orders
        assert report["unknown"] > 0.1 * orders
        assert report["kills"] >= 2


def test_four_hundred_orders_three_times_through_faults_and_kills_are_there_once_or_not_at_all() -> None:
    hold(400, (1, 2, 3), seconds=900)


@pytest.mark.long
def test_two_thousand_orders_three_times_through_faults_and_kills_are_there_once_or_not_at_all(
    progress: Callable[[str], None],
) -> None:
    for seed in (4, 5, 6):
        hold(2000, (seed,), seconds=3600)
        progress(f"2,000 orders with seed {seed} are well")


# What is noticed, and with how many orders it surely is.
WITHOUT = {
    "marker": ("duplicates", 100),
    "fencing": ("duplicates", 100),
    "canary": ("lost", 16),
    "fingerprint": ("lost", 100),
}


@pytest.mark.long
@pytest.mark.parametrize("protection", WITHOUT)
def test_without_one_of_its_protections_the_soak_fails(protection: str) -> None:
    key, orders = WITHOUT[protection]
    code, (report,), said = soak("--orders", str(orders), "--seed", "1", "--without", protection, seconds=900)
    assert code == 1
    assert report[key] > 0, (report, said)
