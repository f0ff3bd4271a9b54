"""Postbacks: what becomes of an order, posted to the app that placed it, with a checksum of the app's secret."""

import asyncio
import contextlib
import hashlib
import json
import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp

from simulator.options import DemoApp

logger = logging.getLogger(__name__)

_ANSWER_SECONDS = 3.0  # the broker waits about that long, and does not try again
_KEPT = 10_000


@dataclass(frozen=True, slots=True)
class Sent:
    """One postback and what was answered: an HTTP status, or `none`."""

    api_key: str
    order_id: str
    status: str
    answer: str


def postback_checksum(order_id: str, order_timestamp: str, api_secret: str) -> str:
    """Lower-case hex SHA-256 of the three texts joined, the time exactly as in the body."""
    return hashlib.sha256(f"{order_id}{order_timestamp}{api_secret}".encode()).hexdigest()


class Postbacks:
    """One queue an app, so that what is sent in order arrives in order. Runs in the event loop."""

    def __init__(self, apps: Mapping[str, DemoApp]) -> None:
        self.sent: deque[Sent] = deque(maxlen=_KEPT)
        self._apps = apps
        self._queues: dict[str, asyncio.Queue[dict[str, Any]]] = {}
        self._workers: set[asyncio.Task[None]] = set()

    def app_of(self, api_key: str) -> DemoApp | None:
        """The app to be told about orders of this key; None where nobody is."""
        app = self._apps.get(api_key)
        return app if app is not None and app.postback_url else None

    def post(self, app: DemoApp, body: dict[str, Any]) -> None:
        queue = self._queues.get(app.api_key)
        if queue is None:
            queue = self._queues[app.api_key] = asyncio.Queue()
            worker = asyncio.create_task(self._work(app, queue), name=f"postbacks of {app.api_key}")
            self._workers.add(worker)
        queue.put_nowait(body)

    async def _work(self, app: DemoApp, queue: asyncio.Queue[dict[str, Any]]) -> None:
        timeout = aiohttp.ClientTimeout(total=_ANSWER_SECONDS)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            while True:
                body = await queue.get()
                answer = "none"
                try:
                    # JSON as the raw body, not as a form.
                    headers = {"Content-Type": "application/json"}
                    async with session.post(app.postback_url, data=json.dumps(body), headers=headers) as response:
                        answer = str(response.status)
                except (aiohttp.ClientError, TimeoutError, ValueError) as exc:
                    logger.info("a postback of %s did not arrive: %r", app.api_key, exc)
                self.sent.append(Sent(app.api_key, body["order_id"], body["status"], answer))

    async def close(self) -> None:
        """What has not been sent is lost."""
        for worker in self._workers:
            worker.cancel()
        for worker in self._workers:
            with contextlib.suppress(asyncio.CancelledError):
                await worker
