"""The client against a service that the test plays: what it merges, acknowledges, asks for again, and gives up on."""

import asyncio
import json
import random
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast, get_args, get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st
from ticker_client import AccessRefused, Bar, Bars, Feed, Pauses, RequestRefused, Row, State, Update, connect
from websockets.asyncio.server import ServerConnection, serve

CLIENT = Path(__file__).resolve().parents[1]
SCHEMAS = CLIENT.parents[1] / "docs" / "schemas" / "ws"
OPTIONS = "nifty:2026-12-01"
NIFTY = ("NIFTY", "2026-12-01")
QUICK = Pauses(first=0.01, longest=0.02, refused=0.02)


def line(kind: str, prices: dict[int, float | None], part: str = OPTIONS, **more: Any) -> dict[str, Any]:
    """A part's line; even tokens are calls, and two neighbours are a strike."""
    tokens = list(prices)
    head = {"part": part, "underlying": "NIFTY", "expiry": "2026-12-01", "source": "live", "feed_state": "live"}
    columns = {
        "instrument_token": tokens,
        "last_price": list(prices.values()),
        "age_ms": [100] * len(tokens),
        "strike": [float(token // 2) for token in tokens],
        "is_call": [token % 2 == 0 for token in tokens],
    }
    known = {"kind": kind, "pricing": None, "epoch": 1, "seq": 1, "sent_at": 0.0, "market_time": 0.0}
    return head | known | {"columns": columns} | more


# --- merging ----------------------------------------------------------------------------------------------------------

PARTS = ("a:2026-12-01", "b:2026-12-01")
rows_of = {part: st.dictionaries(st.integers(100 * n, 100 * n + 5), st.floats(1, 9)) for n, part in enumerate(PARTS, 1)}
lines = st.lists(st.sampled_from(PARTS).flatmap(lambda part: st.tuples(st.just(part), st.booleans(), rows_of[part])))


@given(lines)
def test_rows_are_those_of_the_last_snapshot_with_every_later_update_over_them(
    said: list[tuple[str, bool, dict[int, float]]],
) -> None:
    state, expected = State(), dict[str, dict[int, float]]()
    for now, (part, is_whole, prices) in enumerate(said):
        before = {token: row["last_price"] for token, row in state.rows.items()}
        changed = state.apply(line("snapshot" if is_whole else "update", dict(prices), part), float(now))
        expected[part] = prices if is_whole else expected.get(part, {}) | prices
        after = {token: row["last_price"] for token, row in state.rows.items()}
        assert after == {token: price for known in expected.values() for token, price in known.items()}
        assert {token for token in before.keys() | after.keys() if before.get(token) != after.get(token)} <= changed
        assert {name: set(known.tokens) for name, known in state.parts.items()} == {
            name: set(known) for name, known in expected.items()
        }
    state.keep(frozenset(PARTS[:1]))
    assert state.rows.keys() == expected.get(PARTS[0], {}).keys()


def test_an_age_grows_from_the_moment_the_row_arrived_and_is_unknown_where_no_tick_was() -> None:
    state = State()
    state.apply(line("snapshot", {2: 1.0, 3: None}), 10.0)
    state.apply(line("update", {3: 5.0}), 12.0)
    assert [state.age_ms(token, 12.5) for token in (2, 3, 4)] == [2600, 600, None]
    unknown = line("update", {2: None})
    unknown["columns"]["age_ms"] = [None]
    state.apply(unknown, 13.0)
    assert state.age_ms(2, 13.0) is None


def test_a_chain_pairs_calls_and_puts_by_strike() -> None:
    state = State()
    state.apply(line("snapshot", {5: 1.0, 4: 2.0, 2: 3.0}), 0.0)
    state.apply(line("snapshot", {9: 1.0}, "nifty:2026-12-08", expiry="2026-12-08"), 0.0)
    chain = [
        (strike, call and call["last_price"], put and put["last_price"]) for strike, call, put in state.chain(*NIFTY)
    ]
    assert chain == [(1.0, 3.0, None), (2.0, 2.0, 1.0)]
    assert state.chain("NIFTY", "2027-01-01") == []


def test_a_row_has_the_names_of_the_protocol() -> None:
    definitions = json.loads((SCHEMAS / "part-line.json").read_text())["$defs"]
    names = {name for kind in ("option_columns", "underlying_columns") for name in definitions[kind]["properties"]}
    assert set(Row.__annotations__) == names


# --- the connection ---------------------------------------------------------------------------------------------------


class Service:
    """One connection at a time; the test says what the service does."""

    def __init__(self) -> None:
        self.heard: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.opened: asyncio.Queue[ServerConnection] = asyncio.Queue()
        self.socket: ServerConnection
        self.url = ""
        self.refuse: Callable[[ServerConnection], Awaitable[None]] | None = None

    async def serve(self, socket: ServerConnection) -> None:
        if self.refuse is not None:
            await self.refuse(socket)
            return
        self.socket = socket
        self.opened.put_nowait(socket)
        async for text in socket:
            self.heard.put_nowait(json.loads(text))

    async def hear(self) -> dict[str, Any]:
        return await asyncio.wait_for(self.heard.get(), 5)

    async def say(self, **message: Any) -> None:
        await self.socket.send(json.dumps(message))

    async def grant(self, *parts: str) -> dict[str, Any]:
        request = await self.hear()
        await self.say(type="ack", id=request["id"], parts=list(parts))
        return request

    async def send(self, frame: int, *parts: dict[str, Any], skipped: int = 0) -> None:
        await self.say(type=parts[0]["kind"], frame=frame, skipped=skipped, parts=parts)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = Service()
    async with serve(service.serve, "127.0.0.1", 0) as server:
        service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        yield service


@asynccontextmanager
async def subscribed(service: Service) -> AsyncIterator[Feed]:
    async with asyncio.timeout(10), connect(service.url, "key", pauses=QUICK) as feed:
        asking = asyncio.create_task(feed.subscribe(chains=[NIFTY]))
        assert (await service.grant(OPTIONS))["chains"] == [{"underlying": "NIFTY", "expiry": "2026-12-01"}]
        assert await asking == {OPTIONS}
        yield feed


async def test_the_key_goes_in_a_header_to_the_socket_of_the_address(service: Service) -> None:
    async with subscribed(service):
        request = service.socket.request
        assert request is not None
        assert (request.path, request.headers["X-API-Key"]) == ("/ws/ticks/", "key")


async def test_underlyings_symbols_and_bars_are_asked_for_by_name_and_bars_come_with_updates(service: Service) -> None:
    topics: dict[str, Any] = {"underlyings": ["NIFTY"], "symbols": ["NSE:INFY"], "bars": ["NIFTY"]}
    async with asyncio.timeout(10), connect(service.url, "key", pauses=QUICK) as feed:
        asking = asyncio.create_task(feed.subscribe(**topics))
        request = await service.grant("nifty:underlying", "infy:underlying", "nifty:bars")
        assert {name: request[name] for name in request if name not in ("type", "id")} == topics
        await asking
        columns: dict[str, list[Any]] = {
            "instrument_token": [7],
            "open": [1.0],
            "high": [2.0],
            "low": [0.5],
            "close": [1.5],
            "volume": [75],
        }
        bars = line("bars", {}, "nifty:bars", seconds=60, start=600, expiry=None) | {"columns": columns}
        await service.say(type="update", frame=1, skipped=0, parts=[bars])
        update = await anext(feed)
        bar = {name: values[0] for name, values in columns.items()}
        assert update.bars == (Bars("NIFTY", 60, 600, {7: cast("Bar", bar)}),)
        assert (update.tokens, dict(feed.rows)) == (frozenset(), {})
        asking = asyncio.create_task(feed.unsubscribe(bars=["NIFTY"]))
        assert (await service.hear())["type"] == "unsubscribe"
        asking.cancel()


def test_a_bar_has_the_names_of_the_protocol() -> None:
    columns = json.loads((SCHEMAS / "bars.json").read_text())["properties"]["columns"]["properties"]
    assert set(Bar.__annotations__) == columns.keys()


async def test_a_frame_is_acknowledged_when_the_next_update_is_asked_for(service: Service) -> None:
    async with subscribed(service) as feed:
        await service.send(1, line("snapshot", {2: 1.0, 3: 2.0}))
        assert await anext(feed) == Update("snapshot", "live", frozenset({2, 3}), frozenset({OPTIONS}))
        await service.send(2, line("update", {3: 4.0}), line("update", {3: 5.0}), skipped=7)
        await asyncio.sleep(0.02)
        assert service.heard.empty()
        assert feed.rows[3]["last_price"] == 2.0  # what came meanwhile waits for whoever asks
        update = await anext(feed)
        assert await service.hear() == {"type": "ack", "frame": 1}
        assert (set(update.tokens), update.skipped, feed.rows[3]["last_price"]) == ({3}, 7, 5.0)


async def test_every_second_frame_is_acknowledged(service: Service) -> None:
    async with subscribed(service) as feed:
        for number in range(1, 5):
            await service.send(number, line("snapshot", {2: float(number)}))
            await anext(feed)
        await service.say(type="status", feed_state="live")
        await anext(feed)
        assert [(await service.hear())["frame"] for _ in range(service.heard.qsize())] == [1, 3]


async def test_a_connection_that_breaks_comes_back_with_its_subscriptions(service: Service) -> None:
    async with subscribed(service) as feed:
        await service.send(1, line("snapshot", {2: 1.0}))
        await anext(feed)
        service.socket.transport.abort()
        assert await anext(feed) == Update("disconnected", "disconnected")
        assert feed.rows[2]["last_price"] == 1.0
        request = await service.grant(OPTIONS)
        assert (request["type"], request["chains"][0]["underlying"]) == ("subscribe", "NIFTY")
        await service.send(1, line("snapshot", {3: 2.0}))
        assert (await anext(feed)).tokens == {2, 3}
        assert set(feed.rows) == {3}
        assert feed.feed_state == "live"


async def test_frames_that_nobody_took_end_with_their_connection(service: Service) -> None:
    async with subscribed(service) as feed:
        await service.send(1, line("snapshot", {2: 1.0}))
        await service.socket.close(1001)
        await service.grant(OPTIONS)
        assert [(await anext(feed)).kind, set(feed.rows)] == ["disconnected", set()]
        await service.send(1, line("snapshot", {3: 1.0}))
        assert (await anext(feed)).tokens == {3}


async def test_what_is_not_given_again_is_told_once_and_asked_for_until_it_is(service: Service) -> None:
    async with subscribed(service) as feed:
        service.socket.transport.abort()
        assert (await anext(feed)).kind == "disconnected"
        for _ in range(3):
            request = await service.hear()
            error = {"code": "unknown_chain", "message": "Not streamed", "details": {}}
            await service.say(type="error", id=request["id"], **error)
        update = await anext(feed)
        assert update.kind == "refused"
        assert update.error is not None
        assert update.error.code == "unknown_chain"
        await service.grant(OPTIONS)
        await service.send(1, line("snapshot", {2: 1.0}))
        assert (await anext(feed)).kind == "snapshot"


async def test_a_request_that_is_refused_raises_and_is_not_asked_for_again(service: Service) -> None:
    async with subscribed(service) as feed:
        asking = asyncio.create_task(feed.subscribe(tokens=[5]))
        request = await service.hear()
        error = {"code": "unknown_token", "message": "Not streamed", "details": {"tokens": [5]}}
        await service.say(type="error", id=request["id"], **error)
        with pytest.raises(RequestRefused, match="unknown_token") as caught:
            await asking
        assert caught.value.details == {"tokens": [5]}
        service.socket.transport.abort()
        assert "chains" in await service.grant(OPTIONS)
        await asyncio.sleep(0.05)
        assert service.heard.empty()


async def test_what_is_unsubscribed_is_forgotten_and_stays_so_after_a_reconnection(service: Service) -> None:
    async with subscribed(service) as feed:
        more = asyncio.create_task(feed.subscribe(tokens=[9]))
        await service.grant("infy:underlying")
        await more
        await service.send(1, line("snapshot", {2: 1.0}), line("snapshot", {9: 1.0}, "infy:underlying"))
        await anext(feed)
        less = asyncio.create_task(feed.unsubscribe(chains=[NIFTY]))
        await service.send(2, line("update", {2: 2.0}))  # on its way when it was asked for
        assert (await service.grant("infy:underlying"))["type"] == "unsubscribe"
        assert await less == {"infy:underlying"}
        assert set(feed.rows) == {9}
        assert (await anext(feed)).tokens == frozenset()
        service.socket.transport.abort()
        request = await service.hear()
        while request["type"] == "ack":
            request = await service.hear()
        assert (request["type"], request["tokens"], "chains" in request) == ("subscribe", [9], False)


async def test_a_feed_that_is_down_says_so(service: Service) -> None:
    async with subscribed(service) as feed:
        await service.say(type="status", feed_state="down")
        assert await anext(feed) == Update("status", "down")
        assert feed.feed_state == "down"


async def test_analytics_are_kept_by_part(service: Service) -> None:
    async with subscribed(service) as feed:
        asking = asyncio.create_task(feed.subscribe(analytics=[NIFTY]))
        await service.grant(f"{OPTIONS}:analytics")
        await asking
        told = {"part": f"{OPTIONS}:analytics", "kind": "analytics", "analytics": {"max_pain": 25000.0}}
        await service.say(type="update", frame=1, skipped=0, parts=[told])
        assert (await anext(feed)).parts == {f"{OPTIONS}:analytics"}
        assert feed.analytics[f"{OPTIONS}:analytics"]["max_pain"] == 25000.0


async def test_callbacks_are_called_with_every_update_and_awaited_if_they_can_be(service: Service) -> None:
    async with subscribed(service) as feed:
        seen: list[str] = []

        async def later(update: Update) -> None:
            await asyncio.sleep(0)
            seen.append(f"later {update.kind}")

        feed.on_update(lambda update: seen.append(f"now {update.kind}"))
        feed.on_update(later)
        running = asyncio.create_task(feed.run())
        await service.send(1, line("snapshot", {2: 1.0}))
        assert await service.hear() == {"type": "ack", "frame": 1}
        await feed.close()
        await running
        assert seen == ["now snapshot", "later snapshot"]


@pytest.mark.parametrize("code", [4400, 4401, 4403])
async def test_a_client_that_may_not_come_is_told_why_and_does_not_come_again(service: Service, code: int) -> None:
    attempts = 0

    async def refuse(socket: ServerConnection) -> None:
        nonlocal attempts
        attempts += 1
        error: dict[str, Any] = {"id": None, "code": "not_authenticated", "message": "Log in first.", "details": {}}
        await socket.send(json.dumps({"type": "error"} | error))
        await socket.close(code)

    service.refuse = refuse
    async with asyncio.timeout(5), connect(service.url, "key", pauses=QUICK) as feed:
        with pytest.raises(AccessRefused, match=r"Log in first\.") as caught:
            await feed.subscribe(chains=[NIFTY])
        assert caught.value.code == code
        for _ in range(2):
            with pytest.raises(AccessRefused):
                await anext(feed)
        with pytest.raises(AccessRefused):
            await feed.subscribe(chains=[NIFTY])
        await asyncio.sleep(0.05)
    assert attempts == 1


@pytest.mark.parametrize("code", [1011, 1013, 4408, 4429])
async def test_after_any_other_end_it_comes_again(service: Service, code: int) -> None:
    async with subscribed(service) as feed:
        await service.socket.close(code)
        assert (await anext(feed)).kind == "disconnected"
        assert (await service.grant(OPTIONS))["type"] == "subscribe"


async def test_a_closed_feed_ends_its_loop(service: Service) -> None:
    async with subscribed(service) as feed:
        await feed.close()
        assert [update async for update in feed] == []
        with pytest.raises(RuntimeError, match="not open"):
            await feed.subscribe(chains=[NIFTY])


@given(st.integers(0, 10_000))
def test_a_pause_is_never_longer_than_a_bound_that_doubles_up_to_the_longest(attempt: int) -> None:
    bounds: list[tuple[float, float]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random, "uniform", lambda low, high: bounds.append((low, high)))
        Pauses(first=0.5, longest=30).before(attempt)
    assert bounds == [(0, min(30, 0.5 * 2**attempt if attempt < 10 else 30))]


def test_the_client_needs_nothing_of_the_service(tmp_path: Path) -> None:
    code = "import sys, ticker_client; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    environment = {"PYTHONPATH": str(CLIENT / "src")}
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "websockets" in done.stdout.split()
    assert not {"django", "numpy", "market", "streaming"} & set(done.stdout.split())


def test_the_readme_names_all_kinds_of_updates_and_the_errors() -> None:
    text = (CLIENT / "README.md").read_text()
    kinds = get_args(get_type_hints(Update)["kind"])
    assert [kind for kind in (*kinds, "RequestRefused", "AccessRefused") if f"`{kind}`" not in text] == []


@pytest.mark.parametrize("url", ["", "ticker.example.com", "ftp://ticker.example.com"])
def test_what_is_no_address_is_said_at_once(url: str) -> None:
    with pytest.raises(ValueError, match="not an address"):
        connect(url, "key")


def test_a_feed_needs_a_key_or_a_token() -> None:
    for keys in ((None, None), ("key", "token")):
        with pytest.raises(ValueError, match="api_key or a token"):
            connect("http://127.0.0.1", keys[0], token=keys[1])
