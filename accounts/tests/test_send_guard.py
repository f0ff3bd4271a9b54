import asyncio
import time

import pytest

from accounts.send_guard import SendGuard


async def test_what_takes_too_long_is_cancelled_and_says_so() -> None:
    guard = SendGuard(0.05)
    began = time.monotonic()
    with pytest.raises(TimeoutError, match=r"not sent in 0\.05 s"):
        await guard.run(asyncio.sleep(60))
    assert 0.04 <= time.monotonic() - began < 5
    await guard.run(asyncio.sleep(0))


async def test_each_call_has_its_own_time() -> None:
    guard = SendGuard(0.1)
    first = asyncio.create_task(guard.run(asyncio.sleep(60)))
    await asyncio.sleep(0.06)
    second = asyncio.create_task(guard.run(asyncio.sleep(0.07)))  # still going on when the first is overdue
    with pytest.raises(TimeoutError):
        await first
    await second


async def test_a_task_that_is_cancelled_by_somebody_else_is_cancelled() -> None:
    guard = SendGuard(60)
    task = asyncio.create_task(guard.run(asyncio.sleep(60)))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    guard.close()


async def test_what_goes_wrong_in_the_call_is_not_changed() -> None:
    async def fail() -> None:
        raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await SendGuard(1).run(fail())
