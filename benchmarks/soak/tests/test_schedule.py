"""What befalls a soak follows from its seed."""

from itertools import pairwise, takewhile

import pytest

from benchmarks.soak.command import arguments
from benchmarks.soak.faults import INFRASTRUCTURE, PROBABILITY, VICTIMS, Blow, rules, schedule


def first_minutes(seed: int, minutes: int) -> list[Blow]:
    return list(takewhile(lambda blow: blow.at < 60 * minutes, schedule(seed)))


def test_the_same_seed_is_the_same_soak() -> None:
    assert list(rules(1)) == list(rules(1)) != list(rules(2))
    assert first_minutes(1, 3) == first_minutes(1, 3) != first_minutes(2, 3)


def test_a_server_is_hit_once_a_minute_in_turns_and_processes_far_more_often() -> None:
    blows = first_minutes(1, 10)
    servers = [blow for blow in blows if blow.victim in INFRASTRUCTURE]
    assert len(servers) == 10
    assert {(one.victim, two.victim) for one, two in pairwise(servers)} == {
        ("valkey", "postgres"), ("postgres", "valkey"),
    }  # fmt: skip
    assert {blow.victim for blow in blows} == {*VICTIMS, *INFRASTRUCTURE}
    assert [blow.at for blow in blows] == sorted(blow.at for blow in blows)


def test_three_in_ten_of_the_orders_calls_go_wrong() -> None:
    placing = [rule for rule in rules(1) if rule.get("path") == "/orders/{variety}"]
    spared = 1.0
    for rule in placing:
        spared *= 1 - rule["probability"]
    assert 1 - spared == pytest.approx(PROBABILITY) == pytest.approx(0.3)


def test_a_seed_comes_once(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        arguments(["--seed", "1", "1"])
    assert "used up" in capsys.readouterr().err
