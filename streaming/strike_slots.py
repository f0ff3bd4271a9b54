"""How many instruments a strike rule may hold: an instrument takes one of the broker's slots whatever its mode."""

from datetime import date
from typing import Final

from django.db.models import Q

from streaming.feed_account import feed_accounts
from streaming.models import Subscription
from streaming.strike_models import StrikeRule
from streaming.wire_requests import CONNECTIONS_PER_APP, TOKENS_PER_CONNECTION

SLOTS_PER_APP: Final = CONNECTIONS_PER_APP * TOKENS_PER_CONNECTION
DERIVED_PER_UNDERLYING: Final = 2
"""Its spot and its nearest future, streamed because its options are."""


def room_for(rule: StrikeRule, today: date) -> int:
    """What the accounts that feed the stream carry, less what others than the rule have in it; the rule's own bound
    if that is lower. Never below 0."""
    slots = SLOTS_PER_APP * len(
        {account.app_id for account in feed_accounts()}
    )  # accounts of one app share its sockets
    room = slots - taken_by_others(rule, today)
    if rule.most_instruments is not None:
        room = min(room, rule.most_instruments)
    return max(0, room)


def taken_by_others(rule: StrikeRule, today: date) -> int:
    """Instruments that are streamed whatever the rule does."""
    others = Subscription.objects.streamable_on(today)
    if rule.pk is not None:
        others = others.filter(~Q(rule=rule) | Q(rule__isnull=True))
    underlyings = set(others.filter(instrument__strike__gt=0).values_list("instrument__name", flat=True).distinct())
    underlyings |= {rule.underlying, *StrikeRule.objects.enabled().values_list("underlying", flat=True)}
    return others.count() + DERIVED_PER_UNDERLYING * len(underlyings)
