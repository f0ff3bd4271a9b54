"""One socket to the broker, against a broker that misbehaves."""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from websockets.asyncio.server import ServerConnection

from streaming.connection import AccessToken, ConnectionState, DialGuard, TickerConnection, Timing, backoff, kite_dial
from streaming.inbox import Inbox
from streaming.tests.fake_broker import (
    HEARTBEAT,
    QUICK,
    TOKEN,
    FakeBroker,
    FixedTokens,
    ltp_frame,
    running,
    standing_slot,
    until,
)
from streaming.wire_requests import Mode


def connection_to(
    broker: FakeBroker,
    *,
    inbox: Inbox | None = None,
    tokens: FixedTokens | None = None,
    texts: list[str] | None = None,
    timing: Timing = QUICK,
    expects_data: Callable[[], bool] = lambda: False,
) -> TickerConnection:
    return TickerConnection(
        "AB1234 socket 1",
        dial=kite_dial(broker.root, timing),
        tokens=tokens or FixedTokens(),
        inbox=inbox or Inbox(),
        on_text=(texts if texts is not None else []).append,
        guard=DialGuard(limit=1000),
        slot=standing_slot(),
        expects_data=expects_data,
        timing=timing,
    )


async def send_a_tick(websocket: ServerConnection) -> None:
    await websocket.send(ltp_frame((1, 100)))


async def test_frames_arrive_raw_and_texts_apart() -> None:
    async with FakeBroker().running() as broker:
        inbox, texts = Inbox(), list[str]()
        connection = connection_to(broker, inbox=inbox, texts=texts)
        async with running(connection.run()):
            await until(lambda: broker.connections)
            for frame in (ltp_frame((1, 100)), HEARTBEAT, '{"type":"order","data":{}}'):
                await broker.send(frame)
            await until(lambda: texts)
    frames, received_at = inbox.take()
    assert frames == [ltp_frame((1, 100))]
    assert len(received_at) == 1
    assert (inbox.heartbeats, texts) == (1, ['{"type":"order","data":{}}'])


async def test_it_is_open_once_something_came_and_closed_in_the_end() -> None:
    async with FakeBroker().running() as broker:
        connection = connection_to(broker)
        async with running(connection.run()):
            await until(lambda: broker.connections)
            assert str(connection.state) == "connecting"
            await broker.send(HEARTBEAT)
            await until(lambda: connection.state is ConnectionState.OPEN)
    assert connection.state is ConnectionState.CLOSED


async def test_what_is_wanted_is_subscribed_in_chunks_with_its_mode() -> None:
    async with FakeBroker().running() as broker:
        connection = connection_to(broker)
        wanted = dict.fromkeys(range(1, 1201), Mode.FULL) | {5000: Mode.LTP}
        connection.want(wanted)
        async with running(connection.run()):
            await until(lambda: broker.modes == wanted)
            connection.want({1: Mode.FULL, 2: Mode.QUOTE})
            await until(lambda: broker.modes == {1: Mode.FULL, 2: Mode.QUOTE})
    sizes = [len(request["v"]) for request in broker.requests if request["a"] == "subscribe"]  # type: ignore[arg-type]
    assert sizes == [500, 500, 201]


async def test_after_a_lost_connection_everything_is_subscribed_again() -> None:
    async with FakeBroker(on_open=send_a_tick).running() as broker:
        connection = connection_to(broker)
        connection.want({1: Mode.FULL})
        async with running(connection.run()):
            await until(lambda: broker.modes == {1: Mode.FULL})
            await broker.connections[0].close(1000)
            await until(lambda: len(broker.handshakes) == 2 and broker.modes == {1: Mode.FULL})
            await until(lambda: connection.state is ConnectionState.OPEN)
    assert connection.reconnects == 1


async def test_a_mute_socket_is_given_up() -> None:
    async with FakeBroker(on_open=send_a_tick).running() as broker:
        connection = connection_to(broker)
        async with running(connection.run()):
            await until(lambda: len(broker.handshakes) >= 2)


async def test_heartbeats_keep_a_socket_alive() -> None:
    async with FakeBroker().running() as broker:
        connection = connection_to(broker)
        async with running(connection.run()):
            await until(lambda: broker.connections)
            for _ in range(10):
                await broker.send(HEARTBEAT)
                await asyncio.sleep(QUICK.silence / 5)
    assert len(broker.handshakes) == 1


@pytest.mark.parametrize("is_open", [True, False])
async def test_heartbeats_alone_are_not_enough_while_the_market_is_open(is_open: bool) -> None:
    async def beat(websocket: ServerConnection) -> None:
        for _ in range(40):
            await websocket.send(HEARTBEAT)
            await asyncio.sleep(0.005)

    async with FakeBroker(on_open=beat).running() as broker:
        inbox = Inbox()
        connection = connection_to(broker, inbox=inbox, timing=replace(QUICK, mute=0.05), expects_data=lambda: is_open)
        connection.want({1: Mode.FULL})
        async with running(connection.run()):
            await until(lambda: broker.connections)
            await until(lambda: len(broker.handshakes) == 2 or inbox.heartbeats == 40)
    assert (len(broker.handshakes) == 2) is is_open


async def test_a_dead_token_is_not_dialled_again_and_a_new_one_is() -> None:
    async with FakeBroker(valid_tokens={"token-2"}).running() as broker:
        tokens = FixedTokens()
        connection = connection_to(broker, tokens=tokens)
        async with running(connection.run()):
            await until(lambda: connection.state is ConnectionState.AWAITING_TOKEN)
            await asyncio.sleep(10 * QUICK.backoff_cap)  # ample for a retry that must not come
            assert broker.handshakes == ["token-1"]
            tokens.log_in(AccessToken("key", "token-2"))
            await until(lambda: broker.connections)
    assert broker.handshakes == ["token-1", "token-2"]


async def test_a_refused_token_that_still_works_elsewhere_is_dialled_again_after_a_long_wait() -> None:
    async with FakeBroker(refuse_next=[403]).running() as broker:
        tokens = FixedTokens()
        tokens.dead = False
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with running(connection_to(broker, tokens=tokens).run()):
            await until(lambda: broker.connections)
        assert loop.time() - began >= QUICK.refused


async def test_nothing_is_dialled_while_nobody_is_logged_in() -> None:
    async with FakeBroker().running() as broker:
        tokens = FixedTokens(None)
        connection = connection_to(broker, tokens=tokens)
        async with running(connection.run()):
            await until(lambda: connection.state is ConnectionState.AWAITING_TOKEN)
            tokens.log_in(TOKEN)
            await until(lambda: broker.connections)
    assert len(broker.handshakes) == 1


async def test_too_many_connections_means_a_long_wait() -> None:
    async with FakeBroker(refuse_next=[429]).running() as broker:
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with running(connection_to(broker).run()):
            await until(lambda: broker.connections)
        assert loop.time() - began >= QUICK.refused


@pytest.mark.parametrize("status", [302, 400, 500, 503])
async def test_any_other_refusal_is_tried_again(status: int) -> None:
    async with FakeBroker(refuse_next=[status]).running() as broker, running(connection_to(broker).run()):
        await until(lambda: broker.connections)
    assert len(broker.handshakes) == 2


async def test_a_frame_that_makes_no_sense_does_not_end_the_connection() -> None:
    async with FakeBroker().running() as broker:
        inbox = Inbox()
        async with running(connection_to(broker, inbox=inbox).run()):
            await until(lambda: broker.connections)
            for frame in (b"", b"\xff\xff", b"\x00\x05\x00\x08abc", "not json"):
                await broker.send(frame)
            await broker.send(ltp_frame((1, 100)))
            await until(lambda: ltp_frame((1, 100)) in inbox.frames)
    assert len(broker.handshakes) == 1


async def test_the_token_is_in_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    async with FakeBroker(refuse_next=[500, 429]).running() as broker, running(connection_to(broker).run()):
        await until(lambda: broker.connections)
    assert caplog.records
    # The server side of this test logs its requests too: only what the service writes counts.
    ours = [record for record in caplog.records if record.name.startswith("streaming")]
    assert ours
    assert not any(TOKEN.access_token in record.getMessage() for record in ours)
    assert TOKEN.access_token not in repr(TOKEN)


def test_an_address_that_is_none_is_refused_without_a_token_in_sight() -> None:
    with pytest.raises(ValueError, match="KITE_WS_ROOT must be"):
        kite_dial("https://ws.kite.trade", QUICK)


def test_delays_are_anywhere_below_a_bound_that_doubles_up_to_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "uniform", lambda low, high: (low, high))
    delays = backoff(0.5, 3)
    bounds: list[object] = [next(delays) for _ in range(5)]
    assert bounds == [(0, 0.5), (0, 1), (0, 2), (0, 3), (0, 3)]


async def test_an_account_dials_only_so_often() -> None:
    loop = asyncio.get_running_loop()
    guard = DialGuard(limit=3, seconds=0.1, clock=loop.time)
    began = loop.time()
    for _ in range(4):
        await guard.permit()
    assert loop.time() - began >= 0.1


async def test_a_mute_feed_is_subscribed_again_then_dialled_anew_and_told_of_in_the_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def beat(websocket: ServerConnection) -> None:
        for _ in range(200):
            await websocket.send(HEARTBEAT)
            await asyncio.sleep(0.01)

    tokens = FixedTokens()
    tokens.dead = False
    beating: set[asyncio.Task[None]] = set()

    async def start_to_beat(websocket: ServerConnection) -> None:
        beating.add(asyncio.create_task(beat(websocket)))

    async with FakeBroker(on_open=start_to_beat).running() as broker:
        timing = replace(QUICK, silence=5, resubscribe=0.1, mute=0.3)
        connection = connection_to(broker, tokens=tokens, timing=timing, expects_data=lambda: True)
        connection.want({408065: Mode.FULL})
        async with running(connection.run()):
            await until(lambda: len(broker.requests) == 4)
            assert len(broker.handshakes) == 1
            assert broker.requests[2:] == broker.requests[:2], "asked again, and nothing else"
            await until(lambda: connection.mutes == 3)
            assert connection.is_mute
            await until(lambda: len(broker.connections) == 1 and len(broker.requests) % 4 == 2)
            await broker.send(ltp_frame((408065, 100)))
            await until(lambda: not connection.is_mute)
        for task in beating:
            task.cancel()
    assert caplog.text.count("is the feed mute?") == 1


async def test_a_slot_that_is_lost_closes_the_socket_and_ends_the_connection() -> None:
    async with FakeBroker().running() as broker:
        inbox = Inbox()
        connection = connection_to(broker, inbox=inbox)
        connection.want({408065: Mode.FULL})
        async with running(connection.run()) as task:
            await until(lambda: broker.connections)
            connection._slot.lose()
            await broker.send(ltp_frame((408065, 100)))
            await until(task.done)
            await until(lambda: not broker.connections)
    assert inbox.frames == [], "what another process may be reading by now is not read"
    assert connection.state is ConnectionState.CLOSED
    assert not connection._slot.is_dialled
