"""Places at which a test can end or stop this process: ``FAILPOINTS="order.after_marker=sigkill:0.05"``.

Nothing happens without that setting, and production refuses to start with it.
"""

import os
import random
import signal
import time
from functools import lru_cache

from django.conf import settings

ACTIONS = ("sigkill", "sigstop", "raise", "sleep")


class Planted(Exception):
    """What a failpoint raises."""


def failpoint(name: str) -> None:
    """Do what FAILPOINTS says of this place."""
    if not settings.FAILPOINTS:
        return
    action, probability = _parsed(settings.FAILPOINTS).get(name, ("", 0.0))
    if not action or random.random() >= probability:  # noqa: S311 - a test's dice
        return
    match action:
        case "sigkill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "sigstop":
            os.kill(os.getpid(), signal.SIGSTOP)
            time.sleep(0.5)  # another thread may be the one that takes the signal, and all stop a moment later
        case "sleep":
            time.sleep(1)
        case _:
            raise Planted(name)


@lru_cache(maxsize=8)
def _parsed(text: str) -> dict[str, tuple[str, float]]:
    found = {}
    for part in text.split(","):
        name, _, what = part.strip().partition("=")
        action, _, probability = what.partition(":")
        if action not in ACTIONS:
            raise ValueError(f"FAILPOINTS: {part!r} names none of {', '.join(ACTIONS)}")
        found[name] = (action, float(probability or 1))
    return found
