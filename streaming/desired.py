"""What the stream should carry now, read from the database in one go."""

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property

from django.db import connection

from accounts import clock
from market import underlying_pricing
from market.calendar import Calendar, current
from market.exceptions import CalendarMissing
from streaming.allocation import PartDemand
from streaming.contracts import Contract
from streaming.feed_account import FeedAccount, feed_accounts
from streaming.pricing import PricingSettings
from streaming.subscriptions import Streamed, by_part, fingerprint, streamed_on

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Desired:
    """The instruments, the accounts that may carry them, and a mark that tells whether it is worth reading again."""

    mark: tuple[object, ...]
    streamed: Sequence[Streamed]
    contracts: Sequence[Contract]
    accounts: Sequence[FeedAccount]
    calendar: Calendar
    pricing: PricingSettings

    @cached_property
    def demands(self) -> list[PartDemand]:
        """The instruments as parts to place. A part is pinned if one of its subscriptions is."""
        return [
            PartDemand(
                part=part,
                tokens=frozenset(one.instrument_token for one in members),
                pinned_to=next((one.pinned_to for one in members if one.pinned_to), None),
            )
            for part, members in by_part(self.streamed).items()
        ]

    @property
    def exchanges(self) -> frozenset[str]:
        return frozenset(one.exchange for one in self.streamed)


def mark() -> tuple[object, ...]:
    """Changes when `load` would give something else: subscriptions, instruments, terms, the accounts or the day."""
    return (clock.today(), feed_accounts(), *underlying_pricing.fingerprint(), *fingerprint())


def load() -> Desired:
    """Read everything. Takes some hundred milliseconds for thousands of instruments: not for the event loop."""
    seen = mark()
    calendar = current()
    streamed = streamed_on(clock.today())
    times = _closing_times(streamed, calendar)
    pricing = PricingSettings(underlying_pricing.default_terms(), underlying_pricing.terms_by_underlying())
    return Desired(seen, streamed, [_contract(one, times) for one in streamed], feed_accounts(), calendar, pricing)


def next_epoch(after: int = 0) -> int:
    """A number greater than that of any stream process before, and than `after`."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT nextval('streaming_epoch')")
        epoch = int(cursor.fetchone()[0])
        if epoch <= after:
            cursor.execute("SELECT setval('streaming_epoch', %s)", [after + 1])
            epoch = int(cursor.fetchone()[0])
    return epoch


@dataclass(frozen=True)
class _Term:
    """When a contract ends is a matter of its exchange and expiry only."""

    exchange: str
    expiry: date | None


def _closing_times(streamed: Iterable[Streamed], calendar: Calendar) -> dict[_Term, float]:
    """Unix seconds at which the options of an exchange and expiry stop trading; nan where the calendar cannot tell."""
    times: dict[_Term, float] = {}
    for term in {_Term(one.exchange, one.expiry) for one in streamed if one.is_option}:
        try:
            times[term] = calendar.close_of(term).timestamp()
        except CalendarMissing as exc:
            logger.error("options on %s of %s have no closing time, so no Greeks: %s", term.exchange, term.expiry, exc)
            times[term] = math.nan
    return times


def _contract(one: Streamed, closing_times: Mapping[_Term, float]) -> Contract:
    return Contract(
        instrument_token=one.instrument_token,
        tradingsymbol=one.tradingsymbol,
        underlying=one.underlying,
        instrument_type=one.instrument_type,
        expiry=one.expiry,
        strike=float(one.strike) if one.is_option else math.nan,
        closes_at=closing_times.get(_Term(one.exchange, one.expiry), math.nan),
        exchange=one.exchange,
    )
