"""Subscriptions as JSON, in and out."""

from typing import Any

from rest_framework import serializers

from accounts.serializers import StrictSerializer
from streaming.models import Subscription

LARGEST_TOKEN = 2**32 - 1  # 32 bits on the wire


class SubscribeSerializer(StrictSerializer):
    """The body of a new subscription."""

    instrument_token = serializers.IntegerField(min_value=1, max_value=LARGEST_TOKEN)
    requested_mode = serializers.ChoiceField(choices=Subscription.Mode.choices, default=Subscription.Mode.FULL)
    account_id = serializers.UUIDField(
        required=False, allow_null=True, default=None, help_text="Stream through this account only."
    )


class SubscriptionFilterSerializer(StrictSerializer):
    """The query of the list; paging has its own."""

    status = serializers.ChoiceField(choices=Subscription.Status.choices, required=False)
    limit = serializers.CharField(required=False)
    offset = serializers.CharField(required=False)


class SubscriptionSerializer(serializers.Serializer[Any]):
    """What is streamed. A derived one is streamed because a subscribed option needs its price; it has no times."""

    instrument_token = serializers.IntegerField(source="instrument.instrument_token")
    exchange = serializers.CharField(source="instrument.exchange")
    tradingsymbol = serializers.CharField(source="instrument.tradingsymbol")
    segment = serializers.CharField(source="instrument.segment")
    status = serializers.ChoiceField(choices=Subscription.Status.choices)
    requested_mode = serializers.ChoiceField(choices=Subscription.Mode.choices)
    account_id = serializers.UUIDField(source="account.public_id", allow_null=True, default=None)
    derived = serializers.SerializerMethodField()
    rule_id = serializers.IntegerField(
        allow_null=True, help_text="The strike rule that alone holds it; null: somebody asked for it, or it is derived"
    )
    not_streamed_because = serializers.SerializerMethodField(
        help_text="Why no account carries it; null if one does, or as far as is known."
    )
    created_at = serializers.DateTimeField(allow_null=True)
    updated_at = serializers.DateTimeField(allow_null=True)

    def get_not_streamed_because(self, subscription: Subscription) -> str | None:
        reasons: dict[int, str] = self.context.get("reasons", {})
        return reasons.get(subscription.pk)

    def get_derived(self, subscription: Subscription) -> bool:
        return subscription.pk is None
