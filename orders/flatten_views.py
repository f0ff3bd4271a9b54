"""REST for getting out of positions."""

from decimal import Decimal
from http import HTTPStatus
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import Action
from accounts.authorisation import account_for
from accounts.broker.words import Exchange, Product
from accounts.permissions import MayTrade
from accounts.principals import principal_of
from accounts.serializers import StrictSerializer, valid
from orders import flatten
from orders.exceptions import KeyMissing
from orders.fields import DecimalTextField
from orders.flatten import Flattened, Key, Wish
from orders.rest import KEY_HEADER, key_of, name_of, told_of_reuse
from orders.serializers import SYMBOL, CheckSerializer, OrderTaskSerializer

MOST_POSITIONS = 100


class PositionKeySerializer(StrictSerializer):
    exchange = serializers.ChoiceField(choices=[str(word) for word in Exchange])
    tradingsymbol = serializers.RegexField(SYMBOL)
    product = serializers.ChoiceField(choices=[str(word) for word in Product])


class FlattenSerializer(StrictSerializer):
    positions = serializers.ListField(
        child=PositionKeySerializer(),
        required=False,
        min_length=1,
        max_length=MOST_POSITIONS,
        help_text="Those that are meant; all if not given.",
    )
    limit_percent = DecimalTextField(
        max_digits=4,
        decimal_places=2,
        min_value=Decimal("0.01"),
        max_value=Decimal(20),
        required=False,
        allow_null=True,
        default=None,
        help_text="Limits, so far through the last price; without it, or without a current price, at the market "
        "within the broker's own band.",
    )
    cancel_open = serializers.BooleanField(
        default=True, help_text="Cancel our entries in the same instruments first: filled later, they open it anew."
    )
    preview = serializers.BooleanField(default=False, help_text="Say what would be sent, and send nothing.")


class PlannedExitSerializer(serializers.Serializer[Any]):
    exchange = serializers.CharField()
    tradingsymbol = serializers.CharField()
    product = serializers.CharField()
    transaction_type = serializers.CharField()
    quantity = serializers.IntegerField()
    order_type = serializers.CharField()
    price = serializers.DecimalField(max_digits=14, decimal_places=4, allow_null=True, normalize_output=True)


class RefusedExitSerializer(serializers.Serializer[Any]):
    request = PlannedExitSerializer()
    checks = CheckSerializer(many=True)


class LeftAloneSerializer(serializers.Serializer[Any]):
    position = PositionKeySerializer()
    reason = serializers.CharField()


class FlattenedSerializer(serializers.Serializer[Any]):
    plan = PlannedExitSerializer(many=True, help_text="Of a preview: in the order in which it would go out.")
    exits = OrderTaskSerializer(many=True)
    cancels = OrderTaskSerializer(many=True)
    refused = RefusedExitSerializer(many=True, help_text="What was not taken on, and why; the others were.")
    left_alone = LeftAloneSerializer(many=True)


class FlattenView(APIView):
    """An exit for each position of the account, or of those named; it goes out in a halt too."""

    permission_classes = (MayTrade,)

    @extend_schema(
        request=FlattenSerializer,
        parameters=[KEY_HEADER],
        responses={202: FlattenedSerializer, 200: FlattenedSerializer},
    )
    def post(self, request: Request, public_id: UUID) -> Response:
        """The positions are read from the broker now; if that fails, nothing is sent (409 `positions_unknown`)."""
        account = account_for(principal_of(request), Action.TRADE, public_id)
        given = valid(FlattenSerializer, request)
        wish = Wish(_keys(given), given["limit_percent"], given["cancel_open"])
        if given["preview"]:
            planned = flatten.preview(account, wish)
            return Response(FlattenedSerializer(_told(Flattened(), planned)).data)
        key = key_of(request)
        if len(key) > flatten.LONGEST_KEY:
            raise KeyMissing(f"The Idempotency-Key of a flatten has {flatten.LONGEST_KEY} characters at most.")
        with told_of_reuse(account, key):
            done = flatten.flatten(name_of(request), account, wish, key=key)
        is_new = any(one.is_new for one in [*done.exits, *done.cancels])
        return Response(FlattenedSerializer(_told(done)).data, status=HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK)


def _keys(given: dict[str, Any]) -> frozenset[Key] | None:
    if "positions" not in given:
        return None
    return frozenset((one["exchange"], one["tradingsymbol"], one["product"]) for one in given["positions"])


def _told(done: Flattened, planned: Any = ()) -> dict[str, Any]:
    return {
        "plan": planned,
        "exits": [one.task for one in done.exits],
        "cancels": [one.task for one in done.cancels],
        "refused": done.refused,
        "left_alone": [
            {"position": dict(zip(("exchange", "tradingsymbol", "product"), key, strict=True)), "reason": reason}
            for key, reason in done.left_alone
        ],
    }
