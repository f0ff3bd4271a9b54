"""The market calendar over HTTP."""

from datetime import date, timedelta
from typing import Any, Final

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts import clock
from accounts.permissions import MayRead
from accounts.serializers import StrictSerializer
from market import calendar

MOST_DAYS: Final = 400
DEFAULT_DAYS: Final = 31
KINDS: Final = ["regular", "special", "evening_only", "holiday", "weekend", "unknown"]


class CalendarQuery(StrictSerializer):
    exchange = serializers.ChoiceField(
        choices=list(calendar.SEGMENTS), required=False, help_text="All of them if empty"
    )
    to = serializers.DateField(required=False, help_text=f"The last date; at most {MOST_DAYS} days in all")

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`from` is a word of Python's own, so it cannot be declared like the others."""
        return {"from": serializers.DateField(required=False, help_text="Today if empty"), **super().get_fields()}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        first: date = attrs.get("from") or clock.today()
        try:
            last: date = attrs.get("to") or first + timedelta(days=DEFAULT_DAYS - 1)
        except OverflowError:
            last = date.max
        if last < first:
            raise serializers.ValidationError({"to": ["It is before `from`."]})
        if (last - first).days >= MOST_DAYS:
            raise serializers.ValidationError({"to": [f"At most {MOST_DAYS} days can be asked for at once."]})
        return {"exchange": attrs.get("exchange"), "first": first, "last": last}


class CalendarDaySerializer(serializers.Serializer[calendar.CalendarDay]):
    exchange = serializers.CharField()
    segment = serializers.CharField()
    date = serializers.DateField()
    kind = serializers.ChoiceField(
        choices=KINDS, help_text="`unknown`: nobody has entered the day, which does not mean that the market is closed"
    )
    opens_at = serializers.DateTimeField(allow_null=True, help_text="Null where there is no session, or none is known")
    closes_at = serializers.DateTimeField(allow_null=True, help_text="The first moment that is closed again")
    verified = serializers.BooleanField(help_text="Checked against the exchange's own list")
    # the stubs take `source` for the field's own argument of that name
    source = serializers.CharField(help_text="Where this is known from")  # type: ignore[assignment]


class CalendarAnswerSerializer(serializers.Serializer[Any]):
    days = CalendarDaySerializer(many=True)
    unknown = serializers.IntegerField(help_text="How many of them nobody has entered")


class CalendarView(APIView):
    """When markets are open."""

    permission_classes = [MayRead]

    @extend_schema(parameters=[CalendarQuery], responses=CalendarAnswerSerializer)
    def get(self, request: Request) -> Response:
        """What each market does on each date: its session, a holiday, a weekend, or that nobody has said so."""
        query = CalendarQuery(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        asked = query.validated_data
        known = calendar.current()
        exchanges = [asked["exchange"]] if asked["exchange"] else list(calendar.SEGMENTS)
        dates = [asked["first"] + timedelta(days=n) for n in range((asked["last"] - asked["first"]).days + 1)]
        days = [known.day_of(name, calendar.SEGMENTS[name], day) for day in dates for name in exchanges]
        unknown = sum(day.kind == "unknown" for day in days)
        return Response(CalendarAnswerSerializer({"days": days, "unknown": unknown}).data)
