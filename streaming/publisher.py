"""Batches to Redis: one pipelined write per flush, one PUBLISH per channel, and no tick ever waits for it.

Lines tell their own size (`market.lines`), so a message is lines one behind the other. A part's blob is its newest
keyframe (a line with all rows) and, appended line by line, what changed since: writing it costs no more than what
changed, and whoever reads it has everything. Up to four batches queue; a fifth merges the
oldest two, line behind line. After a failed write every part is *owed*: it goes out once in full when Redis answers.
"""

import asyncio
import functools
import logging
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import NamedTuple, Protocol

import orjson
import redis.asyncio as redis
from redis.exceptions import RedisError

from accounts.async_redis import async_client
from accounts.cancellation import raise_if_cancelled
from market.names import ANALYTICS, BARS, RedisNames, group_of, kind_of
from streaming import metrics
from streaming.breaker import Breaker, BreakerState

logger = logging.getLogger(__name__)

QUEUE_BATCHES = 4
WRITE_SECONDS = 0.2
# Longer than a night and a weekend of a closed market; what a reader makes of an old value follows from its times.
BLOB_TTL_SECONDS = 7 * 24 * 3600
_BREAKER_LEVELS = {BreakerState.CLOSED: 0, BreakerState.HALF_OPEN: 1, BreakerState.OPEN: 2}


class PartPayload(NamedTuple):
    """What is new of one part: encoded lines, to be applied in order. If it `is_whole`, the first one has all rows."""

    lines: tuple[bytes, ...]
    is_whole: bool

    @property
    def size(self) -> int:
        return sum(map(len, self.lines))

    def then(self, newer: "PartPayload") -> "PartPayload":
        """Both, one after the other; what comes before a whole line is not needed any more."""
        return newer if newer.is_whole else PartPayload(self.lines + newer.lines, self.is_whole)


Batch = Mapping[str, PartPayload]

# One command and one answer per flush: a pipeline's hundred of each cost the client more than the ticks themselves.
# Blobs come first: who reads one because of a message must find one that is at least as new.
# Each line travels once, all of them in one piece: messages and blobs are cut from it by the sizes that the plan tells.
# Each blob's writer is known by its epoch: who has lost a part to another process, and does not know it yet, changes
# nothing. What it publishes, readers drop by the epoch on the line.
_WRITE = """
local ttl, plan, epoch = ARGV[1], cjson.decode(ARGV[2]), tonumber(ARGV[3])
local blobs, news, refused = {}, {}, 0
for _, channel in ipairs(plan) do
  for _, part in ipairs(channel[2]) do blobs[#blobs + 1] = part[1] end
end
if #blobs == 0 then return 0 end
local epochs, place = redis.call('HMGET', KEYS[1], unpack(blobs)), 0
local lines_of_all, at = ARGV[4], 1
for _, channel in ipairs(plan) do
  local begins = at
  for _, part in ipairs(channel[2]) do
    place = place + 1
    local blob, is_whole, size = part[1], part[2], part[3]
    local writer = tonumber(epochs[place] or 0)
    if writer > epoch then
      refused = refused + 1
    else
      if writer < epoch then news[#news + 1] = blob news[#news + 1] = ARGV[3] end
      local lines = string.sub(lines_of_all, at, at + size - 1)
      if is_whole then redis.call('SET', blob, lines, 'EX', ttl) else redis.call('APPEND', blob, lines) end
    end
    at = at + size
  end
  redis.call('PUBLISH', channel[1], string.sub(lines_of_all, begins, at - 1))
end
if #news > 0 then
  redis.call('HSET', KEYS[1], unpack(news))
  redis.call('EXPIRE', KEYS[1], ttl)
end
return refused
"""


class ChannelLayer(Protocol):
    """The part of a Channels layer that the publisher uses."""

    async def group_send(self, group: str, message: dict[str, object]) -> None: ...


def hot_path_client(url: str, *, timeout_seconds: float = WRITE_SECONDS) -> "redis.Redis":
    """A client that fails at once: the next flush is the retry."""
    return async_client(url, read_seconds=timeout_seconds, connect_seconds=timeout_seconds)


def merge(older: Batch, newer: Batch) -> dict[str, PartPayload]:
    """Both as one batch."""
    merged = dict(older)
    for part, payload in newer.items():
        merged[part] = older[part].then(payload) if part in older else payload
    return merged


class Publisher:
    """Writes batches in its own task; `put` never waits."""

    def __init__(
        self,
        client: "redis.Redis",
        names: RedisNames,
        *,
        layer: ChannelLayer | None = None,
        breaker: Breaker | None = None,
        write_seconds: float = WRITE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.breaker = breaker or Breaker()
        self.epoch = 0  # of what is written from now on
        self.dropped = 0
        self.failures = 0
        self.refused = 0  # blobs that another process writes by now
        self._script = client.register_script(_WRITE)
        self._names = names
        # Worked out once for each part: they stay the same.
        self._place_of = functools.cache(lambda part: (names.channel(part), names.blob(part)))
        self._layer = layer
        self._write_seconds = write_seconds
        self._clock = clock
        self._queue: deque[tuple[float, Batch]] = deque()  # with the moment when the oldest of it was put
        self._writing_since: float | None = None
        self._ready = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._latest: dict[str, PartPayload] = {}  # every part in full: what an outage leaves owed
        self._owed: set[str] = set()
        self._layer_failing = False

    @property
    def pending_bytes(self) -> int:
        """Encoded bytes that wait to be written."""
        return sum(payload.size for _, batch in self._queue for payload in batch.values())

    @property
    def waiting_batches(self) -> int:
        """Of `QUEUE_BATCHES` at most."""
        return len(self._queue)

    @property
    def lag_seconds(self) -> float:
        """How long the oldest batch that Redis has not taken is waiting; 0 if there is none."""
        since = self._queue[0][0] if self._writing_since is None and self._queue else self._writing_since
        return 0.0 if since is None else self._clock() - since

    def put(self, batch: Batch) -> None:
        """Queue a batch. Never waits: the fifth one merges the oldest two."""
        self._latest = merge(self._latest, batch)
        if len(self._queue) == QUEUE_BATCHES:
            (since, oldest), (_, second) = self._queue.popleft(), self._queue.popleft()
            self._queue.appendleft((since, merge(oldest, second)))
            metrics.BATCHES_MERGED.inc()
        self._queue.append((self._clock(), batch))
        self._idle.clear()
        self._ready.set()

    def owe_everything(self) -> None:
        """Redis may have come back empty: every part is to be sent in full."""
        self._owed = set(self._latest)

    def settle(self) -> None:
        """Pay what is owed even if no tick comes any more (Redis came back after the close)."""
        if self._owed and not self._queue:
            self.put({})

    def forget(self, parts: Iterable[str]) -> None:
        """Parts that are no longer streamed owe nothing."""
        for part in parts:
            self._latest.pop(part, None)
            self._owed.discard(part)

    async def drained(self) -> None:
        """Wait until nothing is queued."""
        await self._idle.wait()

    async def run(self) -> None:
        """Write batches as they come, until cancelled."""
        while True:
            await self._ready.wait()
            self._writing_since, batch = self._queue.popleft()
            if not self._queue:
                self._ready.clear()
            await self._deliver(batch)
            self._writing_since = None
            raise_if_cancelled()
            if not self._queue:
                self._idle.set()

    async def _deliver(self, batch: Batch) -> None:
        allowed = self.breaker.allows()
        if not allowed:
            self.dropped += 1
            self.owe_everything()
            metrics.CIRCUIT_OPEN_DROPS.inc()
        elif await self._write(self._with_debts(batch)):
            if self.breaker.state is not BreakerState.CLOSED:
                logger.info("Redis is back: every part was sent in full")
            self.breaker.succeeded()
        else:
            self._fail()
        metrics.BREAKER_STATE.labels("redis").set(_BREAKER_LEVELS[self.breaker.state])

    def _with_debts(self, batch: Batch) -> Batch:
        """The batch, with every part that readers may have missed sent whole."""
        return {**batch, **{part: self._latest[part] for part in self._owed}} if self._owed else batch

    def _fail(self) -> None:
        was_open = self.breaker.state is BreakerState.OPEN
        self.breaker.failed()
        self.failures += 1
        metrics.PUBLISH_FAILURES.inc()
        self.owe_everything()
        if self.breaker.state is BreakerState.OPEN and not was_open:
            logger.warning("Redis fails: batches are dropped until it answers; sockets and Greeks go on")

    async def _write(self, batch: Batch) -> bool:
        began = self._clock()
        blobs: dict[str, list[tuple[str, bool, int]]] = {}  # by channel, as are the lines
        lines: dict[str, list[bytes]] = {}
        for part, payload in batch.items():
            channel, blob = self._place_of(part)
            blobs.setdefault(channel, []).append((blob, payload.is_whole, payload.size))
            lines.setdefault(channel, []).extend(payload.lines)
        lines_of_all = b"".join(chain.from_iterable(lines.values()))
        try:
            refused = await self._script(
                keys=[self._names.writers],
                args=[BLOB_TTL_SECONDS, orjson.dumps([*blobs.items()]), self.epoch, lines_of_all],
            )
        except (RedisError, OSError, TimeoutError) as exc:
            logger.debug("a batch was not written: %s", exc)
            return False
        self._owed.difference_update(batch)
        self.refused += int(refused or 0)
        metrics.PUBLISH_SECONDS.observe(self._clock() - began)
        metrics.PUBLISHED_BATCHES.inc()
        metrics.PUBLISHED_MESSAGES.inc(len(blobs))
        if self._layer is not None:
            await self._tell_groups(self._layer, batch)
        return True

    async def _tell_groups(self, layer: ChannelLayer, batch: Batch) -> None:
        """Each underlying's lines once, as one bytes value, for consumers that people write themselves."""
        groups: dict[str, list[bytes]] = {}
        for part, payload in batch.items():
            if kind_of(part) not in (ANALYTICS, BARS):
                groups.setdefault(group_of(part), []).extend(payload.lines)
        try:
            async with asyncio.timeout(self._write_seconds):
                for group, lines in groups.items():
                    await layer.group_send(group, {"type": "ticks.batch", "data": b"".join(lines)})
        except (RedisError, OSError, TimeoutError) as exc:
            if not self._layer_failing:
                logger.warning("the channel layer does not take ticks: %s", exc or "timed out")
            self._layer_failing = True
        else:
            self._layer_failing = False
