"""Keeping the strikes of rules around the money: from what the market says to the rows that follow.

    rule ─► look (what is listed; price, forwards and deltas as the stream left them in Redis) ─► decide ─► rows, ledger

Nothing is moved on a price that is not known or not current. Only one process works on a rule at a time, and only rows
that the rule holds, or that nobody wants any more, are written.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import Any

from django.db import OperationalError, transaction
from django.utils import timezone

from accounts import clock
from accounts.control import announce
from market.calendar import SEGMENTS, is_open
from market.exceptions import CalendarMissing
from market.models import Instrument
from streaming.control import SUBSCRIPTIONS_CHANGED
from streaming.exceptions import NothingToGoBy
from streaming.models import Subscription
from streaming.rebalance import Change, Decision, Move, decide
from streaming.strike_market import Look, centres_as_json, look_at
from streaming.strike_models import StrikeMove, StrikeRule
from streaming.wire_requests import Mode

logger = logging.getLogger(__name__)


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
        except Exception:  # a mistake about one rule must not stop the others
            logger.exception("the strikes of %s were not looked at", rule)


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
        _note(rule, outcome, centres_as_json(outcome.centres, look.bases))
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


def _trades(exchange: str, now: datetime) -> bool:
    """What the calendar does not know counts as open: prices that do not come stop a rule by themselves."""
    try:
        return is_open(exchange, SEGMENTS.get(exchange, ""), now)
    except CalendarMissing:
        return True


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
