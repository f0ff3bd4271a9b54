"""Quotes over HTTP."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import MayRead
from accounts.serializers import StrictSerializer
from market.quotes import MOST_SYMBOLS, Quote, Quotes, read_quotes
from market.serializers import PlainDecimalField


class PriceField(PlainDecimalField):
    """Rupees, or null where there is no such price."""

    def __init__(self, help_text: str = "") -> None:
        super().__init__(max_digits=14, decimal_places=4, allow_null=True, help_text=help_text)


class QuotesQuery(StrictSerializer):
    """Which instruments; how many, and whether they exist, is for `read_quotes` to say."""

    i = serializers.ListField(
        child=serializers.RegexField(r"\A[A-Z]{2,16}:[^/\x00]{1,64}\Z"),
        help_text=f"`exchange:tradingsymbol`, {MOST_SYMBOLS:,} at most",
    )


class QuoteSerializer(serializers.Serializer[Quote]):
    instrument_token = serializers.IntegerField()
    last_price = PriceField()
    bid = PriceField("The best one; null where nobody bids")
    ask = PriceField("The best one; null where nobody offers")
    close = PriceField("Of the session before")
    age_ms = serializers.SerializerMethodField(help_text="Since it was received; null where that is not known")
    is_fresh = serializers.BooleanField(
        help_text="Of a live stream, without a flag; or of the broker, asked for this answer or the moment before"
    )
    origin = serializers.ChoiceField(choices=["stream", "broker"])
    # the stubs take `source` for the field's own argument of that name
    source = serializers.ChoiceField(choices=["live", "simulated", "replay"])  # type: ignore[assignment]

    def get_age_ms(self, quote: Quote) -> int | None:
        return None if quote.age_seconds is None else round(quote.age_seconds * 1000)


class QuotesSerializer(serializers.Serializer[Quotes]):
    quotes = serializers.DictField(child=QuoteSerializer(), source="found", help_text="By symbol")
    missing = serializers.DictField(child=serializers.CharField(), help_text="By symbol, why there is no quote of it")


class QuotesView(APIView):
    """What instruments cost now."""

    permission_classes = [MayRead]

    @extend_schema(
        operation_id="quotes_retrieve",
        parameters=[OpenApiParameter("i", str, many=True, required=True, description="`NSE:INFY`, once for each")],
        responses=QuotesSerializer,
        description="From the stream where it is fresh, else from the broker within its budget, else what was last "
        f"known: each says where it is from and how old it is. {MOST_SYMBOLS:,} instruments at most; `POST` takes a "
        "list that is too long for an address.",
    )
    def get(self, request: Request) -> Response:
        asked: dict[str, Any] = dict(request.query_params.lists())
        return self._answer(asked)

    @extend_schema(operation_id="quotes_create", request=QuotesQuery, responses=QuotesSerializer)
    def post(self, request: Request) -> Response:
        """The same as `GET`, for a list that is too long for an address."""
        return self._answer(request.data)

    def _answer(self, asked: Any) -> Response:
        query = QuotesQuery(data=asked)
        query.is_valid(raise_exception=True)
        found = read_quotes(query.validated_data["i"])
        shown = {symbol: QuoteSerializer(quote).data for symbol, quote in found.found.items()}
        return Response({"quotes": shown, "missing": found.missing})
