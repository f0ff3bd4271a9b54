"""The service's stream against a broker whose feed fails.

What ends a connection is dialled again, what does not is borne.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from simulator.control import Counters, SimulatorControl, Sockets
from simulator.options import DEMO_APP
from simulator.tests.running import RunningSimulator
from streaming.connection import AccessToken, ConnectionState, DialGuard, TickerConnection, Timing, kite_dial
from streaming.inbox import Inbox
from streaming.packets import Fault, decode_window
from streaming.tests.fake_broker import FixedTokens, running, standing_slot, until
from streaming.wire_requests import Mode
from tests.feed_simulator import control as control
from tests.feed_simulator import simulator as simulator
from tests.feed_simulator import token as token

NIFTY, INFY = 256265, 408065
WANTED = {NIFTY: Mode.FULL, INFY: Mode.QUOTE}
# Ticks come every tenth of a second: more than a second without one is no busy machine.
QUICK = Timing(
    open_timeout=1.5,
    close_timeout=0.3,
    silence=1.5,
    mute=0.5,
    backoff_base=0.01,
    backoff_cap=0.05,
    refused=0.5,
    between_requests=0,
    settle=0,
)


@dataclass
class Stream:
    """One connection of the service, and everything that came through it."""

    connection: TickerConnection
    tokens: FixedTokens
    control: SimulatorControl
    inbox: Inbox = field(default_factory=Inbox)
    texts: list[str] = field(default_factory=list)

    async def ticks_again(self) -> None:
        """Wait for data that was sent after this moment, on a connection that is open."""
        for _ in range(2):  # of two, the later one was not on its way already
            had = len(self.inbox.frames)
            await until(
                lambda had=had: len(self.inbox.frames) > had and self.connection.state is ConnectionState.OPEN  # type: ignore[misc]
            )

    async def disturb(self, kind: str, **fields: Any) -> None:
        assert len(await asyncio.to_thread(self.control.disturb, kind, **fields)) == 1

    async def sockets(self) -> Sockets:
        counters: Counters = await asyncio.to_thread(self.control.counters)
        return counters.sockets(DEMO_APP.api_key)


@asynccontextmanager
async def streaming(
    simulator: RunningSimulator, control: SimulatorControl, token: AccessToken, timing: Timing = QUICK
) -> AsyncIterator[Stream]:
    """A connection that runs, not yet open."""
    inbox, texts, tokens = Inbox(), list[str](), FixedTokens(token)
    connection = TickerConnection(
        "AB1234 socket 1",
        dial=kite_dial(simulator.websocket_root, timing),
        tokens=tokens,
        inbox=inbox,
        on_text=texts.append,
        guard=DialGuard(limit=1000),
        slot=standing_slot(),
        expects_data=lambda: True,
        timing=timing,
    )
    connection.want(WANTED)
    async with running(connection.run()):
        yield Stream(connection, tokens, control, inbox, texts)


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "close"},
        {"kind": "close", "code": 1001, "reason": "going away"},
        {"kind": "close", "code": 1006},
        {"kind": "close", "code": 1011},
        {"kind": "reset"},
        {"kind": "mute"},
        {"kind": "mute", "pongs": False},
        {"kind": "garbage", "bytes": 2_000_000},
    ],
    ids=str,
)
async def test_what_ends_a_connection_or_silences_it_is_dialled_again_and_ticks_come_back(
    simulator: RunningSimulator, control: SimulatorControl, token: AccessToken, fault: dict[str, Any]
) -> None:
    async with streaming(simulator, control, token) as stream:
        await stream.ticks_again()
        await stream.disturb(**fault)
        await until(lambda: stream.connection.reconnects == 1)
        await stream.ticks_again()
        assert stream.connection.applied == WANTED
        sockets = await stream.sockets()
    assert (sockets.accepted, sockets.refused) == (2, {})


async def test_heartbeats_without_ticks_are_a_dead_feed_in_market_hours(
    simulator: RunningSimulator, control: SimulatorControl, token: AccessToken
) -> None:
    async with streaming(simulator, control, token, replace(QUICK, silence=10)) as stream:
        await stream.ticks_again()
        await stream.disturb("heartbeats_only")
        await until(lambda: stream.connection.reconnects == 1)
        await stream.ticks_again()


@pytest.mark.parametrize(
    ("fault", "counted"),
    [
        ({"kind": "truncated_frame"}, Fault.TRUNCATED),
        ({"kind": "unknown_length"}, Fault.UNKNOWN_LENGTH),
        ({"kind": "wrong_count"}, Fault.BAD_COUNT),
        ({"kind": "frame", "hex": "ffff"}, Fault.BAD_COUNT),
        ({"kind": "frame", "hex": "0001" + "00b7" + "00" * 183}, Fault.UNKNOWN_LENGTH),
        ({"kind": "frame", "hex": "0001ffff00"}, Fault.TRUNCATED),
        ({"kind": "garbage", "bytes": 999}, None),
        ({"kind": "garbage", "bytes": 500_000}, None),
        ({"kind": "frame", "hex": ""}, None),
        ({"kind": "text", "text": "not JSON"}, None),
        ({"kind": "text", "text": "[1]"}, None),
        ({"kind": "text", "text": ""}, None),
        ({"kind": "stale"}, None),
        ({"kind": "blank", "tokens": [NIFTY, INFY]}, None),
        ({"kind": "withhold", "tokens": [NIFTY]}, None),
        ({"kind": "slow", "seconds": 0.2}, None),
        ({"kind": "duplicate", "copies": 3}, None),
    ],
    ids=str,
)
async def test_what_makes_no_sense_is_borne_by_the_same_connection(
    simulator: RunningSimulator,
    control: SimulatorControl,
    token: AccessToken,
    fault: dict[str, Any],
    counted: Fault | None,
) -> None:
    async with streaming(simulator, control, token) as stream:
        await stream.ticks_again()
        await stream.disturb(**fault)
        if counted is not None:
            await until(lambda: decode_window(stream.inbox.frames).faults[counted])
        if fault["kind"] == "text":
            await until(lambda: fault["text"] in stream.texts)
        await stream.ticks_again()
        assert stream.connection.reconnects == 0
        assert len(decode_window(stream.inbox.frames).blocks) >= 2  # what is good is kept
        assert (await stream.sockets()).accepted == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "html", "status": 502},
        {"kind": "error", "status": 500},
        {"kind": "redirect", "status": 302},
        {"kind": "hang"},
        {"kind": "reset"},
    ],
    ids=str,
)
async def test_a_handshake_that_fails_is_tried_again(
    simulator: RunningSimulator, control: SimulatorControl, token: AccessToken, fault: dict[str, Any]
) -> None:
    number = await asyncio.to_thread(control.add, **fault, on="handshake", times=2)
    async with streaming(simulator, control, token) as stream:
        await stream.ticks_again()
        assert stream.connection.reconnects == 2
    assert await asyncio.to_thread(control.hits, number) == 2


async def test_too_many_sockets_means_a_long_wait(
    simulator: RunningSimulator, control: SimulatorControl, token: AccessToken
) -> None:
    await asyncio.to_thread(control.add, "html", on="handshake", status=429, times=1)
    began = time.monotonic()
    async with streaming(simulator, control, token) as stream:
        await stream.ticks_again()
    assert time.monotonic() - began >= QUICK.refused


@pytest.mark.parametrize("sockets", ["close", "mute"])
async def test_a_killed_token_is_dialled_once_more_and_a_new_one_brings_the_ticks_back(
    simulator: RunningSimulator, control: SimulatorControl, token: AccessToken, sockets: str
) -> None:
    async with streaming(simulator, control, token) as stream:
        await stream.ticks_again()
        assert await asyncio.to_thread(control.kill_tokens, sockets=sockets) == 1
        await until(lambda: stream.connection.state is ConnectionState.AWAITING_TOKEN)
        await asyncio.sleep(10 * QUICK.backoff_cap)  # ample for a dial that must not come
        assert (await stream.sockets()).refused == {"403": 1}
        fresh = await asyncio.to_thread(simulator.logged_in)
        stream.tokens.log_in(AccessToken(DEMO_APP.api_key, fresh.access_token))
        await stream.ticks_again()
        assert (await stream.sockets()).refused == {"403": 1}


async def test_a_broker_that_closes_every_socket_at_once_is_not_stormed(
    simulator: RunningSimulator, control: SimulatorControl, token: AccessToken
) -> None:
    await asyncio.to_thread(control.add, "close", on="socket")
    patient = replace(QUICK, backoff_base=0.2, backoff_cap=0.4)
    async with streaming(simulator, control, token, patient) as stream:
        await until(lambda: stream.connection.reconnects >= 4)
        await asyncio.to_thread(control.clear)
        await stream.ticks_again()
        sockets = await stream.sockets()
    assert sockets.accepted == stream.connection.reconnects + 1
    assert sockets.peak <= 2
