"""A hub serves from its first client to its last, and the next client begins the next one."""

import asyncio
from dataclasses import dataclass, field

import pytest
from prometheus_client import Gauge

from accounts.socket_hub import HubOfLoop, SocketHub


@dataclass(eq=False)
class Client:
    principal: str = "user:1"
    wake: asyncio.Event = field(default_factory=asyncio.Event)


class Hub(SocketHub[Client]):
    clients_gauge = Gauge("clients_of_a_test", "Clients", registry=None)

    def __init__(self) -> None:
        super().__init__()
        self.breaks, self.may_close, self.is_closed = asyncio.Event(), asyncio.Event(), False

    async def _run(self) -> None:
        try:
            await self.breaks.wait()
            raise KeyError("a fault")
        finally:
            await self.may_close.wait()
            self.is_closed = True


async def test_who_comes_while_the_last_one_leaves_is_served_by_the_next_hub() -> None:
    hub, first, second = HubOfLoop(Hub), Client(), Client()
    before = hub()
    before.join(first)
    assert hub() is before
    await asyncio.sleep(0)
    leaving = asyncio.create_task(before.leave(first))
    await asyncio.sleep(0)
    after = hub()
    after.join(second)
    before.may_close.set()
    await leaving
    assert (before.is_closed, before.has_ended) == (True, True)
    assert after is not before
    assert hub() is after
    assert (after.is_closed, after.sockets_of("user:1"), after.clients_gauge._value.get()) == (False, 1, 1)
    after.may_close.set()
    await after.leave(second)


async def test_one_that_has_ended_serves_nobody() -> None:
    hub = Hub()
    hub.may_close.set()
    hub.join(client := Client())
    await hub.leave(client)
    with pytest.raises(RuntimeError, match="has ended"):
        hub.join(Client())


async def test_one_that_breaks_off_wakes_its_clients_and_says_why(caplog: pytest.LogCaptureFixture) -> None:
    hub, client = Hub(), Client()
    hub.may_close.set()
    hub.join(client)
    hub.breaks.set()
    async with asyncio.timeout(5):
        await client.wake.wait()
    assert hub.has_ended
    assert "a fault" in caplog.text
    await hub.leave(client)
    assert not hub.clients
