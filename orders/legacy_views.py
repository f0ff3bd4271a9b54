"""The first generation's action paths, kept for old programs: the same checks and the same tasks, an Idempotency-Key
like everything that sends an order, and in each answer a pointer to what replaces them.
"""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.permissions import MayTrade
from accounts.serializers import StrictSerializer, valid
from orders.rest import KEY_HEADER, WAIT
from orders.serializers import ChangesSerializer, OrderTaskSerializer
from orders.views import OrderViewSet

_ANSWERS = {202: OrderTaskSerializer, 200: OrderTaskSerializer}


class LegacyChangesSerializer(ChangesSerializer):
    order = serializers.UUIDField(help_text="The id of the task that placed the order.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        changes = {name: value for name, value in attrs.items() if name != "order"}
        return super().validate(changes) | {"order": attrs["order"]}


class LegacyCancelSerializer(StrictSerializer):
    order = serializers.UUIDField(help_text="The id of the task that placed the order.")


@extend_schema(deprecated=True)
class LegacyOrderViewSet(OrderViewSet):
    """`/orders/place`, `/orders/modify` and `/orders/cancel`: use `/api/v1/orders`."""

    def get_permissions(self) -> list[BasePermission]:
        return [MayTrade()]

    @extend_schema(request=LegacyChangesSerializer, parameters=[KEY_HEADER, WAIT], responses=_ANSWERS)
    def modify(self, request: Request) -> Response:
        given = valid(LegacyChangesSerializer, request)
        return self._modify(request, given.pop("order"), given)

    @extend_schema(request=LegacyCancelSerializer, parameters=[KEY_HEADER, WAIT], responses=_ANSWERS)
    def cancel(self, request: Request) -> Response:
        return self.destroy(request, valid(LegacyCancelSerializer, request)["order"])

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Response:
        answer: Response = super().finalize_response(request, response, *args, **kwargs)
        answer["Deprecation"] = "true"
        answer["Link"] = '</api/v1/orders>; rel="successor-version"'
        return answer
