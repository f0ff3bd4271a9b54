"""One order's timeline over REST."""

from dataclasses import asdict
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.exceptions import NotFound
from accounts.permissions import MayRead
from orders.rest import tasks_of
from orders.timeline import Clock, Stage, timeline


class StepSerializer(serializers.Serializer[Any]):
    stage = serializers.ChoiceField(choices=[str(stage) for stage in Stage])
    at = serializers.DateTimeField()
    ms = serializers.IntegerField(allow_null=True, help_text="Since it was taken on; null where clocks are apart.")
    words = serializers.CharField()
    actor = serializers.CharField()
    attempt = serializers.IntegerField(allow_null=True)
    clock = serializers.ChoiceField(choices=[str(clock) for clock in Clock], help_text="Whose time `at` is.")
    evidence = serializers.DictField()


class DurationsSerializer(serializers.Serializer[Any]):
    """Milliseconds; null for what has not happened, or cannot be told."""

    ours = serializers.IntegerField(allow_null=True, help_text="Taken on to the last mark, waiting included.")
    broker = serializers.IntegerField(allow_null=True, help_text="The mark to the answer.")
    exchange = serializers.IntegerField(allow_null=True, help_text="The answer to the first fill, in whole seconds.")


class SlippageSerializer(serializers.Serializer[Any]):
    """Rupees; positive is worse than at the decision."""

    decision_price = serializers.CharField()
    basis = serializers.ChoiceField(choices=["middle", "last"])
    average_price = serializers.CharField()
    quantity = serializers.IntegerField()
    per_unit = serializers.CharField()
    rupees = serializers.CharField()


class TimelineSerializer(serializers.Serializer[Any]):
    steps = StepSerializer(many=True)
    durations = DurationsSerializer()
    slippage = SlippageSerializer(allow_null=True)
    no_slippage = serializers.CharField(help_text="Why there is none; empty if there is.")
    words = serializers.CharField(help_text="What it is now.")
    then = serializers.CharField(help_text="What happens next.")


class TimelineView(APIView):
    permission_classes = [MayRead]

    @extend_schema(responses=TimelineSerializer)
    def get(self, request: Request, task_id: UUID) -> Response:
        """All that happened to an order, with where the time went and what the price cost."""
        task = tasks_of(request).prefetch_related("events").filter(public_id=task_id).first()
        if task is None:
            raise NotFound
        return Response(TimelineSerializer(asdict(timeline(task))).data)
