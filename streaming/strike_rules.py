"""Making, changing and ending strike rules. A rule that ends, or is switched off, gives up what it alone held."""

from collections.abc import Mapping
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import Count

from accounts import clock
from accounts.control import announce
from market.models import Instrument
from market.underlyings import canonical_name
from streaming.control import SUBSCRIPTIONS_CHANGED
from streaming.exceptions import RuleExists, UnknownRule, UnknownUnderlying
from streaming.models import Subscription
from streaming.rebalance import Change, Move
from streaming.rebalancing import apply_moves, write_down
from streaming.strike_models import StrikeRule
from streaming.wire_requests import Mode


def find_rule(rule_id: int) -> StrikeRule:
    """Raises UnknownRule."""
    rule = StrikeRule.objects.select_related("account").filter(pk=rule_id).first()
    if rule is None:
        raise UnknownRule(rule_id)
    return rule


def exchange_of(underlying: str) -> str:
    """Where most of an underlying's living options are listed.

    Raises
    ------
    UnknownUnderlying
        If there are none.
    """
    options = Instrument.objects.options(underlying).filter(expiry__gte=clock.today())
    counted = options.order_by().values("exchange").annotate(listed=Count("pk")).order_by("-listed", "exchange")
    most = counted.values_list("exchange", flat=True).first()
    if most is None:
        raise UnknownUnderlying(underlying)
    return most


def create_rule(*, underlying: str, exchange: str = "", **fields: Any) -> StrikeRule:
    """A new rule; its first strikes come with the next turn. `exchange`: empty for the one with most of the options.

    Raises
    ------
    UnknownUnderlying
        If no options on it are listed (at that exchange).
    RuleExists
        If another rule for it is switched on.
    """
    name = canonical_name(underlying)
    where = exchange or exchange_of(name)
    if not Instrument.objects.options(name).filter(exchange=where, expiry__gte=clock.today()).exists():
        raise UnknownUnderlying(name)
    rule = StrikeRule(underlying=name, exchange=where, **fields)
    save_rule(rule)
    return rule


def change_rule(rule_id: int, fields: Mapping[str, Any]) -> StrikeRule:
    """Change a rule's own words; what follows for the strikes comes with its next turn, but for switching it off.

    Raises
    ------
    UnknownRule, RuleExists
    """
    with transaction.atomic():
        rule = StrikeRule.objects.select_for_update(of=("self",)).filter(pk=rule_id).first()
        if rule is None:
            raise UnknownRule(rule_id)
        for name, value in fields.items():
            setattr(rule, name, value)
        save_rule(rule, only=fields)
    return rule


def save_rule(rule: StrikeRule, *, only: Mapping[str, Any] | None = None) -> None:
    """Store a rule, all of it or some fields; switched off, it gives up what it held.

    Raises
    ------
    RuleExists
    django.core.exceptions.ValidationError
        If its fields contradict each other, or what a width of its kind may be.
    """
    rule.clean_fields()
    rule.validate_constraints(exclude={"underlying"})  # whether there is another one, the table says below
    with transaction.atomic():
        try:
            with transaction.atomic():
                if rule._state.adding:
                    rule.save()
                else:
                    rule.save(update_fields=[*(only if only is not None else _WORDS), "updated_at"])
        except IntegrityError as exc:
            if "streaming_strike_rule_one_enabled" in str(exc):
                raise RuleExists(rule.underlying) from None
            raise
        if not rule.enabled:
            release(rule, "the rule was switched off")
        announce({"type": SUBSCRIPTIONS_CHANGED})  # the underlying of a rule is streamed, too


def delete_rule(rule: StrikeRule) -> None:
    """End a rule for good. The ledger of its moves stays."""
    with transaction.atomic():
        locked = StrikeRule.objects.select_for_update(of=("self",)).filter(pk=rule.pk).first()
        if locked is None:
            raise UnknownRule(rule.pk)
        release(locked, "the rule was deleted")
        locked.delete()
        announce({"type": SUBSCRIPTIONS_CHANGED})


def release(rule: StrikeRule, reason: str) -> None:
    """Give up everything that the rule alone held. To be called inside a transaction."""
    held = Subscription.objects.filter(rule=rule).select_for_update(of=("self",)).order_by("pk")
    moves = [Move(row.instrument_id, Change.REMOVED, Mode(row.requested_mode), reason) for row in held]
    write_down(rule, apply_moves(rule, moves), price=None)
    # What it knew of the market is of no use to whoever switches it on again.
    StrikeRule.objects.filter(pk=rule.pk).update(centres={})


_WORDS = [
    field.name
    for field in StrikeRule._meta.concrete_fields
    if field.name not in {"id", "created_at", "updated_at", "centres", "last_run_at", "last_outcome"}
]
