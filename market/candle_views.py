"""Candles over HTTP: what is missing is fetched first, what is stored is streamed month by month."""

from collections.abc import AsyncIterator
from datetime import datetime, timedelta
from typing import Any, Final

import orjson
from channels.db import database_sync_to_async
from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.utils import timezone
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.views import APIView

from accounts import clock
from accounts.clock import IST
from accounts.permissions import MayRead
from accounts.serializers import StrictSerializer
from market import candles
from market.candle_examples import EXAMPLES
from market.candle_greeks import COLUMNS as GREEKS_COLUMNS
from market.candle_series import CandleInterval, as_rows
from market.candles import Found, Wanted
from market.exceptions import CandlesUnavailable
from market.models import UNDERLYING_SOURCES, Instrument
from market.option_candles import PricedOn, prepare_underlying, read_priced
from market.pricing_terms import UnderlyingSource
from market.serializers import LastMomentField, MomentField

MOST_DAYS_OF_MINUTES: Final = 400
MOST_DAYS_OF_DAYS: Final = 7_320  # twenty years
COLUMNS: Final = ("time", "open", "high", "low", "close", "volume")
SOURCES: Final = [source.value for source in UnderlyingSource]
_PRICED: Final = (
    "With `greeks=true` an option's rows go on with `implied_volatility`, `delta`, `gamma`, `theta_per_day`, "
    "`vega_per_point`, `rho_per_point` (units and signs as in the option chain), `underlying_price`, "
    "`underlying_age_seconds`, `underlying_source` and `greeks_reason`. They are those of the candle's close, at the "
    "end of its last minute (of a day: of the session), on the terms that hold for the underlying today. The spot and "
    "the future of the same expiry are fetched like any candles; the forward by parity takes, of the same minute, the "
    "closes of the expiry's options that are stored. Where nothing of them is known the numbers are `null`, and "
    "`greeks_reason` says `no_underlying`."
)


class CandleQuery(StrictSerializer):
    """The query of `/candles`."""

    instrument = serializers.RegexField(r"\A[A-Z]{2,16}:[^/\x00]{1,64}\Z", help_text="`NSE:INFY`")
    to = LastMomentField(
        required=False, help_text="The last candle that may begin, a date: the last one of that day; now by default"
    )
    interval = serializers.ChoiceField(choices=[interval.value for interval in CandleInterval], default="minute")
    continuous = serializers.BooleanField(
        default=False, help_text="A future's days together with those of the ones that expired before it"
    )
    oi = serializers.BooleanField(default=False, help_text="Open interest as a last column")
    greeks = serializers.BooleanField(
        default=False,
        help_text="Of an option: volatility and Greeks of each close as further columns, on what its underlying was "
        "worth then",
    )
    greeks_from = serializers.ChoiceField(
        choices=UNDERLYING_SOURCES,
        required=False,
        help_text="With `greeks`: priced on this, in place of what its underlying is priced on; where it has no price "
        "the next one is taken, and `underlying_source` says so",
    )

    def get_fields(self) -> dict[str, Any]:
        # `from` is no name that a class may use.
        first = MomentField(help_text="The first candle that may begin; Indian time unless it has a zone")
        return {"from": first, **super().get_fields()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        start, end = attrs["from"], attrs.setdefault("to", clock.now().astimezone(IST))
        interval = CandleInterval(attrs["interval"])
        if start > end:
            raise serializers.ValidationError({"from": "It lies after `to`."})
        if start > clock.now():
            raise serializers.ValidationError({"from": "It lies in the future."})
        most = MOST_DAYS_OF_DAYS if interval is CandleInterval.DAY else MOST_DAYS_OF_MINUTES
        if end - start >= timedelta(days=most + 1):
            kind = "days" if interval is CandleInterval.DAY else "minutes"
            raise serializers.ValidationError({"from": f"At most {most} days of {kind} are answered at once."})
        try:
            attrs["instrument"] = Instrument.objects.by_symbol(attrs["instrument"])
        except Instrument.DoesNotExist:
            raise serializers.ValidationError({"instrument": "There is no such instrument."}) from None
        is_future = attrs["instrument"].instrument_type == "FUT"
        if attrs["continuous"] and not (interval is CandleInterval.DAY and is_future):
            raise serializers.ValidationError({"continuous": "Only days of a future can be continuous."})
        if attrs["greeks"] and not attrs["instrument"].is_option:
            symbol, kind = attrs["instrument"].symbol, attrs["instrument"].instrument_type
            raise serializers.ValidationError({"greeks": f"Only options have Greeks, and {symbol} is none ({kind})."})
        if "greeks_from" in attrs and not attrs["greeks"]:
            raise serializers.ValidationError({"greeks_from": "It only goes with `greeks=true`."})
        return attrs

    def wanted(self) -> Wanted:
        asked = self.validated_data
        interval = CandleInterval(asked["interval"])
        return Wanted(asked["instrument"], asked["from"], asked["to"], interval, asked["continuous"])

    def priced_from(self) -> UnderlyingSource | None:
        """What Greeks are asked to be priced on."""
        source = self.validated_data.get("greeks_from")
        return None if source is None else UnderlyingSource(source)


class CandlesView(APIView):
    """Candles of one instrument."""

    permission_classes = [MayRead]

    @extend_schema(
        parameters=[CandleQuery],
        responses=OpenApiResponse(
            {
                "type": "object",
                "properties": {
                    "instrument": {"type": "string"},
                    "interval": {"type": "string"},
                    "columns": {"type": "array", "items": {"type": "string"}},
                    "missing": {"type": "array", "items": {"type": "object"}},
                    "age_seconds": {"type": "number", "nullable": True},
                    "greeks": {
                        "type": "object",
                        "description": "Only with `greeks=true`: on what terms they were found",
                        "properties": {
                            "underlying_source": {"type": "string", "enum": SOURCES},
                            "rate": {"type": "number"},
                            "dividend_yield": {"type": "number"},
                            "expires_at": {"type": "string", "format": "date-time", "nullable": True},
                            "spot": {"type": "string", "nullable": True},
                            "future": {"type": "string", "nullable": True},
                            "missing": {"type": "array", "items": {"type": "object"}},
                        },
                    },
                    "candles": {"type": "array", "items": {"type": "array", "items": {}}},
                },
            }
        ),
        description="Fetched from the broker once, then served from the database; the rows are streamed. `missing` "
        "lists days that could not be had, with the reason; `age_seconds` is when the broker was last asked. Where "
        "nothing at all is stored of the range and it cannot be fetched, the answer is a 503 that lists the same.\n\n"
        + _PRICED,
        examples=EXAMPLES,
    )
    def get(self, request: Request) -> HttpResponseBase:
        query = CandleQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        wanted = query.wanted()
        found = candles.prepare(wanted)
        if found.missing and not candles.is_stored(wanted):
            raise CandlesUnavailable(details={"missing": _missing(found)})
        asked = query.validated_data
        priced_on = prepare_underlying(wanted, query.priced_from()) if asked["greeks"] else None
        body = _body(wanted, found, priced_on, oi=asked["oi"])
        return StreamingHttpResponse(body, content_type="application/json")


def _missing(found: Found) -> list[dict[str, str]]:
    return [
        {"from": first.isoformat(), "to": last.isoformat(), "reason": reason} for (first, last), reason in found.missing
    ]


def _greeks(priced_on: PricedOn) -> dict[str, Any]:
    """On what terms the Greeks are found."""
    return {
        "underlying_source": priced_on.terms.underlying_source,
        "rate": priced_on.terms.rate,
        "dividend_yield": priced_on.terms.dividend_yield,
        "expires_at": priced_on.expires_at,
        "spot": priced_on.spot and priced_on.spot.symbol,
        "future": priced_on.future and priced_on.future.symbol,
        "missing": [
            {"instrument": instrument.symbol, "from": first, "to": last, "reason": reason}
            for instrument, (first, last), reason in priced_on.missing
        ],
    }


def _rows(wanted: Wanted, priced_on: PricedOn | None, start: datetime, end: datetime, *, oi: bool) -> bytes:
    if priced_on is None:
        return as_rows(candles.read(wanted, start, end), oi=oi)
    series, priced = read_priced(wanted, priced_on, start, end)
    return as_rows(series, oi=oi, more=priced.columns())


async def _body(wanted: Wanted, found: Found, priced_on: PricedOn | None, *, oi: bool) -> AsyncIterator[bytes]:
    head = {
        "instrument": wanted.instrument.symbol,
        "interval": wanted.interval,
        "from": wanted.start,
        "to": wanted.end,
        "continuous": wanted.continuous,
        "columns": [*COLUMNS, *(("oi",) if oi else ()), *(GREEKS_COLUMNS if priced_on else ())],
        "missing": _missing(found),
        "age_seconds": found.asked_at and round((timezone.now() - found.asked_at).total_seconds(), 1),
    }
    if priced_on is not None:
        head["greeks"] = _greeks(priced_on)
    before = orjson.dumps(head)[:-1] + b',"candles":['
    for start, end in candles.read_months(wanted):
        rows = await database_sync_to_async(_rows)(wanted, priced_on, start, end, oi=oi)
        if rows:
            yield before + rows
            before = b","
    yield (before if before != b"," else b"") + b"]}"
