"""What an instrument trades at now, as the stream last said, and whether that may be believed."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from django.conf import settings

from market.latest import Snapshot, parts_of, read
from market.models import Instrument

LIVE = "live"
_LEVELS = ("", "_2", "_3", "_4", "_5")  # of a column of the book


@dataclass(frozen=True, slots=True)
class Level:
    """One level of the order book."""

    price: Decimal
    quantity: int | None


@dataclass(frozen=True, slots=True)
class MarketPrice:
    """Prices in rupees; None where there is none. Of the book as many levels as lines carry, the best first.

    `is_fresh`: the feed is live and of the source that this installation goes by (`FEED_SOURCE`), something of the
    instrument's part came within `STREAM_STALE_SECONDS`, and the row bears no flag. `age_seconds` is the row's own age:
    an option that nobody trades has an old price on a live feed.
    """

    last_price: Decimal | None
    bid: Decimal | None
    ask: Decimal | None
    close: Decimal | None  # of the session before
    age_seconds: float | None
    is_fresh: bool
    source: str
    delta: float | None = None  # of one unit; options only
    bids: tuple[Level, ...] = ()
    asks: tuple[Level, ...] = ()

    @property
    def middle(self) -> Decimal | None:
        """Halfway between bid and ask; None unless there are both."""
        return (self.bid + self.ask) / 2 if self.bid and self.ask else None

    def as_json(self) -> dict[str, Any]:
        """What an order keeps of the price at which it was decided."""
        age_ms = None if self.age_seconds is None else round(self.age_seconds * 1000)
        prices = {"last_price": self.last_price, "bid": self.bid, "ask": self.ask}
        return {name: None if price is None else str(price) for name, price in prices.items()} | {
            "age_ms": age_ms,
            "is_fresh": self.is_fresh,
            "source": self.source,
        }


def price_of(instrument: Instrument) -> MarketPrice | None:
    """`prices_of` for one; None if the stream does not carry it. Raises PricesUnavailable."""
    return prices_of([instrument]).get(instrument.pk)


def prices_of(instruments: Iterable[Instrument]) -> dict[int, MarketPrice]:
    """By primary key, those that the stream carries; two round trips to Redis for all of them.

    Raises
    ------
    PricesUnavailable
        If Redis does not answer.
    """
    wanted = {instrument.pk: instrument.instrument_token for instrument in instruments}
    part_of_token = parts_of(list(wanted.values()))
    parts = sorted(set(part_of_token.values()))
    snapshots, _ = read(parts)
    by_part = dict(zip(parts, snapshots, strict=True))
    now, found = time.time(), {}
    for key, token in wanted.items():
        snapshot = by_part.get(part_of_token.get(token, ""))
        if snapshot is not None and token in snapshot.places:
            found[key] = _price_in(snapshot, snapshot.places[token], now)
    return found


def _price_in(snapshot: Snapshot, place: int, now: float) -> MarketPrice:
    def value(name: str) -> Any:
        column = snapshot.columns.get(name)
        return None if column is None else column[place]

    def rupees(name: str) -> Decimal | None:
        price = value(name)
        return None if not price else Decimal(str(price))  # 0: not traded, or nobody bids

    def levels(side: str) -> tuple[Level, ...]:
        prices = [(rupees(f"{side}{number}"), value(f"{side}_quantity{number}")) for number in _LEVELS]
        return tuple(Level(price, quantity) for price, quantity in prices if price is not None)

    newest, own = snapshot.age_ms(now), value("age_ms")
    # Simulated prices that were left behind, or that a second process writes, decide nothing where live ones count.
    is_ours = snapshot.source == settings.FEED_SOURCE
    comes = is_ours and newest is not None and newest <= settings.STREAM_STALE_SECONDS * 1000
    return MarketPrice(
        last_price=rupees("last_price"),
        bid=rupees("bid"),
        ask=rupees("ask"),
        close=rupees("close"),
        age_seconds=None if own is None else (own + snapshot.passed_ms(now)) / 1000,
        is_fresh=snapshot.feed_state == LIVE and comes and not value("flags"),
        source=snapshot.source,
        delta=value("delta"),
        bids=levels("bid"),
        asks=levels("ask"),
    )
