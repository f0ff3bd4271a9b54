"""News of orders for the WebSocket clients of one web process: one reader of the table, whatever the number of clients.

The hub keeps the latest rows of each followed account; a client is a position in them. Nothing is queued per client, so
a slow one costs no memory, and what is no longer kept here is in the table. A bell in Redis says when to read; without
it the hub reads every second.
"""

import asyncio
import logging
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from uuid import UUID

import redis.asyncio as redis
from channels.db import database_sync_to_async
from django.conf import settings
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from accounts.async_redis import async_client
from accounts.cancellation import raise_if_cancelled
from accounts.socket_hub import HubOfLoop, SocketHub
from orders import metrics
from orders.news import MOST_AT_ONCE, News, give_numbers, heads, news_after
from orders.news_bell import channel
from orders.news_messages import row_text

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class HubTiming:
    """Every wait of a hub, in seconds."""

    poll: float = 1.0  # without a bell
    gather: float = 0.02  # between two readings, however often it rings
    quiet: float = 10.0  # no bell for so long: ask whether the connection still lives
    retry: float = 1.0


TIMING = HubTiming()
ROWS_KEPT = 1_000  # of each account


@dataclass(frozen=True, slots=True)
class Row:
    seq: int
    text: str


@dataclass(eq=False, slots=True)
class Reader:
    """One consumer as the hub sees it; `positions` are the rows that it was sent, by the account's primary key."""

    principal: str
    positions: dict[int, int] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)


@dataclass(eq=False, slots=True)
class Feed:
    """One account's latest rows; `recent` has no gaps and ends at `head`."""

    account: UUID
    head: int
    recent: deque[Row] = field(default_factory=lambda: deque(maxlen=ROWS_KEPT))
    readers: set[Reader] = field(default_factory=set)

    def add(self, news: News) -> None:
        if news.seq <= self.head:
            return
        if news.seq != self.head + 1:
            self.recent.clear()
        self.recent.append(Row(news.seq, row_text(self.account, news)))
        self.head = news.seq

    def after(self, seq: int, most: int) -> list[Row] | None:
        """Up to `most` rows after `seq`; None if the first of them is not kept any more."""
        if seq >= self.head:
            return []
        if not self.recent or self.recent[0].seq > seq + 1:
            return None
        first = seq + 1 - self.recent[0].seq
        return [self.recent[place] for place in range(first, min(first + most, len(self.recent)))]


class NewsHub(SocketHub[Reader]):
    """Of the news of orders: one reading for all clients."""

    clients_gauge = metrics.NEWS_CLIENTS

    def __init__(self, url: str, timing: HubTiming) -> None:
        super().__init__()
        self.feeds: dict[int, Feed] = {}
        self._timing = timing
        self._bell = asyncio.Event()
        self._redis = async_client(url, read_seconds=None, connect_seconds=timing.retry)

    # --- clients ----------------------------------------------------------------------------------------------------

    async def leave(self, client: Reader) -> None:
        self.unfollow(client, list(self.feeds))
        await super().leave(client)

    async def follow(self, reader: Reader, accounts: Mapping[int, UUID]) -> dict[int, int]:
        """Keep these accounts' rows from now on. The latest number of each; raises a database error."""
        missing = {key: account for key, account in accounts.items() if key not in self.feeds}
        for key in accounts.keys() - missing.keys():
            self.feeds[key].readers.add(reader)
        if missing:
            found = await database_sync_to_async(_numbered_heads)(list(missing))
            for key, account in missing.items():
                self.feeds.setdefault(key, Feed(account, found[key])).readers.add(reader)
        return {key: self.feeds[key].head for key in accounts}

    def unfollow(self, reader: Reader, accounts: Iterable[int]) -> None:
        for key in accounts:
            reader.positions.pop(key, None)
            feed = self.feeds.get(key)
            if feed is not None:
                feed.readers.discard(reader)
                if not feed.readers:
                    del self.feeds[key]

    def behind(self, reader: Reader) -> int:
        """How many rows the client has still to be sent."""
        return sum(max(0, self.feeds[key].head - seq) for key, seq in reader.positions.items())

    async def rows_after(self, key: int, seq: int, most: int) -> Sequence[Row]:
        """The account's rows after `seq`, `most` at most: from memory, else from the table. Raises a database error."""
        feed = self.feeds[key]
        kept = feed.after(seq, most)
        if kept is not None:
            return kept
        found = await database_sync_to_async(news_after)({key: seq}, most=most)
        return [Row(news.seq, row_text(feed.account, news)) for news in found]

    # --- reading ----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._listen(), name="news bell")
                group.create_task(self._read(), name="news reader")
        finally:
            await self._redis.aclose()

    async def _read(self) -> None:
        """Read what is new whenever the bell rings, and every second."""
        while True:
            self._bell.clear()
            positions = {key: feed.head for key, feed in self.feeds.items()}
            found: list[News] = []
            if positions:
                try:
                    found = await database_sync_to_async(_numbered_after)(positions)
                except DatabaseError as exc:
                    logger.warning("news of orders cannot be read: %s", exc)
            self._hand_on(found)
            if len(found) < MOST_AT_ONCE:
                await asyncio.sleep(self._timing.gather)
                try:
                    async with asyncio.timeout(self._timing.poll):
                        await self._bell.wait()
                except TimeoutError:
                    pass

    def _hand_on(self, found: Iterable[News]) -> None:
        for news in found:
            feed = self.feeds.get(news.account_id)
            if feed is not None:
                feed.add(news)
                for reader in feed.readers:
                    reader.wake.set()

    async def _listen(self) -> None:
        """Hear the bell, and dial again when it is lost: until then the reader's own clock has to do."""
        while True:
            try:
                async with self._redis.pubsub() as pubsub:
                    await pubsub.subscribe(channel())
                    await self._hear(pubsub)
            except (RedisError, OSError) as exc:
                logger.warning("no bell for news of orders: %s; they are read every %.1f s", exc, self._timing.poll)
            raise_if_cancelled()
            await asyncio.sleep(self._timing.retry)

    async def _hear(self, pubsub: "redis.client.PubSub") -> None:
        asked = False
        while True:
            message = await pubsub.get_message(timeout=self._timing.quiet)
            raise_if_cancelled()
            if message is None:
                if asked:
                    raise ConnectionError("no answer to a ping")
                asked = True
                await pubsub.ping()
                continue
            asked = False
            if message["type"] in ("message", "subscribe"):  # before it listened, a bell may have been missed
                self._bell.set()


def _numbered_heads(account_ids: Sequence[int]) -> dict[int, int]:
    give_numbers()
    return heads(account_ids)


def _numbered_after(positions: Mapping[int, int]) -> list[News]:
    give_numbers()
    return news_after(positions)


news_hub = HubOfLoop(lambda: NewsHub(settings.REDIS_URL, TIMING))
