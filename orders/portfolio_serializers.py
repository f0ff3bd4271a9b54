"""What the REST interface says of trades, positions and differences. Rupees and prices are text, quantities numbers."""

from typing import Any

from rest_framework import serializers

from accounts.serializers import StrictSerializer
from orders.broker_orders import is_our_tag
from orders.models import BrokerOrder, Trade


class AmountField(serializers.DecimalField):
    """Rupees to four places at most, without the zeros that only show how many places are kept. Null if not known."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=24, decimal_places=4, **options)

    def to_representation(self, value: Any) -> Any:
        text = f"{value:f}"
        return text.rstrip("0").rstrip(".") if "." in text else text


class PositionSerializer(serializers.Serializer[Any]):
    exchange = serializers.CharField()
    tradingsymbol = serializers.CharField()
    product = serializers.CharField()
    underlying = serializers.CharField()
    quantity = serializers.IntegerField(help_text="In units, negative where sold.")
    overnight_quantity = serializers.IntegerField()
    day_quantity = serializers.IntegerField(help_text="By how much today's trades have changed it.")
    multiplier = AmountField()
    average_price = AmountField()
    last_price = AmountField(allow_null=True)
    price_age_seconds = serializers.FloatField(allow_null=True)
    price_is_fresh = serializers.BooleanField(help_text="Without a fresh price there is no open result.")
    booked = AmountField(help_text="The result of what was closed.")
    open_pnl = AmountField(allow_null=True, help_text="The result of what is still held, at the fresh price.")
    pnl = AmountField(allow_null=True)
    day_pnl = AmountField(allow_null=True, help_text="Since the last close, or since it was bought.")
    delta = serializers.FloatField(allow_null=True, help_text="Of the whole position, in units of the underlying.")
    broker_last_price = AmountField(help_text="The broker's own figures are those of the moment of reading.")
    broker_pnl = AmountField()
    broker_day_pnl = AmountField()


class PortfolioSerializer(serializers.Serializer[Any]):
    positions = PositionSerializer(many=True)
    read_at = serializers.DateTimeField(allow_null=True, help_text="Null: never.")
    age_seconds = serializers.FloatField(allow_null=True)
    is_of_today = serializers.BooleanField(help_text="Without a reading of today there are no sums.")
    is_outdated = serializers.BooleanField(help_text="Something was filled since; they are about to be read again.")
    doubts = serializers.ListField(
        child=serializers.CharField(), help_text="Why the broker's latest answer was not believed."
    )
    failed_at = serializers.DateTimeField(allow_null=True)
    failure = serializers.CharField(help_text="Why the latest reading failed; empty if it did not.")
    booked = AmountField(allow_null=True)
    open_pnl = AmountField(allow_null=True, help_text="Null if one of them is not known.")
    pnl = AmountField(allow_null=True)
    day_pnl = AmountField(allow_null=True)


class StatementSerializer(serializers.Serializer[Any]):
    read_at = serializers.DateTimeField()
    age_seconds = serializers.FloatField()
    failure = serializers.CharField(help_text="Why it is not newer; empty if it is of this moment.")


class HoldingsSerializer(StatementSerializer):
    items = serializers.ListField(source="content", child=serializers.DictField())


class FundsSerializer(StatementSerializer):
    segments = serializers.DictField(source="content", help_text="By segment: equity, commodity.")


class TradeSerializer(serializers.ModelSerializer[Trade]):
    price = AmountField()

    class Meta:
        model = Trade
        fields = (
            "exchange",
            "order_id",
            "trade_id",
            "exchange_order_id",
            "tradingsymbol",
            "product",
            "transaction_type",
            "quantity",
            "price",
            "traded_at",
            "trading_date",
        )
        read_only_fields = fields


class ShownOrderSerializer(serializers.ModelSerializer[BrokerOrder]):
    """An order as the broker shows it, and whose it is."""

    task = serializers.UUIDField(source="task.public_id", allow_null=True, default=None, help_text="Ours, if it is.")
    is_external = serializers.SerializerMethodField(help_text="Placed by hand, or by another program.")

    class Meta:
        model = BrokerOrder
        exclude = ("id", "account")

    def get_is_external(self, order: BrokerOrder) -> bool:
        return order.task_id is None and not is_our_tag(order.tag)


class DifferenceSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=["not_in_book", "orphan", "trades", "position", "external"])
    words = serializers.CharField()
    order_id = serializers.CharField()
    task = serializers.CharField(help_text="The id of our order; empty if none of ours is concerned.")
    exchange = serializers.CharField()
    tradingsymbol = serializers.CharField()
    figures = serializers.DictField()


class DriftSerializer(serializers.Serializer[Any]):
    items = DifferenceSerializer(many=True)
    book_read_at = serializers.DateTimeField(allow_null=True)
    portfolio_read_at = serializers.DateTimeField(allow_null=True)


class DayFilterSerializer(StrictSerializer):
    date = serializers.DateField(required=False, help_text="A day in India; all days if not given.")


class SyncSerializer(StrictSerializer):
    """Nothing is to be said: the address names the account."""


class SyncAnswerSerializer(serializers.Serializer[Any]):
    asked_at = serializers.DateTimeField()
    read_at = serializers.DateTimeField(allow_null=True, help_text="The last reading; a newer one is under way.")
