"""The WebSocket's rules, seen by a plain client."""

import asyncio
import json
import struct
import time

import numpy as np
import pytest
from aiohttp import WSMsgType
from kiteconnect import KiteConnect

from simulator.options import SimulatorOptions
from simulator.tests.feed_client import connected, packets, receive, refusal, split
from simulator.tests.running import RunningSimulator, SetClock, running, with_rules
from simulator.tests.schemas import violations

NIFTY, INFY = 256265, 408065


@pytest.fixture
def token(quiet_simulator: RunningSimulator) -> str:
    access_token: str = quiet_simulator.logged_in().access_token
    return access_token


async def test_subscribing_sends_the_current_state_at_once(quiet_simulator: RunningSimulator, token: str) -> None:
    async with connected(quiet_simulator.feed_url(token)) as websocket:
        await websocket.send_json({"a": "subscribe", "v": [NIFTY, INFY, 999]})
        assert await packets(websocket) == {NIFTY: 28, INFY: 44}


@pytest.mark.parametrize(("mode", "lengths"), [("ltp", (8, 8)), ("quote", (28, 44)), ("full", (32, 184))])
async def test_a_mode_subscribes_and_decides_the_packet(
    quiet_simulator: RunningSimulator, token: str, mode: str, lengths: tuple[int, int]
) -> None:
    async with connected(quiet_simulator.feed_url(token)) as websocket:
        await websocket.send_json({"a": "mode", "v": [mode, [NIFTY, INFY]]})
        assert await packets(websocket) == {NIFTY: lengths[0], INFY: lengths[1]}


async def test_subscribing_again_keeps_the_mode(quiet_simulator: RunningSimulator, token: str) -> None:
    async with connected(quiet_simulator.feed_url(token)) as websocket:
        await websocket.send_json({"a": "mode", "v": ["full", [INFY]]})
        assert await packets(websocket) == {INFY: 184}
        await websocket.send_json({"a": "subscribe", "v": [INFY]})
        assert await packets(websocket) == {INFY: 184}


async def test_what_is_unsubscribed_is_silent(kite: KiteConnect, simulator: RunningSimulator) -> None:
    async with connected(simulator.feed_url(kite.access_token)) as websocket:
        await websocket.send_json({"a": "subscribe", "v": [NIFTY, INFY]})
        await packets(websocket)
        await websocket.send_json({"a": "unsubscribe", "v": [NIFTY]})
        # A message of a client is answered in order: after the error the subscription is known to be gone.
        await websocket.send_str("nonsense")
        while (await receive(websocket)).type is not WSMsgType.TEXT:
            pass
        assert [await packets(websocket) for _ in range(3)] == [{INFY: 44}] * 3


async def test_an_open_market_ticks(kite: KiteConnect, simulator: RunningSimulator) -> None:
    async with connected(simulator.feed_url(kite.access_token)) as websocket:
        await websocket.send_json({"a": "mode", "v": ["full", [NIFTY]]})
        times = []
        for _ in range(4):
            frame = (await receive(websocket)).data
            times.append(struct.unpack_from(">I", frame, 4 + 28)[0])
        assert times == sorted(times)


async def test_a_silent_market_beats_within_two_and_a_half_seconds_and_never_pongs(
    quiet_simulator: RunningSimulator, token: str
) -> None:
    async with connected(quiet_simulator.feed_url(token)) as websocket:
        for _ in range(2):
            since = time.monotonic()
            message = await receive(websocket)
            assert (message.type, len(message.data)) == (WSMsgType.BINARY, 1)
            assert time.monotonic() - since < 2.5


async def test_a_ping_is_answered(quiet_simulator: RunningSimulator, token: str) -> None:
    async with connected(quiet_simulator.feed_url(token)) as websocket:
        await websocket.ping(b"there?")
        assert (await receive(websocket)).type is WSMsgType.PONG


async def test_a_wrong_token_is_refused_at_the_handshake(quiet_simulator: RunningSimulator) -> None:
    assert await refusal(quiet_simulator.feed_url("wrong")) == 403


async def test_the_fourth_socket_is_refused_until_one_closes(quiet_simulator: RunningSimulator, token: str) -> None:
    url = quiet_simulator.feed_url(token)
    async with connected(url), connected(url):
        async with connected(url):
            assert await refusal(url) == 429
        async with connected(url):
            pass


async def test_more_than_3000_instruments_are_told_and_left_out(quiet_simulator: RunningSimulator, token: str) -> None:
    tokens = list(quiet_simulator.broker.market.universe.row_of_token)[:3005]
    async with connected(quiet_simulator.feed_url(token)) as websocket:
        await websocket.send_json({"a": "subscribe", "v": tokens})
        messages = [await receive(websocket) for _ in range(2)]
        texts = [json.loads(m.data) for m in messages if m.type is WSMsgType.TEXT]
        frames = [split(m.data) for m in messages if m.type is WSMsgType.BINARY]
        assert [len(frame) for frame in frames] == [3000]
        assert "3000" in texts[0]["data"]
        assert violations("feed_text", texts[0]) == []


@pytest.mark.parametrize(
    "text",
    ["nonsense", "[]", "{}", '{"a":"dance","v":[]}', '{"a":"subscribe","v":"all"}', '{"a":"mode","v":["loud",[1]]}'],
)
async def test_a_message_that_makes_no_sense_is_told_and_survived(
    quiet_simulator: RunningSimulator, token: str, text: str
) -> None:
    async with connected(quiet_simulator.feed_url(token)) as websocket:
        await websocket.send_str(text)
        assert json.loads((await receive(websocket)).data)["type"] == "error"
        await websocket.send_json({"a": "subscribe", "v": [INFY]})
        assert await packets(websocket) == {INFY: 44}


async def test_the_socket_closes_when_its_token_ends(quiet_simulator: RunningSimulator) -> None:
    kite = quiet_simulator.logged_in()
    async with connected(quiet_simulator.feed_url(kite.access_token)) as websocket:
        await asyncio.to_thread(kite.invalidate_access_token)
        message = await receive(websocket)
        assert (message.type, message.data) == (WSMsgType.CLOSE, 1000)
    assert await refusal(quiet_simulator.feed_url(kite.access_token)) == 403


async def test_an_open_socket_may_outlive_its_token(options: SimulatorOptions, open_clock: SetClock) -> None:
    with running(with_rules(options, dead_token_closes_feed=False), open_clock) as simulator:
        kite = await asyncio.to_thread(simulator.logged_in)
        async with connected(simulator.feed_url(kite.access_token)) as websocket:
            await asyncio.to_thread(kite.invalidate_access_token)
            await websocket.send_json({"a": "subscribe", "v": [INFY]})
            assert await packets(websocket) == {INFY: 44}


async def test_subscriptions_follow_into_the_next_trading_day(options: SimulatorOptions, open_clock: SetClock) -> None:
    with running(with_rules(options, token_flush=False), open_clock) as simulator:
        kite = await asyncio.to_thread(simulator.logged_in)
        async with connected(simulator.feed_url(kite.access_token)) as websocket:
            await websocket.send_json({"a": "mode", "v": ["full", [INFY]]})
            await packets(websocket)
            open_clock.moment += 86_400
            frame = b""
            while len(frame) < 184 or struct.unpack_from(">I", frame, 4 + 60)[0] < open_clock.moment - 60:
                frame = (await receive(websocket)).data
            assert simulator.broker.market.day.isoformat() == "2026-11-26"


async def test_who_reads_slowly_gets_the_newest_state_and_no_backlog(
    quiet_simulator: RunningSimulator, token: str
) -> None:
    async with connected(quiet_simulator.feed_url(token)) as websocket:
        await websocket.send_json({"a": "subscribe", "v": [INFY]})
        await packets(websocket)
        (connection,) = quiet_simulator.connections()
        row = np.array([quiet_simulator.broker.market.universe.row_of_token[INFY]])
        for _ in range(1_000):
            connection.changed(row)
        assert split(connection.take_frame() or b"") == {INFY: 44}
        assert connection.take_frame() is None
