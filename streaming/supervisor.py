"""One stream process: owns its feeds, windows, publisher and watchers; starts, drains and stops them.

    broker ─► feeds ─► inbox ─► window (decode, check, price, encode) ─► publisher ─► Redis
                ▲
      subscriptions, accounts, slots, tokens: nudged by the control channel, looked at every few seconds

Nothing started here outlives `run`. Ticks never wait for Redis, PostgreSQL or a client.
"""

import asyncio
import gc
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import redis.asyncio as redis
from channels.db import database_sync_to_async
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from accounts import clock
from accounts.async_redis import async_client
from accounts.cancellation import raise_if_cancelled
from market import chain_history
from market.calendar import SEGMENTS
from market.exceptions import CalendarMissing
from market.names import RedisNames, analytics_part, bars_part
from market.underlying_pricing import PRICING_CHANGED
from streaming import desired, gaps, metrics, placing, window_metrics
from streaming.allocation import Place
from streaming.analytics import MOST_AT_ONCE
from streaming.chain_minutes import keep_minutes
from streaming.confirmations import MOST_SHOWN, Confirmations
from streaming.connection import ConnectionState, Dial, Timing
from streaming.contracts import Contract
from streaming.control import PARTS_CHANGED, STREAMS_CHANGED, SUBSCRIPTIONS_CHANGED, TOKEN_CHANGED, read_message
from streaming.desired import Desired
from streaming.feed import LOST_SECONDS, FeedOptions
from streaming.fleet import Fleet, Leases, contracts_of, tokens_of
from streaming.gaps import GapWatch, Socket
from streaming.inbox import Inbox
from streaming.loop_delay import LoopDelay
from streaming.minute_bars import MinuteBarWriter
from streaming.pace import Pace
from streaming.pipeline import LIVE, STALE, TickPipeline
from streaming.placing import Asker, View
from streaming.publisher import Batch, ChannelLayer, Publisher, hot_path_client
from streaming.sessions import CalendarSessions
from streaming.state import STATE_EVERY_SECONDS, StreamState, UnconfirmedState, erase_state, write_state

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 2.0
BARS_EVERY_SECONDS = 1.0
AGAIN_SECONDS = 1.0
CONFIRM_EVERY_SECONDS = 5.0
LEASE_OVER_SECONDS = 0.05
"""So long after a lease ends by this process's clock, it has ended by the database's."""
ANALYTICS_SHARE = 0.4
"""Of a window's time; what does not fit waits for the next one."""


@dataclass(frozen=True, slots=True)
class StreamOptions:
    """What a stream process is told; waits in seconds."""

    redis_url: str
    names: RedisNames
    source: str
    process: str = "stream"
    window: float = 0.1
    window_packets: int = 1000
    shortest_window: float = 0.02
    look: float = 5.0  # at the database, even if nobody nudges
    settle: float = 0.1  # nudges that come together are one reload
    stale: float = 5.0
    lost: float = LOST_SECONDS  # without a working socket, until others carry what an account carried
    warm_up: float = 30.0
    timing: Timing = field(default_factory=Timing)


class StreamProcess:
    """Everything of one process. `run` it once."""

    def __init__(
        self,
        options: StreamOptions,
        *,
        dial: Dial,
        pipeline: TickPipeline,
        leases: Leases,
        layer: ChannelLayer | None = None,
        load: Callable[[], Desired] = desired.load,
        place: Callable[[Asker, Desired], View | None] = placing.look,
        bootstrap: Callable[[], None] | None = None,
    ) -> None:
        self.options = options
        self.pipeline = pipeline
        self.inbox = Inbox(full_at=options.window_packets)
        self.redis = hot_path_client(options.redis_url)
        self.publisher = Publisher(self.redis, options.names, layer=layer)
        self.pace = Pace(options.window, options.shortest_window)
        self.loop_delay = LoopDelay()
        self.counters: Counter[str] = Counter()
        self.minute_bars = MinuteBarWriter(self.counters)
        self.gaps = GapWatch(
            self._feed, patience_seconds=options.stale, is_elsewhere=lambda socket: self.fleet.is_elsewhere(socket)
        )
        feed_options = FeedOptions(
            dial=dial,
            inbox=self.inbox,
            counters=self.counters,
            on_data=self.gaps.resumed,
            on_moved=self.gaps.moved,
            in_session=self._in_session,
            timing=options.timing,
            look_seconds=options.look,
            stale_seconds=options.stale,
            lost_seconds=options.lost,
        )
        self.fleet = Fleet(feed_options, leases, lambda: self._reload.set(), place)
        self._load = load
        self._bootstrap = bootstrap
        self._exchange_of: dict[int, str] = {}
        self._desired: Desired | None = None
        self._applied: Desired | None = None
        self._drawn: int | None = None  # the epoch of parts that are new here, until lines carry it
        self._placed: Mapping[str, Place] | None = None
        self._contracts: list[Contract] | None = None
        self._derived = 0
        self._gone: frozenset[str] = frozenset()
        self._part_of_token: dict[int, str] = {}
        self._confirmations = Confirmations(options.timing.confirm)
        self._confirm_at = 0.0
        self._reload = asyncio.Event()
        self._parts_written = False
        self._failures_seen = 0
        self._lag = 0.0
        self._started_at = time.time()

    async def run(self, stop: asyncio.Event) -> None:
        """Stream until `stop` is set. Raises if a part fails for good, which no absent broker, Redis or database is."""
        async with asyncio.TaskGroup() as group:
            publishing = group.create_task(self.publisher.run(), name="publisher")
            keeping = group.create_task(self.minute_bars.run(), name="minute bars")
            watching = [
                group.create_task(self._follow_desired(group), name="subscriptions"),
                group.create_task(self._hear_control(), name="control channel"),
                group.create_task(self._watch(), name="state"),
                group.create_task(self.loop_delay.run(), name="loop delay"),
                group.create_task(self.fleet.leases.run(), name="leases"),
                group.create_task(self._keep_minutes(), name="minutes"),
                group.create_task(self._make_bars(), name="bars"),
                group.create_task(self.gaps.run(), name="gaps"),
                group.create_task(self._freeze(), name="warm-up"),
                group.create_task(self._ring_for_history(), name="history"),
            ]
            windows = group.create_task(self._run_windows(), name="windows")
            try:
                await stop.wait()
            finally:
                logger.info("stopping: closing the broker's sockets, delivering what was received")
                await _end(*watching)
                await self.gaps.finish()
                await self.fleet.stop()
                await self._tell(STREAMS_CHANGED)
                await _end(windows)
                self._flush()
                self._end_bars()
                with suppress(TimeoutError):
                    async with asyncio.timeout(DRAIN_SECONDS):
                        await asyncio.gather(self.publisher.drained(), self.minute_bars.drained())
                await _end(publishing, keeping)
                await self._say_goodbye()

    # --- windows ----------------------------------------------------------------------------------------------------

    async def _run_windows(self) -> None:
        """Close a window every `window` seconds; earlier when many packets wait, but not right after the last."""
        pace = self.pace
        loop = asyncio.get_running_loop()
        began = loop.time()
        while True:
            try:
                async with asyncio.timeout_at(began + pace.window):
                    await self.inbox.full.wait()
            except TimeoutError:
                self._lag = max(0.0, loop.time() - began - pace.window)
            else:
                await asyncio.sleep(max(0.0, began + pace.shortest - loop.time()))
            # From now, not from when it was due: after a stall there is nothing to catch up, all frames are in here.
            began = loop.time()
            self._flush()
            await self._analyse(began + ANALYTICS_SHARE * pace.window)
            pace.look(self.publisher.pending_bytes, self.publisher.waiting_batches)

    def _flush(self) -> None:
        frames, received_at = self.inbox.take()
        if not frames:
            return
        if self.pipeline.feed_state is not LIVE or self.pipeline.stale_parts:
            self._judge_feed()
        try:
            flushed = self.pipeline.flush(frames, received_at[-1])
        except Exception:  # a window that cannot be computed is lost; the next one must not be
            logger.exception("a window of %d frames was lost", len(frames))
            self.counters["windows_lost"] += 1
            return
        self.publisher.put(flushed.batch)
        window_metrics.count(flushed, waited_seconds=time.time() - received_at[0])
        self.counters["ticks"] += flushed.packets
        self.counters["conflated"] += flushed.conflated
        self.counters["windows"] += 1
        self.counters.update(flushed.faults)
        self.counters.update(flushed.rejected)

    async def _analyse(self, until: float) -> None:
        """Behind a window, one expiry after the other until their time is up: in between the loop does what is due."""
        batch: Batch = {}
        for _ in range(MOST_AT_ONCE):
            one = self._analytics()
            if not one:
                break
            batch = {**batch, **one}
            await asyncio.sleep(0)
            if asyncio.get_running_loop().time() > until:
                break
        if batch:
            self.publisher.put(batch)

    def _analytics(self) -> Batch:
        try:
            return self.pipeline.analytics(most=1)
        except Exception:  # what is made of prices must not cost anybody the prices
            logger.exception("an analysis was lost")
            self.counters["analyses_lost"] += 1
            return {}

    async def _make_bars(self) -> None:
        """Every second, whether or not ticks came: a bar is over when its time is."""
        while True:
            await asyncio.sleep(BARS_EVERY_SECONDS)
            try:
                batch, minutes = self.pipeline.take_bars()
            except Exception:  # as with analytics: bars must not cost anybody the prices
                logger.exception("the bars of a second were lost")
                self.counters["bars_lost"] += 1
                continue
            if batch:
                self.publisher.put(batch)
            for minute in minutes:
                self.minute_bars.put(*minute)

    def _end_bars(self) -> None:
        try:
            for minute in self.pipeline.end_bars():
                self.minute_bars.put(*minute)
        except Exception:  # a stop goes on
            logger.exception("the last minute's bars were lost")

    # --- what is streamed, and through which accounts -----------------------------------------------------------------

    async def _follow_desired(self, group: asyncio.TaskGroup) -> None:
        """Load what is to be streamed and see who streams it: after a nudge, at a look, when a lease may have ended."""
        while True:
            wait = self.options.look
            try:
                if self._reload.is_set() or self._desired is None:
                    self._reload.clear()
                    self._desired = await database_sync_to_async(self._load)()
                    self._exchange_of = {one.instrument_token: one.exchange for one in self._desired.streamed}
                members = self.fleet.members
                view = await self.fleet.look(self._desired)
                if view is None:  # something has changed since it was loaded
                    self._reload.set()
                    continue
                await self._apply(self._desired, view)
                await self.fleet.follow(group)
                now = time.time()
                for seconds, tokens in self.fleet.moved().items():
                    self.gaps.moved(tokens, now - seconds, now)
                if members - self.fleet.members:
                    self.gaps.inherit()
                if await self.fleet.give_up():
                    await self._tell(STREAMS_CHANGED)
                wait = min(wait, view.again + LEASE_OVER_SECONDS)
            except DatabaseError as exc:
                logger.warning("subscriptions could not be read, the stream goes on with what it has: %s", exc)
                wait = min(wait, AGAIN_SECONDS)
            raise_if_cancelled()
            with suppress(TimeoutError):
                async with asyncio.timeout(wait):
                    await self._reload.wait()
                    await asyncio.sleep(self.options.settle)

    async def _apply(self, wanted: Desired, view: View) -> None:
        """Make the pipeline write the parts that are this process's."""
        before, self._applied = self._applied, None  # what breaks off here is done in whole the next time
        self.pipeline.hours.go_by(CalendarSessions(wanted.calendar))
        if view.epoch is not None:
            self._drawn = view.epoch
        if self._drawn is not None:
            self.pipeline.epoch = self.publisher.epoch = await self._newest_epoch(self._drawn)
            self._drawn = None
        if before is wanted and self._placed == view.placement:
            self._applied = wanted
            return  # as nearly always; to go through everything that is streamed would hold up the loop
        parts = self.fleet.parts
        contracts = contracts_of(wanted, parts)
        same_rows = self._contracts == contracts
        if before is None or before.pricing != wanted.pricing:
            self.pipeline.price_on(wanted.pricing)
            if same_rows:
                self.publisher.put(self.pipeline.whole())
        if not same_rows:
            self._contracts = contracts
            self._derived = sum(one.derived for one in wanted.streamed if one.part in parts)
            gone, underlyings = self.pipeline.parts, self.pipeline.underlyings
            self.pipeline.follow(contracts)
            gone -= self.pipeline.parts
            gone_bars = underlyings - self.pipeline.underlyings
            self.publisher.forget([*gone, *map(analytics_part, gone), *map(bars_part, gone_bars)])
            self._gone |= gone
            self.pipeline.stale_parts = self.fleet.stale_parts()
            # A part whose rows changed is sent whole, so that nobody keeps rows that are no longer streamed.
            self.publisher.put(self.pipeline.whole())
            logger.info("streaming %d instruments in %d parts", len(contracts), len(self.pipeline.parts))
        part_of_token = tokens_of(wanted, view.placement)
        if before is None or self._part_of_token != part_of_token:
            self._part_of_token = part_of_token
            await self._write_parts()
        self._applied, self._placed = wanted, view.placement
        if not wanted.accounts and (before is None or before.accounts):
            logger.error("no account may feed market data: add one, or enable it for data, in the admin")

    async def _newest_epoch(self, drawn: int) -> int:
        """The epoch just drawn, or a later one where Redis knows later ones: the database was set back."""
        try:
            known = await self.redis.hvals(self.options.names.writers)
        except (RedisError, OSError):
            return drawn
        highest = max(map(int, known), default=0)
        return drawn if highest < drawn else int(await database_sync_to_async(desired.next_epoch)(highest))

    async def _write_parts(self) -> None:
        """Replace the hash token → part, of all processes' parts, and tell the hubs.

        Of the parts that went, the blobs of those are dropped that no other process streams.
        """
        names = self.options.names
        pipeline = self.redis.pipeline(transaction=True)
        gone = self._gone - set(self._part_of_token.values())
        pipeline.delete(names.parts, *(names.blob(part) for part in [*gone, *map(analytics_part, gone)]))
        if self._part_of_token:
            pipeline.hset(names.parts, mapping={str(token): part for token, part in self._part_of_token.items()})
        pipeline.publish(names.control, f'{{"type":"{PARTS_CHANGED}"}}')
        try:
            await pipeline.execute()
        except (RedisError, OSError) as exc:
            logger.warning("what is streamed could not be written to Redis, trying again soon: %s", exc)
            self._parts_written = False
        else:
            self._parts_written = True
            self._gone = frozenset()

    async def _tell(self, message_type: str) -> None:
        """Nudge the other processes; those that do not hear it look by themselves."""
        with suppress(RedisError, OSError):
            await self.redis.publish(self.options.names.control, f'{{"type":"{message_type}"}}')

    # --- watching -----------------------------------------------------------------------------------------------------

    async def _hear_control(self) -> None:
        """Nudges from other processes; without Redis the looks at the database go on."""
        client = async_client(self.options.redis_url, read_seconds=None, connect_seconds=1)
        is_lost = False
        async with client:
            while True:
                try:
                    async with _subscription(client, self.options.names.control) as messages:
                        is_lost = False
                        self._reload.set()  # what was said before this moment was not heard
                        async for data in messages:
                            self._on_control(read_message(data))
                except (RedisError, OSError) as exc:
                    if not is_lost:
                        logger.warning("the control channel is lost: %s", exc)
                    is_lost = True
                raise_if_cancelled()
                await asyncio.sleep(1)

    def _on_control(self, message: dict[str, Any]) -> None:
        match message.get("type"):
            case type_ if type_ in (SUBSCRIPTIONS_CHANGED, PRICING_CHANGED, STREAMS_CHANGED):
                self._reload.set()
            case type_ if type_ == TOKEN_CHANGED:
                self.fleet.nudge_tokens(message.get("account"))

    async def _watch(self) -> None:
        """Every second: the feed's state, the state key, the gauges, and what an outage of Redis left undone."""
        while True:
            self._judge_feed()
            self._confirm()
            if told := self.pipeline.quarantine.report(time.monotonic()):
                logger.warning(told)
            self.publisher.settle()
            if self.publisher.failures != self._failures_seen:  # Redis may have come back empty
                self._failures_seen, self._parts_written = self.publisher.failures, False
            if self._applied is not None and not self._parts_written:
                await self._write_parts()
            self.fleet.relieve()
            if self.fleet.note_lost() and await self.fleet.leases.renew():
                self._reload.set()
                await self._tell(STREAMS_CHANGED)
            metrics.HEARTBEATS.inc(self.inbox.take_heartbeats())
            window_metrics.gauge(self.fleet, self.publisher, self._lag, self.pipeline, self.pace)
            try:
                await write_state(self.redis, self.options.names, self.state())
            except (RedisError, OSError):
                # Also while no tick comes that would have noticed.
                self._parts_written = False
                self.publisher.owe_everything()
            raise_if_cancelled()
            await asyncio.sleep(STATE_EVERY_SECONDS)

    def _judge_feed(self) -> None:
        """Say on every line whether prices still come; when that changes for parts, say it of them at once."""
        feed_state = STALE if self.fleet.is_stale else LIVE
        if feed_state != self.pipeline.feed_state:
            logger.log(logging.INFO if feed_state == LIVE else logging.WARNING, "the feed is %s", feed_state)
            self.pipeline.feed_state = feed_state
        stale = self.fleet.stale_parts()
        if changed := (stale ^ self.pipeline.stale_parts) & self.pipeline.parts:
            self.pipeline.stale_parts = stale
            self.pipeline.forget_bars(changed)  # what was traded while nothing came is in no second that was seen
            self.publisher.put(self.pipeline.whole(changed))

    def _feed(self) -> gaps.Feed | None:
        """The sockets as the ledger of gaps sees them; None while nobody knows what is to be streamed."""
        if self._desired is None or (self._desired.accounts and not self.fleet.feeds):
            return None
        sockets = [
            Socket(one.name, one.state, one.desired, one.last_tick_at, flows=one.flows)
            for feed in self.fleet.feeds.values()
            for one in feed.pool.connections
        ]
        if not self._desired.accounts:
            sockets = [Socket("no account", ConnectionState.AWAITING_TOKEN, self._exchange_of, None, flows=False)]
        is_silent = self.fleet.open_connections > 0 and self.fleet.is_stale
        return gaps.Feed(sockets, self._exchange_of, self._desired.calendar, is_silent=is_silent)

    def _in_session(self, exchanges: Collection[str]) -> bool:
        """Whether any of these trades now; what the calendar does not know counts as open."""
        if self._desired is None:
            return False
        now = clock.now()
        for exchange in exchanges:
            try:
                if self._desired.calendar.is_open(exchange, SEGMENTS.get(exchange, ""), now):
                    return True
            except CalendarMissing:
                return True
        return False

    def state(self) -> StreamState:
        """What the process says about itself."""
        return StreamState(
            process=self.options.process,
            running=True,
            source=self.pipeline.source,
            feed_state=self.pipeline.feed_state,
            epoch=self.pipeline.epoch,
            started_at=self._started_at,
            written_at=time.time(),
            active_subscriptions=len(self._contracts or ()),
            derived_subscriptions=self._derived,
            active_accounts=sum(feed.pool.open_connections > 0 for feed in self.fleet.feeds.values()),
            accounts={feed.account.name: feed.state() for feed in self.fleet.feeds.values()},
            sockets=[
                {
                    "name": connection.name,
                    "state": connection.state,
                    "desired": len(connection.desired),
                    "subscribed": len(connection.applied),
                    "reconnects": connection.reconnects,
                    "last_tick_at": connection.last_tick_at,
                }
                for feed in self.fleet.feeds.values()
                for connection in feed.pool.connections
            ],
            overflow=self.fleet.overflow(),
            slots=self.fleet.slot_states(),
            capacity=self.fleet.capacity_state(),
            unconfirmed=self._unconfirmed(),
            alerts=self.fleet.alerts(),
            counters=dict(self.counters) | {"batches_dropped": self.publisher.dropped},
            rejected=self.pipeline.quarantine.sample,
            lag_seconds=self._lag,
            loop_delay=self.loop_delay.last_minute(),
            encode_seconds=self.pipeline.encode_seconds,
            publisher=self.publisher.breaker.state,
            parts=self.pipeline.part_states(),
        )

    def _confirm(self) -> None:
        """Ask again for what was subscribed and does not come. Thousands are compared: not every second."""
        if (now := time.monotonic()) < self._confirm_at:
            return
        self._confirm_at = now + min(CONFIRM_EVERY_SECONDS, self.options.timing.confirm / 4)
        again = self._confirmations.look(
            [one for feed in self.fleet.feeds.values() for one in feed.pool.connections],
            ticked_at=self.pipeline.ticked_at,
            exchange_of=self._exchange_of,
            is_open=lambda exchange: self._in_session([exchange]),
            now=now,
        )
        for connection, tokens in again.items():
            logger.warning("%s: %d instruments were subscribed and do not come", connection.name, len(tokens))
            connection.subscribe_again(tokens)

    def _unconfirmed(self) -> list[UnconfirmedState]:
        now = time.monotonic()
        longest = sorted(self._confirmations.waiting.values(), key=lambda one: one.since)[:MOST_SHOWN]
        return [
            UnconfirmedState(
                instrument_token=one.instrument_token,
                tradingsymbol=self.pipeline.symbol_of(one.instrument_token),
                socket=one.socket,
                waiting_seconds=round(now - one.since, 1),
                tries=one.tries,
            )
            for one in longest
        ]

    async def _keep_minutes(self) -> None:
        await keep_minutes(
            self.pipeline.analyser,
            source=self.pipeline.source,
            market_time=self.pipeline.market_time,
            record=chain_history.keep,
        )

    async def _ring_for_history(self) -> None:
        """Have a worker fetch the last session, once for all processes: the oldest rings.

        In a thread of its own: a queue that is away may take its time.
        """
        if self._bootstrap is None:
            return
        await self.fleet.seen.wait()
        if self.fleet.is_oldest:
            await asyncio.to_thread(self._bootstrap)

    async def _freeze(self) -> None:
        """What lives after the warm-up lives for good: the collector need not look at it in every full pass.

        A full pass before it would stop the loop for a third of a second; what little is garbage by then may stay.
        """
        await asyncio.sleep(self.options.warm_up)
        gc.freeze()

    async def _say_goodbye(self) -> None:
        with suppress(RedisError, OSError):
            await erase_state(self.redis, self.options.names, self.options.process)
        await self.redis.aclose()


async def _end(*tasks: asyncio.Task[None]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _subscription(client: "redis.Redis", channel: str) -> AsyncIterator[AsyncIterator[bytes]]:
    """The messages of a channel, from the moment the subscription is confirmed."""
    async with client.pubsub() as pubsub:
        await pubsub.subscribe(channel)

        async def messages() -> AsyncIterator[bytes]:
            async for message in pubsub.listen():
                if message["type"] == "message":
                    yield message["data"]

        yield messages()
