"""The ledger of the feed's outages over HTTP."""

from datetime import date, datetime, time, timedelta
from typing import Any, Final

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework import generics, serializers
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.clock import IST
from accounts.permissions import MayRead
from accounts.serializers import StrictSerializer
from market.gap_models import FeedGap, FeedGapQuerySet

PAGING: Final = ("limit", "offset")


class GapFilter(StrictSerializer):
    """Which outages."""

    to = serializers.DateField(required=False, help_text="The last day, in India")
    open = serializers.BooleanField(
        required=False,
        allow_null=True,
        default=None,
        help_text="`true`: those that go on, `false`: the others",
    )

    def get_fields(self) -> dict[str, serializers.Field[Any, Any, Any, Any]]:
        """`from` is a word of Python's own, so it cannot be declared like the others."""
        first = serializers.DateField(required=False, help_text="The first day, in India")
        return {"from": first, **super().get_fields()}

    def validate_from(self, first: date) -> date:
        return _within(first)

    def validate_to(self, last: date) -> date:
        return _within(last)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        first, last = attrs.get("from"), attrs.get("to")
        if first and last and last < first:
            raise serializers.ValidationError({"to": ["It is before `from`."]})
        return attrs

    def apply(self, rows: FeedGapQuerySet) -> FeedGapQuerySet:
        """Those that touch the days asked for."""
        asked = self.validated_data
        if first := asked.get("from"):
            rows = rows.filter(Q(ended_at__isnull=True) | Q(ended_at__gte=_midnight(first)))
        if last := asked.get("to"):
            rows = rows.filter(started_at__lt=_midnight(last) + timedelta(days=1))
        if asked["open"] is not None:
            rows = rows.filter(ended_at__isnull=asked["open"])
        return rows


class GapSerializer(serializers.ModelSerializer[FeedGap]):
    instruments = serializers.IntegerField(source="instrument_count", help_text="How many were not streamed")
    remaining = serializers.IntegerField(source="remaining_count", help_text="Of how many bars are to be refilled yet")
    refused = serializers.IntegerField(source="refused_count", help_text="Of how many the broker has no candles")

    class Meta:
        model = FeedGap
        fields = [
            "feed",
            "cause",
            "started_at",
            "ended_at",
            "status",
            "instruments",
            "remaining",
            "refused",
            "bars_refilled",
            "repaired_at",
            "reason",
        ]
        read_only_fields = fields


class GapsView(generics.GenericAPIView[FeedGap]):
    """When the feed was interrupted."""

    permission_classes = [MayRead]
    serializer_class = GapSerializer
    queryset = FeedGap.objects.all()

    @extend_schema(
        operation_id="gaps_list",
        parameters=[GapFilter],
        responses=GapSerializer(many=True),
        description="Outages of the feed in market hours, the newest first. Minute bars inside one are refilled from "
        "the broker's candles once it is over: `repaired` says that all of them are, `given_up` that some cannot be "
        "had, `reason` why not, or not yet. `from` and `to` keep those that touch a day between them.",
    )
    def get(self, request: Request) -> Response:
        form = GapFilter(data={name: value for name, value in request.query_params.items() if name not in PAGING})
        form.is_valid(raise_exception=True)
        page = self.paginate_queryset(form.apply(FeedGap.objects.counted()))
        return self.get_paginated_response(self.get_serializer(page, many=True).data)


def _within(day: date) -> date:
    """The ends of the calendar are no days in every time zone."""
    if not date.min < day < date.max:
        raise serializers.ValidationError(["There is no such day in the ledger."])
    return day


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), IST)
