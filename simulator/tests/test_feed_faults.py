"""What can go wrong with the WebSocket, seen by a plain client."""

import asyncio
import struct
import time
from collections.abc import AsyncIterator, Callable
from itertools import groupby
from typing import Any

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType
from kiteconnect import KiteConnect

from simulator.control import SimulatorControl
from simulator.faults.frames import garbage
from simulator.tests.feed_client import connected, packets, receive, refusal, split
from simulator.tests.running import RunningSimulator
from simulator.tests.wire import RESET, STILL_OPEN, exchange

NIFTY, INFY, RELIANCE = 256265, 408065, 738561
FULL_INDEX_TIME = 4 + 28  # where a frame with one full index packet has its time


@pytest.fixture
def url(faulty_simulator: RunningSimulator, victim: KiteConnect) -> str:
    return faulty_simulator.feed_url(victim.access_token)


@pytest.fixture
async def websocket(url: str) -> AsyncIterator[ClientWebSocketResponse]:
    """An open socket, subscribed to NIFTY in mode full, whose first tick has been read."""
    async with connected(url) as websocket:
        await websocket.send_json({"a": "mode", "v": ["full", [NIFTY]]})
        await packets(websocket)
        yield websocket


async def disturb(control: SimulatorControl, kind: str, **fields: Any) -> list[int]:
    return await asyncio.to_thread(control.disturb, kind, **fields)


async def add(control: SimulatorControl, kind: str, **fields: Any) -> int:
    return await asyncio.to_thread(control.add, kind, **fields)


async def data(websocket: ClientWebSocketResponse) -> bytes:
    """The next frame that is no heartbeat."""
    while True:
        message = await receive(websocket)
        assert message.type is WSMsgType.BINARY, message
        if len(message.data) > 1:
            frame: bytes = message.data
            return frame


async def seen(websocket: ClientWebSocketResponse, condition: Callable[[bytes], bool]) -> bytes:
    """The first frame like this; frames that were already on their way are passed over."""
    while not condition(frame := await data(websocket)):
        pass
    return frame


async def pass_over_what_was_sent(websocket: ClientWebSocketResponse) -> None:
    """Read up to the answer to a message sent now: what follows was sent with the fault in force."""
    await websocket.send_str("nonsense")
    while (await receive(websocket)).type is not WSMsgType.TEXT:
        pass


async def ending(websocket: ClientWebSocketResponse) -> Any:
    """How the socket ends."""
    while (message := await receive(websocket)).type in (WSMsgType.BINARY, WSMsgType.TEXT):
        pass
    return message


# --- the handshake ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [403, 429, 502])
async def test_the_next_handshakes_are_refused(control: SimulatorControl, url: str, status: int) -> None:
    await add(control, "html", on="handshake", status=status, times=2)
    assert [await refusal(url) for _ in range(2)] == [status] * 2
    async with connected(url):
        pass
    sockets = (await asyncio.to_thread(control.counters)).sockets("simkey1")
    assert (sockets.accepted, sockets.refused) == (1, {str(status): 2})


async def test_a_handshake_may_never_be_answered(
    control: SimulatorControl, url: str, faulty_simulator: RunningSimulator
) -> None:
    await add(control, "hang", on="handshake", times=1)
    await add(control, "reset", on="handshake", times=1)
    query = "GET /?" + url.partition("?")[2]
    headers = (
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
    )
    for expected in (STILL_OPEN, RESET):
        answer = await asyncio.to_thread(exchange, faulty_simulator.http_root, query, *headers, patience=0.3)
        assert (answer.pieces, answer.ending) == ([], expected)
    async with connected(url):
        pass


async def test_a_rule_without_a_route_leaves_handshakes_alone(control: SimulatorControl, url: str) -> None:
    await add(control, "error", status=500)
    async with connected(url):
        pass


async def test_what_the_simulator_itself_refuses_is_counted_too(
    control: SimulatorControl, faulty_simulator: RunningSimulator, url: str
) -> None:
    assert await refusal(faulty_simulator.feed_url("wrong")) == 403
    async with connected(url), connected(url), connected(url):
        assert await refusal(url) == 429
        during = (await asyncio.to_thread(control.counters)).sockets("simkey1")
        assert [socket["api_key"] for socket in await asyncio.to_thread(control.sockets)] == ["simkey1"] * 3
    assert (during.open, during.peak, during.accepted) == (3, 3, 3)
    assert during.refused == {"403": 1, "429": 1}


# --- the end of a socket ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", [1000, 1001, 1011, 4000])
async def test_a_close_carries_its_code_and_reason(
    control: SimulatorControl, websocket: ClientWebSocketResponse, code: int
) -> None:
    assert len(await disturb(control, "close", code=code, reason="bye")) == 1
    message = await ending(websocket)
    assert (message.type, message.data, message.extra) == (WSMsgType.CLOSE, code, "bye")


async def test_1006_is_an_end_without_goodbye(control: SimulatorControl, websocket: ClientWebSocketResponse) -> None:
    await disturb(control, "close", code=1006)
    assert (await ending(websocket)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
    assert websocket.close_code == 1006


async def test_a_reset_is_seen_as_one(control: SimulatorControl, websocket: ClientWebSocketResponse) -> None:
    await disturb(control, "reset")
    assert (await ending(websocket)).type in (WSMsgType.CLOSED, WSMsgType.ERROR)
    assert isinstance(websocket.exception(), ConnectionResetError | aiohttp.ClientError | None)
    assert websocket.close_code == 1006


async def test_only_the_socket_that_is_named_is_hit(control: SimulatorControl, url: str) -> None:
    async with connected(url) as first, connected(url) as second:
        one, two = [socket["socket"] for socket in await asyncio.to_thread(control.sockets)]
        assert await disturb(control, "close", api_key="simkey2") == []
        assert await disturb(control, "close", user_id="CD5678") == []
        assert await disturb(control, "close", socket=two, code=4001) == [two]
        assert (await ending(second)).data == 4001
        assert await disturb(control, "close", socket=one, api_key="simkey1", user_id="AB1234") == [one]
        assert (await ending(first)).data == 1000


async def test_sockets_that_open_take_the_rules_in_order(control: SimulatorControl, url: str) -> None:
    await add(control, "close", on="socket", code=4001, times=1)
    await add(control, "close", on="socket", code=4002, times=1, after_seconds=0.2)
    codes = []
    for _ in range(2):
        began = time.monotonic()
        async with connected(url) as websocket:
            codes.append((await ending(websocket)).data)
    assert codes == [4001, 4002]
    assert time.monotonic() - began >= 0.2
    async with connected(url) as websocket:
        await websocket.send_json({"a": "subscribe", "v": [NIFTY]})
        assert await packets(websocket)


# --- frames and texts -------------------------------------------------------------------------------------------------


async def test_a_truncated_frame_breaks_off_in_its_last_packet(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "truncated_frame")
    frame = await seen(websocket, lambda frame: len(frame) != 36)
    assert (len(frame), frame[:4]) == (31, b"\x00\x01\x00\x20")
    assert split(await data(websocket)) == {NIFTY: 32}


async def test_an_unknown_length_comes_before_good_packets(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "unknown_length", frames=2)
    for _ in range(2):
        assert split(await seen(websocket, lambda frame: len(frame) != 36)) == {0: 13, NIFTY: 32}
    assert split(await data(websocket)) == {NIFTY: 32}


async def test_a_wrong_count_promises_packets_that_are_not_there(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "wrong_count")
    frame = await seen(websocket, lambda frame: frame[:2] != b"\x00\x01")
    assert (frame[:2], len(frame)) == (b"\xff\xff", 36)


async def test_garbage_is_the_same_for_the_same_seed(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "garbage", bytes=50, seed=7)
    assert await seen(websocket, lambda frame: len(frame) == 50) == garbage(50, 7) != garbage(50, 8)


@pytest.mark.parametrize("frame", ["", "ffff", "00010000", "0001" + "00b7" + "00" * 183, "0001ffff"])
async def test_any_bytes_can_be_sent(control: SimulatorControl, websocket: ClientWebSocketResponse, frame: str) -> None:
    await disturb(control, "frame", hex=frame)
    while (await receive(websocket)).data != bytes.fromhex(frame):
        pass


@pytest.mark.parametrize("text", ["not JSON", "[1]", "null", "", '{"type":"message","data":"ₓ"}'])
async def test_any_text_can_be_sent(control: SimulatorControl, websocket: ClientWebSocketResponse, text: str) -> None:
    await disturb(control, "text", text=text)
    while (message := await receive(websocket)).type is not WSMsgType.TEXT:
        pass
    assert message.data == text


async def test_duplicates_come_one_after_the_other(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "duplicate", copies=3)
    await pass_over_what_was_sent(websocket)
    frames = [await data(websocket) for _ in range(18)]
    # The first and the last may be cut, and two frames in a row may be alike; beside that each comes three times.
    begin = len(list(next(copies for _, copies in groupby(frames)))) % 3
    times_three = [frames[at : at + 3] for at in range(begin, len(frames) - 2, 3)]
    assert all(copies == [copies[0]] * 3 for copies in times_three)
    assert len({copies[0] for copies in times_three}) > 2


# --- what lasts -------------------------------------------------------------------------------------------------------


async def silence(websocket: ClientWebSocketResponse, seconds: float) -> None:
    """Nothing comes for so long; what was on its way is passed over."""
    async with asyncio.timeout(10):
        while True:
            try:
                await websocket.receive(timeout=seconds)
            except TimeoutError:
                return


async def test_a_mute_socket_sends_no_heartbeat_and_answers_pings(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "mute")
    await silence(websocket, 3.0)  # a heartbeat would come after two
    await websocket.send_str("nonsense")  # nor is that answered
    await websocket.ping(b"there?")
    assert (await receive(websocket)).type is WSMsgType.PONG
    await asyncio.to_thread(control.calm)
    assert split(await data(websocket)) == {NIFTY: 32}


async def test_a_mute_socket_may_ignore_pings_too(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "mute", pongs=False)
    await silence(websocket, 0.5)
    await websocket.ping(b"there?")
    await silence(websocket, 0.5)


async def test_heartbeats_may_be_all_that_is_left(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "heartbeats_only")
    beats = 0
    while beats < 2:
        message = await receive(websocket)
        assert message.type is WSMsgType.BINARY
        assert len(message.data) == 1 or not beats
        beats += len(message.data) == 1


async def test_stale_ticks_go_on_with_one_time_and_one_price(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "stale")
    await pass_over_what_was_sent(websocket)
    frames = [await data(websocket) for _ in range(12)]
    assert len(set(frames)) == 1
    await asyncio.to_thread(control.calm)
    frozen = struct.unpack_from(">I", frames[-1], FULL_INDEX_TIME)[0]
    await seen(websocket, lambda frame: struct.unpack_from(">I", frame, FULL_INDEX_TIME)[0] > frozen)


async def test_a_blank_instrument_holds_zeros_and_the_others_do_not(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "blank", tokens=[INFY, NIFTY])
    await websocket.send_json({"a": "mode", "v": ["full", [INFY, RELIANCE]]})
    frames: dict[int, bytes] = {}
    while frames.keys() != {NIFTY, INFY, RELIANCE}:
        frame, offset = await data(websocket), 2
        for token, length in split(frame).items():
            frames[token] = frame[offset + 6 : offset + 2 + length]
            offset += 2 + length
    assert not any(frames[INFY])
    assert any(frames[RELIANCE])
    await seen(websocket, lambda frame: NIFTY in split(frame) and not any(frame[-28:]))


async def test_a_withheld_instrument_is_never_sent(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "withhold", tokens=[NIFTY])
    await websocket.send_json({"a": "mode", "v": ["ltp", [INFY]]})
    await seen(websocket, lambda frame: INFY in split(frame))
    assert [await packets(websocket) for _ in range(3)] == [{INFY: 8}] * 3


async def test_a_subscription_that_is_lost_is_lost_without_a_word_until_it_is_made_again(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "lose_subscriptions", percent=100)
    await websocket.send_json({"a": "subscribe", "v": [INFY]})
    await websocket.send_json({"a": "mode", "v": ["full", [INFY]]})
    for _ in range(5):
        assert INFY not in await packets(websocket)
    await disturb(control, "lose_subscriptions", percent=0)
    await websocket.send_json({"a": "subscribe", "v": [INFY]})
    await seen(websocket, lambda frame: INFY in split(frame))


async def test_a_slow_socket_sends_seldom_and_the_newest(
    control: SimulatorControl, websocket: ClientWebSocketResponse
) -> None:
    await disturb(control, "slow", seconds=0.5)
    await pass_over_what_was_sent(websocket)
    await data(websocket)
    began = time.monotonic()
    for _ in range(3):
        await data(websocket)
    assert time.monotonic() - began >= 0.9


async def test_faults_of_a_socket_add_up(control: SimulatorControl, websocket: ClientWebSocketResponse) -> None:
    await disturb(control, "slow", seconds=0.05)
    await disturb(control, "stale")
    await disturb(control, "duplicate")
    await pass_over_what_was_sent(websocket)
    frames = [await data(websocket) for _ in range(8)]
    assert len(set(frames)) == 1


# --- dead tokens ------------------------------------------------------------------------------------------------------


async def test_a_killed_tokens_sockets_are_closed(
    control: SimulatorControl, websocket: ClientWebSocketResponse, url: str
) -> None:
    assert await asyncio.to_thread(control.kill_tokens) == 1
    message = await ending(websocket)
    assert (message.type, message.data) == (WSMsgType.CLOSE, 1000)
    assert await refusal(url) == 403


async def test_a_killed_tokens_sockets_may_fall_silent(
    control: SimulatorControl, websocket: ClientWebSocketResponse, url: str
) -> None:
    assert await asyncio.to_thread(control.kill_tokens, sockets="mute") == 1
    await silence(websocket, 2.5)
    assert not websocket.closed
    assert await refusal(url) == 403


async def test_a_killed_tokens_sockets_may_go_on(
    control: SimulatorControl, websocket: ClientWebSocketResponse, url: str
) -> None:
    assert await asyncio.to_thread(control.kill_tokens, sockets="leave") == 1
    assert await refusal(url) == 403
    until = time.monotonic() + 1.5  # dead tokens are looked for every second
    while time.monotonic() < until:
        assert split(await data(websocket)) == {NIFTY: 32}


async def test_a_client_that_leaves_amid_everything_is_no_error(
    control: SimulatorControl, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for kind in ("reset", "close", "mute", "slow", "garbage"):
        await add(control, kind, on="socket", times=1)
        async with connected(url) as websocket:
            await websocket.send_json({"a": "subscribe", "v": [NIFTY]})
            await asyncio.sleep(0.1)
    await asyncio.sleep(0.3)
    assert [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")] == []
