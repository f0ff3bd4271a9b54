"""Clients of a real web process for tests: what they are sent is kept, and can be waited for."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from benchmarks.browsers import TEXT, Browser, Crowd


@dataclass
class Client:
    """One client, with the messages that came."""

    browser: Browser
    heard: list[dict[str, Any]] = field(default_factory=list)
    acknowledges: bool = True
    _read: int = 0

    async def hear(self, kind: str, seconds: float = 20) -> dict[str, Any]:
        """The next message of this type; those before it are passed over."""
        async with asyncio.timeout(seconds):
            while True:
                while self._read < len(self.heard):
                    message = self.heard[self._read]
                    self._read += 1
                    if message["type"] == kind:
                        return message
                assert not self.browser.is_gone, f"closed with {self.browser.closed_with}: {self.heard[-3:]}"
                await asyncio.sleep(0.005)

    async def closed(self, seconds: float = 20) -> int | None:
        """The code that the server closed with; None if it only dropped the connection."""
        await until(lambda: self.browser.closed_with is not None or self.browser.is_gone, seconds)
        return self.browser.closed_with

    async def subscribed(self, chain: Mapping[str, str]) -> dict[str, Any]:
        """Subscribe, and wait for the snapshot."""
        self.browser.say(type="subscribe", id="1", chains=[chain])
        return await self.hear("snapshot")


@asynccontextmanager
async def clients(
    port: int, number: int = 1, *, keys: Sequence[str] = (), path: str = "/ws/ticks/", **options: Any
) -> AsyncIterator[list[Client]]:
    """So many clients, connected; they acknowledge what they are sent, and leave at the end."""
    made: dict[Browser, Client] = {}

    def on_frame(browser: Browser, opcode: int, payload: memoryview) -> None:
        assert opcode == TEXT
        client = made.setdefault(browser, Client(browser))
        message = json.loads(bytes(payload))
        client.heard.append(message)
        if "frame" in message and client.acknowledges:
            browser.acknowledge(message["frame"])

    crowd = await Crowd.at(port, path, number, on_frame, keys=keys, **options)
    try:
        yield [made.setdefault(browser, Client(browser)) for browser in crowd.browsers]
    finally:
        crowd.leave()


async def until(is_so: Callable[[], Any], seconds: float = 20) -> None:
    async with asyncio.timeout(seconds):
        while not is_so():  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.01)
