"""The last snapshot of a part, as the stream left it in Redis: what a page shows before its socket is up."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, cast

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from market.names import RedisNames

logger = logging.getLogger(__name__)

# A page without prices is still a page: Redis gets this long.
TIMEOUT_SECONDS = 0.5

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One part at one moment: rows by instrument token, a row's values by column; `None` where a number is missing."""

    rows: Mapping[int, Row]
    source: str
    sent_at: float
    market_time: float

    def age_ms(self, now: float) -> float | None:
        """Milliseconds from the newest price to `now` (system time, unix seconds); None if it holds no price."""
        ages = [row["age_ms"] for row in self.rows.values() if row.get("age_ms") is not None]
        return min(ages) + max(0.0, now - self.sent_at) * 1000 if ages else None


def parse(blob: bytes) -> Snapshot:
    """A part's blob → snapshot: a line with all rows, and lines with what changed since.

    Raises
    ------
    ValueError
        If these are not such lines.
    """
    whole, *changes = map(_line, blob.split(b"\n"))
    for change in changes:
        passed_ms = (change.sent_at - whole.sent_at) * 1000
        older = {
            token: {**row, "age_ms": None if row.get("age_ms") is None else row["age_ms"] + passed_ms}
            for token, row in whole.rows.items()
        }
        whole = replace(change, rows=older | dict(change.rows))
    return whole


def _line(encoded: bytes) -> Snapshot:
    try:
        line = json.loads(encoded)
        columns: dict[str, list[Any]] = line["columns"]
        names = list(columns)
        rows = {
            values[names.index("instrument_token")]: dict(zip(names, values, strict=True))
            for values in zip(*columns.values(), strict=True)
        }
        return Snapshot(rows, str(line["source"]), float(line["sent_at"]), float(line["market_time"]))
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"not a part's line: {exc!r}") from exc


@lru_cache(maxsize=1)
def _client() -> "redis.Redis":
    return redis.Redis.from_url(
        settings.REDIS_URL,
        socket_timeout=TIMEOUT_SECONDS,
        socket_connect_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),  # the default would keep the page waiting for ten seconds
    )


def latest(*parts: str) -> list[Snapshot | None]:
    """The parts' last snapshots in one round trip; None for each that there is none of, or all when Redis is away."""
    names = RedisNames(settings.REDIS_PREFIX)
    try:
        blobs = cast("list[bytes | None]", _client().mget([names.blob(part) for part in parts]))
    except RedisError as exc:
        logger.warning("No last prices for the page: Redis did not answer (%s)", exc)
        return [None] * len(parts)
    return [_parsed(part, blob) for part, blob in zip(parts, blobs, strict=True)]


def _parsed(part: str, blob: bytes | None) -> Snapshot | None:
    if blob is None:
        return None
    try:
        return parse(blob)
    except ValueError as exc:
        logger.warning("The last snapshot of %s cannot be read: %s", part, exc)
        return None
