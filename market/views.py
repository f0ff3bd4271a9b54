"""The market over HTTP: instruments, and option chains."""

from datetime import date
from typing import Any

from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import mixins, viewsets
from rest_framework.decorators import action
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import clock
from accounts.exceptions import NotFound
from accounts.permissions import MayRead
from market.chain_examples import EXAMPLES, HISTORY_EXAMPLES
from market.chain_reading import read_chain, read_history
from market.chain_serializers import (
    MOST_DAYS_OF_DAYS,
    MOST_DAYS_OF_MINUTES,
    NUMBERS,
    ChainHistoryQuery,
    ChainQuery,
    OptionChainSerializer,
)
from market.instrument_cache import instruments_by_symbols
from market.instrument_search import search
from market.latest import carried
from market.models import Instrument
from market.names import part_of
from market.serializers import ExpiriesSerializer, InstrumentFilter, InstrumentSerializer
from market.underlyings import canonical_name

PAGING = ("limit", "offset")
EXPIRY = r"(?P<expiry>[0-9]{4}-[0-9]{2}-[0-9]{2})"


class InstrumentViewSet(mixins.ListModelMixin, viewsets.GenericViewSet[Instrument]):
    """What can be traded."""

    permission_classes = [MayRead]
    serializer_class = InstrumentSerializer
    queryset = Instrument.objects.all()
    lookup_field = "symbol"
    lookup_value_regex = r"[A-Z]{2,16}:[^/\x00]{1,64}"

    @extend_schema(parameters=[InstrumentFilter])
    def list(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """Instruments, filtered, in the order of their symbols; of a search (`q`), the likeliest first."""
        asked = {name: value for name, value in request.query_params.items() if name not in PAGING}
        form = InstrumentFilter(data=asked)
        form.is_valid(raise_exception=True)
        found = form.apply(Instrument.objects.all())
        if not form.text:
            page = self.paginate_queryset(found)
        else:
            keys = self.paginate_queryset(search(found, form.text))
            rows = Instrument.objects.in_bulk(keys)
            page = [rows[key] for key in keys or () if key in rows]
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @extend_schema(parameters=[OpenApiParameter("symbol", str, OpenApiParameter.PATH, description="`NSE:NIFTY 50`")])
    def retrieve(self, request: Request, symbol: str) -> Response:
        """One instrument by `exchange:tradingsymbol`, retired ones too."""
        instrument = instruments_by_symbols([symbol]).get(symbol)
        if instrument is None:
            raise NotFound(f"There is no instrument {symbol}.")
        return Response(self.get_serializer(instrument).data)


class OptionChainViewSet(viewsets.GenericViewSet[Instrument]):
    """Option chains by underlying."""

    permission_classes = [MayRead]
    serializer_class = ExpiriesSerializer
    queryset = Instrument.objects.all()
    lookup_field = "underlying"
    lookup_value_regex = r"[^/\x00]{1,64}"

    @extend_schema(parameters=[OpenApiParameter("underlying", str, OpenApiParameter.PATH, description="`NIFTY`")])
    def retrieve(self, request: Request, underlying: str) -> Response:
        """The expiries of an underlying's options that have not passed, and what each consists of."""
        name, today = canonical_name(underlying), clock.today()
        chains = Instrument.objects.chains(name, since=today)
        if not chains:
            raise NotFound(f"There are no options on {name}.")
        parts = [part_of(name, chain["expiry"]) for chain in chains]
        followed = carried(parts)
        for chain, part in zip(chains, parts, strict=True):
            chain["days_to_expiry"] = (chain["expiry"] - today).days
            chain["is_followed"] = None if followed is None else part in followed
        answer = {
            "underlying": name,
            "spot": Instrument.objects.underlying_of(name, exchange=chains[0]["exchange"]),
            "expiries": list(dict.fromkeys(chain["expiry"] for chain in chains)),
            "chains": chains,
        }
        return Response(self.get_serializer(answer).data)

    @extend_schema(
        operation_id="option_chains_expiry_retrieve",
        parameters=[
            OpenApiParameter("underlying", str, OpenApiParameter.PATH, description="`NIFTY`"),
            OpenApiParameter("expiry", OpenApiTypes.DATE, OpenApiParameter.PATH, description="`2026-12-01`"),
            ChainQuery,
        ],
        responses=OptionChainSerializer,
        description="One expiry with last prices, volatilities, Greeks and analytics. A chain that is listed but not "
        f"streamed is answered with `reason` `not_streamed` and no prices. {NUMBERS}",
        examples=EXAMPLES,
    )
    @action(detail=True, url_path=EXPIRY, pagination_class=None)
    def chain(self, request: Request, underlying: str, expiry: str) -> Response:
        day = _day(expiry)
        query = ChainQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return Response(read_chain(underlying, day, query.wanted()))

    @extend_schema(
        operation_id="option_chains_history_retrieve",
        parameters=[
            OpenApiParameter("underlying", str, OpenApiParameter.PATH, description="`NIFTY`"),
            OpenApiParameter("expiry", OpenApiTypes.DATE, OpenApiParameter.PATH, description="`2026-12-01`"),
            ChainHistoryQuery,
        ],
        responses=OpenApiResponse(
            {
                "type": "object",
                "properties": {
                    "underlying": {"type": "string"},
                    "expiry": {"type": "string", "format": "date"},
                    "exchange": {"type": "string"},
                    "source": {"type": "string"},
                    "interval": {"type": "string"},
                    "from": {"type": "string", "format": "date-time"},
                    "to": {"type": "string", "format": "date-time"},
                    "columns": {"type": "array", "items": {"type": "string"}},
                    "minutes": {"type": "array", "items": {"type": "array", "items": {}}},
                },
            }
        ),
        description="What the chain of one expiry said minute by minute, as the stream kept it: volatility at the "
        "money, the straddle, forward and spot, open interest. Expired chains too. A minute in which nothing was "
        f"streamed has no row. At most {MOST_DAYS_OF_MINUTES} days of minutes at once, {MOST_DAYS_OF_DAYS} with "
        f"`interval=day`. {NUMBERS}",
        examples=HISTORY_EXAMPLES,
    )
    @action(detail=True, url_path=rf"{EXPIRY}/history", pagination_class=None)
    def history(self, request: Request, underlying: str, expiry: str) -> Response:
        query = ChainHistoryQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        return Response(read_history(underlying, _day(expiry), **query.validated_data))


def _day(text: str) -> date:
    """An expiry in an address."""
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise NotFound(f"{text} is no date.") from None
