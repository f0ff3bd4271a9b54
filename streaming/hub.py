"""Ticks from Redis to the WebSocket clients of one web process: one subscription, local fan-out, the same bytes to all.

The hub never waits for a socket: it puts lines into outboxes and wakes their senders. What a sender needs in whole (a
new client, or one that was too slow) is read from Redis once for all who need it.
"""

import asyncio
import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import ClassVar, cast

from django.conf import settings
from redis.asyncio.client import PubSub
from redis.exceptions import RedisError

from accounts.async_redis import async_client
from accounts.cancellation import raise_if_cancelled
from accounts.socket_hub import HubOfLoop, SocketHub
from market.lines import BadLine
from market.names import RedisNames
from streaming import metrics
from streaming.alarm import Alarm
from streaming.control import PARTS_CHANGED, read_message
from streaming.exceptions import ConnectionLost
from streaming.outbox import Line, Outbox, read_blob, read_lines

logger = logging.getLogger(__name__)


class FeedState(StrEnum):
    """Whether anybody feeds this hub, as the state keys in Redis tell."""

    LIVE = "live"
    DOWN = "down"


@dataclass(frozen=True, slots=True)
class HubTiming:
    """Every wait of a hub, in seconds."""

    read: float = 1.0
    quiet: float = 5.0  # nothing came for so long: ask whether the connection still lives
    look: float = 2.0  # at the stream processes' state keys
    retry: float = 0.5


TIMING = HubTiming()


@dataclass(eq=False, slots=True)
class Client:
    """One consumer as the hub sees it."""

    principal: str
    outbox: Outbox
    wake: Alarm = field(default_factory=Alarm)
    feed_state: FeedState | None = None  # the last one it was told


class PartDirectory:
    """What is streamed: tokens and the parts they are in."""

    def __init__(self, part_of_token: Mapping[int, str]) -> None:
        self.part_of_token = part_of_token
        self.parts = frozenset(part_of_token.values())
        self.underlyings = frozenset(part.partition(":")[0] for part in self.parts)


class Hub(SocketHub[Client]):
    """Of the ticks: one Redis subscription for all clients."""

    clients_gauge = metrics.CLIENTS
    _said: ClassVar[FeedState] = FeedState.LIVE  # in the log, by whichever hub of this process

    def __init__(self, url: str, names: RedisNames, timing: HubTiming) -> None:
        super().__init__()
        self.feed_state = FeedState.LIVE  # until seen otherwise
        self.frames_sent = 0
        self.updates_skipped = 0
        self._names = names
        self._timing = timing
        self._followers: defaultdict[str, set[Client]] = defaultdict(set)
        self._newest: dict[str, tuple[int, int]] = {}
        self._blobs: dict[str, Line] = {}
        self._reads: dict[str, asyncio.Task[bool]] = {}
        self._directory: PartDirectory | None = None
        self._asking: asyncio.Task[PartDirectory] | None = None
        self._changes = 0  # of what is streamed, as far as they were heard of
        self._pubsub: PubSub | None = None
        self._channels: set[str] = set()
        self._resyncs = 0
        self._reader = async_client(url, read_seconds=timing.read, connect_seconds=timing.read)
        # Silence is normal here, and is looked into by asking (`quiet`).
        self._listener = async_client(url, read_seconds=None, connect_seconds=timing.read)

    # --- clients ----------------------------------------------------------------------------------------------------

    async def leave(self, client: Client) -> None:
        client.wake.close()
        await self.follow(client, ())
        await super().leave(client)

    def count(self) -> None:
        """Hand to the metrics what was sent: they cost more than to count it."""
        metrics.CLIENT_FRAMES.inc(self.frames_sent)
        metrics.CLIENT_SKIPPED.inc(self.updates_skipped)
        self.frames_sent = self.updates_skipped = 0

    async def follow(self, client: Client, parts: Iterable[str]) -> None:
        """Make these the parts that the client is sent."""
        wanted = set(parts)
        for gone in client.outbox.parts - wanted:
            self._followers[gone].discard(client)
            if not self._followers[gone]:
                del self._followers[gone]
        for part in wanted:
            self._followers[part].add(client)
        client.outbox.follow(wanted)
        await self._listen_to(self._needed_channels())
        client.wake.set()

    # --- reading ----------------------------------------------------------------------------------------------------

    async def directory(self, *, afresh: bool = False) -> PartDirectory:
        """What is streamed now; `afresh`: as Redis has it and not as it was a moment ago. Read once for all who ask.

        Raises
        ------
        RedisError, OSError
            If it cannot be read.
        """
        if afresh and self._asking is not None:
            await asyncio.wait({self._asking})  # it began before this was asked
        if self._directory is not None and not afresh:
            return self._directory
        if self._asking is None:
            self._asking = asyncio.create_task(self._read_directory(), name="hub directory")
        asking = self._asking
        # Waiting does not own: who is cancelled here takes nothing from the others.
        await asyncio.wait({asking})
        return asking.result()

    async def _read_directory(self) -> PartDirectory:
        changes = self._changes
        try:
            stored = cast(dict[bytes, bytes], await self._reader.hgetall(self._names.parts))
        finally:
            self._asking = None
        raise_if_cancelled()
        directory = PartDirectory({int(token): part.decode() for token, part in stored.items()})
        if changes == self._changes:  # else it may be what was streamed before
            self._directory = directory
        return directory

    async def blobs(self, parts: Sequence[str]) -> list[Line]:
        """The newest whole value of each part that has one. Read from Redis once for all who ask at the same time.

        Raises
        ------
        ConnectionLost
            If Redis did not answer.
        """
        missing = [part for part in parts if part not in self._reads and not self._holds(part)]
        if missing:
            task = asyncio.create_task(self._read_blobs(missing), name="hub blobs")
            self._reads |= dict.fromkeys(missing, task)
        reads = {self._reads[part] for part in parts if part in self._reads}
        if reads:
            # Waiting does not own: who is cancelled here takes nothing from the others.
            await asyncio.wait(reads)
            if not all(read.result() for read in reads):
                raise ConnectionLost("Redis did not give the newest values")
        return [self._blobs[part] for part in parts if part in self._blobs]

    def _holds(self, part: str) -> bool:
        held = self._blobs.get(part)
        return held is not None and held.version >= self._newest.get(part, (0, 0))

    async def _read_blobs(self, parts: Sequence[str]) -> bool:
        resyncs = self._resyncs
        try:
            stored = cast(list[bytes | None], await self._reader.mget([self._names.blob(part) for part in parts]))
        except (RedisError, OSError) as exc:
            logger.warning("the newest values could not be read: %s", exc)
            return False
        finally:
            for part in parts:
                self._reads.pop(part, None)
        if (
            resyncs == self._resyncs
        ):  # else it may be older than what the subscription begins with; it is asked for again
            read = {part: line for part, data in zip(parts, stored, strict=True) if data and (line := read_blob(data))}
            self._blobs |= read
        return True

    # --- listening --------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        """Listen and look until the last client leaves."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(), name="hub listener")
                group.create_task(self._look(), name="hub look-out")
        finally:
            self.count()
            await self._reader.aclose()
            await self._listener.aclose()

    async def _listen(self) -> None:
        while True:
            try:
                async with self._listener.pubsub() as pubsub:
                    self._channels = self._needed_channels()
                    await pubsub.subscribe(self._names.control, *self._channels)
                    self._pubsub = pubsub
                    # Between the first subscription or the loss of one and now, anything may have been missed.
                    await self._listen_to(self._needed_channels())
                    self._forget()
                    self._resync()
                    await self._relay(pubsub)
            except (RedisError, OSError, ConnectionLost) as exc:
                logger.warning("the hub lost Redis: %s; trying again in %.1f s", exc, self._timing.retry)
            finally:
                self._pubsub = None
            raise_if_cancelled()
            await asyncio.sleep(self._timing.retry)

    async def _relay(self, pubsub: PubSub) -> None:
        asked = False
        while True:
            message = await pubsub.get_message(timeout=self._timing.quiet)
            if message is None:
                if asked:
                    raise ConnectionLost("no answer to a ping")
                asked = True
                await pubsub.ping()
                continue
            asked = False
            if message["type"] == "message":
                try:
                    self._on_message(str(message["channel"], "ascii"), message["data"])
                except BadLine as exc:  # as an older or newer stream process writes them
                    logger.warning("a message on %s is not understood: %s", message["channel"], exc)
                except Exception:  # one message must not end the feed of every client
                    logger.exception("a message on %s could not be relayed", message["channel"])

    def _on_message(self, channel: str, data: bytes) -> None:
        if channel != self._names.control:
            self._fan_out(data)
        elif read_message(data).get("type") == PARTS_CHANGED:
            self._forget_directory()

    def _fan_out(self, data: bytes) -> None:
        metrics.HUB_MESSAGES.inc()
        for line in read_lines(data):
            # An older epoch is a stream process that does not know yet that another one took over.
            if line.version <= self._newest.get(line.part, (0, 0)):
                continue
            self._newest[line.part] = line.version
            for client in self._followers.get(line.part, ()):
                client.outbox.offer(line)
                if not client.outbox.is_full:
                    client.wake.set()

    async def _look(self) -> None:
        """Tell clients when no stream process says that it lives."""
        while True:
            try:
                keys = [key async for key in self._reader.scan_iter(match=self._names.states, count=1000)]
                state = FeedState.LIVE if keys else FeedState.DOWN
            except (RedisError, OSError):
                state = FeedState.DOWN
            self.feed_state = state
            if state is not Hub._said:
                logger.log(logging.INFO if state is FeedState.LIVE else logging.WARNING, "the feed is %s", state)
                Hub._said = state
            for client in self.clients:
                if client.feed_state is not state:
                    client.wake.set()
            raise_if_cancelled()
            self.count()
            metrics.CLIENT_PENDING_BYTES.set(sum(client.outbox.pending_bytes for client in self.clients))
            await asyncio.sleep(self._timing.look)

    # --- bookkeeping ------------------------------------------------------------------------------------------------

    def _needed_channels(self) -> set[str]:
        return {self._names.channel(part) for part in self._followers}

    async def _listen_to(self, needed: set[str]) -> None:
        pubsub = self._pubsub
        if pubsub is None:  # not connected: it will begin with what is needed then
            return
        new, gone = needed - self._channels, self._channels - needed
        self._channels = needed
        try:
            if new:
                await pubsub.subscribe(*new)
            if gone:
                await pubsub.unsubscribe(*gone)
        except (RedisError, OSError) as exc:
            logger.warning("the hub could not change its channels: %s", exc)
            await pubsub.aclose()  # type: ignore[no-untyped-call]  # the listener sees it and begins anew
        for part in list(self._newest):
            if self._names.channel(part) in gone:
                # Not listened to any more, so what is held will be out of date.
                self._newest.pop(part, None)
                self._blobs.pop(part, None)

    def _forget_directory(self) -> None:
        self._directory = None
        self._changes += 1

    def _forget(self) -> None:
        self._forget_directory()
        self._newest.clear()
        self._blobs.clear()

    def _resync(self) -> None:
        self._resyncs += 1
        for client in self.clients:
            client.outbox.resync()
            client.wake.set()


hub = HubOfLoop(lambda: Hub(settings.REDIS_URL, RedisNames(settings.REDIS_PREFIX), TIMING))
