"""What is to be streamed: what somebody asked for, and what follows from it.

The underlying of every subscribed option is streamed too (its spot, and the future nearest to it), because without
its price an option has no Greeks. Such instruments are *derived*: computed here each time, marked as such, and stored
nowhere.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, Final

from django.contrib.auth.models import User
from django.db import transaction

from accounts import clock
from accounts.control import announce
from accounts.models import TradingAccount
from market.models import Instrument
from market.names import part_of
from market.underlyings import canonical_name
from streaming.control import SUBSCRIPTIONS_CHANGED
from streaming.exceptions import CapacityExceeded, HeldByRule, NotSubscribed, UnknownInstrument
from streaming.models import StreamPart, Subscription
from streaming.strike_models import StrikeRule
from streaming.wire_requests import CONNECTIONS_PER_APP, TOKENS_PER_CONNECTION, Mode

OPTION_TYPES: Final = frozenset({"CE", "PE"})


@dataclass(frozen=True, slots=True)
class Streamed:
    """One instrument of the stream, with everything the pipeline needs to know about it."""

    instrument_token: int
    exchange: str
    tradingsymbol: str
    segment: str
    instrument_type: str
    underlying: str
    expiry: date | None
    strike: Decimal
    tick_size: Decimal
    mode: Mode
    derived: bool
    pinned_to: str | None
    part: str = field(init=False)
    """Options belong to their expiry, everything else to the underlying itself."""

    def __post_init__(self) -> None:
        # Asked for again and again on the event loop, for everything that is streamed: worked out once.
        object.__setattr__(self, "part", part_of(self.underlying, self.expiry if self.is_option else None))

    @property
    def is_option(self) -> bool:
        return self.instrument_type in OPTION_TYPES


def subscribe(
    *,
    instrument_token: int,
    requested_mode: str = Subscription.Mode.FULL,
    account: TradingAccount | None = None,
    created_by: User | None = None,
) -> tuple[Subscription, bool]:
    """Stream an instrument, or change how it is streamed. Returns the subscription, and whether it is new or revived.

    What a strike rule held is asked for from now on: the rule does not touch it any more.

    Raises
    ------
    UnknownInstrument
        If no active instrument bears the token.
    CapacityExceeded
        If the accounts' sockets carry no more.
    """
    try:
        instrument = Instrument.objects.by_token(instrument_token)
    except Instrument.DoesNotExist:
        raise UnknownInstrument(instrument_token) from None
    wanted: dict[str, Any] = {
        "requested_mode": requested_mode,
        "account": account,
        "status": Subscription.Status.ACTIVE,
        "rule": None,
    }
    with transaction.atomic():
        subscription, created = Subscription.objects.select_for_update().get_or_create(
            instrument=instrument, defaults=wanted | {"created_by": created_by}
        )
        revived = subscription.status != Subscription.Status.ACTIVE
        if not created and (revived or subscription.rule_id is not None):
            wanted["created_by"] = created_by
        if not created:
            for field, value in wanted.items():
                setattr(subscription, field, value)
            subscription.save(update_fields=[*wanted, "updated_at"])
        if created or revived:
            _check_capacity(wanted=1, account=account)
        announce({"type": SUBSCRIPTIONS_CHANGED})
    return subscription, created or revived


def unsubscribe(*, instrument_token: int) -> Subscription:
    """Stop streaming an instrument; it goes on if an option that is still subscribed needs it.

    A strike inside the band of a rule is taken up by the rule at its next turn.

    Raises
    ------
    NotSubscribed
        If there is no active subscription to the token.
    HeldByRule
        If nobody asked for it but a strike rule.
    """
    with transaction.atomic():
        subscription = Subscription.objects.active().of_token(instrument_token).select_for_update(of=("self",)).first()
        if subscription is None:
            raise NotSubscribed(instrument_token)
        if subscription.rule_id is not None:
            raise HeldByRule(instrument_token, subscription.rule_id)
        subscription.status = Subscription.Status.INACTIVE
        subscription.save(update_fields=["status", "updated_at"])
        announce({"type": SUBSCRIPTIONS_CHANGED})
    return subscription


def follow_chain(underlying: str, *, expiries: int, today: date, mode: str = Subscription.Mode.FULL) -> int:
    """Subscribe every strike of an underlying's nearest expiries. Returns how many instruments that is.

    Safe to repeat: what somebody subscribed already stays as it is, also in its mode; what a strike rule held is asked
    for from now on.
    All or nothing: CapacityExceeded is raised where not all of it fits.
    """
    name = canonical_name(underlying)
    nearest = Instrument.objects.expiries(name, since=today)[:expiries]
    chain = list(Instrument.objects.options(name).filter(expiry__in=nearest))
    with transaction.atomic():
        Subscription.objects.bulk_create(
            [Subscription(instrument=instrument, requested_mode=mode) for instrument in chain], ignore_conflicts=True
        )
        known = Subscription.objects.filter(instrument__in=chain)
        known.filter(rule__isnull=False).update(rule=None, requested_mode=mode, account=None)
        known.exclude(status=Subscription.Status.ACTIVE).update(status=Subscription.Status.ACTIVE)
        _check_capacity(wanted=len(chain), account=None)
        announce({"type": SUBSCRIPTIONS_CHANGED})
    return len(chain)


def _check_capacity(*, wanted: int, account: TradingAccount | None) -> None:
    """Raise CapacityExceeded if what is subscribed by now, `wanted` of it anew, is more than the sockets carry.

    Whether all sockets work at this moment plays no part: what cannot be streamed now is told elsewhere.
    """
    today, of_app = clock.today(), CONNECTIONS_PER_APP * TOKENS_PER_CONNECTION
    if account is not None:
        pinned = Subscription.objects.streamable_on(today).filter(account__app=account.app_id).count()
        if pinned > of_app:
            raise CapacityExceeded(used=pinned - wanted, limit=of_app, wanted=wanted, account=account.kite_user_id)
    limit = of_app * TradingAccount.objects.for_data().order_by().values("app").distinct().count()
    used = Subscription.objects.streamable_on(today).count()
    if 3 * used <= limit:  # an option brings two more at most
        return
    used = len(streamed_on(today))
    if used > limit > 0:
        raise CapacityExceeded(used=used - wanted, limit=limit, wanted=wanted)


def reasons_not_streamed(subscriptions: Iterable[Subscription]) -> dict[int, str]:
    """Of the active ones that no account carries, by primary key: why. One query."""
    reasons = dict(StreamPart.objects.exclude(reason="").values_list("part", "reason"))
    found = {}
    for one in subscriptions:
        if one.status == Subscription.Status.ACTIVE and (reason := reasons.get(part_of_instrument(one.instrument))):
            found[one.pk] = reason
    return found


def part_of_instrument(instrument: Instrument) -> str:
    """The part that an instrument belongs to where it is streamed."""
    is_option = instrument.instrument_type in OPTION_TYPES
    return part_of(underlying_name(instrument), instrument.expiry if is_option else None)


def streamed_on(day: date) -> list[Streamed]:
    """Everything to stream on `day` (IST), asked for and derived, in the order of tokens. Three queries or so."""
    rows = Subscription.objects.streamable_on(day).select_related("instrument", "account").order_by()
    asked = {
        row.instrument.instrument_token: _streamed(
            row.instrument,
            mode=Mode(row.requested_mode),
            derived=False,
            pinned_to=row.account.kite_user_id if row.account else None,
        )
        for row in rows
    }
    derived = {
        instrument.instrument_token: _streamed(instrument, mode=Mode.FULL, derived=True, pinned_to=None)
        for instrument in _underlyings_of(asked.values(), day)
        if instrument.instrument_token not in asked
    }
    return sorted((asked | derived).values(), key=lambda streamed: streamed.instrument_token)


def find_subscription(instrument_token: int, day: date) -> Subscription:
    """The subscription to a token; a derived one is an unsaved row without times.

    Raises
    ------
    NotSubscribed
        If the token is neither asked for (now or once) nor derived on `day`.
    """
    stored = Subscription.objects.of_token(instrument_token).select_related("instrument", "account").first()
    if stored is not None:
        return stored
    if any(streamed.instrument_token == instrument_token for streamed in streamed_on(day)):
        return Subscription(instrument=Instrument.objects.by_token(instrument_token))
    raise NotSubscribed(instrument_token)


def fingerprint() -> tuple[object, ...]:
    """A value that changes when what is to be streamed may have: a few cheap looks, for the poll."""
    newest = Subscription.objects.order_by("-updated_at").values_list("updated_at", flat=True).first()
    active = Subscription.objects.active().filter(instrument__is_active=True).count()
    rules = StrikeRule.objects.enabled().order_by("pk").values_list("underlying", "exchange")
    return newest, active, tuple(rules)


def underlying_name(instrument: Instrument) -> str:
    """The underlying an instrument belongs to: a contract's own `name`; a stock or an index is its own."""
    return instrument.name if instrument.expiry else canonical_name(instrument.tradingsymbol)


def _streamed(instrument: Instrument, *, mode: Mode, derived: bool, pinned_to: str | None) -> Streamed:
    return Streamed(
        instrument_token=instrument.instrument_token,
        exchange=instrument.exchange,
        tradingsymbol=instrument.tradingsymbol,
        segment=instrument.segment,
        instrument_type=instrument.instrument_type,
        underlying=underlying_name(instrument),
        expiry=instrument.expiry,
        strike=instrument.strike,
        tick_size=instrument.tick_size,
        mode=mode,
        derived=derived,
        pinned_to=pinned_to,
    )


def _underlyings_of(asked: Iterable[Streamed], day: date) -> Iterator[Instrument]:
    """Spot and nearest future of every underlying that has a subscribed option, or a rule that waits for its price."""
    exchanges = dict(StrikeRule.objects.enabled().values_list("underlying", "exchange"))
    for streamed in asked:
        if streamed.is_option:
            exchanges[streamed.underlying] = streamed.exchange
    for name, exchange in exchanges.items():
        spot = Instrument.objects.underlying_of(name, exchange=exchange)
        if spot is not None:
            yield spot
        future = Instrument.objects.futures(name).filter(exchange=exchange, expiry__gte=day).first()
        if future is not None:
            yield future


def by_part(streamed: Iterable[Streamed]) -> dict[str, Sequence[Streamed]]:
    """Instruments by the part they belong to."""
    parts: defaultdict[str, list[Streamed]] = defaultdict(list)
    for one in streamed:
        parts[one.part].append(one)
    return dict(parts)
