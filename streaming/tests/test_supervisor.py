"""A whole stream process, from a broker's frames to Redis, with a broker of the test's own."""

import asyncio
import itertools
import json
import logging
import math
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date
from functools import partial
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import pytest
import redis.asyncio as redis
from django.conf import settings
from django.contrib.auth.models import User
from django.db import OperationalError, connection

from accounts.models import KiteApp, TradingAccount
from market.exceptions import CalendarMissing
from market.gaps import Kept
from market.lines import decode, split
from market.names import RedisNames, analytics_part
from market.pricing_terms import PricingTerms, UnderlyingSource
from orders.models import BrokerOrder, PortfolioReading
from streaming import desired, feed, feed_account, supervisor
from streaming.allocation import Place, allocate
from streaming.bars import BarColumns
from streaming.broker_messages import Reader
from streaming.connection import AccessToken, kite_dial
from streaming.desired import Desired
from streaming.feed_account import FeedAccount
from streaming.gaps import GapWatch
from streaming.leases import HeldSlot, LeaseTiming
from streaming.minute_bars import MinuteBarWriter
from streaming.order_updates import OrderUpdates
from streaming.pipeline import TickPipeline
from streaming.placing import Asker, View, account_of_slot, homes_of
from streaming.pricing import PricingSettings
from streaming.shares import SlotRow
from streaming.state import encode as encode_state
from streaming.subscriptions import Streamed
from streaming.supervisor import StreamOptions, StreamProcess
from streaming.tests import chain, frames
from streaming.tests.fake_broker import HEARTBEAT, QUICK, TOKEN, FakeBroker, until
from streaming.tests.proxy import Proxy
from streaming.tests.ws_schemas import check
from streaming.wire_requests import Mode

NAMES = RedisNames("ticker")
ACCOUNT = FeedAccount(1, "AB1234", 1, "App")
OTHER = FeedAccount(2, "CD5678", 2, "Other app")
EPOCHS = itertools.count(7)
OPTIONS = f"nifty:{chain.EXPIRY}"
PARTS = (OPTIONS, "nifty:underlying")


def unknown(exchange: str, segment: str, day: date) -> None:
    raise CalendarMissing(exchange, segment, day)


class Database:
    """What the process would read from PostgreSQL."""

    def __init__(self) -> None:
        self.contracts = chain.contracts()
        self.accounts: tuple[FeedAccount, ...] = (ACCOUNT,)
        self.token: AccessToken | None = TOKEN
        self.lost: set[int] = set()  # slots whose accounts have no working socket
        self.pricing = PricingSettings()
        # Gaps go by sessions, of which nothing is known; all else takes the market for open.
        self.calendar: Any = SimpleNamespace(is_open=lambda *question: True, session_of=unknown)
        self.placement: dict[str, Place] = {}
        self.version = 0
        self.is_away = False

    def change(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, value)
        self.version += 1

    def mark(self) -> tuple[object, ...]:
        if self.is_away:
            raise OperationalError("no connection")
        return (self.version,)

    def load(self) -> Desired:
        mark = self.mark()
        streamed = [
            Streamed(
                instrument_token=one.instrument_token,
                exchange="NFO",
                tradingsymbol=one.tradingsymbol,
                segment="",
                instrument_type=one.instrument_type,
                underlying=one.underlying,
                expiry=one.expiry,
                strike=0,  # type: ignore[arg-type]  # the contract has it
                tick_size=0,  # type: ignore[arg-type]
                mode=Mode.FULL,
                derived=not one.is_option,
                pinned_to=None,
            )
            for one in self.contracts
        ]
        return Desired(mark, streamed, self.contracts, self.accounts, self.calendar, self.pricing)

    def read_token(self, account: FeedAccount) -> AccessToken | None:
        return self.token

    def look(self, asker: Asker, wanted: Desired) -> View | None:
        """As `placing.look`, for a process that is alone and holds every slot."""
        if self.mark() != wanted.mark:
            return None
        rows = []
        for app in dict.fromkeys(account.app_id for account in wanted.accounts):
            users = [account for account in wanted.accounts if account.app_id == app]
            for number in range(3):
                user = account_of_slot(users, number)
                assert user is not None
                pk = 3 * app + number
                rows.append(
                    SlotRow(pk, app, user.app, number, user.name, asker.owner, 1, 15, 25, is_lost=pk in self.lost)
                )
        homes = homes_of(rows)
        placement = allocate(wanted.demands, homes, [str(asker.owner)], self.placement)
        gains = placement.keys() - self.placement.keys()
        self.placement = placement
        return View(
            slots=rows,
            members={asker.owner: "stream"},
            placement=placement,
            taken=[row for row in rows if row.pk not in asker.held],
            epoch=next(EPOCHS) if gains else None,
        )


class StandingLeases:
    """Leases that nobody ends: what becomes of real ones is another test's matter."""

    def __init__(self, database: Database) -> None:
        self.owner = uuid4()
        self.name = "stream"
        self.timing = LeaseTiming()
        self.held: dict[int, HeldSlot] = {}
        self.still_dialled: frozenset[int] = frozenset()
        self._database = database

    def when_changed(self, tell: Callable[[], None]) -> None:
        pass

    def take(self, pk: int, *, app_id: int, number: int, epoch: int, sent_at: float) -> HeldSlot:
        slot = HeldSlot(pk, app_id=app_id, number=number, epoch=epoch, renewed_at=sent_at, fence=math.inf)
        self.held[pk] = slot
        return slot

    def tell_lost(self, slots: Collection[int]) -> bool:
        before, self._database.lost = self._database.lost, set(slots)
        return before != self._database.lost

    async def run(self) -> None:
        await asyncio.Event().wait()

    async def renew(self) -> bool:
        return True

    async def release(self, *slots: HeldSlot) -> None:
        pass

    async def leave(self) -> None:
        assert not any(slot.is_dialled for slot in self.held.values()), "given back before its socket was closed"


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch, valkey: object) -> Database:
    """With a Redis that knows of no other process's epochs."""
    database = Database()
    monkeypatch.setattr(feed_account, "read_token", database.read_token)
    return database


@pytest.fixture(autouse=True)
def no_tables(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Orders and bars are written to tables, which tests without a database refuse again and again."""
    if "account" not in request.fixturenames:
        updates = partial(OrderUpdates, take=lambda *_: None, want=lambda *_: None)
        monkeypatch.setattr(feed, "OrderUpdates", updates)
        monkeypatch.setattr(supervisor, "MinuteBarWriter", partial(MinuteBarWriter, write=lambda *_: 0))
        no_ledger = partial(GapWatch, take_over=lambda: Kept(None, ()), keep=lambda *_: None)
        monkeypatch.setattr(supervisor, "GapWatch", no_ledger)


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    async with FakeBroker().running() as broker:
        yield broker


def process_for(
    broker: FakeBroker,
    database: Database,
    redis_url: str = "",
    *,
    load: Callable[[], Desired] | None = None,
    **options: Any,
) -> StreamProcess:
    told = StreamOptions(
        redis_url=redis_url or settings.REDIS_URL,
        names=NAMES,
        source="simulated",
        window=0.01,
        look=0.1,
        settle=0,
        timing=replace(QUICK, silence=5),
    )
    return StreamProcess(
        replace(told, **options),
        dial=kite_dial(broker.root, QUICK),
        pipeline=TickPipeline(source="simulated", epoch=7, market_time=lambda: chain.NOW),
        leases=StandingLeases(database),
        load=load or database.load,
        place=database.look,
    )


@asynccontextmanager
async def running(process: StreamProcess) -> AsyncIterator[None]:
    """Run it beside the test, and stop it as a signal would."""
    stop = asyncio.Event()
    task = asyncio.create_task(process.run(stop))
    try:
        yield
        assert not task.done(), task
    finally:
        stop.set()
        async with asyncio.timeout(10):
            await task


def tick_frame() -> bytes:
    return frames.frame(
        *chain.underlying_packets(),
        *(chain.option_packet(strike, kind) for strike in chain.STRIKES for kind in ("CE", "PE")),
    )


async def lines_of(client: "redis.Redis", part: str) -> list[dict[str, Any]]:
    blob = cast("bytes | None", await client.get(NAMES.blob(part)))
    return [decode(line) for line in split(blob)] if blob else []


async def state_of(client: "redis.Redis") -> dict[str, Any]:
    found = await client.get(NAMES.state("stream"))
    return dict(json.loads(found)) if found else {}


async def eventually(ask: Callable[[], Any]) -> Any:
    """The first answer that is not empty."""
    async with asyncio.timeout(10):
        while not (answer := await ask()):  # noqa: ASYNC110 - what is waited for has no event
            await asyncio.sleep(0.005)
        return answer


async def test_frames_become_priced_lines_in_redis(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    async with running(process_for(broker, database)):
        await until(lambda: len(broker.modes) == len(database.contracts))
        assert set(broker.modes.values()) == {Mode.FULL}
        await broker.send(tick_frame())

        async def priced() -> list[dict[str, Any]]:
            return [
                line
                for line in await lines_of(async_valkey, OPTIONS)
                if None not in line["columns"]["delta"] and line["columns"]["delta"]
            ]

        line = (await eventually(priced))[0]
        check("part-line", line)
        assert (line["source"], line["underlying"]) == ("simulated", "NIFTY")
        assert line["epoch"] >= 7
        assert line["columns"]["implied_volatility"] == pytest.approx([0.14] * len(line["columns"]["strike"]), abs=0.01)


async def test_on_a_day_without_a_session_ticks_are_counted_and_show_nothing(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    database.calendar = SimpleNamespace(is_open=lambda *question: False, session_of=lambda *market: None)
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: len(broker.modes) == len(database.contracts))
        await broker.send(tick_frame())
        await until(lambda: process.counters["market_closed"] == len(database.contracts))
        assert process.state()["counters"]["market_closed"] == len(database.contracts)
    [line] = [line for line in await lines_of(async_valkey, OPTIONS) if line["kind"] == "snapshot"][:1]
    assert set(line["columns"]["last_price"]) == {None}


async def test_an_untraded_chain_is_there_before_its_first_tick(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    async with running(process_for(broker, database)):
        [line, *_] = await eventually(lambda: lines_of(async_valkey, OPTIONS))
        assert line["columns"]["strike"] == sorted([*chain.STRIKES, *chain.STRIKES])
        assert set(line["columns"]["last_price"]) == {None}
        assert await async_valkey.hget(NAMES.parts, str(chain.INDEX_TOKEN)) == b"nifty:underlying"


async def test_the_state_says_what_is_and_vanishes_with_a_clean_stop(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    async with running(process_for(broker, database)):
        await until(lambda: broker.connections)
        await broker.send(tick_frame())

        async def live() -> Any:
            state = await state_of(async_valkey)
            return state if state.get("feed_state") == "live" else None

        state = await eventually(live)
        assert state["running"]
        assert (state["active_subscriptions"], state["derived_subscriptions"]) == (12, 2)
        assert state["accounts"]["AB1234"]["status"] == "open"
        assert state["accounts"]["AB1234"]["last_tick_at"] > 0
        assert [socket["state"] for socket in state["sockets"]] == ["open"]
        parts = {part["name"]: part for part in state["parts"]}
        assert sum(part["rows"] for part in parts.values()) == 12
        assert all(part["updates"] and part["seq"] > 0 and part["last_tick_at"] > 0 for part in parts.values())
    assert await state_of(async_valkey) == {}


async def test_a_subscription_reaches_the_broker_within_a_second(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    async with running(process_for(broker, database, look=60)):
        await until(lambda: len(broker.modes) == 12)
        await eventually(lambda: has_listener(async_valkey))
        loop = asyncio.get_running_loop()
        began = loop.time()
        database.change(contracts=database.contracts[2:])
        await async_valkey.publish(NAMES.control, '{"type":"subscriptions_changed"}')
        await until(lambda: len(broker.modes) == 10)
        assert loop.time() - began < 1
        await eventually(lambda: has_parts(async_valkey, 10))


class HeldLoad:
    """Loading that waits, in the thread that it is done in, while `may_go_on` is not set."""

    def __init__(self, database: Database) -> None:
        self.count = 0
        self.is_held, self.may_go_on = threading.Event(), threading.Event()
        self.may_go_on.set()
        self._load = database.load

    def __call__(self) -> Desired:
        self.count += 1
        if not self.may_go_on.is_set():
            self.is_held.set()
            assert self.may_go_on.wait(30)
        return self._load()


async def test_however_many_ask_for_a_reload_while_one_goes_on_there_is_one_more(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    load = HeldLoad(database)
    process = process_for(broker, database, look=60, load=load)
    heard, on_control = Counter[str](), process._on_control

    def counted(message: dict[str, Any]) -> None:
        heard[message["type"]] += 1
        on_control(message)

    process._on_control = counted  # type: ignore[method-assign]
    async with running(process):
        await until(lambda: len(broker.modes) == 12)
        await eventually(lambda: has_listener(async_valkey))
        load.may_go_on.clear()
        database.change(contracts=database.contracts[2:])
        await async_valkey.publish(NAMES.control, '{"type":"subscriptions_changed"}')
        await until(load.is_held.is_set)
        for _ in range(100):
            await async_valkey.publish(NAMES.control, '{"type":"subscriptions_changed"}')
        await until(lambda: heard["subscriptions_changed"] >= 101)
        before = load.count
        load.may_go_on.set()
        await until(lambda: len(broker.modes) == 10)
        await asyncio.sleep(0.2)
        assert load.count == before + 1


async def test_a_stop_does_not_wait_for_a_reload_that_hangs(broker: FakeBroker, database: Database) -> None:
    load = HeldLoad(database)
    process, stop = process_for(broker, database, load=load), asyncio.Event()
    task = asyncio.create_task(process.run(stop))
    try:
        await until(lambda: len(broker.modes) == 12)
        load.may_go_on.clear()
        database.change(contracts=database.contracts[2:])
        await until(load.is_held.is_set)
        stop.set()
        async with asyncio.timeout(10):
            await task
        assert not load.may_go_on.is_set()
    finally:
        load.may_go_on.set()


async def test_a_change_that_nobody_announced_is_found(broker: FakeBroker, database: Database) -> None:
    async with running(process_for(broker, database)):
        await until(lambda: len(broker.modes) == 12)
        database.change(contracts=database.contracts[2:])
        await until(lambda: len(broker.modes) == 10)


async def test_while_redis_is_slow_windows_get_longer_before_anything_is_dropped_and_return_with_it(
    broker: FakeBroker, database: Database
) -> None:
    async with Proxy(settings.REDIS_URL).running() as proxy:
        process = process_for(broker, database, redis_url=proxy.url)
        async with running(process):
            await until(lambda: len(broker.modes) == 12)
            async with asyncio.TaskGroup() as group:
                ticking = group.create_task(tick_for_ever(broker))
                await until(lambda: process.counters["windows"] > 5)
                proxy.delay = 0.05
                await until(lambda: process.pace.window >= 0.04)
                await asyncio.sleep(0.5)
                assert process.publisher.dropped == 0
                assert process.counters["conflated"] > 0
                proxy.delay = 0.0
                await until(lambda: process.pace.window == 0.01)
                ticking.cancel()


async def tick_for_ever(broker: FakeBroker) -> None:
    while True:
        await broker.send(tick_frame())
        await asyncio.sleep(0.005)


async def test_a_stop_keeps_the_minute_as_far_as_it_went(
    broker: FakeBroker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[BarColumns] = []

    def write(bars: BarColumns, tokens: object) -> int:
        kept.append(bars)
        return len(bars)

    monkeypatch.setattr(supervisor, "MinuteBarWriter", partial(MinuteBarWriter, write=write))
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: len(broker.modes) == 12)
        await broker.send(tick_frame())
        await until(lambda: process.counters["ticks"] == 12)
        assert not kept
    assert [(bars.start, bars.seconds) for bars in kept] == [(chain.NOW, 60)]
    assert kept[0].span.is_partial.all()


async def test_a_database_that_is_away_stops_nothing(broker: FakeBroker, database: Database) -> None:
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: len(broker.modes) == 12)
        database.is_away = True
        await asyncio.sleep(3 * process.options.look)
        await broker.send(tick_frame())
        await until(lambda: process.counters["ticks"] == 12)


async def test_with_nobody_logged_in_it_waits_and_goes_on_with_the_login(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    database.token = None
    async with running(process_for(broker, database, look=60)):

        async def waiting() -> bool:
            accounts = (await state_of(async_valkey)).get("accounts", {})
            return bool(accounts.get("AB1234", {}).get("status") == "awaiting_token")

        await eventually(waiting)
        await eventually(lambda: has_listener(async_valkey))
        database.token = TOKEN
        await async_valkey.publish(NAMES.control, '{"type":"token_changed","account":"AB1234"}')
        await until(lambda: len(broker.modes) == 12)


async def test_without_an_account_it_runs_and_takes_the_first_that_appears(
    broker: FakeBroker, database: Database
) -> None:
    database.accounts = ()
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: process.pipeline.parts)
        assert not process.fleet.feeds
        assert process.state()["overflow"][OPTIONS] == "no account is streaming"
        database.change(accounts=(ACCOUNT,))
        await until(lambda: len(broker.modes) == 12)
        database.change(accounts=())
        await until(lambda: not broker.connections)


async def test_a_stop_in_the_middle_of_leaving_an_account_ends_everything(
    broker: FakeBroker, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    process, stop = process_for(broker, database), asyncio.Event()
    task = asyncio.create_task(process.run(stop))
    await until(lambda: len(broker.modes) == 12)
    end = feed._end

    async def stopped_meanwhile(task: "asyncio.Task[None]") -> None:
        stop.set()
        await end(task)

    monkeypatch.setattr(feed, "_end", stopped_meanwhile)
    database.change(accounts=())
    async with asyncio.timeout(10):
        await task


async def test_a_feed_that_falls_silent_is_called_stale_on_every_part(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    process = process_for(broker, database, stale=0.1)
    async with running(process):
        await until(lambda: broker.connections)
        await broker.send(tick_frame())
        await until(lambda: process.pipeline.feed_state == "live")
        await broker.send(HEARTBEAT)
        await until(lambda: process.pipeline.feed_state == "stale")
        assert process.state()["accounts"]["AB1234"]["status"] == "stalled"

        async def called_stale() -> bool:
            last = [line for part in PARTS for line in (await lines_of(async_valkey, part))[-1:]]
            are_stale = [line["feed_state"] == "stale" and line["kind"] == "snapshot" for line in last]
            return are_stale == [True] * len(PARTS)

        await eventually(called_stale)


async def test_bad_frames_are_counted_and_the_rest_is_kept(broker: FakeBroker, database: Database) -> None:
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: broker.connections)
        for frame in (b"\x00\x02" + tick_frame()[2:], b"\xff\xff\xff", frames.frame(frames.ltp(99 * 256 + 2, 100))):
            await broker.send(frame)
        await broker.send(tick_frame())
        await until(lambda: process.counters["unknown_token"] == 1 and process.counters["ticks"] >= 12)
        assert len(broker.handshakes) == 1
        # What was counted can be written down: a process that cannot say how it is would end.
        assert json.loads(encode_state(process.state()))["counters"]["unknown_token"] == 1


async def test_redis_going_away_disturbs_no_socket_and_everything_is_there_again_after(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    async with Proxy(settings.REDIS_URL).running() as proxy:
        process = process_for(broker, database, proxy.url)
        async with running(process):
            await until(lambda: broker.connections)
            await proxy.cut()
            for _ in range(3):
                await broker.send(tick_frame())
            await until(lambda: process.counters["ticks"] == 36)
            await async_valkey.flushall()  # it comes back empty
            await proxy.restore()
            await eventually(lambda: lines_of(async_valkey, OPTIONS))
            await eventually(lambda: has_parts(async_valkey, 12))
            assert len(broker.handshakes) == 1


async def test_what_was_received_before_a_stop_is_delivered(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    process = process_for(broker, database, window=60)  # no window closes by itself
    async with running(process):
        await until(lambda: broker.connections)
        await broker.send(tick_frame())
        await until(lambda: process.inbox.packets == 12)
    assert process.counters["ticks"] == 12
    assert (await lines_of(async_valkey, "nifty:underlying"))[-1]["columns"]["last_price"][0] == chain.SPOT


async def test_many_waiting_packets_close_the_window_early(broker: FakeBroker, database: Database) -> None:
    process = process_for(broker, database, window=60, window_packets=24)
    async with running(process):
        await until(lambda: broker.connections)
        for _ in range(2):
            await broker.send(tick_frame())
        await until(lambda: process.counters["ticks"] == 24)


async def test_a_part_that_fails_for_good_ends_the_process(broker: FakeBroker, database: Database) -> None:
    def broken() -> Desired:
        raise ZeroDivisionError

    database.load = broken  # type: ignore[method-assign]
    with pytest.raises(ExceptionGroup) as failed:
        async with asyncio.timeout(10):
            await process_for(broker, database).run(asyncio.Event())
    assert failed.group_contains(ZeroDivisionError)


@pytest.fixture
def account(transactional_db: None) -> TradingAccount:
    app = KiteApp.objects.create(api_key="appkey1", label="App")
    owner = User.objects.create_user("asha")
    return TradingAccount.objects.create(kite_user_id="AB1234", label="Asha", app=app, owner=owner)


async def test_an_order_that_a_socket_tells_of_is_in_the_tables_and_the_book_is_wanted(
    broker: FakeBroker, database: Database, account: TradingAccount
) -> None:
    database.change(accounts=(FeedAccount(account.pk, "AB1234", 1, "App"),))
    update = {
        "order_id": "1511", "user_id": "AB1234", "status": "COMPLETE", "exchange": "NFO", "tradingsymbol": "X",
        "transaction_type": "BUY", "quantity": 75, "filled_quantity": 75,
    }  # fmt: skip
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: broker.connections)
        await broker.send(json.dumps({"type": "order", "data": update}))
        await until(lambda: process.counters["order_updates"])
    # Stopped, and with it every thread that has written.
    assert await asyncio.to_thread(kept) == [("COMPLETE", 75, "socket", True)]


def kept() -> list[tuple[str, int, str, bool]]:
    try:
        is_wanted = PortfolioReading.objects.filter(wanted_at__isnull=False).exists()
        return [(one.status, one.filled_quantity, one.source, is_wanted) for one in BrokerOrder.objects.all()]
    finally:
        connection.close()


def test_the_brokers_texts_are_counted_and_none_raises(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    process_counters: Counter[str] = Counter()
    orders: list[Any] = []
    read = Reader("AB1234", process_counters, orders.append)
    for text in ('{"type":"order","data":{}}', '{"type":"error","data":"no"}', '{"type":"message","data":"hi"}',
                 '{"type":"app_code"}', "[]", "{"):  # fmt: skip
        read(text)
    assert process_counters == {
        "order_updates": 1, "broker_errors": 1, "broker_notices": 1, "texts_other": 1, "texts_unreadable": 2
    }  # fmt: skip
    assert "the broker says: no" in caplog.text
    assert orders == [{}], "it is for whoever keeps orders to say whether that is one"


async def has_listener(client: "redis.Redis") -> bool:
    return bool((await client.pubsub_numsub(NAMES.control))[0][1])


async def has_parts(client: "redis.Redis", count: int) -> bool:
    return bool(await client.hlen(NAMES.parts) == count)


async def test_new_terms_reprice_what_stands(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    async with running(process_for(broker, database)):
        await until(lambda: len(broker.modes) == len(database.contracts))
        await broker.send(tick_frame())

        async def pricing() -> dict[str, Any]:
            lines = await lines_of(async_valkey, OPTIONS)
            return dict(lines[-1]["pricing"]) if lines else {}

        async def on_the_forward() -> bool:
            return (await pricing()).get("underlying_source") == "parity-forward"

        async def on_the_spot() -> bool:
            now = await pricing()
            return (now.get("underlying_source"), now.get("rate")) == ("spot", 0.065)

        await eventually(on_the_forward)
        terms = PricingTerms(rate=0.065, underlying_source=UnderlyingSource.SPOT)
        database.change(pricing=PricingSettings(terms_of_underlying={"NIFTY": terms}))
        await eventually(on_the_spot)


async def test_a_change_that_broke_off_is_made_in_whole_the_next_time(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis", monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def next_epoch(above: int) -> int:
        asked.append(above)
        if len(asked) == 2:
            raise OperationalError("no connection")
        return above + 1

    monkeypatch.setattr(desired, "next_epoch", next_epoch)
    await async_valkey.hset(NAMES.writers, "blob", "1000000")  # the database was set back: its epochs are too low
    database.change(contracts=[one for one in chain.contracts() if not one.is_option])
    async with running(process_for(broker, database)):
        await until(lambda: len(broker.modes) == 2)
        terms = PricingTerms(rate=0.065, underlying_source=UnderlyingSource.SPOT)
        database.change(contracts=chain.contracts(), pricing=PricingSettings(terms))
        await until(lambda: len(broker.modes) == 12)
        await broker.send(tick_frame())

        lines = await eventually(lambda: lines_of(async_valkey, OPTIONS))
        assert lines[-1]["pricing"]["underlying_source"] == "spot"
        assert lines[-1]["epoch"] > 1_000_000
        assert len(asked) == 3


async def test_an_expirys_analytics_go_the_way_of_every_line(
    broker: FakeBroker, database: Database, async_valkey: "redis.Redis"
) -> None:
    async with async_valkey.pubsub() as heard, running(process_for(broker, database)):
        await heard.subscribe("ticker:nifty:analytics")
        await until(lambda: len(broker.modes) == len(database.contracts))
        await broker.send(tick_frame())
        [line] = await eventually(lambda: lines_of(async_valkey, analytics_part(OPTIONS)))
        check("analytics", line)
        assert line["analytics"]["atm_strike"] == 25_000.0

        async def message() -> Any:
            return await heard.get_message(ignore_subscribe_messages=True, timeout=1)

        assert decode((await eventually(message))["data"]) == line
        database.change(contracts=[one for one in chain.contracts() if not one.is_option])

        async def gone() -> bool:
            return await async_valkey.get(NAMES.blob(analytics_part(OPTIONS))) is None

        await eventually(gone)


async def test_an_analysis_that_fails_costs_no_tick(
    broker: FakeBroker,
    database: Database,
    async_valkey: "redis.Redis",
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: Any) -> None:
        raise ArithmeticError("a mistake")

    monkeypatch.setattr("streaming.analytics.analytics_of", fail)
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: len(broker.modes) == len(database.contracts))
        await broker.send(tick_frame())

        async def priced() -> bool:
            lines = await lines_of(async_valkey, OPTIONS)
            return any(line["columns"]["delta"][0] is not None for line in lines)

        await eventually(priced)
    assert process.counters["analyses_lost"] >= 1
    assert "an analysis was lost" in caplog.text
