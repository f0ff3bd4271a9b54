"""Windows that follow what Redis can take."""

import logging

import pytest

from streaming.pace import EASY_WINDOWS, FULL_BATCHES, LITTLE_BYTES, MUCH_BYTES, Pace


def pressed(times: int) -> Pace:
    pace = Pace(0.1, 0.02)
    for _ in range(times):
        pace.look(MUCH_BYTES, 2)
    return pace


def test_while_redis_keeps_up_a_window_is_as_long_as_was_told() -> None:
    pace = Pace(0.1, 0.02)
    for _ in range(100):
        pace.look(LITTLE_BYTES - 1, 1)
    assert (pace.window, pace.shortest) == (0.1, 0.02)


@pytest.mark.parametrize(("pending_bytes", "waiting"), [(MUCH_BYTES, 1), (10, FULL_BATCHES)])
def test_when_much_waits_the_windows_double_up_to_a_second(pending_bytes: int, waiting: int) -> None:
    pace, seen = Pace(0.1, 0.02), []
    for _ in range(6):
        pace.look(pending_bytes, waiting)
        seen.append(pace.window)
    assert seen == pytest.approx([0.2, 0.4, 0.8, 1.0, 1.0, 1.0])
    assert pace.shortest == pytest.approx(0.2)  # a busy feed, which closes windows early, is slowed down alike


def test_the_windows_return_step_by_step_and_only_after_some_easy_ones() -> None:
    pace, seen = pressed(2), []
    for _ in range(3 * EASY_WINDOWS):
        pace.look(0, 0)
        seen.append(pace.window)
    assert seen == pytest.approx([0.4] * (EASY_WINDOWS - 1) + [0.2] * EASY_WINDOWS + [0.1] * (EASY_WINDOWS + 1))
    assert pace.shortest == pytest.approx(0.02)


def test_what_is_neither_much_nor_little_leaves_them_as_they_are() -> None:
    pace = pressed(1)
    for _ in range(EASY_WINDOWS - 1):
        pace.look(0, 0)
    pace.look(LITTLE_BYTES, 1)
    pace.look(0, 3)
    pace.look(0, 0)
    assert pace.window == pytest.approx(0.2)


def test_a_window_longer_than_the_widest_is_left_alone() -> None:
    pace = Pace(2.0, 0.02)
    pace.look(MUCH_BYTES, 4)
    assert pace.window == 2.0


def test_a_megabyte_that_waits_is_said_once_each_time_it_comes_to_that(caplog: pytest.LogCaptureFixture) -> None:
    pace = Pace(0.1, 0.02)
    with caplog.at_level(logging.WARNING, "streaming.pace"):
        for pending in (MUCH_BYTES - 1, 3 * MUCH_BYTES, 4 * MUCH_BYTES, MUCH_BYTES // 2, MUCH_BYTES, 0, MUCH_BYTES):
            pace.look(pending, 1)
    assert [record.getMessage() for record in caplog.records] == [
        "3.0 MB wait for Redis; windows are 200 ms long now",
        "1.0 MB wait for Redis; windows are 1000 ms long now",
    ]
