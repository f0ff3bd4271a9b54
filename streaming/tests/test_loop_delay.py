import asyncio
import time

import pytest

from streaming.loop_delay import LoopDelay
from streaming.tests.fake_broker import running, until


def test_before_anything_was_measured_there_is_no_delay() -> None:
    assert LoopDelay().last_minute() == {"p50": 0.0, "p99": 0.0, "p999": 0.0, "busy_p999": 0.0}


def test_the_last_minute_forgets_what_was_before_it() -> None:
    delay = LoopDelay(kept=1000)
    for seconds in [5.0] * 1000 + [0.001] * 990 + [0.2] * 10:
        delay.note(seconds, computed=0.03)
    expected = {"p50": 0.001, "p99": 0.001, "p999": 0.2, "busy_p999": 0.03}
    assert delay.last_minute() == pytest.approx(expected, abs=0.01)


async def test_whatever_blocks_the_loop_shows_and_whether_it_computed() -> None:
    delay = LoopDelay(every_seconds=0.001)
    async with running(delay.run()):
        await asyncio.sleep(0.01)
        time.sleep(0.3)  # noqa: ASYNC251 - on purpose
        await until(lambda: delay.last_minute()["p999"] > 0.2)
        assert delay.last_minute()["busy_p999"] < 0.1
        began = time.process_time()
        while time.process_time() < began + 0.3:
            pass
        await until(lambda: delay.last_minute()["busy_p999"] > 0.2)
