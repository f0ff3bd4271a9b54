"""Clients of `/ws/health/`: who is told what, how often, and what happens to bad ones."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from typing import Any, ClassVar

import orjson
import pytest
import redis.asyncio as redis
from channels.db import database_sync_to_async
from channels.testing import WebsocketCommunicator
from django.conf import settings as django_settings
from django.contrib.auth.models import User
from django.db import OperationalError, connection, connections

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.exceptions import Denied
from accounts.models import KiteApp, SocketTicket, TradingAccount
from market.calendar_loading import load_calendar
from market.names import RedisNames
from streaming import health_hub as hubs
from streaming.health_consumer import HealthConsumer, HealthLimits
from streaming.health_hub import HealthHub
from streaming.health_reading import Reading
from streaming.tests.health_world import reading, socket, stream
from streaming.tests.ws_schemas import check, validator

KEY = RedisNames("ticker").state("stream-1")


class Looks:
    """What the hub looks at, without a service behind it; counts the looks."""

    def __init__(self) -> None:
        self.found = reading([stream([socket(), socket("CD5678 socket 1")])])
        self.count = 0
        self.fails: Exception | None = None

    def __call__(self) -> Reading:
        self.count += 1
        if self.fails:
            raise self.fails
        return self.found


class QuickConsumer(HealthConsumer):
    limits: ClassVar[HealthLimits] = HealthLimits(frames_per_second=1000, recheck=0.05)
    refusal: ClassVar[Exception | None] = None
    reads: ClassVar[frozenset[str]] = frozenset({"AB1234"})

    async def identify(self) -> Any:
        """Who may read is another test's matter."""
        if self.refusal is not None:
            raise self.refusal
        self._mine = self.reads
        return type("Somebody", (), {"name": "user:1", "ends_at": None})()


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Looks:
    looks = Looks()
    monkeypatch.setattr(hubs, "HealthHub", lambda: HealthHub(looks, look_seconds=0.02))
    return looks


@pytest.fixture
async def dial() -> AsyncIterator[Any]:
    opened: list[WebsocketCommunicator] = []

    async def dial() -> WebsocketCommunicator:
        opened.append(WebsocketCommunicator(QuickConsumer.as_asgi(), "/ws/health/"))
        await opened[-1].connect(timeout=5)
        return opened[-1]

    yield dial
    for communicator in opened:
        if not communicator.future.done():
            await communicator.disconnect(timeout=5)


async def closed(communicator: WebsocketCommunicator) -> int:
    """The close code; frames before it are passed over."""
    while True:
        event = await communicator.receive_output(5)
        if event["type"] == "websocket.close":
            return int(event["code"])


async def test_a_client_is_told_at_once_and_again_and_again(looks: Looks, dial: Any) -> None:
    communicator = await dial()
    frames = [await communicator.receive_json_from(5) for _ in range(3)]
    for frame in frames:
        check("health", frame)
    assert [frame["seq"] for frame in frames] == sorted({frame["seq"] for frame in frames})
    assert frames[0]["figures"]["health_clients"] == 1


async def test_many_clients_and_one_look(looks: Looks, dial: Any) -> None:
    clients = [await dial() for _ in range(5)]
    frames = [await client.receive_json_from(5) for client in clients]
    assert looks.count <= frames[-1]["seq"] + 1, "one look a reading, whatever the number of clients"
    assert len({orjson.dumps(frame) for frame in frames if frame["seq"] == frames[0]["seq"]}) == 1


async def test_clients_of_a_hub_that_broke_off_come_again_to_a_new_one(looks: Looks, dial: Any) -> None:
    communicator = await dial()
    await communicator.receive_json_from(5)
    running = hubs.health_hub()._running
    assert running is not None
    running.cancel()
    assert await closed(communicator) == 1013
    assert (await (await dial()).receive_json_from(5))["seq"] == 1


async def test_nobody_looks_when_the_last_client_has_left(looks: Looks, dial: Any) -> None:
    communicator = await dial()
    await communicator.receive_json_from(5)
    await communicator.disconnect(timeout=5)
    assert not hubs.health_hub().clients
    count = looks.count
    await asyncio.sleep(0.1)
    assert looks.count <= count + 1, "one may have been under way"


async def test_a_look_that_fails_ends_nothing(looks: Looks, dial: Any) -> None:
    looks.fails = RuntimeError("as never seen before")
    communicator = await dial()
    assert await communicator.receive_nothing(0.1)
    looks.fails = None
    assert (await communicator.receive_json_from(5))["type"] == "health"


async def test_each_is_told_the_names_of_those_accounts_only_that_he_may_read(
    looks: Looks, dial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = await (await dial()).receive_json_from(5)
    monkeypatch.setattr(QuickConsumer, "reads", frozenset({"CD5678"}))
    other = await (await dial()).receive_json_from(5)
    assert {row["account"] for row in mine["sockets"]} == {"AB1234", None}
    assert {row["account"] for row in other["sockets"]} == {"CD5678", None}
    assert "CD5678" not in str(mine)
    assert "AB1234" not in str(other)


async def test_whatever_a_client_says_is_an_error_and_ends_the_socket_when_it_repeats(looks: Looks, dial: Any) -> None:
    communicator = await dial()
    for _ in range(QuickConsumer.limits.bad_frames):
        await communicator.send_to(text_data='{"type":"subscribe"}')
    errors = []
    while True:
        event = await communicator.receive_output(5)
        if event["type"] == "websocket.close":
            break
        if '"error"' in event["text"]:
            errors.append(orjson.loads(event["text"]))
    assert event["code"] == 4400
    for error in errors:
        validator("error").validate(error)
    assert {error["code"] for error in errors} == {"bad_message"}


async def test_a_principal_has_only_so_many_sockets(looks: Looks, dial: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(QuickConsumer, "limits", HealthLimits(sockets_per_principal=1))
    await dial()
    assert await closed(await dial()) == 4429


async def test_a_right_that_is_taken_away_ends_the_socket(
    looks: Looks, dial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    communicator = await dial()
    await communicator.receive_json_from(5)
    monkeypatch.setattr(QuickConsumer, "refusal", Denied())
    assert await closed(communicator) == 4403


async def test_a_database_that_is_away_cuts_nobody_off(
    looks: Looks, dial: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    communicator = await dial()
    monkeypatch.setattr(QuickConsumer, "refusal", OperationalError("the connection is closed"))
    await asyncio.sleep(2 * QuickConsumer.limits.recheck)
    first = await communicator.receive_json_from(5)
    assert (await communicator.receive_json_from(5))["seq"] > first["seq"]


# --- the real look, and who may be told ------------------------------------------------------------------------------


@pytest.fixture
def desk(transactional_db: None) -> Iterator[TradingAccount]:
    """Asha's account, and another one that a process uses too."""
    load_calendar(django_settings.MARKET_DATA_DIR)
    app = KiteApp.objects.create(api_key="key", label="App")
    for name in ("asha", "ravi"):
        owner = User.objects.create(username=name)
        kite_user_id = {"asha": "AB1234", "ravi": "CD5678"}[name]
        TradingAccount.objects.create(kite_user_id=kite_user_id, label=name, app=app, owner=owner, is_trading=True)
    yield TradingAccount.objects.select_related("owner").get(kite_user_id="AB1234")
    connections.close_all()


def key_of(account: TradingAccount, scope: Action) -> str:
    _, text = create_api_key(
        owner=account.owner, label="Bot", scopes=[scope], accounts=[account], valid_for=timedelta(days=1)
    )
    return text


async def ended(communicator: WebsocketCommunicator) -> None:
    await communicator.disconnect(timeout=5)
    # The communicator keeps Channels from closing connections, and this one would keep the test database from going.
    await database_sync_to_async(lambda: connection.close())()


async def test_a_key_that_may_read_is_told_what_the_state_keys_say(
    desk: TradingAccount, async_valkey: "redis.Redis"
) -> None:
    await async_valkey.set(KEY, orjson.dumps(stream([socket(), socket("CD5678 socket 1")])))
    key = await database_sync_to_async(key_of)(desk, Action.READ)
    communicator = WebsocketCommunicator(
        HealthConsumer.as_asgi(), "/ws/health/", headers=[(b"x-api-key", key.encode())]
    )
    await communicator.connect(timeout=5)
    frame = await communicator.receive_json_from(10)
    check("health", frame)
    assert [row["name"] for row in frame["sockets"]] == ["AB1234, 1", "another account, 1"]
    assert [group["name"] for group in frame["meters"]] == ["asha", "Data calls of App"]
    assert "CD5678" not in str(frame)
    await async_valkey.delete(KEY)
    async with asyncio.timeout(5):
        while frame["summary"]["title"] != "No stream process is running":
            frame = await communicator.receive_json_from(5)
    await ended(communicator)


async def test_a_key_without_the_right_to_read_is_refused(desk: TradingAccount, async_valkey: "redis.Redis") -> None:
    key = await database_sync_to_async(key_of)(desk, Action.STREAM)
    communicator = WebsocketCommunicator(
        HealthConsumer.as_asgi(), "/ws/health/", headers=[(b"x-api-key", key.encode())]
    )
    await communicator.connect(timeout=5)
    assert await closed(communicator) == 4403
    await ended(communicator)


async def test_nobody_we_know_is_told_so(async_valkey: "redis.Redis") -> None:
    communicator = WebsocketCommunicator(HealthConsumer.as_asgi(), "/ws/health/")
    await communicator.connect(timeout=5)
    assert (await communicator.receive_json_from(5))["code"] == "not_authenticated"
    assert await closed(communicator) == 4401


async def test_a_ticket_opens_one_socket(desk: TradingAccount, async_valkey: "redis.Redis", settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://desk.example"]
    key, _ = await database_sync_to_async(create_api_key)(
        owner=desk.owner, label="k", scopes=[Action.READ], accounts=[desk]
    )
    _, text = await database_sync_to_async(SocketTicket.objects.issue)(
        scopes=[Action.READ], origin="https://desk.example", api_key=key
    )

    async def dial() -> WebsocketCommunicator:
        communicator = WebsocketCommunicator(
            HealthConsumer.as_asgi(),
            "/ws/health/",
            headers=[(b"origin", b"https://desk.example")],
            subprotocols=["ticker.v1", f"ticket.{text}"],
        )
        await communicator.connect(timeout=5)
        return communicator

    first = await dial()
    assert (await first.receive_json_from(10))["type"] == "health"
    again = await dial()
    assert await closed(again) == 4401
    await again.disconnect(timeout=5)
    await ended(first)
