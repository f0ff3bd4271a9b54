import asyncio
import time
from math import inf

from streaming.alarm import Alarm


async def test_who_waits_is_woken_when_it_is_set_and_at_once_if_it_was() -> None:
    alarm = Alarm()
    asyncio.get_running_loop().call_later(0.01, alarm.set)
    async with asyncio.timeout(5):
        await alarm.wait(inf)
        await alarm.wait(inf)


async def test_who_waits_is_woken_when_it_is_time() -> None:
    alarm = Alarm()
    began = time.monotonic()
    async with asyncio.timeout(5):
        await alarm.wait(began + 0.05)
    assert time.monotonic() - began >= 0.045


async def test_an_earlier_time_counts_and_a_later_one_waits_for_the_timer_that_runs() -> None:
    alarm = Alarm()
    began = time.monotonic()
    async with asyncio.timeout(5):
        for seconds in (60, 0.05, 70):
            waiting = asyncio.create_task(alarm.wait(began + seconds))
            await asyncio.sleep(0)
            if seconds != 70:
                waiting.cancel()
        await waiting
    assert 0.045 <= time.monotonic() - began < 4


async def test_closed_it_wakes_nobody_by_time() -> None:
    alarm = Alarm()
    waiting = asyncio.create_task(alarm.wait(time.monotonic() + 0.01))
    await asyncio.sleep(0)
    alarm.close()
    await asyncio.sleep(0.05)
    assert not waiting.done()
    alarm.set()
    await waiting
