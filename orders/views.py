"""REST for orders. A 202 says that the order is written down; what became of it is the task that it names."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import viewsets
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import Action
from accounts.authorisation import account_for
from accounts.exceptions import NotFound
from accounts.permissions import MayRead, MayTrade
from accounts.principals import principal_of
from accounts.serializers import valid
from orders import submit
from orders.models import OrderTask
from orders.preview import preview
from orders.resolution import requeue, resolve
from orders.rest import (
    KEY_HEADER,
    WAIT,
    answer,
    cancelled,
    key_of,
    name_of,
    placing,
    seconds_of,
    shown,
    task_of,
    tasks_of,
    told_of_reuse,
    wait_of,
)
from orders.serializers import (
    ChangesSerializer,
    NewOrderSerializer,
    OrderDetailSerializer,
    OrderFilterSerializer,
    OrderTaskSerializer,
    PreviewAnswerSerializer,
    PreviewSerializer,
    RequeueSerializer,
    ResolutionSerializer,
    changes_of,
    request_of,
)
from orders.targets import target_of_task


class OrderViewSet(viewsets.GenericViewSet[OrderTask]):
    """Orders of the accounts that one may see. Placing, changing and cancelling take the right to trade."""

    queryset = OrderTask.objects.all()
    serializer_class = OrderTaskSerializer
    lookup_field = "public_id"
    lookup_url_kwarg = "task_id"
    lookup_value_converter = "uuid"

    def get_permissions(self) -> list[BasePermission]:
        return [MayRead() if self.request.method == "GET" else MayTrade()]

    @extend_schema(
        parameters=[OrderFilterSerializer, OpenApiParameter("limit", int), OpenApiParameter("offset", int)],
        responses=OrderTaskSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        query = OrderFilterSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        wanted = query.validated_data
        tasks = tasks_of(request)
        if "account" in wanted:
            tasks = tasks.filter(account=account_for(principal_of(request), Action.READ, wanted["account"]))
        for name in ("status", "operation", "trading_date", "tag"):
            if name in wanted:
                tasks = tasks.filter(**{name: wanted[name]})
        if "strategy" in wanted:
            tasks = tasks.filter(params__strategy=wanted["strategy"])
        page = self.paginate_queryset(tasks)
        return self.get_paginated_response(OrderTaskSerializer(page, many=True).data)

    @extend_schema(responses=OrderDetailSerializer)
    def retrieve(self, request: Request, task_id: UUID) -> Response:
        task = tasks_of(request).prefetch_related("events").filter(public_id=task_id).first()
        if task is None:
            raise NotFound
        return Response(OrderDetailSerializer(task).data)

    @extend_schema(
        request=NewOrderSerializer,
        parameters=[KEY_HEADER, WAIT],
        responses={202: OrderTaskSerializer, 200: OrderTaskSerializer},
    )
    def create(self, request: Request) -> Response:
        given = valid(NewOrderSerializer, request)
        key, seconds = key_of(request), wait_of(request)
        account = account_for(principal_of(request), Action.TRADE, given["account"])
        with told_of_reuse(account, key):
            submitted = submit.submit(
                name_of(request),
                account,
                request_of(given),
                key=key,
                valid_for=seconds_of(given.get("valid_for_seconds")),
            )
        return answer(submitted, seconds)

    @extend_schema(
        request=ChangesSerializer,
        parameters=[KEY_HEADER, WAIT],
        responses={202: OrderTaskSerializer, 200: OrderTaskSerializer},
    )
    def partial_update(self, request: Request, task_id: UUID) -> Response:
        """Change an order. The answer is the task that does it."""
        return self._modify(request, task_id, valid(ChangesSerializer, request))

    @extend_schema(
        request=None, parameters=[KEY_HEADER, WAIT], responses={202: OrderTaskSerializer, 200: OrderTaskSerializer}
    )
    def destroy(self, request: Request, task_id: UUID) -> Response:
        """Cancel an order: 200 with the order itself where it had not gone out, 202 with the task that cancels it."""
        key, seconds = key_of(request), wait_of(request)
        target = target_of_task(placing(task_of(request, task_id)))
        return cancelled(request, target, key, seconds)

    @extend_schema(request=PreviewSerializer, responses=PreviewAnswerSerializer)
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """What an order would need, and whether it would be taken. Nothing is stored or sent."""
        given = valid(PreviewSerializer, request)
        account = account_for(principal_of(request), Action.TRADE, given["account"])
        return Response(PreviewAnswerSerializer(preview(account, request_of(given))).data)

    @extend_schema(request=RequeueSerializer, responses=OrderTaskSerializer)
    @action(detail=True, methods=["post"])
    def requeue(self, request: Request, task_id: UUID) -> Response:
        """Send an order that waits for a person once more; refused if the broker's book shows it."""
        given = valid(RequeueSerializer, request)
        task = task_of(request, task_id)
        valid_for = timedelta(seconds=given["valid_for_seconds"])
        return shown(requeue(task, name_of(request), reason=given["reason"], valid_for=valid_for))

    @extend_schema(request=ResolutionSerializer, responses=OrderTaskSerializer)
    @action(detail=True, methods=["post"])
    def resolve(self, request: Request, task_id: UUID) -> Response:
        """Say how an order that waits for a person has ended."""
        given = valid(ResolutionSerializer, request)
        task = task_of(request, task_id)
        return shown(resolve(task, name_of(request), order_id=given.get("order_id", ""), reason=given["reason"]))

    def _modify(self, request: Request, task_id: UUID, given: dict[str, Any]) -> Response:
        key, seconds = key_of(request), wait_of(request)
        target = target_of_task(placing(task_of(request, task_id)))
        with told_of_reuse(target.account, key):
            return answer(submit.modify(name_of(request), target, changes_of(given), key=key), seconds)
