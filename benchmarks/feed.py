"""What the stream leaves in Redis, for benchmarks of what stands behind it: parts in messages of 20 kB."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any, Self

import redis.asyncio as redis

from benchmarks.market import MARKET_TIME, RATE, Market, frames_of, market
from market.names import RedisNames
from market.pricing_terms import PricingTerms
from streaming.pipeline import LIVE, TickPipeline
from streaming.pricing import PricingSettings
from streaming.publisher import Publisher

MESSAGE_BYTES = 20_000
PLAIN, EACH, JSON = 0, 1, 2
"""Whose underlying: each contender has one of its own, or what is for one keeps the others' web processes busy."""
_ROWS = {PLAIN: 166, EACH: 166, JSON: 50}
"""So many options make a message of about that size, in bytes or in JSON."""


class Feed:
    """An expiry of several underlyings, lines of a message's size, written by the stream's pipeline and publisher."""

    def __init__(self, client: "redis.Redis", names: RedisNames) -> None:
        source = _cut(market())
        self.pipeline = TickPipeline(
            source="simulated",
            epoch=1,
            market_time=lambda: MARKET_TIME,
            pricing=PricingSettings(PricingTerms(rate=RATE)),
            feed_state=LIVE,
        )
        self.pipeline.follow(source.contracts)
        self.pipeline.flush(frames_of(source, range(len(source.contracts)), 100, volume=1), MARKET_TIME)
        self._publisher = Publisher(client, names, write_seconds=5.0)
        self._parts = sorted(part for part in self.pipeline.parts if not part.endswith("underlying"))

    @classmethod
    @asynccontextmanager
    async def through(cls, url: str) -> AsyncIterator[Self]:
        """A feed whose parts are known and whose first values are there."""
        names = RedisNames("ticker")
        async with redis.Redis.from_url(url, socket_timeout=5.0) as client:
            feed = cls(client, names)
            await client.set(names.state("benchmark"), b"{}")
            await client.hset(names.parts, mapping={str(t): part for t, part in feed.pipeline.part_of_token.items()})
            writing = asyncio.create_task(feed._publisher.run())
            feed._publisher.put(feed.pipeline.whole())
            await feed._publisher.drained()
            try:
                yield feed
            finally:
                writing.cancel()
                with suppress(asyncio.CancelledError):
                    await writing

    def chain(self, whose: int) -> dict[str, Any]:
        """What a client subscribes."""
        part = self.pipeline.table.instruments.parts[self._parts[whose]]
        return {"underlying": part.underlying, "expiry": str(part.expiry)}

    async def publish(self, whose: int) -> None:
        """One message, through the stream's own publisher."""
        self._publisher.put(self.pipeline.whole([self._parts[whose]]))
        await self._publisher.drained()

    def message(self) -> bytes:
        """The same message by itself, for whoever sends it in another way."""
        [payload] = self.pipeline.whole([self._parts[PLAIN]]).values()
        return b"".join(payload.lines)


def _cut(source: Market) -> Market:
    """The first underlyings with so many options of their first expiry that the messages have their size."""
    kept: list[int] = []
    names = list(dict.fromkeys(contract.underlying for contract in source.contracts))
    for whose, rows in _ROWS.items():
        own = [place for place, contract in enumerate(source.contracts) if contract.underlying == names[whose]]
        options = [place for place in own if source.contracts[place].is_option]
        expiry = source.contracts[options[0]].expiry
        kept += [place for place in own if place not in options]
        kept += [place for place in options if source.contracts[place].expiry == expiry][:rows]
    return Market([source.contracts[place] for place in kept], [source.paise[place] for place in kept])
