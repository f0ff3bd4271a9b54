"""Clients of `/ws/ticks/`: the protocol, slow clients, bad ones, and a feed that goes away."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, ClassVar

import pytest
import redis.asyncio as redis
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from hypothesis import given
from hypothesis import strategies as st
from pytest_django import Settings

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.exceptions import Denied, NotAuthenticated
from accounts.models import KiteApp, SocketTicket, TradingAccount
from accounts.socket_consumer import BadMessage, FrameBudget
from accounts.tests.held_close import HeldClose
from market.lines import encode, name_of, split
from market.names import RedisNames
from streaming import hub as hubs
from streaming.client_messages import read_client_message
from streaming.consumers import Limits, TicksConsumer
from streaming.hub import HubTiming, hub
from streaming.outbox import FRAME, Pacing
from streaming.tests.conftest import MakeInstrument
from streaming.tests.fake_broker import until
from streaming.tests.ws_schemas import validator

NAMES = RedisNames("ticker")
NIFTY = {"underlying": "nifty 50", "expiry": "2026-12-01"}
OPTIONS, UNDERLYING = "nifty:2026-12-01", "nifty:underlying"


class QuickConsumer(TicksConsumer):
    """The same, with waits of milliseconds."""

    limits: ClassVar[Limits] = Limits(frames_per_second=1000, subscriptions=10, recheck=0.05, retry=0.02)
    pacing: ClassVar[Pacing] = Pacing(min_interval=0.01, never_acknowledged_interval=0.3, acknowledgement_timeout=0.5)
    refusal: ClassVar[Exception | None] = None
    ends_at: ClassVar[datetime | None] = None

    async def identify(self) -> Any:
        """Who may stream is another test's matter."""
        if self.refusal is not None:
            raise self.refusal
        return SimpleNamespace(name="user:1", ends_at=self.ends_at)


class Feed:
    """What a stream process leaves in Redis, without one."""

    def __init__(self, client: "redis.Redis") -> None:
        self.client = client
        self.seq = dict.fromkeys((OPTIONS, UNDERLYING), 0)

    async def begin(self) -> None:
        await self.client.set(NAMES.state("stream"), b"{}")
        await self.client.hset(NAMES.parts, mapping={"1": OPTIONS, "2": OPTIONS, "9": UNDERLYING})
        for part in self.seq:
            await self.update(part)

    async def update(self, part: str) -> int:
        """Publish one update of a part, its blob first. Returns its number."""
        self.seq[part] += 1
        line = {"schema": 1, "part": part, "underlying": "NIFTY", "epoch": 1, "seq": self.seq[part], "columns": {}}
        await self.client.set(NAMES.blob(part), encode(line | {"kind": "snapshot"}))
        await self.client.publish(NAMES.channel(part), encode(line | {"kind": "update"}))
        return self.seq[part]


@pytest.fixture
async def feed(async_valkey: "redis.Redis") -> Feed:
    feed = Feed(async_valkey)
    await feed.begin()
    return feed


class Browser:
    """A client, for short."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.communicator = communicator

    async def say(self, **message: Any) -> None:
        await self.communicator.send_json_to(message)

    async def hear(self, seconds: float = 5) -> Any:
        return await self.communicator.receive_json_from(seconds)

    async def closed(self, seconds: float = 5) -> int:
        """The close code; frames before it are passed over."""
        while True:
            event = await self.communicator.receive_output(seconds)
            if event["type"] == "websocket.close":
                return int(event["code"])

    async def subscribed(self) -> None:
        """Subscribe to the chain and acknowledge its snapshot."""
        await self.say(type="subscribe", id="1", chains=[NIFTY])
        assert (await self.hear())["type"] == "ack"
        frame = await self.hear()
        assert frame["type"] == "snapshot"
        await self.say(type="ack", frame=frame["frame"])


Dial = Callable[[], Awaitable[Browser]]


@pytest.fixture(autouse=True)
def quick_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hubs, "TIMING", HubTiming(look=0.05, retry=0.02))


@pytest.fixture
async def dial() -> AsyncIterator[Dial]:
    browsers: list[Browser] = []

    async def dial() -> Browser:
        communicator = WebsocketCommunicator(QuickConsumer.as_asgi(), "/ws/ticks/")
        await communicator.connect(timeout=5)
        browsers.append(Browser(communicator))
        return browsers[-1]

    yield dial
    for browser in browsers:
        if not browser.communicator.future.done():
            await browser.communicator.disconnect(timeout=5)


@pytest.fixture
async def browser(feed: Feed, dial: Dial) -> Browser:
    return await dial()


def seqs(frame: dict[str, Any]) -> dict[str, int]:
    return {line["part"]: line["seq"] for line in frame["parts"]}


async def test_a_subscription_is_answered_and_its_snapshot_comes_before_any_update(
    browser: Browser, feed: Feed
) -> None:
    await browser.say(type="subscribe", id="1", chains=[NIFTY])
    assert await browser.hear() == {"type": "ack", "id": "1", "parts": [OPTIONS, UNDERLYING]}
    snapshot = await browser.hear()
    assert (snapshot["type"], snapshot["frame"], snapshot["skipped"]) == ("snapshot", 1, 0)
    assert seqs(snapshot) == {OPTIONS: 1, UNDERLYING: 1}
    await browser.say(type="ack", frame=1)
    await wait_until_listening(feed)
    await feed.update(OPTIONS)
    assert seqs(await browser.hear()) == {OPTIONS: 2}


async def test_a_token_brings_its_part_and_its_underlying(browser: Browser) -> None:
    await browser.say(type="subscribe", id="t", tokens=[1, 2])
    assert (await browser.hear())["parts"] == [OPTIONS, UNDERLYING]


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ({"underlyings": ["nifty 50"]}, [UNDERLYING]),
        ({"bars": ["NIFTY"]}, ["nifty:bars"]),
        ({"analytics": [NIFTY]}, ["nifty:2026-12-01:analytics"]),
        ({"chains": [NIFTY], "bars": ["NIFTY"]}, [OPTIONS, "nifty:bars", UNDERLYING]),
    ],
)
async def test_what_there_is_of_an_underlying_is_asked_for_by_its_name(
    browser: Browser, feed: Feed, said: dict[str, Any], parts: list[str]
) -> None:
    validator("subscribe").validate({"type": "subscribe", "id": "1", **said})
    for part in parts:
        line = {"schema": 1, "part": part, "underlying": "NIFTY", "epoch": 1, "seq": 5, "kind": "any", "columns": {}}
        await feed.client.set(NAMES.blob(part), encode(line))
    await browser.say(type="subscribe", id="1", **said)
    assert (await browser.hear())["parts"] == parts
    assert seqs(await browser.hear()) == dict.fromkeys(parts, 5)
    await browser.say(type="unsubscribe", id="2", **said)
    assert (await browser.hear())["parts"] == []


@pytest.mark.django_db(transaction=True)
async def test_symbols_are_the_instruments_that_bear_them_today(
    browser: Browser, feed: Feed, make_instrument: MakeInstrument
) -> None:
    for token, symbol, fields in ((9, "NIFTY 50", {}), (2, "GONE", {"is_active": False}), (77, "UNSTREAMED", {})):
        await database_sync_to_async(make_instrument)(token, symbol, **fields)
    await browser.say(type="subscribe", id="1", symbols=["NSE:NIFTY 50"])
    assert await browser.hear() == {"type": "ack", "id": "1", "parts": [UNDERLYING]}
    assert (await browser.hear())["type"] == "snapshot"
    await browser.say(type="subscribe", id="2", symbols=["NSE:NIFTY 50", "NSE:GONE", "NSE:UNSTREAMED", "NSE:NEVER"])
    error = await browser.hear()
    validator("error").validate(error)
    assert (error["id"], error["code"]) == ("2", "unknown_symbol")
    assert error["details"] == {"symbols": ["NSE:GONE", "NSE:NEVER", "NSE:UNSTREAMED"]}
    await browser.say(type="unsubscribe", id="3", symbols=["NSE:NIFTY 50", "NSE:NEVER"])
    assert await browser.hear() == {"type": "ack", "id": "3", "parts": []}
    await database_sync_to_async(lambda: connection.close())()


async def test_over_a_limit_the_error_has_the_limit_and_the_use(browser: Browser) -> None:
    await browser.say(type="subscribe", id="1", tokens=[1, 2])
    assert (await browser.hear())["type"] == "ack"
    await browser.hear()
    await browser.say(type="subscribe", id="2", tokens=[1, 2, *range(100, 110)])
    error = await browser.hear()
    assert (error["code"], error["details"]) == ("too_many_subscriptions", {"limit": 10, "asked": 12, "in_use": 2})


async def test_after_an_unsubscription_nothing_of_it_comes(browser: Browser, feed: Feed) -> None:
    await browser.subscribed()
    await browser.say(type="subscribe", id="2", tokens=[9])
    assert (await browser.hear())["parts"] == [UNDERLYING]
    await browser.say(type="unsubscribe", id="3", chains=[NIFTY])
    assert (await browser.hear())["parts"] == [UNDERLYING]
    await wait_until_listening(feed)
    await feed.update(OPTIONS)
    await feed.update(UNDERLYING)
    assert seqs(await browser.hear()) == {UNDERLYING: 2}


async def test_a_client_with_two_frames_unacknowledged_gets_the_newest_next(browser: Browser, feed: Feed) -> None:
    await browser.subscribed()
    await wait_until_listening(feed)
    for expected in (2, 3):
        await feed.update(OPTIONS)
        assert seqs(await browser.hear()) == {OPTIONS: expected}
    for _ in range(5):
        newest = await feed.update(OPTIONS)
    await wait_until_seen(OPTIONS, newest)
    assert await browser.communicator.receive_nothing(0.05)
    await browser.say(type="ack", frame=3)
    frame = await browser.hear()
    assert (seqs(frame), frame["skipped"]) == ({OPTIONS: newest}, 4)
    assert frame["parts"][0]["kind"] == "snapshot"


async def test_a_slow_client_delays_no_other(feed: Feed, dial: Dial) -> None:
    slow, quick = await dial(), await dial()
    await slow.subscribed()
    await quick.subscribed()
    await wait_until_listening(feed)
    for number in range(2, 12):
        await feed.update(OPTIONS)
        frame = await quick.hear()
        assert (seqs(frame), frame["skipped"]) == ({OPTIONS: number}, 0)
        await quick.say(type="ack", frame=frame["frame"])


async def test_a_client_that_stops_acknowledging_is_closed(browser: Browser, feed: Feed) -> None:
    await browser.subscribed()
    await wait_until_listening(feed)
    for _ in range(QuickConsumer.pacing.unacknowledged):
        await feed.update(OPTIONS)
        assert (await browser.hear())["type"] == "update"
    assert await browser.closed() == 4408


async def test_a_client_that_acknowledges_many_frames_a_second_does_not_talk_too_much(
    feed: Feed, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuickConsumer, "limits", Limits(frames_per_second=3))
    browser = await dial()
    await browser.subscribed()
    await wait_until_listening(feed)
    for number in range(2, 12):
        await feed.update(OPTIONS)
        assert seqs(await browser.hear()) == {OPTIONS: number}
        await browser.say(type="ack", frame=number)
    for _ in range(10):
        await browser.say(type="ack", frame=11)  # which answers nothing any more
    assert await browser.closed() == 4429


async def test_a_client_that_is_gone_before_it_is_sent_something_is_no_error(
    feed: Feed, caplog: pytest.LogCaptureFixture
) -> None:
    said: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
    said.put_nowait({"type": "websocket.connect"})
    said.put_nowait(
        {"type": "websocket.receive", "text": json.dumps({"type": "subscribe", "id": "1", "chains": [NIFTY]})}
    )
    tried = asyncio.Event()

    async def send(event: dict[str, Any]) -> None:
        if event["type"] == "websocket.send" and '"ack"' not in event["text"]:
            tried.set()
            raise ConnectionResetError

    consumer = asyncio.create_task(QuickConsumer()({"type": "websocket"}, said.get, send))
    async with asyncio.timeout(5):
        await tried.wait()
        await asyncio.sleep(0.05)
        said.put_nowait({"type": "websocket.disconnect", "code": 1006})
        await consumer
    assert not hub().clients
    assert "failed" not in caplog.text


async def test_a_client_that_never_acknowledges_is_kept_and_gets_few_frames(browser: Browser, feed: Feed) -> None:
    await browser.say(type="subscribe", id="1", chains=[NIFTY])
    assert [(await browser.hear())["type"] for _ in range(2)] == ["ack", "snapshot"]
    await wait_until_listening(feed)
    for _ in range(10):
        newest = await feed.update(OPTIONS)
    assert await browser.communicator.receive_nothing(0.05)
    assert seqs(await browser.hear()) == {OPTIONS: newest}
    await asyncio.sleep(2 * QuickConsumer.pacing.acknowledgement_timeout)
    assert not browser.communicator.future.done()


async def test_many_clients_and_one_subscription_in_redis(feed: Feed, dial: Dial) -> None:
    for browser in [await dial() for _ in range(5)]:
        await browser.subscribed()
    await wait_until_listening(feed)
    channels = NAMES.channel(OPTIONS), NAMES.channel(UNDERLYING), NAMES.control
    assert await listeners(feed, *channels) == [1, 1, 1]


async def test_many_who_come_at_once_read_what_is_streamed_once(
    feed: Feed, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    browsers = [await dial() for _ in range(8)]
    reads, asked = 0, Counter[bool]()
    all_have_asked = asyncio.Event()
    feed_hub = hub()
    directory, hgetall = feed_hub.directory, feed_hub._reader.hgetall

    async def counted(*, afresh: bool = False) -> Any:
        asked[afresh] += 1
        return await directory(afresh=afresh)

    async def held_up(name: str) -> Any:
        nonlocal reads
        reads += 1
        await all_have_asked.wait()
        return await hgetall(name)

    monkeypatch.setattr(feed_hub, "directory", counted)
    monkeypatch.setattr(feed_hub._reader, "hgetall", held_up)
    monkeypatch.setattr(feed_hub, "_forget_directory", lambda: None)  # as it does once a connection is new
    for browser in browsers:
        await browser.say(type="subscribe", id="1", chains=[NIFTY])
    await until(lambda: asked[False] >= 8)
    all_have_asked.set()
    for browser in browsers:
        assert (await browser.hear())["type"] == "ack"
    assert reads == 1
    all_have_asked.clear()
    for browser in browsers:
        await browser.say(type="subscribe", id="2", tokens=[77])
    await until(lambda: asked[True] >= 8)
    all_have_asked.set()
    for browser in browsers:
        message = await browser.hear()
        assert (message if message["type"] == "error" else await browser.hear())["code"] == "unknown_token"
    assert reads == 3, "afresh for the first, and once more for all who asked while that was going on"


async def test_the_last_client_to_leave_ends_the_subscription(browser: Browser, feed: Feed) -> None:
    await browser.subscribed()
    await wait_until_listening(feed)
    await browser.communicator.disconnect(timeout=5)
    assert not hub().clients
    await eventually(lambda: listeners(feed, NAMES.channel(OPTIONS)), lambda counts: counts == [0])


async def test_who_comes_while_the_last_one_leaves_is_served_undisturbed(
    browser: Browser, feed: Feed, dial: Dial, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await browser.subscribed()
    await wait_until_listening(feed)
    closing = HeldClose(hub()._reader, monkeypatch)
    leaving = asyncio.create_task(browser.communicator.disconnect(timeout=5))
    await closing.begun.wait()
    later = await dial()
    await later.subscribed()
    await wait_until_listening(feed)
    closing.may_go_on.set()
    await leaving
    newest = await feed.update(OPTIONS)
    assert seqs(await later.hear()) == {OPTIONS: newest}
    assert "lost Redis" not in caplog.text


async def test_clients_of_a_hub_that_broke_off_come_again_to_a_new_one(
    browser: Browser, feed: Feed, dial: Dial, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    await browser.subscribed()

    def broken() -> None:
        raise KeyError

    monkeypatch.setattr(hub(), "count", broken)
    assert await browser.closed() == 1013
    assert "Hub broke off" in caplog.text
    await (await dial()).subscribed()


async def test_clients_are_told_when_no_stream_lives_and_when_one_does_again(browser: Browser, feed: Feed) -> None:
    await browser.subscribed()
    await feed.client.delete(NAMES.state("stream"))
    assert await browser.hear() == {"type": "status", "feed_state": "down"}
    await feed.client.set(NAMES.state("stream"), b"{}")
    assert await browser.hear() == {"type": "status", "feed_state": "live"}


async def test_what_was_missed_while_redis_was_away_is_made_good(browser: Browser, feed: Feed) -> None:
    await browser.subscribed()
    await wait_until_listening(feed)
    await feed.client.client_kill_filter(_type="pubsub")
    newest = await feed.update(OPTIONS)  # nobody listens
    assert seqs(await browser.hear()) == {OPTIONS: newest}


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ({"chains": [{"underlying": "NIFTY", "expiry": "2026-12-08"}]}, "unknown_chain"),
        ({"tokens": [1, 77]}, "unknown_token"),
        ({"underlyings": ["INFY"]}, "unknown_underlying"),
        ({"bars": ["INFY", "NIFTY"]}, "unknown_underlying"),
        ({"analytics": [{"underlying": "INFY", "expiry": "2026-12-01"}]}, "unknown_chain"),
        ({"tokens": list(range(1, 12))}, "too_many_subscriptions"),
        ({"tokens": "all"}, "bad_message"),
        ({"chains": [{"underlying": "NIFTY", "expiry": "soon"}]}, "bad_message"),
        ({"chains": [], "symbol": "x"}, "bad_message"),
        ({"underlyings": [""]}, "bad_message"),
        ({"bars": [7]}, "bad_message"),
        ({"symbols": ["INFY"]}, "bad_message"),
        ({"symbols": ["NSE:" + "X" * 65]}, "bad_message"),
        ({"symbols": ["NSE:INFY\u0000"]}, "bad_message"),
    ],
)
async def test_what_cannot_be_subscribed_is_an_error_and_the_connection_stays(
    browser: Browser, said: dict[str, Any], code: str
) -> None:
    await browser.say(type="subscribe", id="7", **said)
    error = await browser.hear()
    validator("error").validate(error)
    assert (error["type"], error["id"], error["code"]) == ("error", "7", code)
    await browser.subscribed()


BAD_FRAMES: list[dict[str, Any]] = [
    {"text": "x" * 65537},
    {"text": '{"type":"ack","frame":NaN}'},
    {"text": "[" * 60000},
    {"bytes": b"\x00"},
    {"text": '{"type":"ack","frame":99}'},
]


@pytest.mark.parametrize("frame", BAD_FRAMES)
async def test_frames_outside_the_protocol_are_errors_and_close_the_socket_when_they_repeat(
    browser: Browser, frame: dict[str, Any]
) -> None:
    for _ in range(QuickConsumer.limits.bad_frames):
        await browser.communicator.send_input({"type": "websocket.receive", **frame})
        assert (await browser.hear())["type"] == "error"
    assert await browser.closed() == 4400


async def test_a_client_that_talks_too_much_is_closed(feed: Feed, dial: Dial, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuickConsumer, "limits", Limits(frames_per_second=5))
    browser = await dial()
    for _ in range(11):
        await browser.say(type="unsubscribe", id="1", tokens=[1])
    assert await browser.closed() == 4429


def test_a_second_of_silence_earns_a_seconds_worth_of_frames() -> None:
    now = [0.0]
    budget = FrameBudget(20, lambda: now[0])
    assert sum(budget.spend() for _ in range(100)) == 40
    now[0] = 10.0
    assert sum(budget.spend() for _ in range(100)) <= 40


@pytest.mark.parametrize(("limits", "of"), [({"sockets_per_principal": 1}, "principal"), ({"sockets": 1}, "process")])
async def test_a_principal_and_a_process_have_only_so_many_sockets(
    feed: Feed, dial: Dial, monkeypatch: pytest.MonkeyPatch, limits: dict[str, int], of: str
) -> None:
    monkeypatch.setattr(QuickConsumer, "limits", Limits(**limits))
    await dial()
    refused = await dial()
    error = await refused.hear()
    assert (error["code"], error["details"]) == ("too_many_sockets", {"limit": 1, "in_use": 1, "of": of})
    assert await refused.closed() == 4429


async def test_a_right_that_is_taken_away_ends_the_socket(
    browser: Browser, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.subscribed()
    monkeypatch.setattr(QuickConsumer, "refusal", Denied())
    assert await browser.closed() == 4403


async def test_a_socket_is_closed_when_its_token_ends_and_not_at_the_next_look(
    feed: Feed, dial: Dial, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(QuickConsumer, "limits", replace(QuickConsumer.limits, recheck=60.0))
    monkeypatch.setattr(QuickConsumer, "ends_at", datetime.now(UTC) + timedelta(seconds=0.3))
    browser = await dial()
    await browser.subscribed()
    monkeypatch.setattr(QuickConsumer, "refusal", NotAuthenticated())
    assert await browser.closed() == 4401


@pytest.mark.django_db(transaction=True)
async def test_a_ticket_in_the_sub_protocol_opens_one_socket(feed: Feed, settings: Settings) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://desk.example"]
    owner = await User.objects.acreate(username="asha")
    app = await KiteApp.objects.acreate(api_key="key", label="App")
    account = await TradingAccount.objects.acreate(kite_user_id="AB1234", label="A", app=app, owner=owner)
    key, _ = await database_sync_to_async(create_api_key)(
        owner=owner, label="k", scopes=[Action.STREAM], accounts=[account]
    )
    _, text = await database_sync_to_async(SocketTicket.objects.issue)(
        scopes=[Action.STREAM], origin="https://desk.example", api_key=key
    )

    async def dial() -> tuple[WebsocketCommunicator, str | None]:
        communicator = WebsocketCommunicator(
            TicksConsumer.as_asgi(),
            "/ws/ticks/",
            headers=[(b"origin", b"https://desk.example")],
            subprotocols=["ticker.v1", f"ticket.{text}"],
        )
        accepted, subprotocol = await communicator.connect(timeout=5)
        assert accepted
        return communicator, subprotocol

    communicator, subprotocol = await dial()
    assert subprotocol == "ticker.v1", "the ticket itself is never repeated"
    browser = Browser(communicator)
    await browser.say(type="subscribe", id="1", chains=[NIFTY])
    assert (await browser.hear())["type"] == "ack"
    again, _ = await dial()
    assert await Browser(again).closed() == 4401
    await communicator.disconnect(timeout=5)
    await database_sync_to_async(lambda: connection.close())()


async def test_a_database_that_is_away_cuts_nobody_off(
    browser: Browser, feed: Feed, monkeypatch: pytest.MonkeyPatch
) -> None:
    await browser.subscribed()
    await wait_until_listening(feed)
    monkeypatch.setattr(QuickConsumer, "refusal", OperationalError("the connection is closed"))
    await asyncio.sleep(2 * QuickConsumer.limits.recheck)
    await feed.update(OPTIONS)
    assert seqs(await browser.hear()) == {OPTIONS: 2}


async def test_nobody_we_know_is_told_so(async_valkey: "redis.Redis") -> None:
    communicator = WebsocketCommunicator(TicksConsumer.as_asgi(), "/ws/ticks/")
    await communicator.connect(timeout=5)
    browser = Browser(communicator)
    assert (await browser.hear())["code"] == "not_authenticated"
    assert await browser.closed() == 4401


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(("scope", "allowed"), [(Action.STREAM, True), (Action.READ, False)])
async def test_a_key_needs_the_right_to_stream(feed: Feed, scope: Action, allowed: bool) -> None:
    owner = await User.objects.acreate(username="asha")
    app = await KiteApp.objects.acreate(api_key="key", label="App")
    account = await TradingAccount.objects.acreate(kite_user_id="AB1234", label="Asha", app=app, owner=owner)
    _, key = await database_sync_to_async(create_api_key)(
        owner=owner, label="Bot", scopes=[scope], accounts=[account], valid_for=timedelta(days=1)
    )
    communicator = WebsocketCommunicator(TicksConsumer.as_asgi(), "/ws/ticks/", headers=[(b"x-api-key", key.encode())])
    await communicator.connect(timeout=5)
    browser = Browser(communicator)
    if allowed:
        await browser.subscribed()
        await communicator.disconnect(timeout=5)
    else:
        assert await browser.closed() == 4403
    # The communicator keeps Channels from closing connections, and this one would keep the test database from going.
    await database_sync_to_async(lambda: connection.close())()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
near_messages = st.fixed_dictionaries(
    {"type": st.sampled_from(["subscribe", "unsubscribe", "ack"]) | json_values},
    optional=dict.fromkeys(
        ("id", "chains", "tokens", "underlyings", "bars", "analytics", "symbols", "frame"), json_values
    ),
)


@given(st.text(max_size=50) | json_values.map(json.dumps) | near_messages.map(json.dumps))
def test_whatever_a_client_sends_is_a_message_or_a_typed_error(text: str) -> None:
    try:
        read_client_message(text)
    except BadMessage as exc:
        assert exc.code == "bad_message"


async def wait_until_listening(feed: Feed) -> None:
    """The hub's subscription runs beside the client's; what is published before it is made good by the snapshot."""
    channels = [NAMES.channel(part) for part in {OPTIONS, UNDERLYING} & set(hub()._followers)]
    await eventually(lambda: listeners(feed, *channels), all)


async def wait_until_seen(part: str, seq: int) -> None:
    """Until the hub has had a line."""
    await until(lambda: hub()._newest.get(part) == (1, seq))


async def listeners(feed: Feed, *channels: str) -> list[int]:
    """How many subscriptions each channel has."""
    return [count for _, count in await feed.client.pubsub_numsub(*channels)]


async def eventually(ask: Callable[[], Awaitable[list[int]]], good: Callable[[list[int]], bool]) -> None:
    """Ask until the answer is good."""
    async with asyncio.timeout(5):
        while not good(await ask()):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)


async def test_a_client_that_asks_for_bytes_gets_the_lines_as_they_came(feed: Feed) -> None:
    communicator = WebsocketCommunicator(QuickConsumer.as_asgi(), "/ws/ticks/?form=binary")
    await communicator.connect(timeout=5)
    await communicator.send_json_to({"type": "subscribe", "id": "1", "chains": [NIFTY]})
    assert (await communicator.receive_json_from(5))["type"] == "ack"
    frame = await communicator.receive_from(5)
    assert FRAME.unpack_from(frame) == (1, True, 1, 0)
    stored = [await feed.client.get(NAMES.blob(part)) for part in (OPTIONS, UNDERLYING)]
    assert split(frame[FRAME.size :]) == stored
    await communicator.send_json_to({"type": "ack", "frame": 1})
    await wait_until_listening(feed)
    seq = await feed.update(OPTIONS)
    frame = await communicator.receive_from(5)
    assert FRAME.unpack_from(frame)[:3] == (1, False, 2)
    assert [name_of(line)[1:] for line in split(frame[FRAME.size :])] == [(1, seq)]
    await communicator.disconnect(timeout=5)


async def test_a_form_that_there_is_not_is_refused(feed: Feed) -> None:
    communicator = WebsocketCommunicator(QuickConsumer.as_asgi(), "/ws/ticks/?form=xml")
    await communicator.connect(timeout=5)
    assert (await communicator.receive_json_from(5))["code"] == "bad_message"
    assert await Browser(communicator).closed() == 4400


async def test_a_message_of_another_version_does_not_end_the_feed(
    feed: Feed, browser: Browser, caplog: pytest.LogCaptureFixture
) -> None:
    await browser.subscribed()
    await wait_until_listening(feed)
    await feed.client.publish(NAMES.channel(OPTIONS), b'{"part":"nifty:2026-12-01","epoch":9,"seq":9}')
    seq = await feed.update(OPTIONS)
    assert seqs(await browser.hear()) == {OPTIONS: seq}
    assert "is not understood: a line of version 123" in caplog.text
