"""What the option chain's REST interface reads, and the shape of what it says.

The answers are put together by `market.option_chain`, column by column; the serializers of answers only describe them.
"""

from datetime import timedelta
from typing import Any, Final

from django.conf import settings
from rest_framework import serializers

from accounts import clock
from accounts.clock import IST
from accounts.serializers import StrictSerializer
from market.candle_series import CandleInterval
from market.models import UNDERLYING_SOURCES
from market.option_chain import NOT_STREAMED, Wanted
from market.pricing_terms import UnderlyingSource
from market.serializers import LastMomentField, MomentField, NumberField

NUMBERS: Final = (
    "Prices, strikes and everything computed from them are JSON numbers here, as in the stream's lines; decimal "
    "strings are for the instrument list, and for money in orders. A number that is not known is `null`, never 0."
)
SOURCES: Final = [source.value for source in UnderlyingSource]
REASONS: Final = (
    "below_intrinsic, above_bound, no_time_value, bad_input, stale, untraded, crossed, negative_price, no_price, "
    "no_underlying"
)
HIGHEST_RATE: Final = 1.0
MOST_DAYS_OF_MINUTES: Final = 60
MOST_DAYS_OF_DAYS: Final = 400


class ChainQuery(StrictSerializer):
    """The query of an option chain."""

    rate = NumberField(
        required=False,
        min_value=-HIGHEST_RATE,
        max_value=HIGHEST_RATE,
        help_text="Per year as a fraction, continuously compounded: volatilities and Greeks are computed anew with it",
    )
    dividend_yield = NumberField(
        required=False, min_value=-HIGHEST_RATE, max_value=HIGHEST_RATE, help_text="Likewise; used with the spot"
    )
    underlying_source = serializers.ChoiceField(
        choices=UNDERLYING_SOURCES,
        required=False,
        help_text="Likewise, priced on this; where it has no price the next one is taken, and `pricing` says so",
    )
    strikes = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=1000,
        help_text="Only the strike at the money and so many on either side; all where no price tells where that is. "
        "The analytics are of the whole chain",
    )
    analytics = serializers.BooleanField(default=True)
    second_order = serializers.BooleanField(default=False, help_text="Vanna, charm, vomma and speed too")

    def wanted(self) -> Wanted:
        """The (validated) query as the service takes it."""
        asked = dict(self.validated_data)
        if "underlying_source" in asked:
            asked["underlying_source"] = UnderlyingSource(asked["underlying_source"])
        return Wanted(**asked)


class ChainHistoryQuery(StrictSerializer):
    """The query of an option chain's past."""

    to = LastMomentField(required=False, help_text="The last minute, a date: the last one of that day; now by default")
    interval = serializers.ChoiceField(
        choices=[interval.value for interval in CandleInterval],
        default="minute",
        help_text="Of each the last minute that was kept, counted from the opening as candles are",
    )
    source = serializers.ChoiceField(  # type: ignore[assignment]  # the stubs take it for the field's own argument
        choices=["live", "simulated", "replay"],
        required=False,
        help_text="Never mixed; what this service streams by default",
    )

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name that a class may use.
        first = MomentField(help_text="The first minute; Indian time unless it has a zone")
        return {"from": first, **super().get_fields()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        start, end = attrs["from"], attrs.get("to") or clock.now().astimezone(IST)
        interval = CandleInterval(attrs["interval"])
        if start > end:
            raise serializers.ValidationError({"from": "It lies after `to`."})
        most = MOST_DAYS_OF_DAYS if interval is CandleInterval.DAY else MOST_DAYS_OF_MINUTES
        if end - start >= timedelta(days=most + 1):
            kind = "days" if interval is CandleInterval.DAY else "minutes"
            raise serializers.ValidationError({"from": f"At most {most} days of {kind} are answered at once."})
        source = attrs.get("source", settings.FEED_SOURCE)
        return {"start": start, "end": end, "interval": interval, "source": source}


def number(help_text: str = "", **more: Any) -> serializers.FloatField:
    return serializers.FloatField(allow_null=True, help_text=help_text, **more)


def whole(help_text: str = "") -> serializers.IntegerField:
    return serializers.IntegerField(allow_null=True, help_text=help_text)


class OptionSerializer(serializers.Serializer[Any]):
    """One option with its last prices, volatility and Greeks, in the units of the stream's lines."""

    tradingsymbol = serializers.CharField()
    instrument_token = serializers.IntegerField()
    last_price = number("`null` until it has traded")
    change_percent = number("Against the previous close, in percent")
    bid = number()
    bid_quantity = whole()
    ask = number()
    ask_quantity = whole()
    volume_traded = whole("Of the day")
    oi = whole("Open interest in units of the underlying")
    oi_day_change = whole()
    implied_volatility = number("Per year, as a fraction: 0.14 is 14 %")
    delta = number("Per 1.00 of `pricing.underlying_price`")
    gamma = number("Per 1.00 of `pricing.underlying_price`")
    theta_per_day = number("Per calendar day")
    vega_per_point = number("Per volatility point (0.01)")
    rho_per_point = number("Per 0.01 of the rate")
    vanna_per_point = number("Only with `second_order`: delta change per volatility point", required=False)
    charm_per_day = number("Likewise: delta change per calendar day", required=False)
    vomma_per_point = number("Likewise: change of vega per volatility point", required=False)
    speed = number("Likewise: gamma change per 1.00 of the underlying", required=False)
    priced_at_middle = serializers.BooleanField(
        allow_null=True, help_text="Whether its price is the middle of bid and ask; if not, it is its last trade"
    )
    greeks_reason = serializers.CharField(
        allow_null=True,
        help_text=f"Why there are no Greeks: {REASONS}, or {NOT_STREAMED} where the option has no prices at all",
    )
    age_ms = whole("Since its last tick without a flag was received, now")


class StrikeSerializer(serializers.Serializer[Any]):
    strike = serializers.FloatField()
    call = OptionSerializer(allow_null=True, help_text="`null` where only the put is listed")
    put = OptionSerializer(allow_null=True)


class PricingSerializer(serializers.Serializer[Any]):
    """What the options are priced with."""

    model = serializers.ChoiceField(choices=["black-76", "black-scholes-merton"])
    underlying_source = serializers.ChoiceField(choices=UNDERLYING_SOURCES)
    underlying_price = number()
    underlying_age_ms = whole()
    spot = number()
    future = number("The future that expires with the options, or the next one")
    rate = serializers.FloatField()
    dividend_yield = serializers.FloatField()
    time_to_expiry = number("Years of 365 days")


class TermSerializer(serializers.Serializer[Any]):
    expiry = serializers.DateField()
    time_to_expiry = number("Years of 365 days")
    forward = number()
    atm_implied_volatility = number()


class VolatilityHistorySerializer(serializers.Serializer[Any]):
    """Volatility at the money and thirty days, in total variance between the expiries around them, or else that of the
    expiry nearest to thirty days that is at least seven days away."""

    maturity_days = serializers.FloatField()
    implied_volatility = number("Now")
    days = serializers.IntegerField(help_text="Trading days of the past year that it is compared with")
    rank = number("0 to 100: where it stands between the year's lowest and highest; `null` with less than 20 days")
    percentile = number("0 to 100: on how many of 100 days it was lower; `null` likewise")


class OpenInterestSerializer(serializers.Serializer[Any]):
    """Of all calls and all puts, since the last minute of the session before."""

    date = serializers.DateField()
    call_oi_change = number()
    put_oi_change = number()


class OptionChainSerializer(serializers.Serializer[Any]):
    underlying = serializers.CharField()
    expiry = serializers.DateField()
    exchange = serializers.CharField()
    lot_size = serializers.IntegerField()
    reason = serializers.ChoiceField(
        choices=[NOT_STREAMED],
        allow_null=True,
        help_text="`not_streamed`: the chain is listed, but there are no prices of it",
    )
    # the stubs take `source` for the field\'s own attribute of that name
    source = serializers.ChoiceField(choices=["live", "simulated", "replay"], allow_null=True)  # type: ignore[assignment]
    feed_state = serializers.CharField(allow_null=True, help_text="`live`, or why no prices come")
    market_time = number("Unix seconds by the market clock, when the newest prices were sent")
    sent_at = number("The same by system time")
    age_ms = whole("Of the newest price, now")
    stale = serializers.BooleanField(
        help_text="No price, or none as young as the stream's limit (5 seconds by default)"
    )
    pricing = PricingSerializer(allow_null=True)
    strikes = StrikeSerializer(many=True)
    analytics = serializers.DictField(
        allow_null=True,
        help_text="The object `analytics` of `docs/schemas/ws/analytics.json`, of the whole chain on these terms",
    )
    term_structure = TermSerializer(
        many=True, allow_null=True, help_text="The expiries that are streamed, nearest first"
    )
    implied_volatility_history = VolatilityHistorySerializer(allow_null=True)
    oi_since_last_session = OpenInterestSerializer(
        allow_null=True, help_text="`null` where this service kept no minute of the expiry before today"
    )
