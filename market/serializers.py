"""What the market's REST interface reads and says."""

import math
import re
from decimal import Decimal
from typing import Any

from rest_framework import serializers

from accounts.serializers import StrictSerializer
from market.models import Instrument, InstrumentQuerySet
from market.underlyings import canonical_name


class PlainDecimalField(serializers.DecimalField):
    """A decimal without the zeros that only show how many places the column has: ``24500``, not ``24500.0000``."""

    def to_representation(self, value: Any) -> Any:
        return f"{Decimal(value).normalize():f}"


class NumberField(serializers.FloatField):
    """A finite number, as JSON or a query writes it: not a boolean, not `nan`, no digits but ASCII ones."""

    _WRITTEN = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?", re.ASCII)

    def to_internal_value(self, data: Any) -> float:
        if isinstance(data, bool) or (isinstance(data, str) and not self._WRITTEN.fullmatch(data)):
            self.fail("invalid")
        try:
            value = super().to_internal_value(data)
        except OverflowError:
            value = math.inf
        if not math.isfinite(value):
            self.fail("invalid")
        return value


class InstrumentSerializer(serializers.ModelSerializer[Instrument]):
    strike = PlainDecimalField(max_digits=14, decimal_places=4, help_text="0 unless an option")
    tick_size = PlainDecimalField(max_digits=14, decimal_places=4)

    class Meta:
        model = Instrument
        fields = [
            "exchange",
            "tradingsymbol",
            "instrument_token",
            "exchange_token",
            "name",
            "expiry",
            "strike",
            "tick_size",
            "lot_size",
            "instrument_type",
            "segment",
            "is_active",
            "first_seen",
            "last_seen",
        ]
        read_only_fields = fields


class InstrumentFilter(StrictSerializer):
    """The query of the instrument list. Filters narrow each other; retired instruments are asked for by name."""

    q = serializers.CharField(
        required=False,
        max_length=100,
        help_text="Words of the symbol or name, a strike, a type: `nifty 24500 ce`. The likeliest come first, 500 at "
        "most; a misspelt name finds the one most like it",
    )
    exchange = serializers.RegexField(r"\A[A-Z]{2,16}\Z", required=False)
    segment = serializers.CharField(required=False, max_length=16)
    instrument_type = serializers.ChoiceField(choices=["EQ", "FUT", "CE", "PE"], required=False)
    name = serializers.CharField(
        required=False, max_length=128, help_text="The underlying's name; `NIFTY 50` is understood"
    )
    expiry = serializers.DateField(required=False)
    expiry_from = serializers.DateField(required=False)
    expiry_to = serializers.DateField(required=False)
    strike = serializers.DecimalField(max_digits=14, decimal_places=4, required=False)
    instrument_token = serializers.IntegerField(min_value=1, max_value=2**32 - 1, required=False)
    is_active = serializers.BooleanField(default=True)

    def apply(self, instruments: InstrumentQuerySet) -> InstrumentQuerySet:
        """Those of `instruments` that the (validated) query asks for."""
        wanted: dict[str, Any] = dict(self.validated_data)
        wanted.pop("q", None)
        if "name" in wanted:
            wanted["name"] = canonical_name(wanted["name"])
        lookups = {"expiry_from": "expiry__gte", "expiry_to": "expiry__lte"}
        return instruments.filter(**{lookups.get(name, name): value for name, value in wanted.items()})

    @property
    def text(self) -> str:
        """What is searched for among them; empty for all."""
        return str(self.validated_data.get("q", "")).strip()


class ChainSummarySerializer(serializers.Serializer[Any]):
    expiry = serializers.DateField()
    days_to_expiry = serializers.IntegerField(help_text="Calendar days from today in India; 0 on the last day")
    exchange = serializers.CharField()
    lot_size = serializers.IntegerField()
    strikes = serializers.IntegerField(help_text="How many there are")
    contracts = serializers.IntegerField(help_text="Calls and puts")
    is_followed = serializers.BooleanField(
        allow_null=True, help_text="Whether the stream carries it; null while Redis is away: nobody knows it then"
    )


class ExpiriesSerializer(serializers.Serializer[Any]):
    underlying = serializers.CharField(help_text="The name that contracts use")
    spot = InstrumentSerializer(allow_null=True, help_text="The instrument whose price is the spot")
    expiries = serializers.ListField(child=serializers.DateField(), help_text="Nearest first; none before today")
    chains = ChainSummarySerializer(many=True, help_text="The same with what each expiry consists of")


class MomentField(serializers.DateTimeField):
    """A moment that is one in every time zone: the first and the last days of the calendar are not."""

    def to_internal_value(self, value: Any) -> Any:
        try:
            return super().to_internal_value(value)
        except OverflowError:
            self.fail("overflow")


class LastMomentField(MomentField):
    """A date alone is all of that day."""

    _DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

    def to_internal_value(self, value: Any) -> Any:
        if isinstance(value, str) and self._DATE.fullmatch(value):
            value += "T23:59:59"
        return super().to_internal_value(value)
