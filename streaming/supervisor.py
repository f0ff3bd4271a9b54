"""One stream process: owns its connections, windows, publisher and watchers; starts, drains and stops them.

    broker ─► connections ─► inbox ─► window (decode, check, price, encode) ─► publisher ─► Redis
                   ▲                                                             ▲
              subscriptions, token, account: nudged by the control channel, looked at every few seconds

Nothing started here outlives `run`. Ticks never wait for Redis, PostgreSQL or a client.
"""

import asyncio
import gc
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import redis.asyncio as redis
from channels.db import database_sync_to_async
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from accounts import clock
from accounts.cancellation import raise_if_cancelled
from market import chain_history
from market.calendar import SEGMENTS
from market.exceptions import CalendarMissing
from market.names import RedisNames, analytics_part, bars_part
from market.underlying_pricing import PRICING_CHANGED
from streaming import broker_messages, desired, metrics, window_metrics
from streaming.allocation import Assignment, allocate
from streaming.chain_minutes import keep_minutes
from streaming.connection import ConnectionState, Dial, DialGuard, TickerConnection, Timing
from streaming.control import PARTS_CHANGED, SUBSCRIPTIONS_CHANGED, TOKEN_CHANGED, read_message
from streaming.desired import Desired
from streaming.feed_account import FeedAccount, StoredTokens
from streaming.gaps import Feed, GapWatch, Socket
from streaming.guard import SingleProcess
from streaming.inbox import Inbox
from streaming.loop_delay import LoopDelay
from streaming.minute_bars import MinuteBarWriter
from streaming.order_updates import OrderUpdates
from streaming.pace import Pace
from streaming.pipeline import LIVE, STALE, TickPipeline
from streaming.pool import CONNECTIONS_PER_KEY, TOKENS_PER_CONNECTION, ConnectionPool
from streaming.publisher import Batch, ChannelLayer, Publisher, hot_path_client
from streaming.sessions import CalendarSessions
from streaming.state import STATE_EVERY_SECONDS, CapacityState, StreamState, erase_state, write_state

logger = logging.getLogger(__name__)

DRAIN_SECONDS = 2.0
BARS_EVERY_SECONDS = 1.0


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
        guard: SingleProcess,
        layer: ChannelLayer | None = None,
        load: Callable[[], Desired] = desired.load,
        mark: Callable[[], tuple[object, ...]] = desired.mark,
        bootstrap: Callable[[], None] | None = None,
    ) -> None:
        self.options = options
        self.pipeline = pipeline
        self.inbox = Inbox(full_at=options.window_packets)
        self.redis = hot_path_client(options.redis_url)
        self.publisher = Publisher(self.redis, options.names, layer=layer)
        self.pace = Pace(options.window, options.shortest_window)
        self.loop_delay = LoopDelay()
        self.pool: ConnectionPool | None = None
        self.counters: Counter[str] = Counter()
        self.minute_bars = MinuteBarWriter(self.counters)
        self.gaps = GapWatch(self._feed, patience_seconds=options.stale)
        self._dial = dial
        self._guard = guard
        self._load = load
        self._mark = mark
        self._bootstrap = bootstrap
        self._exchange_of: dict[int, str] = {}
        self._desired: Desired | None = None
        self._assignment: Assignment | None = None
        self._tokens: StoredTokens | None = None
        self._feeding: asyncio.Task[None] | None = None
        self._updates: OrderUpdates | None = None
        self._updating: asyncio.Task[None] | None = None
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
                group.create_task(self._guard.watch(), name="lock"),
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
                await self._stop_feeding()
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
            pace.look(self.publisher.pending_bytes, self.publisher.waiting_batches)

    def _flush(self) -> None:
        frames, received_at = self.inbox.take()
        if not frames:
            return
        if self.pipeline.feed_state is not LIVE:
            self._judge_feed()
        try:
            flushed = self.pipeline.flush(frames, received_at[-1])
        except Exception:  # a window that cannot be computed is lost; the next one must not be
            logger.exception("a window of %d frames was lost", len(frames))
            self.counters["windows_lost"] += 1
            return
        self.publisher.put({**flushed.batch, **self._analytics()})
        window_metrics.count(flushed, waited_seconds=time.time() - received_at[0])
        self.counters["ticks"] += flushed.packets
        self.counters["conflated"] += flushed.conflated
        self.counters["windows"] += 1
        self.counters.update(flushed.faults)
        self.counters.update(flushed.rejected)

    def _analytics(self) -> Batch:
        try:
            return self.pipeline.analytics()
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

    # --- what is streamed, and through which account ------------------------------------------------------------------

    async def _follow_desired(self, group: asyncio.TaskGroup) -> None:
        """Load what is to be streamed, and again whenever it may have changed: after a nudge or at a look."""
        while True:
            try:
                if self._reload.is_set() or self._desired is None or await self._has_changed():
                    self._reload.clear()
                    await self._apply(await database_sync_to_async(self._load)(), group)
            except DatabaseError as exc:
                logger.warning("subscriptions could not be read, the stream goes on with what it has: %s", exc)
            raise_if_cancelled()
            with suppress(TimeoutError):
                async with asyncio.timeout(self.options.look):
                    await self._reload.wait()
                    await asyncio.sleep(self.options.settle)

    async def _has_changed(self) -> bool:
        seen = await database_sync_to_async(self._mark)()
        return self._desired is None or seen != self._desired.mark

    async def _apply(self, wanted: Desired, group: asyncio.TaskGroup) -> None:
        before, self._desired = self._desired, wanted
        self._exchange_of = {one.instrument_token: one.exchange for one in wanted.streamed}
        self.pipeline.hours.go_by(CalendarSessions(wanted.calendar))
        same_rows = before is not None and list(before.contracts) == list(wanted.contracts)
        if before is None or before.pricing != wanted.pricing:
            self.pipeline.price_on(wanted.pricing)
            if same_rows:
                self.publisher.put(self.pipeline.whole())
        if not same_rows:
            gone, underlyings = self.pipeline.parts, self.pipeline.underlyings
            self.pipeline.follow(wanted.contracts)
            gone -= self.pipeline.parts
            gone_bars = underlyings - self.pipeline.underlyings
            self.publisher.forget([*gone, *map(analytics_part, gone), *map(bars_part, gone_bars)])
            # A part whose rows changed is sent whole, so that nobody keeps rows that are no longer streamed.
            self.publisher.put(self.pipeline.whole())
            await self._write_parts(gone)
        if before is None or before.account != wanted.account:
            await self._stop_feeding()
            if wanted.account is not None:
                self._start_feeding(wanted.account, group)
            else:
                logger.error("no account may feed market data: add one, or enable it for data, in the admin")
        self._place(wanted)
        if before is None or before.mark != wanted.mark:
            through = wanted.account.name if wanted.account else "no account"
            parts = len(self.pipeline.parts)
            logger.info("streaming %d instruments in %d parts through %s", len(wanted.streamed), parts, through)

    def _place(self, wanted: Desired) -> None:
        """Hand the instruments to the accounts that carry them."""
        capacity = {self.pool.account: self.pool.capacity} if self.pool else {}
        self._assignment = allocate(wanted.demands, capacity, self._assignment)
        for part, reason in self._assignment.overflow.items():
            logger.error("%s is not streamed: %s", part, reason)
        if self.pool is not None:
            carried = self._assignment.parts[self.pool.account]
            self.pool.want({one.instrument_token: one.mode for one in wanted.streamed if one.part in carried})

    def _start_feeding(self, account: FeedAccount, group: asyncio.TaskGroup) -> None:
        tokens = StoredTokens(account, look_seconds=self.options.look)
        dials = DialGuard()
        updates = OrderUpdates(account.pk, account.name, self.counters)

        def make(number: int) -> TickerConnection:
            name = f"{account.name} socket {number + 1}"
            return TickerConnection(
                name,
                dial=self._dial,
                tokens=tokens,
                inbox=self.inbox,
                on_text=broker_messages.Reader(account.name, self.counters, updates.put),
                guard=dials,
                on_open=updates.opened,
                on_data=partial(self.gaps.resumed, name),
                expects_data=self._in_session,
                timing=self.options.timing,
            )

        self._tokens = tokens
        self.pool = ConnectionPool(account.name, make, size=TOKENS_PER_CONNECTION, most=CONNECTIONS_PER_KEY)
        self._feeding = group.create_task(self.pool.run(), name=f"{account.name} sockets")
        self._updates = updates
        self._updating = group.create_task(updates.run(), name=f"{account.name} order updates")

    async def _stop_feeding(self) -> None:
        feeding, self._feeding, self.pool, self._tokens = self._feeding, None, None, None
        updates, updating, self._updates, self._updating = self._updates, self._updating, None, None
        try:
            if feeding is not None:
                await _end(feeding)
            if updates is not None:
                await updates.drained()
        finally:  # a stop may come in the middle of it, and nobody else knows of this task any more
            if updating is not None:
                await _end(updating)

    async def _write_parts(self, gone: frozenset[str]) -> None:
        """Replace the hash token → part, drop the blobs of parts that are gone, and tell the hubs."""
        names = self.options.names
        pipeline = self.redis.pipeline(transaction=True)
        pipeline.delete(names.parts, *(names.blob(part) for part in [*gone, *map(analytics_part, gone)]))
        if part_of_token := self.pipeline.part_of_token:
            pipeline.hset(names.parts, mapping={str(token): part for token, part in part_of_token.items()})
        pipeline.publish(names.control, f'{{"type":"{PARTS_CHANGED}"}}')
        try:
            await pipeline.execute()
        except (RedisError, OSError) as exc:
            logger.warning("what is streamed could not be written to Redis, trying again soon: %s", exc)
            self._parts_written = False
        else:
            self._parts_written = True

    # --- watching -----------------------------------------------------------------------------------------------------

    async def _hear_control(self) -> None:
        """Nudges from other processes; without Redis the looks at the database go on."""
        client = redis.Redis.from_url(self.options.redis_url, socket_timeout=None, socket_connect_timeout=1)
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
            case type_ if type_ in (SUBSCRIPTIONS_CHANGED, PRICING_CHANGED):
                self._reload.set()
            case type_ if type_ == TOKEN_CHANGED and self._tokens is not None:
                self._tokens.nudge.set()

    async def _watch(self) -> None:
        """Every second: the feed's state, the state key, the gauges, and what an outage of Redis left undone."""
        while True:
            self._judge_feed()
            if told := self.pipeline.quarantine.report(time.monotonic()):
                logger.warning(told)
            self.publisher.settle()
            if self.publisher.failures != self._failures_seen:  # Redis may have come back empty
                self._failures_seen, self._parts_written = self.publisher.failures, False
            if self._desired is not None and not self._parts_written:
                await self._write_parts(frozenset())
            metrics.HEARTBEATS.inc(self.inbox.take_heartbeats())
            window_metrics.gauge(self.pool, self.publisher, self._lag, self.pipeline, self.pace)
            try:
                await write_state(self.redis, self.options.names, self.state())
            except (RedisError, OSError):
                # Also while no tick comes that would have noticed.
                self._parts_written = False
                self.publisher.owe_everything()
            raise_if_cancelled()
            await asyncio.sleep(STATE_EVERY_SECONDS)

    def _judge_feed(self) -> None:
        """Say on every line whether prices still come; when that changes, say it of every part at once."""
        feed_state = STALE if self._is_stale() else LIVE
        if feed_state != self.pipeline.feed_state:
            logger.log(logging.INFO if feed_state == LIVE else logging.WARNING, "the feed is %s", feed_state)
            self.pipeline.feed_state = feed_state
            self.pipeline.bars.forget()  # what was traded while nothing came belongs to no second that was seen
            self.publisher.put(self.pipeline.whole())

    def _is_stale(self) -> bool:
        if self.pool is None or not self.pool.open_connections:
            return True
        if not self._in_session():
            return False  # silence is right, and the socket's heartbeats come
        last = self.pool.last_tick_at
        return last is None or time.time() - last > self.options.stale

    def _feed(self) -> Feed | None:
        """The sockets as the ledger of gaps sees them; None while nobody knows what is to be streamed."""
        if self._desired is None:
            return None
        if self.pool is None:
            sockets = [Socket("no account", ConnectionState.AWAITING_TOKEN, self._exchange_of, None, flows=False)]
        else:
            sockets = [
                Socket(one.name, one.state, one.desired, one.last_tick_at, flows=one.flows)
                for one in self.pool.connections
            ]
        is_silent = self.pool is not None and self.pool.open_connections > 0 and self._is_stale()
        return Feed(sockets, self._exchange_of, self._desired.calendar, is_silent=is_silent)

    def _in_session(self) -> bool:
        """Whether any market that is streamed trades now; what the calendar does not know counts as open."""
        if self._desired is None:
            return False
        now = clock.now()
        for exchange in self._desired.exchanges:
            try:
                if self._desired.calendar.is_open(exchange, SEGMENTS.get(exchange, ""), now):
                    return True
            except CalendarMissing:
                return True
        return False

    def state(self) -> StreamState:
        """What the process says about itself."""
        pool = self.pool
        return StreamState(
            process=self.options.process,
            running=True,
            source=self.pipeline.source,
            feed_state=self.pipeline.feed_state,
            epoch=self.pipeline.epoch,
            started_at=self._started_at,
            written_at=time.time(),
            active_subscriptions=len(self._desired.streamed) if self._desired else 0,
            derived_subscriptions=sum(one.derived for one in self._desired.streamed) if self._desired else 0,
            active_accounts=int(pool is not None and pool.open_connections > 0),
            accounts={
                pool.account: {
                    "status": "stalled" if pool.status == ConnectionState.OPEN and self._is_stale() else pool.status,
                    "subscriptions": pool.subscribed,
                    "last_tick_at": pool.last_tick_at,
                }
            }
            if pool
            else {},
            sockets=[
                {
                    "name": connection.name,
                    "state": connection.state,
                    "desired": len(connection.desired),
                    "subscribed": len(connection.applied),
                    "reconnects": connection.reconnects,
                    "last_tick_at": connection.last_tick_at,
                }
                for connection in (pool.connections if pool else ())
            ],
            overflow=dict(self._assignment.overflow) if self._assignment else {},
            slots=[],
            capacity=CapacityState(used=0, total=0, free=0, largest_chain=0, free_after_another=0),
            unconfirmed=[],
            alerts=[],
            counters=dict(self.counters) | {"batches_dropped": self.publisher.dropped},
            rejected=self.pipeline.quarantine.sample,
            lag_seconds=self._lag,
            loop_delay=self.loop_delay.last_minute(),
            encode_seconds=self.pipeline.encode_seconds,
            publisher=self.publisher.breaker.state,
            parts=self.pipeline.part_states(),
        )

    async def _keep_minutes(self) -> None:
        await keep_minutes(
            self.pipeline.analyser,
            source=self.pipeline.source,
            market_time=self.pipeline.market_time,
            record=chain_history.keep,
        )

    async def _ring_for_history(self) -> None:
        """Have a worker fetch the last session. In a thread of its own: a queue that is away may take its time."""
        if self._bootstrap is not None:
            await asyncio.to_thread(self._bootstrap)

    async def _freeze(self) -> None:
        """What lives after the warm-up lives for good: the collector need not look at it in every full pass."""
        await asyncio.sleep(self.options.warm_up)
        gc.collect()
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
