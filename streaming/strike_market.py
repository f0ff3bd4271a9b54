"""What a strike rule goes by: what is listed, what the underlying costs, and forwards and deltas of the stream."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Any, Final

from django.conf import settings

from accounts import clock
from market.exceptions import PricesUnavailable
from market.latest import Snapshot, read
from market.models import Instrument
from market.names import part_of
from market.prices import LIVE, MarketPrice, price_of
from market.pricing_rules import FARTHEST_FORWARD
from market.pricing_terms import UnderlyingSource
from streaming.exceptions import NothingToGoBy
from streaming.rebalance import Chain, Strike
from streaming.strike_models import StrikeRule
from streaming.strike_slots import room_for

OLDEST_PRICE_SECONDS: Final = 60.0
"""A stock may go for a while without a trade on a feed that is alive; an older price than this moves nothing."""
_BASIS_DECIMALS: Final = 6


@dataclass(frozen=True, slots=True)
class Look:
    """What a rule has to go by. `bases`: the forward over the price, by expiry; 1 where it was never known."""

    price: Decimal
    chains: Sequence[Chain]
    bases: Mapping[date, Decimal]
    deltas: Mapping[int, float]
    room: int


def look_at(rule: StrikeRule) -> Look:
    """What is listed, what it costs, and how much room there is.

    Raises
    ------
    NothingToGoBy
        If there are no such options, or their underlying's price is not known or not current.
    """
    today = clock.today()
    options = Instrument.objects.options(rule.underlying).filter(exchange=rule.exchange, expiry__gte=today)
    rows = options.order_by("expiry", "strike").values_list(
        "pk", "instrument_token", "expiry", "strike", "instrument_type"
    )
    listed: dict[date, dict[Decimal, dict[str, int]]] = {}
    tokens: dict[int, int] = {}
    for key, token, expiry, strike, kind in rows:
        if expiry is None or (expiry not in listed and len(listed) == rule.expiries):
            continue
        listed.setdefault(expiry, {}).setdefault(strike, {})[kind] = key
        tokens[token] = key
    if not listed:
        raise NothingToGoBy(f"no options on {rule.underlying} are listed at {rule.exchange}")
    price = _price_of_underlying(rule, today)
    snapshots = _snapshots(rule.underlying, listed)
    bases = {expiry: _basis(snapshots.get(expiry), price) or _kept_basis(rule, expiry) for expiry in listed}
    chains = [
        Chain(
            expiry,
            [Strike(strike, kinds.get("CE"), kinds.get("PE")) for strike, kinds in strikes.items()],
            price * bases[expiry],
            _kept_centre(rule, expiry),
        )
        for expiry, strikes in listed.items()
    ]
    return Look(price, chains, bases, _deltas(snapshots.values(), tokens), room_for(rule, today))


# --- what the market says -------------------------------------------------------------------------------------------


def _price_of_underlying(rule: StrikeRule, today: date) -> Decimal:
    """The spot or, where there is none, the nearest future: always the same of the two, so that no switch moves it."""
    underlying = Instrument.objects.underlying_of(rule.underlying, exchange=rule.exchange)
    if underlying is None:
        futures = Instrument.objects.futures(rule.underlying)
        underlying = futures.filter(exchange=rule.exchange, expiry__gte=today).first()
    if underlying is None:
        raise NothingToGoBy(f"no index, stock or future under {rule.underlying} is listed")
    try:
        found = price_of(underlying)
    except PricesUnavailable:
        raise NothingToGoBy("the latest prices cannot be read: Redis does not answer") from None
    return _current(found, underlying)


def _current(found: MarketPrice | None, underlying: Instrument) -> Decimal:
    if found is None or found.last_price is None:
        raise NothingToGoBy(f"the price of {underlying} is not known")
    if not found.is_fresh or found.age_seconds is None or found.age_seconds > OLDEST_PRICE_SECONDS:
        raise NothingToGoBy(f"the price of {underlying} is not current")
    if found.last_price < 0:
        raise NothingToGoBy(f"the price of {underlying} is negative, and no strike is")
    return found.last_price


def _snapshots(underlying: str, expiries: Iterable[date]) -> dict[date, Snapshot]:
    """The expiries' parts that are current."""
    wanted = list(expiries)
    try:
        found, _ = read([part_of(underlying, expiry) for expiry in wanted])
    except PricesUnavailable:
        raise NothingToGoBy("the latest prices cannot be read: Redis does not answer") from None
    now = time.time()
    return {
        expiry: snapshot
        for expiry, snapshot in zip(wanted, found, strict=True)
        if snapshot is not None
        and (snapshot.feed_state, snapshot.source) == (LIVE, settings.FEED_SOURCE)
        and _is_young(snapshot.age_ms(now))
    }


def _is_young(age_ms: float | None) -> bool:
    return age_ms is not None and age_ms <= OLDEST_PRICE_SECONDS * 1000


def _basis(snapshot: Snapshot | None, price: Decimal) -> Decimal | None:
    """The expiry's forward over the underlying's price, as far as the stream knows a forward."""
    pricing = snapshot.pricing if snapshot else None
    if not pricing or pricing.get("underlying_source") == UnderlyingSource.SPOT or not price:
        return None
    forward, age_ms = pricing.get("underlying_price"), pricing.get("underlying_age_ms")
    if forward is None or not _is_young(age_ms):
        return None
    basis = round(Decimal(str(forward)) / price, _BASIS_DECIMALS)
    return basis if abs(basis - 1) <= Decimal(str(FARTHEST_FORWARD)) else None


def _deltas(snapshots: Iterable[Snapshot], tokens: Mapping[int, int]) -> dict[int, float]:
    deltas: dict[int, float] = {}
    for snapshot in snapshots:
        if "delta" not in snapshot.columns:
            continue
        rows = zip(snapshot.columns["instrument_token"], snapshot.columns["delta"], strict=True)
        deltas |= {tokens[token]: delta for token, delta in rows if delta is not None and token in tokens}
    return deltas


# --- what a rule remembers ------------------------------------------------------------------------------------------


def centres_as_json(centres: Mapping[date, Decimal], bases: Mapping[date, Decimal]) -> dict[str, Any]:
    return {
        expiry.isoformat(): {"centre": str(centre), "basis": str(bases[expiry])} for expiry, centre in centres.items()
    }


def _kept_centre(rule: StrikeRule, expiry: date) -> Decimal | None:
    kept = rule.centres.get(expiry.isoformat())
    return Decimal(kept["centre"]) if kept else None


def _kept_basis(rule: StrikeRule, expiry: date) -> Decimal:
    """The last forward that was known goes on holding: a book that is empty for a moment must not move the centre."""
    kept = rule.centres.get(expiry.isoformat())
    return Decimal(kept["basis"]) if kept else Decimal(1)
