"""A Redis client whose closing waits for the test."""

import asyncio
from typing import Any

import pytest


class HeldClose:
    """`begun` when somebody closes the client, which goes on when `may_go_on`."""

    def __init__(self, client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.may_go_on = asyncio.Event(), asyncio.Event()
        self._close = client.aclose
        monkeypatch.setattr(client, "aclose", self._held_up)

    async def _held_up(self) -> None:
        self.begun.set()
        await self.may_go_on.wait()
        await self._close()
