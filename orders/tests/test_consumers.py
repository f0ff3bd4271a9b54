"""Clients of `/ws/orders/`: every row, in order, once; slow ones, bad ones, and those who come back."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from uuid import UUID, uuid4

import pytest
import redis.asyncio as redis
from channels.db import database_sync_to_async
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.urls import path
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, FormatChecker
from pytest_django import Settings

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.models import ApiKey, KiteApp, TradingAccount
from accounts.socket_consumer import BadMessage, SocketLimits
from accounts.tests.held_close import HeldClose
from orders import ledger, news_hub
from orders.broker_orders import record_broker_update
from orders.consumers import OrdersConsumer
from orders.halts import Scope, set_state
from orders.models import OrderNews, OrderTask, TradingState
from orders.news import Kind, give_numbers, news_after
from orders.news_bell import channel
from orders.news_hub import HubTiming
from orders.news_messages import Ack, Subscribe, read_client_message
from orders.news_window import Pacing, Window
from orders.tests.conftest import Submit

SCHEMAS = Path(__file__).parents[2] / "docs" / "schemas" / "ws"
pytestmark = pytest.mark.django_db(transaction=True)


class QuickConsumer(OrdersConsumer):
    """The same, with waits of milliseconds."""

    limits: ClassVar[SocketLimits] = SocketLimits(frames_per_second=1000, recheck=0.1)
    pacing: ClassVar[Pacing] = Pacing(never_acknowledged_interval=0.01, acknowledgement_timeout=0.5, rows_a_frame=10)


class Program:
    """A client, for short; all it hears is held against the schemas."""

    def __init__(self, communicator: WebsocketCommunicator) -> None:
        self.communicator = communicator
        self.rows: list[dict[str, Any]] = []
        self.acknowledges = True

    async def say(self, message: Any) -> None:
        await self.communicator.send_json_to(message)

    async def hear(self, seconds: float = 5) -> Any:
        message = await self.communicator.receive_json_from(seconds)
        name = "error" if message["type"] == "error" else f"orders-{message['type']}"
        schema = json.loads((SCHEMAS / f"{name}.json").read_text())
        Draft202012Validator(schema, format_checker=FormatChecker()).validate(message)
        if self.acknowledges and "frame" in message:
            await self.say({"ack": message["frame"]})
        return message

    async def subscribe(self, **asked: Any) -> Any:
        await self.say({"subscribe": {"accounts": "all"} | asked})
        return await self.hear()

    async def hear_rows(self, count: int) -> list[dict[str, Any]]:
        """The next rows, so many; frames of other types are none."""
        found: list[dict[str, Any]] = []
        while len(found) < count:
            message = await self.hear()
            if message["type"] == "news":
                found += message["rows"]
        assert len(found) == count
        return found

    async def closed(self, seconds: float = 5) -> int:
        while True:
            event = await self.communicator.receive_output(seconds)
            if event["type"] == "websocket.close":
                return int(event["code"])


Dial = Callable[..., Awaitable[Program]]


@pytest.fixture(autouse=True)
def quick_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(news_hub, "TIMING", HubTiming(poll=0.2, gather=0.0, retry=0.05))


@pytest.fixture
def key(account: TradingAccount) -> str:
    _, text = create_api_key(owner=account.owner, label="k", scopes=[Action.READ], accounts=[account])
    return text


@pytest.fixture
async def dial(key: str, async_valkey: "redis.Redis") -> AsyncIterator[Dial]:
    programs: list[Program] = []
    routes = URLRouter(
        [path("ws/orders/", QuickConsumer.as_asgi()), path("ws/orders/<uuid:account>", QuickConsumer.as_asgi())]
    )

    async def dial(address: str = "/ws/orders/", *, by: str = key) -> Program:
        communicator = WebsocketCommunicator(routes, address, headers=[(b"x-api-key", by.encode())])
        await communicator.connect(timeout=5)
        programs.append(Program(communicator))
        return programs[-1]

    yield dial
    for program in programs:
        if not program.communicator.future.done():
            await program.communicator.disconnect(timeout=5)
    # The communicator keeps Channels from closing connections, and this one would keep the test database from going.
    await database_sync_to_async(lambda: connection.close())()


Write = Callable[[int], Awaitable[None]]


@pytest.fixture
def write(account: TradingAccount) -> Write:
    """Let so many rows of news be written, without orders."""

    def rows(count: int) -> None:
        OrderNews.objects.bulk_create(
            OrderNews(
                account=account,
                kind=Kind.TRADING_STATE,
                reference="account",
                payload={"state": "halted", "strategy": "", "reason": str(number), "set_by": "", "epoch": 1},
            )
            for number in range(count)
        )

    return database_sync_to_async(rows)  # type: ignore[no-any-return]


def seqs(rows: list[dict[str, Any]]) -> list[int]:
    return [row["seq"] for row in rows]


async def test_a_new_client_is_told_how_things_stand_and_then_each_change(
    dial: Dial, submit: Submit, account: TradingAccount
) -> None:
    task = await database_sync_to_async(submit)()
    await database_sync_to_async(set_state)(
        Scope(account, "another"), TradingState.State.REDUCING, actor="user:1", reason="a test"
    )
    program = await dial()
    begun = await program.subscribe()
    assert begun["accounts"] == {str(account.public_id): {"seq": 2, "resumed": False}}
    snapshot = await program.hear()
    assert (snapshot["seq"], [task["id"] for task in snapshot["tasks"]]) == (2, [str(task.public_id)])
    assert [(state["scope"], state["state"]) for state in snapshot["trading_states"]] == [("strategy", "reducing")]

    def carry_out() -> None:
        claim = ledger.claim(account, "w")
        assert claim is not None
        ledger.complete(claim, "151")
        row = {"order_id": "151", "status": "OPEN", "exchange": "NFO", "tradingsymbol": "X", "transaction_type": "BUY"}
        record_broker_update(account, row | {"quantity": 75, "tag": task.tag}, source="book")

    await database_sync_to_async(carry_out)()
    rows = await program.hear_rows(3)
    assert [(row["seq"], row["kind"], row["words"]) for row in rows] == [
        (3, "task", "Sending"),
        (4, "task", "At the broker"),
        (5, "broker_order", "Open"),
    ]
    assert rows[2]["data"]["task"] == rows[0]["reference"] == str(task.public_id)


async def test_who_comes_back_is_sent_all_that_was_missed_and_nothing_twice(
    dial: Dial, write: Write, account: TradingAccount
) -> None:
    name = str(account.public_id)
    program = await dial()
    await program.subscribe()
    await write(25)
    assert seqs(await program.hear_rows(25)) == list(range(1, 26))
    await program.communicator.disconnect()
    await write(40)  # more than one frame
    program = await dial()
    begun = await program.subscribe(last_seq={name: 20})
    assert begun["accounts"] == {name: {"seq": 20, "resumed": True}}
    await write(3)
    assert seqs(await program.hear_rows(48)) == list(range(21, 69))


async def test_many_rows_missed_come_from_the_table_while_new_ones_are_written(
    dial: Dial, write: Write, account: TradingAccount, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(news_hub, "ROWS_KEPT", 20)
    monkeypatch.setattr(QuickConsumer, "pacing", replace(QuickConsumer.pacing, rows_behind=50))
    await write(300)
    await database_sync_to_async(give_numbers)()
    program = await dial()
    await program.subscribe(last_seq={str(account.public_id): 0})  # far behind, but on its way
    for _ in range(5):
        await write(10)
    assert seqs(await program.hear_rows(350)) == list(range(1, 351))


async def test_what_was_cleared_away_is_not_passed_over_in_silence(
    dial: Dial, write: Write, account: TradingAccount
) -> None:
    await write(5)
    await database_sync_to_async(give_numbers)()
    await OrderNews.objects.filter(seq__lte=3).adelete()
    program = await dial()
    begun = await program.subscribe(last_seq={str(account.public_id): 1})
    assert begun["accounts"][str(account.public_id)] == {"seq": 5, "resumed": False}
    assert (await program.hear())["type"] == "snapshot"


async def test_without_redis_the_rows_come_with_the_next_look(
    dial: Dial, write: Write, settings: Settings, account: TradingAccount
) -> None:
    settings.REDIS_URL = "redis://127.0.0.1:9/0"
    program = await dial()
    await program.subscribe()
    await write(3)
    assert seqs(await program.hear_rows(3)) == [1, 2, 3]


async def test_a_bell_brings_them_at_once(
    dial: Dial, submit: Submit, monkeypatch: pytest.MonkeyPatch, async_valkey: "redis.Redis"
) -> None:
    monkeypatch.setattr(news_hub, "TIMING", HubTiming(poll=60.0, gather=0.0))
    program = await dial()
    await program.subscribe()
    await program.hear()
    for _ in range(500):
        if dict(await async_valkey.pubsub_numsub(channel()))[channel().encode()]:
            break
        await asyncio.sleep(0.01)
    await database_sync_to_async(submit)()
    assert seqs(await program.hear_rows(1)) == [1]


async def test_one_reader_serves_many_clients(dial: Dial, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = [await dial() for _ in range(5)]
    for program in programs:
        await program.subscribe()
    asked = 0

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal asked
        asked += 1
        return news_after(*args, **kwargs)

    monkeypatch.setattr(news_hub, "news_after", counted)
    await write(30)
    for program in programs:
        assert seqs(await program.hear_rows(30)) == list(range(1, 31))
    assert asked < 10
    assert len(news_hub.news_hub().feeds) == 1


async def test_a_client_that_stops_acknowledging_is_closed_and_loses_nothing(
    dial: Dial, write: Write, account: TradingAccount
) -> None:
    program = await dial()
    await program.subscribe()
    assert (await program.hear())["type"] == "snapshot"
    program.acknowledges = False
    await write(100)
    rows = await program.hear_rows(40)  # four frames, and no more without an acknowledgement
    assert await program.communicator.receive_nothing(0.1)
    assert await program.closed() == 4408
    again = await dial()
    await again.subscribe(last_seq={str(account.public_id): rows[-1]["seq"]})
    assert seqs(await again.hear_rows(60)) == list(range(41, 101))


async def test_a_client_too_far_behind_is_closed(dial: Dial, write: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = replace(QuickConsumer.pacing, rows_behind=20, acknowledgement_timeout=60.0)
    monkeypatch.setattr(QuickConsumer, "pacing", slow)
    program = await dial()
    await program.subscribe()
    await program.hear()
    await write(1)
    await program.hear_rows(1)
    await asyncio.sleep(0.05)
    await write(200)
    assert await program.closed() == 4408


async def test_a_client_that_never_acknowledges_is_sent_every_row_all_the_same(dial: Dial, write: Write) -> None:
    program = await dial()
    program.acknowledges = False
    await program.subscribe()
    await write(100)
    assert seqs(await program.hear_rows(100)) == list(range(1, 101))


async def test_an_address_with_an_account_is_of_that_account_alone(
    dial: Dial, account: TradingAccount, write: Write
) -> None:
    program = await dial(f"/ws/orders/{account.public_id}")
    await program.say({"subscribe": {}})
    assert (await program.hear())["accounts"].keys() == {str(account.public_id)}
    other = await dial(f"/ws/orders/{account.public_id}")
    error = await other.subscribe(accounts=[str(uuid4())])
    assert error["code"] == "bad_message"
    foreign = await dial(f"/ws/orders/{uuid4()}")
    await foreign.say({"subscribe": {}})
    assert (await foreign.hear())["code"] == "unknown_account"


async def test_an_account_of_somebody_else_is_as_unknown_as_one_that_is_not_there(
    dial: Dial, account: TradingAccount
) -> None:
    stranger = await User.objects.acreate(username="stranger")
    app = await KiteApp.objects.acreate(api_key="other", label="")
    theirs = await TradingAccount.objects.acreate(kite_user_id="ZZ9999", label="", app=app, owner=stranger)
    program = await dial()
    answers = []
    for name in (theirs.public_id, UUID(int=7)):
        answer = await program.subscribe(accounts=[str(account.public_id), str(name)])
        assert answer["details"].pop("accounts") == [str(name)]
        answers.append(answer)
    assert answers[0] == answers[1]
    begun = await program.subscribe()
    assert list(begun["accounts"]) == [str(account.public_id)], "all that it may read, and nothing else"


async def test_a_socket_subscribes_once(dial: Dial) -> None:
    program = await dial()
    await program.subscribe()
    await program.hear()
    assert (await program.subscribe())["code"] == "already_subscribed"


async def test_a_key_that_is_revoked_ends_the_socket(dial: Dial) -> None:
    program = await dial()
    await program.subscribe()
    await ApiKey.objects.aupdate(revoked_at="2026-01-01T00:00:00Z")
    assert await program.closed() == 4401


async def test_an_account_that_may_not_be_read_any_more_is_not_sent_any_more(
    dial: Dial, account: TradingAccount, write: Write
) -> None:
    owner, app = account.owner, account.app
    other = await TradingAccount.objects.acreate(kite_user_id="XY1234", label="", app=app, owner=owner)
    made, text = await database_sync_to_async(create_api_key)(
        owner=owner, label="two", scopes=[Action.READ], accounts=[account, other]
    )
    program = await dial(by=text)
    assert len((await program.subscribe())["accounts"]) == 2
    assert [(await program.hear())["type"] for _ in range(2)] == ["snapshot", "snapshot"]
    await made.accounts.aremove(account)
    error = await program.hear()
    assert (error["code"], error["details"]) == ("account_gone", {"accounts": [str(account.public_id)]})
    await write(3)
    assert await program.communicator.receive_nothing(0.3)
    await made.accounts.aremove(other)
    assert await program.closed() == 4403


async def test_a_key_needs_the_right_to_read(dial: Dial, account: TradingAccount) -> None:
    _, text = await database_sync_to_async(create_api_key)(
        owner=account.owner, label="s", scopes=[Action.STREAM], accounts=[account]
    )
    assert await (await dial(by=text)).closed() == 4403
    assert await (await dial(by="nonsense")).closed() == 4401


async def test_a_database_that_is_away_for_a_moment_loses_nothing(
    dial: Dial, write: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = await dial()
    await program.subscribe()
    await program.hear()

    def away() -> None:
        raise OperationalError("the connection is closed")

    monkeypatch.setattr(news_hub, "give_numbers", away)
    await write(3)
    assert await program.communicator.receive_nothing(0.5)
    monkeypatch.setattr(news_hub, "give_numbers", give_numbers)
    assert seqs(await program.hear_rows(3)) == [1, 2, 3]


async def test_the_last_client_to_leave_ends_the_reading(dial: Dial) -> None:
    program = await dial()
    await program.subscribe()
    hub = news_hub.news_hub()
    assert hub.feeds
    await program.communicator.disconnect(timeout=5)
    assert (hub.clients, hub.feeds, hub.has_ended) == (set(), {}, True)


async def test_who_comes_while_the_last_one_leaves_is_served_undisturbed(
    dial: Dial, write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = await dial()
    await program.subscribe()
    closing = HeldClose(news_hub.news_hub()._redis, monkeypatch)
    leaving = asyncio.create_task(program.communicator.disconnect(timeout=5))
    await closing.begun.wait()
    later = await dial()
    await later.subscribe()
    closing.may_go_on.set()
    await leaving
    await write(3)
    assert seqs(await later.hear_rows(3)) == [1, 2, 3]
    assert "no bell" not in caplog.text


async def test_clients_of_a_hub_that_broke_off_come_again_to_a_new_one(
    dial: Dial, write: Write, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    program = await dial()
    await program.subscribe()

    def broken(found: object) -> None:
        raise KeyError(found)

    monkeypatch.setattr(news_hub.news_hub(), "_hand_on", broken)
    assert await program.closed() == 1013
    assert "NewsHub broke off" in caplog.text
    again = await dial()
    await again.subscribe()
    await write(2)
    assert seqs(await again.hear_rows(2)) == [1, 2]


async def test_many_open_tasks_come_in_several_frames(
    dial: Dial, submit: Submit, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orders.consumers.TASKS_A_FRAME", 2)
    for number in range(5):
        await database_sync_to_async(submit)(f"k{number}")
    program = await dial()
    await program.subscribe()
    frames = [await program.hear() for _ in range(3)]
    assert [(len(frame["tasks"]), frame["is_last"]) for frame in frames] == [(2, False), (2, False), (1, True)]
    assert await OrderTask.objects.acount() == 5


# --- messages and pacing, without a socket ---------------------------------------------------------------------------

NAME = "0b0f4a3e-51a5-4f0b-9d6c-0d2c6f1c1a11"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"subscribe": {"accounts": "all"}}', Subscribe(None)),
        (f'{{"subscribe": {{"accounts": ["{NAME}"]}}}}', Subscribe(frozenset({UUID(NAME)}))),
        (f'{{"subscribe": {{"accounts": "all", "last_seq": {{"{NAME}": 7}}}}}}', Subscribe(None, {UUID(NAME): 7})),
        ('{"ack": 3}', Ack(3)),
    ],
)
def test_what_clients_may_say(text: str, expected: Any) -> None:
    assert read_client_message(text) == expected
    name = "orders-ack" if "ack" in text else "orders-subscribe"
    Draft202012Validator(json.loads((SCHEMAS / f"{name}.json").read_text())).validate(json.loads(text))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"ack": true}',
        '{"ack": -1}',
        '{"ack": 1, "subscribe": {"accounts": "all"}}',
        '{"subscribe": {}}',
        '{"subscribe": {"accounts": []}}',
        '{"subscribe": {"accounts": ["x"]}}',
        f'{{"subscribe": {{"accounts": ["{NAME.upper()}"]}}}}',
        f'{{"subscribe": {{"accounts": "all", "last_seq": {{"{NAME}": 1.0}}}}}}',
        '{"subscribe": {"accounts": "all", "last_seq": {"x": 1}}}',
        '{"subscribe": {"accounts": "all", "since": 1}}',
        '{"subscribe": {"accounts": "all", "last_seq": {"' + NAME + '": 9223372036854775808}}}',
    ],
)
def test_anything_else_is_a_bad_message(text: str) -> None:
    with pytest.raises(BadMessage):
        read_client_message(text)


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.floats(allow_nan=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
)
_near = st.fixed_dictionaries(
    {},
    optional={
        "ack": _json,
        "subscribe": _json
        | st.fixed_dictionaries({}, optional={"accounts": _json | st.just("all"), "last_seq": _json}),
    },
)


@given(message=_json | _near)
def test_no_message_is_an_error_of_ours(message: Any) -> None:
    try:
        assert isinstance(read_client_message(json.dumps(message)), Subscribe | Ack)
    except BadMessage as exc:
        assert exc.is_malformed


@given(steps=st.lists(st.integers(0, 8), max_size=60))
def test_no_frame_goes_out_while_as_many_as_allowed_are_unacknowledged(steps: list[int]) -> None:
    """A step of 0 sends if that is allowed; any other acknowledges all but so many less one."""
    window, now, acknowledged = Window(Pacing(unacknowledged=4)), 0.0, 0
    for step in steps:
        now += 1
        if step == 0 or not window.frame:
            if window.may_send_at() <= now:
                assert not acknowledged or window.frame - acknowledged < 4
                window.sent(now)
        elif step <= window.frame:
            window.acknowledge(window.frame - step + 1)
            acknowledged = max(acknowledged, window.frame - step + 1)
            assert window.frame - acknowledged or window.overdue_at() == float("inf")
    with pytest.raises(ValueError, match="has not been sent"):
        window.acknowledge(window.frame + 1)
