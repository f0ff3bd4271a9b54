"""What the calculators read and say: Greeks of rows, and what a position of several legs comes to."""

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from accounts.serializers import StrictSerializer
from market.chain_serializers import number
from market.exceptions import InputInvalid, RowsInvalid
from market.greeks_rows import LEVEL, MOST_ROWS, NOT_FINITE, PRICE, RATE, YEARS, Range
from market.pricing_rules import Model
from market.serializers import NumberField
from market.strategies import MOST_POINTS, MOST_SHIFTS
from market.strategy_legs import GIVEN, MARKET, MODEL, MOST_LEGS

LARGEST_QUANTITY: Final = 10**9
LARGEST_VOLATILITY_OF_A_LEG: Final = 10.0
EXCHANGES: Final = ["NFO", "BFO", "CDS", "BCD", "MCX"]
SYMBOL: Final = r"\A[A-Z]{2,16}:[^/\x00-\x1f]{1,64}\Z"


def within(limits: Range, help_text: str = "", **more: Any) -> NumberField:
    """A field for a number of that range; the lower end is checked by `above_zero` where it is excluded."""
    if limits.above:
        more["validators"] = [above_zero]
    return NumberField(min_value=limits.lowest, max_value=limits.highest, help_text=help_text, **more)


def above_zero(value: float) -> None:
    if not value > 0:
        raise serializers.ValidationError("Ensure this value is greater than 0.")


class GreeksRowSerializer(serializers.Serializer[Any]):
    """One option; describes what `market.greeks_rows` reads."""

    underlying_price = serializers.FloatField(help_text="The forward (black-76) or the spot (black-scholes-merton)")
    strike = serializers.FloatField()
    instrument_type = serializers.ChoiceField(choices=["CE", "PE"])
    time_to_expiry = serializers.FloatField(required=False, help_text="Years of 365 days; either this or `expiry`")
    expiry = serializers.DateField(required=False, help_text="The contract ends when its market closes that day")
    exchange = serializers.ChoiceField(choices=EXCHANGES, required=False, help_text="Of `expiry`; NFO if not given")
    price = serializers.FloatField(required=False, help_text="Either this, for the volatility that it implies…")
    volatility = serializers.FloatField(required=False, help_text="…or this, for the price: per year, as a fraction")
    rate = serializers.FloatField(required=False, help_text="Instead of the request's")
    dividend_yield = serializers.FloatField(required=False, help_text="Instead of the request's")


@extend_schema_field(GreeksRowSerializer(many=True))
class RowsField(serializers.Field[Any, Any, Any, Any]):
    """A list of at most `MOST_ROWS`; what stands in it is read by `market.greeks_rows`, column by column."""

    def to_internal_value(self, data: Any) -> list[Any]:
        if not isinstance(data, list):
            raise serializers.ValidationError("Expected a list of rows.")
        if not 1 <= len(data) <= MOST_ROWS:
            raise serializers.ValidationError(f"Expected 1 to {MOST_ROWS} rows, found {len(data)}.")
        return data

    def to_representation(self, value: Any) -> Any:
        return value


class GreeksRequestSerializer(StrictSerializer):
    model = serializers.ChoiceField(choices=[model.value for model in Model], default=Model.BLACK_76.value)
    rate = within(
        RATE, "Of rows without one; per year as a fraction. The service's setting if not given", required=False
    )
    dividend_yield = within(RATE, "Likewise; used by black-scholes-merton only", required=False)
    second_order = serializers.BooleanField(default=False, help_text="Vanna, charm, vomma and speed too")
    rows = RowsField(help_text=f"At most {MOST_ROWS}")


class GreeksAnswerRowSerializer(serializers.Serializer[Any]):
    price = number("As given, or of the volatility")
    implied_volatility = number("Of the price, or as given; per year, as a fraction")
    delta = number("Per 1.00 of the underlying price")
    gamma = number("Per 1.00 of the underlying price")
    theta_per_day = number("Per calendar day")
    vega_per_point = number("Per volatility point (0.01)")
    rho_per_point = number("Per 0.01 of the rate; of black-76 with the forward held")
    vanna_per_point = number("Only with `second_order`", required=False)
    charm_per_day = number(required=False)
    vomma_per_point = number(required=False)
    speed = number(required=False)
    time_to_expiry = serializers.FloatField(help_text="Years of 365 days")
    greeks_reason = serializers.CharField(
        allow_null=True,
        help_text=f"Why a number is null: below_intrinsic, above_bound, no_time_value, bad_input, or {NOT_FINITE} "
        "where it has no finite value, as gamma at the strike when no time is left",
    )


class GreeksAnswerSerializer(serializers.Serializer[Any]):
    model = serializers.ChoiceField(choices=[model.value for model in Model])
    rows = GreeksAnswerRowSerializer(many=True, help_text="In the order of the request's")


class LegSerializer(StrictSerializer):
    """A listed instrument, or explicit terms."""

    instrument = serializers.RegexField(SYMBOL, required=False, help_text="`exchange:tradingsymbol`")
    instrument_type = serializers.ChoiceField(choices=["EQ", "FUT", "CE", "PE"], required=False)
    strike = within(LEVEL, required=False)
    expiry = serializers.DateField(required=False)
    exchange = serializers.ChoiceField(choices=EXCHANGES, required=False, help_text="Of `expiry`; NFO if not given")
    time_to_expiry = within(YEARS, "Years of 365 days, instead of `expiry`", required=False)
    quantity = serializers.IntegerField(
        min_value=-LARGEST_QUANTITY,
        max_value=LARGEST_QUANTITY,
        help_text="In units of the underlying, not lots: one lot of 75 is 75; negative where sold",
    )
    entry_price = within(
        PRICE,
        "Paid or received for one unit. If not given: the current price of a listed instrument (what the stream takes "
        "for its price), of explicit terms what the model makes of them",
        required=False,
    )
    implied_volatility = NumberField(
        required=False,
        min_value=0,
        max_value=LARGEST_VOLATILITY_OF_A_LEG,
        help_text="Per year, as a fraction. If not given, the current one of a listed option",
    )
    forward = within(
        LEVEL,
        "Of the leg's expiry. If not given: the current one, else spot·e^((rate - dividend_yield)·years)",
        required=False,
    )

    def validate_quantity(self, value: int) -> int:
        if not value:
            raise serializers.ValidationError("It cannot be 0.")
        return value


class SpotRangeSerializer(StrictSerializer):
    lowest = within(PRICE, required=False)
    highest = within(LEVEL, required=False)
    points = serializers.IntegerField(min_value=2, max_value=MOST_POINTS, required=False)


class PayoffRequestSerializer(StrictSerializer):
    underlying = serializers.CharField(
        required=False, max_length=128, help_text="Of explicit legs, for the current spot; legs with instruments say it"
    )
    spot = within(LEVEL, "If not given, the current one", required=False)
    rate = within(RATE, "Per year as a fraction. If not given, that of the underlying", required=False)
    dividend_yield = within(RATE, required=False)
    volatility = NumberField(
        required=False,
        min_value=0,
        max_value=LARGEST_VOLATILITY_OF_A_LEG,
        help_text="For the probability of profit. If not given, that of the option that expires first at the strike "
        "nearest to the spot",
    )
    legs = LegSerializer(  # type: ignore[call-arg]  # the stubs do not know what lists of serializers take
        many=True, allow_empty=False, max_length=MOST_LEGS, help_text=f"At most {MOST_LEGS}"
    )
    spot_range = SpotRangeSerializer(
        required=False,
        help_text="Of the grid. If not given, from a tenth below the spot and the strikes to a tenth above; 101 points",
    )
    days_ahead = serializers.ListField(
        child=within(Range(0, 36_500)),
        required=False,
        max_length=MOST_SHIFTS,
        help_text="Calendar days from now at which profit is wanted; [0] if not given",
    )
    volatility_shifts = serializers.ListField(
        child=within(Range(-LARGEST_VOLATILITY_OF_A_LEG, LARGEST_VOLATILITY_OF_A_LEG)),
        required=False,
        max_length=MOST_SHIFTS,
        help_text="Added to every volatility: 0.01 is a point; [0] if not given",
    )

    def checked(self) -> dict[str, Any]:
        """The validated request.

        Raises
        ------
        InputInvalid
            Naming every field, and of legs index and field, in the form that `market.strategies` uses too.
        """
        if self.is_valid():
            return dict(self.validated_data)
        errors: dict[str, Any] = dict(self.errors)
        legs = errors.get("legs")
        if isinstance(legs, dict) and all(isinstance(index, int) for index in legs):
            problems = [
                (index, str(field), " ".join(map(str, messages)))
                for index, leg in legs.items()
                for field, messages in (leg.items() if isinstance(leg, dict) else [("non_field_errors", leg)])
            ]
            errors |= RowsInvalid("legs", problems).details
        raise InputInvalid(details=errors)


class PositionGreeksSerializer(serializers.Serializer[Any]):
    value = number("Rupees that closing would bring; of a future its gain")
    profit = number("Rupees: that less what was paid")
    delta = number("Units of the underlying")
    delta_per_percent = number("Rupees for a rise of the spot by 1 %")
    gamma = number("Change of delta, in units, for 1.00 of the spot")
    gamma_per_percent = number("Change of delta, in rupees, for a rise by 1 %")
    theta_per_day = number("Rupees a calendar day")
    vega_per_point = number("Rupees for 0.01 of every volatility")
    rho_per_point = number("Rupees for 0.01 of the rate, the forwards rising with it")


SOURCES: Final = [GIVEN, MARKET, MODEL]
SPOT_SOURCES: Final = [GIVEN, MARKET]


class LegAnswerSerializer(serializers.Serializer[Any]):
    instrument = serializers.CharField(allow_null=True)
    instrument_type = serializers.ChoiceField(choices=["EQ", "FUT", "CE", "PE"])
    strike = number()
    expiry = serializers.DateField(allow_null=True)
    time_to_expiry = number()
    quantity = serializers.FloatField()
    entry_price = number()
    entry_price_source = serializers.ChoiceField(choices=SOURCES, help_text="given, market or model")
    implied_volatility = number()
    implied_volatility_source = serializers.ChoiceField(choices=SOURCES, allow_null=True)
    forward = number("`null`: spot·e^((rate - dividend_yield)·years)")
    forward_source = serializers.ChoiceField(choices=SPOT_SOURCES, allow_null=True)
    greeks = PositionGreeksSerializer()


class BoundedSerializer(serializers.Serializer[Any]):
    value = number("`null` where it has no bound, or is not known")
    unbounded = serializers.BooleanField()


class OutcomeSerializer(serializers.Serializer[Any]):
    """At the nearest expiry; legs that live on are worth what the model says then."""

    time_to_expiry = number("Years; `null` where nothing expires")
    break_evens = serializers.ListField(child=serializers.FloatField(), help_text="Spots, ascending")
    max_profit = BoundedSerializer()
    max_loss = BoundedSerializer(help_text="What can be lost; negative where even the worst outcome is a gain")
    probability_of_profit = number("0 to 1, with a lognormal spot about its forward")
    volatility = number("That it was found with")


class GridSerializer(serializers.Serializer[Any]):
    spots = serializers.ListField(child=serializers.FloatField())
    days_ahead = serializers.ListField(child=serializers.FloatField())
    volatility_shifts = serializers.ListField(child=serializers.FloatField())
    at_expiry = serializers.ListField(child=number(), help_text="Rupees by spot, at the nearest expiry")
    profit = serializers.ListField(
        child=serializers.ListField(child=serializers.ListField(child=number())),
        help_text="Rupees by day, shift and spot; `null` after the nearest expiry",
    )


class PayoffAnswerSerializer(serializers.Serializer[Any]):
    underlying = serializers.CharField(allow_null=True)
    spot = serializers.FloatField()
    spot_source = serializers.ChoiceField(choices=SPOT_SOURCES)
    rate = serializers.FloatField()
    dividend_yield = serializers.FloatField()
    sent_at = number("When the prices that were looked up were sent; `null` where none were")
    legs = LegAnswerSerializer(many=True)
    net = PositionGreeksSerializer()
    outcome = OutcomeSerializer()
    grid = GridSerializer()
