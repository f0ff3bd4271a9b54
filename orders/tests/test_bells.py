"""A bell is rung by a thread of its own: nobody waits for Redis, and few wait in front of it."""

import threading
import time

from orders.bells import ring_soon


def test_who_rings_does_not_wait_and_one_bell_that_waits_is_enough() -> None:
    rung: list[int] = []
    begun, go = threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(5)

    ring_soon(-1, slow)
    assert begun.wait(5)
    before = time.monotonic()
    for _ in range(50):
        ring_soon(-2, lambda: rung.append(-2))
    assert time.monotonic() - before < 1
    assert rung == []
    done = threading.Event()
    ring_soon(-3, done.set)
    go.set()
    assert done.wait(5)
    assert rung == [-2]


def test_a_bell_that_is_being_rung_does_not_stand_for_the_next_one() -> None:
    begun, go, again = threading.Event(), threading.Event(), threading.Event()

    def slow() -> None:
        begun.set()
        go.wait(5)

    ring_soon(-4, slow)
    assert begun.wait(5)
    ring_soon(-4, again.set)
    go.set()
    assert again.wait(5)
