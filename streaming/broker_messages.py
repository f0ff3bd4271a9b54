"""The broker's text frames: order updates, errors, notices. They never take the path of ticks.

Kite Connect v3 documentation, "WebSocket streaming": `{"type": "order" | "error" | "message", "data": …}`; other
types appear undocumented.
"""

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

import orjson

logger = logging.getLogger(__name__)

_LONGEST_LOGGED = 300


class Reader:
    """Takes one account's text frames. Never raises: a frame that cannot be read is counted.

    `on_order` is handed what an order message says; it must return at once.
    """

    def __init__(self, account: str, counters: "Counter[str]", on_order: Callable[[Any], None]) -> None:
        self._account = account
        self._counters = counters
        self._on_order = on_order

    def __call__(self, text: str) -> None:
        try:
            message = orjson.loads(text)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            self._counters["texts_unreadable"] += 1
            return
        self._take(str(message.get("type")), message.get("data"))

    def _take(self, message_type: str, data: Any) -> None:
        match message_type:
            case "order":
                self._counters["order_updates"] += 1
                self._on_order(data)
            case "error":
                self._counters["broker_errors"] += 1
                logger.warning("%s: the broker says: %s", self._account, str(data)[:_LONGEST_LOGGED])
            case "message":
                self._counters["broker_notices"] += 1
                logger.info("%s: the broker announces: %s", self._account, str(data)[:_LONGEST_LOGGED])
            case _:
                self._counters["texts_other"] += 1
