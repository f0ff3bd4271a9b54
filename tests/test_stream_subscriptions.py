"""F62, F63: thousands of subscriptions through one key, and those that the broker loses without a word."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from simulator.control import SimulatorControl
from simulator.options import DEMO_APP
from simulator.packets import MODES
from simulator.tests.running import RunningSimulator
from streaming.connection import AccessToken, DialGuard, TickerConnection, Timing, kite_dial
from streaming.contracts import Contract
from streaming.inbox import Inbox
from streaming.leases import HeldSlot
from streaming.pool import ConnectionPool
from streaming.tests.fake_broker import FixedTokens, running, standing_slot, until
from streaming.tests.test_supervisor import Database, process_for
from streaming.tests.test_supervisor import database as database
from streaming.tests.test_supervisor import no_tables as no_tables
from streaming.tests.test_supervisor import running as running_process
from streaming.wire_requests import Mode
from tests.feed_simulator import control as control
from tests.feed_simulator import simulator as simulator
from tests.feed_simulator import token as token

pytestmark = pytest.mark.usefixtures("valkey")

MANY = 9_000


@pytest.fixture
async def pool(simulator: RunningSimulator, token: AccessToken) -> AsyncIterator[ConnectionPool]:
    """With the waits of production between requests."""
    timing = Timing(backoff_base=0.01, backoff_cap=0.05, close_timeout=0.3)
    inbox, tokens, guard = Inbox(), FixedTokens(token), DialGuard()

    def make(slot: HeldSlot) -> TickerConnection:
        return TickerConnection(
            f"AB1234 socket {slot.number + 1}",
            dial=kite_dial(simulator.websocket_root, timing),
            tokens=tokens,
            inbox=inbox,
            on_text=lambda _: None,
            guard=guard,
            slot=slot,
            timing=timing,
        )

    pool = ConnectionPool("AB1234", make)
    pool.hold([standing_slot(number) for number in range(3)])
    async with running(pool.run()):
        yield pool


async def test_f62_nine_thousand_instruments_are_there_again_within_ten_seconds_with_their_modes(
    simulator: RunningSimulator, control: SimulatorControl, pool: ConnectionPool
) -> None:
    instruments = await asyncio.to_thread(simulator.client().instruments)
    tokens = sorted({row["instrument_token"] for row in instruments})[:MANY]
    assert len(tokens) == MANY
    modes = [Mode.FULL, Mode.QUOTE, Mode.LTP]
    wanted = {one: modes[place % 3] for place, one in enumerate(tokens)}
    numbers = {one: MODES[mode] for one, mode in wanted.items()}

    def is_there() -> bool:
        found: dict[int, int] = {}
        for connection in simulator.connections():
            found |= connection._modes_by_token
        return found == numbers

    began = time.monotonic()
    pool.want(wanted)
    await until(is_there, 20)
    assert time.monotonic() - began < 10
    assert sorted(len(one.applied) for one in pool.connections) == [3000, 3000, 3000]
    assert len(await asyncio.to_thread(control.disturb, "close", code=1006)) == 3
    await until(lambda: all(one.reconnects == 1 for one in pool.connections))
    began = time.monotonic()
    await until(is_there, 20)
    assert time.monotonic() - began < 10
    counters = await asyncio.to_thread(control.counters)
    assert counters.sockets(DEMO_APP.api_key).peak <= 3


async def test_f63_subscriptions_that_the_broker_loses_are_told_of_and_made_again(
    simulator: RunningSimulator, control: SimulatorControl, database: Database, token: AccessToken
) -> None:
    await asyncio.to_thread(control.add, "lose_subscriptions", on="socket", percent=5, seed=7)
    instruments = await asyncio.to_thread(simulator.client().instruments, "NSE")
    shares = [row for row in instruments if row["instrument_type"] == "EQ"][:400]
    contracts = [
        Contract(row["instrument_token"], row["tradingsymbol"], row["tradingsymbol"], "EQ", None, 0.0, 0.0)
        for row in shares
    ]
    database.change(contracts=contracts, token=token)
    root: Any = SimpleNamespace(root=simulator.websocket_root)
    process = process_for(root, database, timing=replace(Timing(), confirm=3.0, settle=0, between_requests=0))
    seen: dict[int, str] = {}

    def note() -> bool:
        for one in process.state()["unconfirmed"]:
            seen[one["instrument_token"]] = one["tradingsymbol"]
        is_done = len(process.pipeline.ticked_at) == len(contracts)
        return bool(seen) and is_done and not process.state()["unconfirmed"]

    async with running_process(process):
        await until(note, 60)
    assert 1 <= len(seen) < len(contracts) / 4
    assert all(name in {row["tradingsymbol"] for row in shares} for name in seen.values())
