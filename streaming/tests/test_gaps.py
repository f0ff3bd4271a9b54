"""Watching for outages: which are written down, from when to when, and why; and that nobody waits for it."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from functools import partial
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import OperationalError
from hypothesis import example, given
from hypothesis import strategies as st

from accounts import clock
from accounts.clock import IST
from market.calendar import Calendar, Session
from market.gaps import Cause, Kept, Outage
from market.hours import SessionDay
from streaming import supervisor
from streaming.connection import ConnectionState
from streaming.gaps import Feed, GapWatch, Socket
from streaming.tests.fake_broker import FakeBroker, until
from streaming.tests.test_supervisor import Database, process_for, running, tick_frame
from streaming.tests.test_supervisor import database as database
from streaming.tests.test_supervisor import no_tables as no_tables

OPEN, WAITING = ConnectionState.OPEN, ConnectionState.WAITING
TODAY = date(2026, 11, 27)
MARKETS = {
    "NSE": ("equity", time_of_day(9, 15), time_of_day(15, 30)),
    "MCX": ("commodity", time_of_day(9, 0), time_of_day(23, 55)),
}
CALENDAR = Calendar(
    SessionDay(exchange, segment, day, "regular", opens, closes, "test", verified=True)
    for exchange, (segment, opens, closes) in MARKETS.items()
    for day in (date(2026, 11, 26), TODAY)
)
EXCHANGES = {1: "NSE", 2: "NSE", 3: "MCX"}
NSE_TOKENS, MCX_TOKENS = (1, 2), (3,)
PATIENCE = 5.0


def at(hour: int, minute: int = 0, second: float = 0, *, day: date = TODAY) -> datetime:
    midnight = datetime.combine(day, time_of_day(), IST)
    return (midnight + timedelta(hours=hour, minutes=minute, seconds=second)).astimezone(UTC)


YESTERDAY = date(2026, 11, 26)


@dataclass
class World:
    """Sockets under a watch whose market time is system time; `go` lets seconds pass."""

    now: datetime
    kept: Kept
    sockets: dict[str, Socket] = field(default_factory=dict)
    is_silent: bool = False
    ledger: dict[tuple[str, datetime], Outage] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.watch = GapWatch(
            lambda: None, patience_seconds=PATIENCE, market_time=lambda moment: datetime.fromtimestamp(moment, UTC)
        )
        self.watch._started = self.now
        self.watch.begin(self.kept)

    def set(self, name: str, **changes: Any) -> None:
        before = self.sockets.get(name) or Socket(name, WAITING, NSE_TOKENS, None, flows=False)
        self.sockets[name] = replace(before, **changes)

    def tick(self, *names: str) -> None:
        """Data comes, through sockets that are open or have opened this moment."""
        for name in names:
            before = self.sockets[name]
            if not before.flows:
                self.watch.resumed(name, before.last_tick_at, self.now.timestamp())
            self.set(name, state=OPEN, flows=True, last_tick_at=self.now.timestamp())

    def lose(self, name: str) -> None:
        self.set(name, state=WAITING, flows=False)

    def look(self) -> None:
        feed = Feed(list(self.sockets.values()), EXCHANGES, CALENDAR, is_silent=self.is_silent)
        self.watch.judge(feed, self.now.timestamp())
        self.ledger |= {(one.feed, one.started_at): one for one in self.watch.waiting}

    def go(self, until: datetime, *ticking: str) -> None:
        """Second by second, with data on some sockets."""
        while self.now < until:
            self.now = min(until, self.now + timedelta(seconds=1))
            self.tick(*ticking)
            self.look()

    def skip(self, until: datetime) -> None:
        """Nothing happens, and it is looked at often enough: the seconds before are left out."""
        self.watch._judged_at = until.timestamp() - 1
        self.now = until
        self.look()

    @property
    def found(self) -> list[tuple[str, str, datetime, datetime | None]]:
        return [(one.feed, one.cause.value, one.started_at, one.ended_at) for one in self.ledger.values()]


@pytest.fixture
def world() -> World:
    """At eleven, with two sockets through which data comes."""
    world = World(at(11), Kept(at(11), ()))
    world.set("a", tokens=NSE_TOKENS)
    world.set("b", tokens=MCX_TOKENS)
    world.tick("a", "b")
    world.look()
    assert world.found == []
    return world


def test_a_socket_that_is_lost_is_an_outage_until_its_first_data(world: World) -> None:
    world.go(at(11, 0, 10), "a", "b")
    world.lose("a")
    world.go(at(11, 0, 13), "b")
    assert world.found == [("a", "disconnected", at(11, 0, 10), None)]
    world.set("a", state=OPEN)  # open, and nothing has come yet
    world.go(at(11, 0, 15), "b")
    world.now = at(11, 0, 15.3)
    world.tick("a")
    world.go(at(11, 0, 20), "a", "b")
    assert world.found == [("a", "disconnected", at(11, 0, 10), at(11, 0, 15.3))]
    [outage] = world.ledger.values()
    assert outage.tokens == frozenset(NSE_TOKENS)


def test_a_loss_between_two_looks_is_an_outage_too(world: World) -> None:
    world.go(at(11, 0, 10), "a", "b")
    world.now = at(11, 0, 10.2)
    world.lose("a")
    world.now = at(11, 0, 10.6)
    world.tick("a")
    world.go(at(11, 0, 12), "a", "b")
    assert world.found == [("a", "disconnected", at(11, 0, 10), at(11, 0, 10.6))]


def test_silence_counts_once_it_is_longer_than_patience_and_from_the_last_data_on(world: World) -> None:
    world.go(at(11, 0, 10), "a", "b")
    world.is_silent = True
    world.go(at(11, 0, 15))
    assert world.found == []
    world.go(at(11, 0, 17))
    world.is_silent = False
    world.go(at(11, 0, 18), "a", "b")
    assert world.found == [(name, "silent", at(11, 0, 10), at(11, 0, 18)) for name in ("a", "b")]


def test_who_waits_for_a_login_is_logged_out(world: World) -> None:
    world.lose("a")
    world.set("a", state=ConnectionState.AWAITING_TOKEN)
    world.go(at(11, 0, 2), "b")
    assert [cause for _, cause, *_ in world.found] == ["logged_out"]


def test_no_outage_goes_beyond_the_close_of_its_own_market(world: World) -> None:
    world.skip(at(15, 29, 50))
    world.tick("a", "b")
    world.lose("a")
    world.go(at(15, 30, 5), "b")
    assert world.found == [("a", "disconnected", at(15, 29, 50), at(15, 30))]
    world.lose("b")
    world.go(at(15, 30, 10))
    assert world.found[1:] == [("b", "disconnected", at(15, 30, 5), None)]


def test_out_of_hours_nothing_is_an_outage() -> None:
    world = World(at(17), Kept(at(16), ()))
    world.set("a")
    world.go(at(17, 0, 30))
    world.tick("a")  # the snapshots that follow a subscription
    world.go(at(17, 1))
    world.lose("a")
    world.go(at(17, 2))
    world.set("a", state=OPEN)
    world.is_silent = True
    world.go(at(17, 3))
    assert world.found == []


@pytest.mark.parametrize("first_tick", [1, 4])
def test_a_first_tick_may_take_a_moment_after_the_opening(first_tick: int) -> None:
    world = World(at(8), Kept(at(23, day=YESTERDAY), ()))
    world.set("a", state=OPEN)
    world.go(at(8, 0, 5))
    world.skip(at(9, 14, 59))
    world.is_silent = True
    world.go(at(9, 15, first_tick))
    world.is_silent = False
    world.go(at(9, 15, 10), "a")
    assert world.found == []


def test_a_socket_that_is_down_at_the_opening_is_an_outage_from_the_opening_on() -> None:
    world = World(at(8), Kept(at(23, day=YESTERDAY), ()))
    world.set("a")
    world.go(at(8, 0, 5))
    world.skip(at(9, 14, 59))
    world.go(at(9, 15, 3))
    world.go(at(9, 15, 4), "a")
    assert world.found == [("a", "disconnected", at(9, 15), at(9, 15, 4))]


def test_a_stream_that_was_away_in_market_hours_was_absent_until_its_first_data() -> None:
    world = World(at(11), Kept(at(10, 40), ()))
    world.set("a", state=ConnectionState.CONNECTING)
    world.go(at(11, 0, 2))
    assert world.found == [("a", "absent", at(10, 40), None)]
    world.go(at(11, 0, 3), "a")
    assert world.found == [("a", "absent", at(10, 40), at(11, 0, 3))]


def test_a_restart_that_takes_less_than_a_look_is_an_outage_too() -> None:
    world = World(at(11, 0, 5), Kept(at(11), ()))
    world.set("a")
    world.now = at(11, 0, 5.4)
    world.tick("a")
    world.look()
    assert world.found == [("a", "absent", at(11), at(11, 0, 5.4))]


def test_the_first_stream_of_all_is_late_since_the_opening() -> None:
    world = World(at(11), Kept(None, ()))
    world.set("a")
    world.go(at(11, 0, 1), "a")
    assert world.found == [("a", "absent", at(9, 15), at(11, 0, 1))]


def test_a_stream_that_died_in_a_session_and_comes_back_after_it_was_absent_until_the_close() -> None:
    world = World(at(17), Kept(at(14, day=YESTERDAY), ()))
    world.set("a")
    world.go(at(17, 0, 5))
    assert world.found == [("a", "absent", at(14, day=YESTERDAY), at(15, 30))]


def test_what_a_dead_process_left_open_ends_with_the_first_data_of_the_next() -> None:
    left = [Outage(name, Cause.SILENT, at(10), frozenset()) for name in ("a", "of an account that is gone")]
    world = World(at(11), Kept(at(10, 30), left))
    world.set("a")
    world.go(at(11, 0, 3))
    assert world.found == []
    world.go(at(11, 0, 4), "a")
    assert world.found == [
        ("a", "silent", at(10), at(11, 0, 4)),
        ("of an account that is gone", "silent", at(10), at(11, 0, 4)),
    ]


def test_what_a_dead_process_left_open_the_day_before_ends_with_that_days_close() -> None:
    world = World(at(8), Kept(at(14, day=YESTERDAY), [Outage("a", Cause.SILENT, at(13, day=YESTERDAY), frozenset())]))
    world.set("a")
    world.go(at(8, 0, 2))
    assert world.found == [("a", "silent", at(13, day=YESTERDAY), at(15, 30, day=YESTERDAY))]


def test_who_is_subscribed_while_an_outage_goes_on_belongs_to_it(world: World) -> None:
    world.lose("a")
    world.go(at(11, 0, 2), "b")
    world.set("a", tokens=(2, 3))
    world.go(at(11, 0, 4), "a", "b")
    [outage] = world.ledger.values()
    assert outage.tokens == {1, 2, 3}


def test_a_new_socket_begins_with_the_moment_it_was_asked_for(world: World) -> None:
    world.go(at(11, 0, 30), "a", "b")
    world.set("c", tokens=(2,))
    world.go(at(11, 0, 32), "a", "b")
    world.go(at(11, 0, 33), "a", "b", "c")
    assert world.found == [("c", "disconnected", at(11, 0, 30), at(11, 0, 33))]


def test_a_socket_that_carries_nothing_has_no_outages(world: World) -> None:
    world.set("c", tokens=())
    world.go(at(11, 0, 20), "a", "b")
    assert world.found == []


@example([(21, False), (1, True)], -21)
@example([(1, False), (13, False), (40, True), (1, False), (1, True)], -55)
@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=12), st.integers(-60, 60))
def test_outages_are_the_seconds_of_the_session_without_data_whatever_comes_and_goes(
    stretches: Sequence[tuple[int, bool]], from_opening: int
) -> None:
    start = at(9, 15) + timedelta(seconds=from_opening)
    world = World(start, Kept(start, ()))
    world.set("a")
    world.tick("a")
    world.look()
    missed, last = set[datetime](), start
    for seconds, is_up in stretches:
        until_ = world.now + timedelta(seconds=seconds)
        while world.now < until_:
            if is_up:
                world.go(world.now + timedelta(seconds=1), "a")
                # What was lost before the opening and came with its first second is a first tick and no outage.
                is_first_tick = last < at(9, 14, 59) and world.now <= at(9, 15, 1)
                if world.now - last > timedelta(seconds=1) and not is_first_tick:
                    missed |= {last + timedelta(seconds=n) for n in range(int((world.now - last).total_seconds()))}
                last = world.now
            else:
                world.lose("a")
                world.go(world.now + timedelta(seconds=1))
    found = list(world.ledger.values())
    covered = {
        one.started_at + timedelta(seconds=n)
        for one in found
        for n in range(int(((one.ended_at or world.now) - one.started_at).total_seconds()))
    }
    if world.now > last:
        missed |= {last + timedelta(seconds=n) for n in range(int((world.now - last).total_seconds()))}
    assert covered == {second for second in missed if second >= at(9, 15)}
    assert all(before.ended_at <= after.started_at for before, after in pairwise(found) if before.ended_at)


# --- as a task of the stream ------------------------------------------------------------------------------------------


class Ledger:
    """What the database would have taken; it can be away, refuse or be slow."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, datetime], Outage] = {}
        self.marks: list[datetime] = []
        self.failures: list[Exception] = []
        self.delay = 0.0

    def take_over(self) -> Kept:
        self._maybe_fail()
        return Kept(clock.now(), ())

    def keep(self, outages: Sequence[Outage], kept_until: datetime) -> None:
        time.sleep(self.delay)
        self._maybe_fail()
        self.kept |= {(one.feed, one.started_at): one for one in outages}
        self.marks.append(kept_until)

    def _maybe_fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)

    @property
    def outages(self) -> list[Outage]:
        return list(self.kept.values())


@pytest.fixture
def ledger(monkeypatch: pytest.MonkeyPatch, no_tables: None, database: Database) -> Ledger:
    """The ledger of a stream whose markets never close."""
    ledger = Ledger()
    watch = partial(GapWatch, take_over=ledger.take_over, keep=ledger.keep, look_seconds=0.01, retry_seconds=0.01)
    monkeypatch.setattr(supervisor, "GapWatch", watch)
    database.calendar = SimpleNamespace(is_open=lambda *_: True, session_of=all_day)
    return ledger


def all_day(exchange: str, segment: str, day: date) -> Session:
    opens = datetime.combine(day, time_of_day(), IST)
    return Session(exchange, segment, day, "regular", opens, opens + timedelta(days=1), verified=True)


@pytest.fixture
async def broker() -> AsyncIterator[FakeBroker]:
    async with FakeBroker().running() as broker:
        yield broker


async def test_a_socket_that_the_broker_closes_is_in_the_ledger_with_all_that_it_carried(
    broker: FakeBroker, database: Database, ledger: Ledger
) -> None:
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: len(broker.modes) == len(database.contracts))
        await broker.send(tick_frame())
        await until(lambda: process.counters["ticks"] and all(one.ended_at for one in ledger.outages))
        ticked_at = clock.now()
        [socket] = broker.connections
        await socket.close()
        await until(lambda: len(broker.handshakes) == 2 and len(broker.modes) == len(database.contracts))
        await broker.send(tick_frame())

        def ended_since() -> list[Outage]:  # there may be others before it, until the socket was opened at first
            return [one for one in ledger.outages if one.ended_at and one.ended_at > ticked_at]

        await until(lambda: ended_since())
    [outage] = ended_since()
    assert outage.cause is Cause.DISCONNECTED
    assert outage.tokens == {one.instrument_token for one in database.contracts}
    assert outage.started_at <= ticked_at


async def test_no_tick_waits_for_the_ledger_and_what_it_did_not_take_it_takes_later(
    broker: FakeBroker, database: Database, ledger: Ledger
) -> None:
    ledger.failures = [OperationalError("no connection"), OperationalError("no connection"), ValueError("a mistake")]
    ledger.delay = 0.3
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: len(broker.modes) == len(database.contracts))
        began = time.monotonic()
        for _ in range(5):
            await broker.send(tick_frame())
        await until(lambda: process.counters["ticks"] == 5 * len(database.contracts))
        assert time.monotonic() - began < ledger.delay
        await until(lambda: ledger.marks)
        assert ledger.failures == []


async def test_a_clean_stop_leaves_the_ledger_whole_until_that_moment(
    broker: FakeBroker, database: Database, ledger: Ledger
) -> None:
    process = process_for(broker, database)
    async with running(process):
        await until(lambda: ledger.marks)
        await asyncio.sleep(0.1)
        asked_at = clock.now()
    assert ledger.marks[-1] >= asked_at - timedelta(seconds=0.1)
    assert len(ledger.marks) >= 2


async def test_a_queue_that_hangs_holds_up_no_tick(broker: FakeBroker, database: Database, ledger: Ledger) -> None:
    rung, goes_on = threading.Event(), threading.Event()

    def ring() -> None:
        rung.set()
        goes_on.wait(10)

    process = process_for(broker, database)
    process._bootstrap = ring
    async with running(process):
        await until(rung.is_set)
        await until(lambda: len(broker.modes) == len(database.contracts))
        await broker.send(tick_frame())
        await until(lambda: process.counters["ticks"] == len(database.contracts))
        goes_on.set()


# --- several processes ------------------------------------------------------------------------------------------------


def test_what_another_process_carried_until_it_died_was_missed_from_then_until_it_is_carried_here(world: World) -> None:
    world.go(at(11, 0, 30), "a", "b")
    died = at(11, 0, 12).timestamp()
    world.set("a", tokens=(1,))
    world.watch.moved(frozenset({2, 3}), died, world.now.timestamp())
    world.set("a", tokens=(1, 2))
    world.go(at(11, 0, 40), "a", "b")
    assert world.found == [
        ("a", "moved", at(11, 0, 12), at(11, 0, 33)),
        ("b", "moved", at(11, 0, 12), at(11, 0, 33)),
    ]
    assert world.ledger["a", at(11, 0, 12)].tokens == {2}


def test_what_has_moved_while_every_market_was_closed_was_not_missed(world: World) -> None:
    world.skip(at(23, 56))
    world.watch.moved(frozenset({1, 2, 3}), at(23, 55, 30).timestamp(), world.now.timestamp())
    world.go(at(23, 56, 10))
    assert not [cause for _, cause, *_ in world.found if cause == "moved"]


def test_an_outage_of_a_socket_that_another_process_holds_is_its_own_until_it_ends(world: World) -> None:
    elsewhere = {"c"}
    world.watch._is_elsewhere = elsewhere.__contains__
    left = Outage("c", Cause.DISCONNECTED, at(10, 59), frozenset({1}))
    world.watch._take_open([left])
    world.go(at(11, 0, 5), "a", "b")
    assert world.found == []
    elsewhere.clear()  # it has died; what it left open is read again
    world.watch._take_open([left])
    world.go(at(11, 0, 6), "a", "b")
    assert world.found == [("c", "disconnected", at(10, 59), at(11, 0, 6))]
