"""The import of instruments over HTTP, for those who administer the service."""

from http import HTTPStatus
from typing import Any

from drf_spectacular.utils import extend_schema
from kombu.exceptions import OperationalError
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.permissions import AdministersService
from accounts.serializers import StrictSerializer
from market import tasks
from market.exceptions import WorkersUnreachable
from market.models import InstrumentImport

STALE_AFTER_SECONDS = 600


class NothingAsked(StrictSerializer):
    """A body without fields."""


class ImportSerializer(serializers.ModelSerializer[InstrumentImport]):
    class Meta:
        model = InstrumentImport
        fields = [
            "outcome",
            "reason",
            "account",
            "source",
            "started_at",
            "duration_seconds",
            "rows",
            "added",
            "changed",
            "retired",
            "rejected",
        ]
        read_only_fields = fields


class RefreshSerializer(serializers.Serializer[Any]):
    last_import = ImportSerializer(allow_null=True, help_text="The newest attempt, whatever came of it; null: none yet")


class InstrumentRefreshView(APIView):
    """The broker's instrument dump."""

    permission_classes = [AdministersService]

    @property
    def throttle_scope(self) -> str | None:
        """Asking for an import is dear, looking at the last one is not."""
        return "instrument-refresh" if self.request.method == "POST" else None

    @extend_schema(responses=RefreshSerializer)
    def get(self, request: Request) -> Response:
        """What the last import of the instruments did."""
        return Response(RefreshSerializer({"last_import": InstrumentImport.objects.first()}).data)

    @extend_schema(
        request=None,
        responses={HTTPStatus.ACCEPTED: RefreshSerializer},
        description="Have a worker import the broker's instruments now, through the first account that can. Five times "
        "an hour. The answer has the import before this one: `GET` tells what came of it.",
    )
    def post(self, request: Request) -> Response:
        NothingAsked(data=request.data or {}).is_valid(raise_exception=True)
        last = InstrumentImport.objects.first()
        try:
            tasks.refresh_instruments.apply_async(retry=False, ignore_result=True, expires=STALE_AFTER_SECONDS)
        except OperationalError as exc:
            raise WorkersUnreachable from exc
        return Response(RefreshSerializer({"last_import": last}).data, status=HTTPStatus.ACCEPTED)
