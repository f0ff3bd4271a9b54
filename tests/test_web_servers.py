"""`/ws/ticks/` in a real web process, under Daphne as shipped and under uvicorn as `docs/serving.md` starts it.

What each client may do and is told is tested in `streaming/tests/test_consumers.py`; here, that servers and sockets
keep it: close codes, Origins, limits of size, and who reads slowly. Rows F66 to F70 of the fault matrix.
"""

import asyncio
import json
import math
import re
import statistics
import time
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta

import psutil
import pytest
from django.conf import settings
from django.contrib.auth.models import User
from django.test import Client as HttpClient
from pytest_django import DjangoDbBlocker

from accounts.actions import Action
from accounts.api_keys import create_api_key
from accounts.models import TradingAccount
from accounts.socket_consumer import SocketLimits
from benchmarks.browsers import BINARY, TEXT, Crowd
from benchmarks.feed import JSON, Feed
from benchmarks.web_servers import DAPHNE, SERVICE, UVICORN, command_of
from benchmarks.web_servers import keys as make_keys
from tests.order_processes import OrderProcesses, Process, database_url, wait_until
from tests.web_clients import clients, until
from tickerproject.local.ports import any_free, is_free

pytestmark = [pytest.mark.processes, pytest.mark.django_db(transaction=True)]
LARGEST = {DAPHNE: 2**20, UVICORN: 2**17}
"""Bytes of a frame that the server takes at all."""
DROPPED_SECONDS = {DAPHNE: 20, UVICORN: 45}
"""Until the server's pings have ended a client that reads nothing and never acknowledged."""
MANY_TOKENS = json.dumps({"type": "subscribe", "id": "1", "tokens": list(range(1, 10_001))}).encode()


class Web:
    """A web process that all tests of a server share."""

    def __init__(self, process: Process, port: int, server: str) -> None:
        self.process, self.port, self.server = process, port, server

    def metric(self, name: str) -> float:
        """Of a gauge or counter, 0 if it was never set."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/metrics", timeout=10) as answer:
            found = re.search(rf"^{re.escape(name)} (\S+)", answer.read().decode(), re.M)
        return float(found[1]) if found else 0.0

    def memory(self) -> int:
        return int(psutil.Process(self.process.running.pid).memory_info().rss)


@pytest.fixture(scope="module", params=[DAPHNE, UVICORN])
def web(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    django_db_setup: None,
    django_db_blocker: DjangoDbBlocker,
) -> Iterator[Web]:
    port = any_free()
    with django_db_blocker.unblock():
        environment = {"DATABASE_URL": database_url(), "REDIS_URL": settings.REDIS_URL, "LOG_LEVEL": "WARNING"}
    with OrderProcesses(tmp_path_factory.mktemp("web"), environment) as processes:
        process = processes.start(request.param, command_of(request.param, SERVICE, port))
        wait_until(lambda: not is_free(port) or not process.is_alive, 60, "no web server")
        assert process.is_alive, process.text[-3000:]
        yield Web(process, port, request.param)
        # uvicorn writes one down itself, of text that is none.
        raised = set(re.findall(r"^([\w.]+(?:Error|Exception|Disconnected)): ", process.text, re.M))
        assert raised <= {"UnicodeDecodeError"}, process.text[-5000:]


@pytest.fixture
def keys(transactional_db: None) -> list[str]:
    """Keys of as many principals as a process has clients at most."""
    return make_keys(SocketLimits().sockets)


@pytest.fixture
async def feed(keys: list[str]) -> AsyncIterator[Feed]:
    """What a stream leaves in Redis: messages of 20 kB."""
    async with Feed.through(settings.REDIS_URL) as feed:
        yield feed


async def seq_after(feed: Feed, updates: int) -> int:
    """Publish so many updates. The number of the last one."""
    for _ in range(updates):
        await feed.publish(JSON)
    return feed.pipeline.seq


def seqs(frame: dict[str, list[dict[str, int]]]) -> set[int]:
    return {line["seq"] for line in frame["parts"]}


# --- F70 --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opcode", "payload", "code"),
    [
        (TEXT, b'{"type":"ack","pad":"' + b"x" * (2**16 - 22) + b'"}', "frame_too_large"),
        (TEXT, MANY_TOKENS, "too_many_subscriptions"),
        (TEXT, b'{"type":"ack","frame":NaN}', "bad_message"),
        (TEXT, b"[" * 60_000, "bad_message"),
        (TEXT, b'{"type":"subscribe","id":"1","symbols":["NSE:NEVER"]}', "unknown_symbol"),
        (BINARY, bytes(100), "bad_message"),
    ],
    ids=["64 KiB and 1", "10,000 tokens", "NaN", "deep", "unknown symbol", "binary"],
)  # fmt: skip
async def test_what_no_client_should_send_is_an_error_and_the_connection_stays(
    web: Web, feed: Feed, keys: list[str], opcode: int, payload: bytes, code: str
) -> None:
    if code == "frame_too_large":
        assert len(payload) == 2**16 + 1
    async with clients(web.port, keys=keys) as [client]:
        client.browser.send(opcode, payload)
        assert (await client.hear("error"))["code"] == code
        await client.subscribed(feed.chain(JSON))


async def test_frames_that_no_client_should_send_end_the_connection_when_they_repeat(
    web: Web, feed: Feed, keys: list[str]
) -> None:
    async with clients(web.port, 2, keys=keys) as [nonsense, many]:
        for _ in range(SocketLimits().bad_frames):
            nonsense.browser.send(BINARY, b"\0")
        assert await nonsense.closed() == 4400
        for _ in range(100):
            many.browser.say(type="unsubscribe", id="1", tokens=[1])
        assert await many.closed() == 4429


async def test_what_is_larger_than_any_frame_or_no_text_is_not_even_handed_on(
    web: Web, feed: Feed, keys: list[str]
) -> None:
    async with clients(web.port, 2, keys=keys) as [large, garbled]:
        large.browser.send(TEXT, b"x" * (LARGEST[web.server] + 1))
        # A server may drop the connection before what it says about it has got through.
        assert await large.closed() in (1009, None)
        garbled.browser.send(TEXT, b"\xff\xfe")
        assert await garbled.closed() in (1007, None)


# --- F69 --------------------------------------------------------------------------------------------------------------


@pytest.fixture
def cookie(transactional_db: None) -> str:
    """Of a person who is logged in and may stream."""
    person = User.objects.create_superuser("meera")
    browser = HttpClient()
    browser.force_login(person)
    return f"{settings.SESSION_COOKIE_NAME}={browser.cookies[settings.SESSION_COOKIE_NAME].value}"


@pytest.mark.parametrize(
    ("identity", "origin", "code"),
    [
        ("nobody", "", 4401),
        ("wrong key", "", 4401),
        ("key", "https://elsewhere.example", 4403),
        ("cookie", "https://elsewhere.example", 4403),
        ("cookie", "", 4401),
        ("nobody", "own", 4401),
        ("cookie", "own", None),
        ("key", "", None),
    ],
)
async def test_who_may_connect_is_the_same_under_every_server(
    web: Web, feed: Feed, keys: list[str], cookie: str, identity: str, origin: str, code: int | None
) -> None:
    headers = {"nobody": {}, "wrong key": {"X-API-Key": "x" * 60}, "key": {}, "cookie": {"Cookie": cookie}}[identity]
    if origin:
        headers = headers | {"Origin": f"http://127.0.0.1:{web.port}" if origin == "own" else origin}
    async with clients(web.port, keys=keys if identity == "key" else (), headers=headers) as [client]:
        if code is None:
            await client.subscribed(feed.chain(JSON))
        else:
            assert (await client.hear("error"))["type"] == "error"
            assert await client.closed() == code


async def test_a_key_that_ends_ends_the_socket(web: Web, feed: Feed, keys: list[str]) -> None:
    def brief() -> str:
        account = TradingAccount.objects.get()
        owner = account.owner
        life = timedelta(seconds=3)
        return create_api_key(owner=owner, label="brief", scopes=[Action.STREAM], accounts=[account], valid_for=life)[1]

    text = await asyncio.to_thread(brief)
    async with clients(web.port, keys=[text]) as [client]:
        await client.subscribed(feed.chain(JSON))
        assert await client.closed() == 4401


# --- F67 --------------------------------------------------------------------------------------------------------------


async def test_a_client_that_reads_again_gets_the_newest_and_no_backlog(web: Web, feed: Feed, keys: list[str]) -> None:
    async with clients(web.port, 2, keys=keys, receive_buffer=4096) as [slow, quick]:
        for client in (slow, quick):
            await client.subscribed(feed.chain(JSON))
        slow.browser.read(on=False)
        newest = 0
        for _ in range(10):
            newest = await seq_after(feed, 1)
            await until(lambda newest=newest: newest in seqs(quick.heard[-1]))  # type: ignore[misc]
        before = len(slow.heard)
        slow.browser.read(on=True)
        await until(lambda: newest in seqs(slow.heard[-1]))
        late = slow.heard[before:]
        assert len(late) <= 3, "two that were on their way, and the newest"
        assert late[-1]["skipped"] >= 7


OPEN, CLOSED = "websocket_clients", 'websocket_clients_closed_total{code="4408"}'

# --- F66 --------------------------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_clients_that_stop_reading_are_ended_and_cost_the_others_nothing(
    web: Web, feed: Feed, keys: list[str]
) -> None:
    chain = feed.chain(JSON)
    published: dict[int, float] = {}
    waits: list[float] = []

    async def publish(seconds: float) -> list[float]:
        """Ten messages a second. How long each took to each of the fifty."""
        waits.clear()
        until_then = time.monotonic() + seconds
        while time.monotonic() < until_then:
            published[feed.pipeline.seq + 1] = time.monotonic()
            await feed.publish(JSON)
            await asyncio.sleep(0.1)
        return list(waits)

    def on_frame(browser: object, opcode: int, payload: memoryview) -> None:
        text = bytes(payload)
        if found := re.match(rb'{"type":"update","frame":(\d+).*?"seq":(\d+)', text):
            browser.acknowledge(int(found[1]))  # type: ignore[attr-defined]
            if (at := published.get(int(found[2]))) is not None:
                waits.append(time.monotonic() - at)
        elif found := re.match(rb'{"type":"snapshot","frame":(\d+)', text):
            browser.acknowledge(int(found[1]))  # type: ignore[attr-defined]

    others = await Crowd.at(web.port, "/ws/ticks/", 50, on_frame, keys=keys[:4])
    for browser in others.browsers:
        browser.say(type="subscribe", id="1", chains=[chain])
    await publish(3)
    before = await publish(6)
    stopped = 10
    try:
        async with (
            clients(web.port, stopped, keys=keys[4:5], receive_buffer=4096) as acknowledging,
            clients(web.port, stopped, keys=keys[5:6], receive_buffer=4096) as silent,
        ):
            for client in silent:
                client.acknowledges = False
            for client in (*acknowledging, *silent):
                await client.subscribed(chain)
            await publish(1)
            closed, everybody = await asyncio.to_thread(lambda: (web.metric(CLOSED), web.metric(OPEN)))
            memory = web.memory()
            began = time.monotonic()
            for client in (*acknowledging, *silent):
                client.browser.read(on=False)
            during, most, ended, dropped = list[float](), memory, math.inf, math.inf
            while time.monotonic() - began < DROPPED_SECONDS[web.server] + 5 and math.inf in (ended, dropped):
                during += await publish(1)
                most = max(most, web.memory())
                # In a thread: the others go on reading.
                if await asyncio.to_thread(web.metric, CLOSED) - closed >= stopped:
                    ended = min(ended, time.monotonic() - began)
                if await asyncio.to_thread(web.metric, OPEN) <= everybody - 2 * stopped:
                    dropped = min(dropped, time.monotonic() - began)
    finally:
        others.leave()
    assert ended <= 12 + 1  # looked at once a second
    assert dropped <= DROPPED_SECONDS[web.server] + 1
    assert most - memory <= 2 * stopped * 2**20
    usual, then = (statistics.quantiles(found, n=100)[98] for found in (before, during))
    assert then <= 1.2 * usual + 0.02, "with what the machine itself stalls"


# --- F68 --------------------------------------------------------------------------------------------------------------


@pytest.mark.long
async def test_five_hundred_clients_that_come_back_at_once_have_their_snapshots_within_ten_seconds(
    web: Web, feed: Feed, keys: list[str]
) -> None:
    chain = feed.chain(JSON)

    def ask() -> int:
        with urllib.request.urlopen(f"http://127.0.0.1:{web.port}/health/live", timeout=30) as answer:
            return int(answer.status)

    for _ in range(2):
        began = time.monotonic()
        asking = asyncio.gather(*(asyncio.to_thread(ask) for _ in range(4)))
        async with clients(web.port, 500, keys=keys, together=500) as crowd:
            for client in crowd:
                client.browser.say(type="subscribe", id="1", chains=[chain])
            await asyncio.gather(*(client.hear("snapshot", 60) for client in crowd))
            took = time.monotonic() - began
            assert set(await asking) == {200}
        await until(lambda: web.metric(OPEN) == 0)
    assert took <= 10
