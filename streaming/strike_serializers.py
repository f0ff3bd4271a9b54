"""Strike rules and their moves as JSON, in and out. Decimals are text both ways."""

from typing import Any

from rest_framework import serializers

from accounts.serializers import StrictSerializer
from market.serializers import PlainDecimalField
from orders.fields import DecimalTextField, WholeField
from streaming.rebalance import Change
from streaming.rebalancing import Outcome
from streaming.strike_models import MOST_EXPIRIES, MOST_STRIKES, StrikeMove, StrikeRule

DERIVATIVES = ["NFO", "BFO", "CDS", "BCD", "MCX"]
LARGEST_WHOLE = 2**31 - 1


class StrikeRuleChangesSerializer(StrictSerializer):
    """What may be changed of a rule; what is not named stays."""

    enabled = serializers.BooleanField(required=False, help_text="Switched off, it gives up what it alone held")
    expiries = WholeField(
        min_value=1, max_value=MOST_EXPIRIES, required=False, help_text="How many, the nearest first; 2 if not given"
    )
    width_kind = serializers.ChoiceField(
        choices=StrikeRule.Kind.choices,
        required=False,
        help_text="What `width` counts: strikes on either side of the money (if not given), per cent on either side, "
        "or down to a delta, without its sign, of the option out of the money",
    )
    width = DecimalTextField(max_digits=9, decimal_places=4, required=False)
    mode = serializers.ChoiceField(
        choices=StrikeRule.Mode.choices, required=False, help_text="The most that is asked for; `full` if not given"
    )
    full_within = WholeField(
        min_value=0,
        max_value=MOST_STRIKES,
        required=False,
        allow_null=True,
        help_text="Strikes from the centre within which packets are full; farther ones are quotes",
    )
    quote_within = WholeField(
        min_value=0,
        max_value=MOST_STRIKES,
        required=False,
        allow_null=True,
        help_text="Strikes from the centre beyond which the last price alone is streamed",
    )
    hysteresis = DecimalTextField(
        max_digits=4,
        decimal_places=2,
        min_value=0,
        max_value=10,
        required=False,
        help_text="Strikes by which the price has to pass the half-way to the next strike before anything moves; 0.5 "
        "if not given",
    )
    most_instruments = WholeField(min_value=0, max_value=LARGEST_WHOLE, required=False, allow_null=True)
    account_id = serializers.UUIDField(required=False, allow_null=True, help_text="Stream through this account only")


class NewStrikeRuleSerializer(StrikeRuleChangesSerializer):
    """A new rule."""

    underlying = serializers.CharField(max_length=64, help_text="`NIFTY`; `NIFTY 50` is understood")
    exchange = serializers.ChoiceField(
        choices=DERIVATIVES, required=False, help_text="If not given, the one that lists most of the options"
    )
    width = DecimalTextField(max_digits=9, decimal_places=4)


class StrikeRuleFilterSerializer(StrictSerializer):
    """The query of the list; paging has its own."""

    underlying = serializers.CharField(max_length=64, required=False)
    enabled = serializers.BooleanField(required=False, allow_null=True, default=None)
    limit = serializers.CharField(required=False)
    offset = serializers.CharField(required=False)


class StrikeRuleSerializer(serializers.Serializer[Any]):
    """A rule, and what became of its last turn."""

    id = serializers.IntegerField()
    underlying = serializers.CharField()
    exchange = serializers.CharField()
    enabled = serializers.BooleanField()
    expiries = serializers.IntegerField()
    width_kind = serializers.ChoiceField(choices=StrikeRule.Kind.choices)
    width = PlainDecimalField(max_digits=9, decimal_places=4)
    mode = serializers.ChoiceField(choices=StrikeRule.Mode.choices)
    full_within = serializers.IntegerField(allow_null=True)
    quote_within = serializers.IntegerField(allow_null=True)
    hysteresis = PlainDecimalField(max_digits=4, decimal_places=2)
    most_instruments = serializers.IntegerField(allow_null=True)
    account_id = serializers.UUIDField(source="account.public_id", allow_null=True, default=None)
    last_run_at = serializers.DateTimeField(allow_null=True, help_text="System time; null: it had no turn yet")
    last_outcome = serializers.CharField(help_text="In words: what it moved, or why it moved nothing")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class StrikeMoveSerializer(serializers.ModelSerializer[StrikeMove]):
    instrument_token = serializers.IntegerField(source="instrument.instrument_token")
    exchange = serializers.CharField(source="instrument.exchange")
    tradingsymbol = serializers.CharField(source="instrument.tradingsymbol")
    expiry = serializers.DateField(source="instrument.expiry")
    strike = PlainDecimalField(source="instrument.strike", max_digits=14, decimal_places=4)
    instrument_type = serializers.ChoiceField(source="instrument.instrument_type", choices=["CE", "PE"])
    spot = PlainDecimalField(
        max_digits=14, decimal_places=4, allow_null=True, help_text="What the underlying cost then; null: no matter"
    )

    class Meta:
        model = StrikeMove
        fields = [
            "at",
            "action",
            "mode",
            "instrument_token",
            "exchange",
            "tradingsymbol",
            "expiry",
            "strike",
            "instrument_type",
            "spot",
            "reason",
        ]
        read_only_fields = fields


class PlannedMoveSerializer(serializers.Serializer[Any]):
    action = serializers.ChoiceField(choices=[change.value for change in Change])
    mode = serializers.ChoiceField(choices=StrikeRule.Mode.choices)
    instrument_token = serializers.IntegerField()
    tradingsymbol = serializers.CharField()
    expiry = serializers.DateField()
    strike = PlainDecimalField(max_digits=14, decimal_places=4)
    instrument_type = serializers.ChoiceField(choices=["CE", "PE"])
    reason = serializers.CharField()


class CentreSerializer(serializers.Serializer[Any]):
    expiry = serializers.DateField()
    strike = PlainDecimalField(max_digits=14, decimal_places=4)


class StrikePreviewSerializer(serializers.Serializer[Any]):
    """What a rule would do at this moment. Nothing was written."""

    words = serializers.CharField()
    price = PlainDecimalField(
        max_digits=14, decimal_places=4, allow_null=True, help_text="Of the underlying; null: nothing can be decided"
    )
    centres = CentreSerializer(many=True)
    left_out = serializers.IntegerField(help_text="Instruments for which there is no slot")
    moves = PlannedMoveSerializer(many=True)


def preview_answer(outcome: Outcome) -> dict[str, Any]:
    """An outcome as `StrikePreviewSerializer` shows it."""
    moves = []
    for move in outcome.moves:
        found = outcome.instruments[move.instrument]
        moves.append(
            {
                "action": move.change.value,
                "mode": move.mode.value,
                "instrument_token": found.instrument_token,
                "tradingsymbol": found.tradingsymbol,
                "expiry": found.expiry,
                "strike": found.strike,
                "instrument_type": found.instrument_type,
                "reason": move.reason,
            }
        )
    answer = {
        "words": outcome.words,
        "price": outcome.price,
        "centres": [{"expiry": expiry, "strike": strike} for expiry, strike in sorted(outcome.centres.items())],
        "left_out": outcome.left_out,
        "moves": moves,
    }
    return dict(StrikePreviewSerializer(answer).data)
