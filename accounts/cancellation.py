"""A cancellation that a library swallowed, raised again."""

import asyncio


def raise_if_cancelled() -> None:
    """Raise CancelledError if the current task was told to end and has not.

    redis-py writes through `asyncio.wait_for`, which on Python 3.11 returns normally when the cancellation comes in the
    moment the write completes: the task would go on, and who waits for its end would wait for ever. So every loop
    around Redis calls this once a turn.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
