"""Keeping the strikes of rules around the money: what the market says, the decision, and the rows that follow.

    rule ─► look (what is listed; price, forwards and deltas as the stream left them in Redis) ─► decide ─► rows, ledger

Nothing is moved on a price that is not known or not current. Only one process works on a rule at a time, and only rows
that the rule holds, or that nobody wants any more, are written.
"""

import logging
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from django.conf import settings
from django.db import OperationalError, transaction
from django.utils import timezone

from accounts import clock
from accounts.control import announce
from market.calendar import SEGMENTS, is_open
from market.exceptions import CalendarMissing, PricesUnavailable
from market.latest import Snapshot, read
from market.models import Instrument
from market.names import part_of
from market.prices import LIVE, MarketPrice, price_of
from market.pricing_rules import FARTHEST_FORWARD
from market.pricing_terms import UnderlyingSource
from streaming.control import SUBSCRIPTIONS_CHANGED
from streaming.exceptions import NothingToGoBy
from streaming.models import Subscription
from streaming.rebalance import Chain, Change, Decision, Move, Strike, decide
from streaming.strike_models import StrikeMove, StrikeRule
from streaming.strike_slots import room_for
from streaming.wire_requests import Mode

logger = logging.getLogger(__name__)

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


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a rule did, or would do, in words and move by move; `price` is None where nothing could be decided."""

    words: str
    moves: Sequence[Move] = ()
    instruments: Mapping[int, Instrument] = field(default_factory=dict)
    price: Decimal | None = None
    centres: Mapping[date, Decimal] = field(default_factory=dict)
    left_out: int = 0


def rebalance_all() -> None:
    """Rebalance every rule whose market is open. One that cannot be, now, does not keep the others from it."""
    for rule in StrikeRule.objects.enabled():
        if not _trades(rule.exchange, clock.now()):
            continue
        try:
            rebalance(rule.pk)
        except OperationalError as exc:  # a row was locked for too long; the next turn comes soon
            logger.warning("the strikes of %s were not looked at: %s", rule, exc)


def rebalance(rule_id: int) -> Outcome | None:
    """Move a rule's strikes to where the money is. Repeating it at once does nothing.

    None if the rule is gone or switched off, or another process is at work on it.
    """
    with transaction.atomic():
        rule = StrikeRule.objects.enabled().select_for_update(skip_locked=True, of=("self",)).filter(pk=rule_id).first()
        if rule is None:
            return None
        try:
            look = look_at(rule)
        except NothingToGoBy as exc:
            outcome = Outcome(f"nothing was moved: {exc}")
            _note(rule, outcome, rule.centres)
            return outcome
        outcome = _carry_out(rule, look)
        _note(rule, outcome, _centres_as_json(outcome.centres, look.bases))
    return outcome


def preview(rule: StrikeRule) -> Outcome:
    """What the rule would do at this moment. Nothing is written; the rule may be switched off, or not stored yet."""
    try:
        look = look_at(rule)
    except NothingToGoBy as exc:
        return Outcome(f"nothing would be moved: {exc}")
    rows = Subscription.objects.active().filter(instrument__name=rule.underlying)
    decision = _decide(rule, look, rows)
    return _outcome(decision, look, decision.moves)


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


# --- what the market says -----------------------------------------------------------------------------------------


def _trades(exchange: str, now: datetime) -> bool:
    """What the calendar does not know counts as open: prices that do not come stop a rule by themselves."""
    try:
        return is_open(exchange, SEGMENTS.get(exchange, ""), now)
    except CalendarMissing:
        return True


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


# --- what follows -------------------------------------------------------------------------------------------------


def _decide(rule: StrikeRule, look: Look, rows: Iterable[Subscription]) -> Decision:
    held: dict[int, Mode] = {}
    explicit: set[int] = set()
    for row in rows:
        if row.rule_id is not None and row.rule_id == rule.pk:
            held[row.instrument_id] = Mode(row.requested_mode)
        else:
            explicit.add(row.instrument_id)
    return decide(rule.terms, look.chains, held=held, explicit=explicit, deltas=look.deltas, room=look.room)


def _carry_out(rule: StrikeRule, look: Look) -> Outcome:
    """Under lock: whoever asks for one of the instruments meanwhile waits, and takes it over afterwards."""
    instruments = [key for chain in look.chains for strike in chain.strikes for key in strike.instruments]
    rows = Subscription.objects.filter(instrument__in=instruments) | Subscription.objects.filter(rule=rule)
    locked = list(rows.select_for_update(of=("self",)).order_by("pk"))
    decision = _decide(rule, look, (row for row in locked if row.status == Subscription.Status.ACTIVE))
    moves = apply_moves(rule, decision.moves)
    outcome = _outcome(decision, look, moves)
    write_down(rule, moves, price=look.price)
    return outcome


def apply_moves(rule: StrikeRule, moves: Iterable[Move]) -> list[Move]:
    """Write the rows; returns the moves that took place. A row that is not the rule's is never written.

    To be called inside a transaction. The stream is told when that has committed.
    """
    done: list[Move] = []
    by_kind: defaultdict[tuple[bool, bool, Mode], list[Move]] = defaultdict(list)
    for move in moves:
        by_kind[move.change is Change.REMOVED, move.change is Change.ADDED, move.mode].append(move)
    now = timezone.now()
    own = Subscription.objects.filter(rule=rule)
    for (removes, adds, mode), some in by_kind.items():
        keys = [move.instrument for move in some]
        changes: dict[str, Any] = {"updated_at": now, "requested_mode": mode}
        if adds:
            taken = {"status": Subscription.Status.ACTIVE, "rule": rule, "account_id": rule.account_id}
            Subscription.objects.filter(instrument__in=keys, status=Subscription.Status.INACTIVE).update(
                **changes, **taken, created_by=None
            )
            Subscription.objects.bulk_create(
                [Subscription(instrument_id=key, requested_mode=mode, **taken) for key in keys], ignore_conflicts=True
            )
            # Somebody who asked for one in this very moment was faster: it is his.
            really = set(own.filter(instrument__in=keys).values_list("instrument_id", flat=True))
            some = [move for move in some if move.instrument in really]
        elif removes:
            gone = {"status": Subscription.Status.INACTIVE, "rule": None, "updated_at": now}
            own.filter(instrument__in=keys).update(**gone)
        else:
            own.filter(instrument__in=keys).update(**changes)
        done += some
    moved_house = own.exclude(account_id=rule.account_id) if rule.account_id else own.filter(account__isnull=False)
    if moved_house.update(account_id=rule.account_id, updated_at=now) or done:
        announce({"type": SUBSCRIPTIONS_CHANGED})
    return done


def write_down(rule: StrikeRule, moves: Iterable[Move], *, price: Decimal | None) -> None:
    """Into the ledger, and the log."""
    at = clock.now()
    rows = [
        StrikeMove(
            rule=rule,
            underlying=rule.underlying,
            instrument_id=move.instrument,
            action=move.change.value,
            mode=move.mode.value,
            reason=move.reason[:200],
            spot=price,
            at=at,
        )
        for move in moves
    ]
    StrikeMove.objects.bulk_create(rows)
    if rows:
        counts = ", ".join(f"{count} {change}" for change, count in _counted(moves).items())
        logger.info("strikes of %s at %s: %s", rule, price, counts)


def forget_moves_before(moment: datetime) -> int:
    """Delete what the ledger has from before a moment of market time; returns how many rows that was."""
    deleted, _ = StrikeMove.objects.filter(at__lt=moment).delete()
    return deleted


def _outcome(decision: Decision, look: Look, moves: Sequence[Move]) -> Outcome:
    centres = ", ".join(f"{centre.normalize():f} ({expiry:%d %b})" for expiry, centre in decision.centres.items())
    counted = ", ".join(f"{count} {change}" for change, count in _counted(moves).items()) or "nothing to move"
    short = f"; {decision.left_out} instruments have no slot" if decision.left_out else ""
    instruments = Instrument.objects.in_bulk([move.instrument for move in moves])
    return Outcome(
        words=f"{counted}; around {centres} at {look.price.normalize():f}{short}",
        moves=moves,
        instruments=instruments,
        price=look.price,
        centres=decision.centres,
        left_out=decision.left_out,
    )


def _counted(moves: Iterable[Move]) -> dict[str, int]:
    found: defaultdict[str, int] = defaultdict(int)
    for move in moves:
        found[move.change.value] += 1
    return dict(found)


def _note(rule: StrikeRule, outcome: Outcome, centres: Mapping[str, Any]) -> None:
    StrikeRule.objects.filter(pk=rule.pk).update(
        last_run_at=timezone.now(), last_outcome=outcome.words[:300], centres=centres
    )


# --- what a rule remembers ------------------------------------------------------------------------------------------


def _centres_as_json(centres: Mapping[date, Decimal], bases: Mapping[date, Decimal]) -> dict[str, Any]:
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
