"""Orders as the REST interface takes and shows them. Money goes in and comes out as decimal text."""

import re
from decimal import Decimal
from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.broker.words import Exchange, OrderType, Product, TransactionType, Validity, Variety
from accounts.serializers import StrictSerializer
from orders.fields import DecimalTextField as _Decimal
from orders.fields import WholeField as _Whole
from orders.models import BrokerOrder, OrderEvent, OrderTask
from orders.requests import OrderChanges, OrderRequest
from orders.states import Operation, Status
from orders.words import words_of

LARGEST_QUANTITY = 10_000_000
MOST_ITEMS = 50
SYMBOL = re.compile(r"\A[A-Z0-9&\-_ .]{1,64}\Z")
STRATEGY = re.compile(r"\A[A-Za-z0-9._:-]{1,50}\Z")
ALGO_ID = re.compile(r"\A[A-Za-z0-9]{1,30}\Z")


class _Rupees(_Decimal):
    """A price above 0."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=12, decimal_places=4, min_value=Decimal("0.0001"), **kwargs)


class _Percent(_Decimal):
    """Market protection: -1, or above 0 up to 100."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=5, decimal_places=2, **kwargs)

    def to_internal_value(self, data: Any) -> Decimal:
        percent = super().to_internal_value(data)
        if percent != -1 and not 0 < percent <= 100:
            raise serializers.ValidationError("-1 (the broker's own band), or above 0 and up to 100.")
        return percent


class OrderFieldsSerializer(StrictSerializer):
    """What an order is, in the broker's own words."""

    variety = serializers.ChoiceField(choices=[str(word) for word in Variety], default=Variety.REGULAR.value)
    exchange = serializers.ChoiceField(choices=[str(word) for word in Exchange])
    tradingsymbol = serializers.RegexField(SYMBOL)
    transaction_type = serializers.ChoiceField(choices=[str(word) for word in TransactionType])
    quantity = _Whole(min_value=1, max_value=LARGEST_QUANTITY, help_text="In units; of MCX and currency in lots.")
    product = serializers.ChoiceField(choices=[str(word) for word in Product])
    order_type = serializers.ChoiceField(choices=[str(word) for word in OrderType])
    price = _Rupees(required=False, allow_null=True)
    trigger_price = _Rupees(required=False, allow_null=True)
    validity = serializers.ChoiceField(choices=[str(word) for word in Validity], default=Validity.DAY.value)
    validity_ttl = _Whole(min_value=1, max_value=1440, required=False, allow_null=True, help_text="Minutes.")
    disclosed_quantity = _Whole(min_value=1, max_value=LARGEST_QUANTITY, required=False, allow_null=True)
    market_protection = _Percent(
        required=False, allow_null=True, help_text="Of MARKET and SL-M: -1 (the broker's own band) or per cent."
    )
    iceberg_legs = _Whole(min_value=2, max_value=50, required=False, allow_null=True)
    iceberg_quantity = _Whole(min_value=1, max_value=LARGEST_QUANTITY, required=False, allow_null=True)
    auction_number = serializers.RegexField(r"\A[0-9]{1,20}\Z", required=False, allow_null=True)
    algo_id = serializers.RegexField(ALGO_ID, required=False, allow_null=True)
    strategy = serializers.RegexField(STRATEGY, required=False, default="", help_text="A label of yours.")
    exit = serializers.BooleanField(default=False, help_text="It only makes a position smaller; goes out in a halt.")
    autoslice = serializers.BooleanField(default=False)
    allow_duplicate = serializers.BooleanField(default=False)


class PreviewSerializer(OrderFieldsSerializer):
    account = serializers.UUIDField()


class NewOrderSerializer(PreviewSerializer):
    valid_for_seconds = _Whole(
        min_value=1, max_value=86_400, required=False, help_text="After so long it is not sent any more."
    )


class BatchSerializer(StrictSerializer):
    account = serializers.UUIDField()
    items = serializers.ListField(child=OrderFieldsSerializer(), min_length=1, max_length=MOST_ITEMS)
    valid_for_seconds = _Whole(min_value=1, max_value=86_400, required=False)


class BatchCancelSerializer(StrictSerializer):
    account = serializers.UUIDField()
    ids = serializers.ListField(child=serializers.UUIDField(), min_length=1, max_length=MOST_ITEMS)


class ChangesSerializer(StrictSerializer):
    """What is to change; what is not named stays."""

    quantity = _Whole(min_value=1, max_value=LARGEST_QUANTITY, required=False, help_text="The new total.")
    order_type = serializers.ChoiceField(choices=[str(word) for word in OrderType], required=False)
    price = _Rupees(required=False)
    trigger_price = _Rupees(required=False)
    validity = serializers.ChoiceField(choices=[str(word) for word in Validity], required=False)
    disclosed_quantity = _Whole(min_value=1, max_value=LARGEST_QUANTITY, required=False)
    market_protection = _Percent(required=False)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if not attrs:
            raise serializers.ValidationError("Name at least one field to change.")
        return attrs


class ResolutionSerializer(StrictSerializer):
    """How a person ends what the service could not."""

    outcome = serializers.ChoiceField(choices=["failed", "completed"])
    order_id = serializers.RegexField(r"\A[0-9]{1,20}\Z", required=False, help_text="The broker's, if completed.")
    reason = serializers.CharField(min_length=3, max_length=300)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if (attrs["outcome"] == "completed") != ("order_id" in attrs):
            raise serializers.ValidationError("order_id belongs to the outcome completed.")
        return attrs


class RequeueSerializer(StrictSerializer):
    reason = serializers.CharField(min_length=3, max_length=300)
    valid_for_seconds = _Whole(min_value=1, max_value=3600, default=60)


class OrderFilterSerializer(StrictSerializer):
    account = serializers.UUIDField(required=False)
    status = serializers.ChoiceField(choices=Status.choices, required=False)
    operation = serializers.ChoiceField(choices=Operation.choices, required=False)
    strategy = serializers.RegexField(STRATEGY, required=False)
    trading_date = serializers.DateField(required=False)
    tag = serializers.RegexField(r"\A[A-Za-z0-9]{1,20}\Z", required=False)
    limit = serializers.CharField(required=False)
    offset = serializers.CharField(required=False)


class WaitSerializer(StrictSerializer):
    wait = serializers.FloatField(min_value=0, max_value=10, required=False, default=0.0)


class OrderTaskSerializer(serializers.ModelSerializer[OrderTask]):
    """A task, and what the broker shows of its order."""

    id = serializers.UUIDField(source="public_id")
    account = serializers.UUIDField(source="account.public_id")
    words = serializers.SerializerMethodField(help_text="The state in words, the broker's where it has one.")
    broker_status = serializers.SerializerMethodField()
    filled_quantity = serializers.SerializerMethodField()
    average_price = serializers.SerializerMethodField()

    class Meta:
        model = OrderTask
        fields = (
            "id",
            "account",
            "operation",
            "status",
            "words",
            "params",
            "tag",
            "principal",
            "attempts",
            "broker_order_id",
            "broker_status",
            "filled_quantity",
            "average_price",
            "error_code",
            "error_message",
            "is_late_arrival",
            "idempotency_key",
            "trading_date",
            "created_at",
            "valid_until",
            "finished_at",
            "version",
        )
        read_only_fields = fields

    def get_words(self, task: OrderTask) -> str:
        return words_of(task, self._shown(task))

    def get_broker_status(self, task: OrderTask) -> str | None:
        shown = self._shown(task)
        return shown.status if shown else None

    def get_filled_quantity(self, task: OrderTask) -> int | None:
        shown = self._shown(task)
        return shown.filled_quantity if shown else None

    @extend_schema_field(serializers.DecimalField(max_digits=14, decimal_places=4, allow_null=True))
    def get_average_price(self, task: OrderTask) -> str | None:
        shown = self._shown(task)
        return str(shown.average_price) if shown and shown.filled_quantity else None

    def _shown(self, task: OrderTask) -> BrokerOrder | None:
        """The root order; its parts have a parent. `broker_orders` is expected to be fetched with the tasks."""
        orders = [order for order in task.broker_orders.all() if order.order_id == task.broker_order_id]
        return orders[0] if orders else None


class OrderEventSerializer(serializers.ModelSerializer[OrderEvent]):
    class Meta:
        model = OrderEvent
        fields = ("number", "at", "from_status", "to_status", "actor", "reason", "evidence")
        read_only_fields = fields


class BrokerOrderSerializer(serializers.ModelSerializer[BrokerOrder]):
    class Meta:
        model = BrokerOrder
        exclude = ("id", "account", "task")


class OrderDetailSerializer(OrderTaskSerializer):
    events = OrderEventSerializer(many=True)
    broker_orders = BrokerOrderSerializer(many=True)

    class Meta:
        model = OrderTask
        fields = (*OrderTaskSerializer.Meta.fields, "decision", "events", "broker_orders")
        read_only_fields = fields


class CheckSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    passed = serializers.BooleanField(allow_null=True)
    message = serializers.CharField()
    figures = serializers.DictField()


class PreviewAnswerSerializer(serializers.Serializer[Any]):
    would_be_accepted = serializers.BooleanField()
    checks = CheckSerializer(many=True)
    quantity = serializers.IntegerField()
    lots = serializers.IntegerField(allow_null=True)
    lot_size = serializers.IntegerField(allow_null=True)
    notional = serializers.CharField(allow_null=True, help_text="Rupees.")
    margin_required = serializers.CharField(allow_null=True)
    margin_available = serializers.CharField(allow_null=True)
    charges = serializers.CharField(allow_null=True)
    margin_message = serializers.CharField(help_text="Why margin and charges are not known; empty if they are.")
    price = serializers.DictField(allow_null=True)


class BatchAnswerSerializer(serializers.Serializer[Any]):
    items = OrderTaskSerializer(many=True)
    needs_seconds = serializers.FloatField(help_text="How long the account's budget needs for them, at least.")


def request_of(valid: dict[str, Any]) -> OrderRequest:
    """The order of a valid serializer's fields."""
    ours = {"exit", "account", "valid_for_seconds", "allow_duplicate", "autoslice", "strategy"}
    params = {name: value for name, value in valid.items() if name not in ours and value is not None}
    params["tradingsymbol"] = str(params["tradingsymbol"])
    made = OrderRequest.of_params(params | {"strategy": valid["strategy"]}, is_exit=valid["exit"])
    return made.with_options(autoslice=valid["autoslice"], allow_duplicate=valid["allow_duplicate"])


def changes_of(valid: dict[str, Any]) -> OrderChanges:
    words: dict[str, Any] = {"order_type": OrderType, "validity": Validity}
    given: dict[str, Any] = {name: words[name](value) if name in words else value for name, value in valid.items()}
    return OrderChanges(**given)
