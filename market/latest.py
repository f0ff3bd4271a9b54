"""The last snapshot of a part, as the stream left it in Redis: for pages, REST and whatever else needs current prices.

A part's blob is a line with all rows and, below it, lines with the rows that changed since. They are merged column by
column: what each row's newest line is gets decided once, and every column is then picked in one step.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from operator import itemgetter
from typing import Any, Final, cast

import numpy as np
import redis
from django.conf import settings
from numpy.typing import NDArray
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from market.exceptions import PricesUnavailable
from market.lines import decode, split
from market.names import RedisNames, analytics_part

logger = logging.getLogger(__name__)

# A page without prices is still a page: Redis gets this long.
TIMEOUT_SECONDS: Final = 0.5

# The kinds of lines that hold rows. Others may stand beside them, and are for others to read.
ROWS: Final = ("snapshot", "update")

Row = Mapping[str, Any]
Column = Sequence[Any]


@dataclass(frozen=True)
class Snapshot:
    """One part at one moment, column by column; `None` where a number is missing.

    `pricing` is what the newest line says its options were priced with; None of an underlying's part.
    """

    columns: Mapping[str, Column]
    source: str
    sent_at: float
    market_time: float
    feed_state: str = ""
    pricing: Mapping[str, Any] | None = None

    @cached_property
    def places(self) -> Mapping[int, int]:
        """Where each instrument token's row stands in the columns."""
        return {token: place for place, token in enumerate(self.columns["instrument_token"])}

    @cached_property
    def rows(self) -> Mapping[int, Row]:
        """The same by instrument token: a row's values by column."""
        names = tuple(self.columns)
        values = zip(*self.columns.values(), strict=True)
        return dict(
            zip(self.columns["instrument_token"], (dict(zip(names, row, strict=True)) for row in values), strict=True)
        )

    def numbers(self, name: str) -> NDArray[np.float64]:
        """A column as float64, `nan` where a number is missing. A column that the lines lack is missing everywhere."""
        column = self.columns.get(name)
        return np.full(len(self.places), np.nan) if column is None else np.array(column, np.float64)

    def age_ms(self, now: float) -> float | None:
        """Milliseconds from the newest price to `now` (system time, unix seconds); None if it holds no price."""
        ages = [age for age in self.columns.get("age_ms", ()) if age is not None]
        return min(ages) + self.passed_ms(now) if ages else None

    def passed_ms(self, now: float) -> float:
        """By how much every `age_ms` has grown since the newest line was sent."""
        return max(0.0, now - self.sent_at) * 1000


def parse(blob: bytes) -> Snapshot:
    """A part's blob → snapshot.

    Raises
    ------
    ValueError
        If these are not such lines (`BadLine` is one).
    """
    try:
        lines = _of_newest_writers([line for line in map(decode, split(blob)) if line.get("kind", ROWS[1]) in ROWS])
        newest = lines[-1]
        return Snapshot(
            columns=_merged(lines),
            source=str(newest["source"]),
            sent_at=float(newest["sent_at"]),
            market_time=float(newest["market_time"]),
            feed_state=str(newest.get("feed_state", "")),
            pricing=newest.get("pricing"),
        )
    except (KeyError, TypeError, AttributeError, IndexError) as exc:
        raise ValueError(f"not a part's lines: {exc!r}") from exc


def _of_newest_writers(lines: Sequence[Row]) -> list[Row]:
    """Without the lines of a writer whose part another one had already: their epoch is lower than one before them."""
    kept: list[Row] = []
    highest = 0
    for line in lines:
        if (epoch := line.get("epoch", 0)) >= highest:
            highest = epoch
            kept.append(line)
    return kept


def _merged(lines: Sequence[Mapping[str, Any]]) -> Mapping[str, Column]:
    """Every instrument's newest row, in the order in which the instruments first came; ages as of the newest line."""
    names: Sequence[str] = list(lines[0]["columns"])
    tables: list[Mapping[str, Column]] = [line["columns"] for line in lines]
    for table in tables:
        rows = len(table["instrument_token"])
        if any(len(column) != rows for column in table.values()):
            raise ValueError("the columns of a line differ in length")
    if len(lines) == 1:
        return tables[0]
    tokens = list(chain.from_iterable(table["instrument_token"] for table in tables))
    newest = {token: place for place, token in enumerate(tokens)}  # a later place overwrites, the order stays
    places = list(newest.values())
    merged = {name: _picked(chain.from_iterable(table[name] for table in tables), places) for name in names}
    if "age_ms" in merged:
        sent_at = lines[-1]["sent_at"]
        passed = chain.from_iterable(
            [(sent_at - line["sent_at"]) * 1000] * len(table["instrument_token"])
            for line, table in zip(lines, tables, strict=True)
        )
        merged["age_ms"] = [
            None if age is None else age + later
            for age, later in zip(merged["age_ms"], _picked(passed, places), strict=True)
        ]
    return merged


def _picked(values: Iterable[Any], places: Sequence[int]) -> Column:
    column = list(values)
    return itemgetter(*places)(column) if len(places) > 1 else [column[place] for place in places]


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
    try:
        return read(parts)[0]
    except PricesUnavailable as exc:
        logger.warning("No last prices for the page: Redis did not answer (%s)", exc.__cause__)
        return [None] * len(parts)


def read(parts: Sequence[str], *, analytics: Sequence[str] = ()) -> tuple[list[Snapshot | None], list[Row | None]]:
    """The last snapshots of `parts` and the last analytics lines of others, in one round trip.

    None for each that there is none of, or none that can be read.

    Raises
    ------
    PricesUnavailable
        If Redis does not answer.
    """
    names = RedisNames(settings.REDIS_PREFIX)
    keys = [names.blob(part) for part in parts] + [names.blob(analytics_part(part)) for part in analytics]
    if not keys:
        return [], []
    try:
        blobs = cast("list[bytes | None]", _client().mget(keys))
    except RedisError as exc:
        raise PricesUnavailable from exc
    snapshots = [_parsed(part, blob) for part, blob in zip(parts, blobs[: len(parts)], strict=True)]
    return snapshots, [_line(part, blob) for part, blob in zip(analytics, blobs[len(parts) :], strict=True)]


def parts_of(instrument_tokens: Sequence[int]) -> dict[int, str]:
    """Those of the tokens that the stream carries, with the part that each is in.

    Raises
    ------
    PricesUnavailable
        If Redis does not answer.
    """
    if not instrument_tokens:
        return {}
    names = RedisNames(settings.REDIS_PREFIX)
    try:
        found = cast("list[bytes | None]", _client().hmget(names.parts, [str(token) for token in instrument_tokens]))
    except RedisError as exc:
        raise PricesUnavailable from exc
    return {token: part.decode() for token, part in zip(instrument_tokens, found, strict=True) if part is not None}


def carried(parts: Sequence[str]) -> set[str] | None:
    """Those of `parts` that the stream carries; None if Redis, which would know, does not answer."""
    if not parts:
        return set()
    names = RedisNames(settings.REDIS_PREFIX)
    try:
        with _client().pipeline(transaction=False) as pipeline:
            for part in parts:
                pipeline.exists(names.blob(part))
            found = pipeline.execute()
    except RedisError as exc:
        logger.warning("Which parts are carried is not known: Redis did not answer (%s)", exc)
        return None
    return {part for part, is_there in zip(parts, found, strict=True) if is_there}


def _parsed(part: str, blob: bytes | None) -> Snapshot | None:
    if blob is None:
        return None
    try:
        return parse(blob)
    except ValueError as exc:
        logger.warning("The last snapshot of %s cannot be read: %s", part, exc)
        return None


def _line(part: str, blob: bytes | None) -> Row | None:
    """The newest line of an analytics blob."""
    if blob is None:
        return None
    try:
        *_, line = map(decode, split(blob))
    except ValueError as exc:
        logger.warning("The last analytics of %s cannot be read: %s", part, exc)
        return None
    return line if isinstance(line.get("analytics"), dict) else None
