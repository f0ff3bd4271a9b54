"""REST for orders. A 202 says that the order is written down; what became of it is the task that it names."""

import re
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import viewsets
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.serializers import Serializer
from rest_framework.views import APIView

from accounts import audit
from accounts.actions import Action
from accounts.authorisation import account_for, accounts_for
from accounts.exceptions import Denied, NotFound
from accounts.models import TradingAccount
from accounts.permissions import MayRead, MayTrade
from accounts.principals import principal_of
from orders import budget_check, submit
from orders.exceptions import KeyMissing, KeyReused
from orders.models import BrokerOrder, OrderTask
from orders.preview import preview
from orders.resolution import requeue, resolve
from orders.serializers import (
    BatchAnswerSerializer,
    BatchCancelSerializer,
    BatchSerializer,
    ChangesSerializer,
    NewOrderSerializer,
    OrderDetailSerializer,
    OrderFilterSerializer,
    OrderTaskSerializer,
    PreviewAnswerSerializer,
    PreviewSerializer,
    RequeueSerializer,
    ResolutionSerializer,
    WaitSerializer,
    changes_of,
    request_of,
)
from orders.states import PLACING, Operation
from orders.submit import Submitted
from orders.targets import Target, target_of_broker_order, target_of_task
from orders.waiting import wait_for_outcome

IDEMPOTENCY_KEY = "Idempotency-Key"
# A batch adds the number of each item to its key.
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
LONGEST_BATCH_KEY = 120
_ORDER_ID = re.compile(r"[0-9]{1,20}")
_KEY_HEADER = OpenApiParameter(
    IDEMPOTENCY_KEY, str, OpenApiParameter.HEADER, required=True, description="Yours; new with each new order."
)
_WAIT = OpenApiParameter("wait", float, description="Wait up to so many seconds for the outcome, 10 at most.")


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
        tasks = _tasks_of(request)
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
        task = _tasks_of(request).prefetch_related("events").filter(public_id=task_id).first()
        if task is None:
            raise NotFound
        return Response(OrderDetailSerializer(task).data)

    @extend_schema(
        request=NewOrderSerializer,
        parameters=[_KEY_HEADER, _WAIT],
        responses={202: OrderTaskSerializer, 200: OrderTaskSerializer},
    )
    def create(self, request: Request) -> Response:
        valid = _valid(NewOrderSerializer, request)
        key, seconds = _key(request), _wait(request)
        account = account_for(principal_of(request), Action.TRADE, valid["account"])
        with _told_of_reuse(account, key):
            submitted = submit.submit(
                _name(request), account, request_of(valid), key=key, valid_for=_seconds(valid.get("valid_for_seconds"))
            )
        return _answer(submitted, seconds)

    @extend_schema(
        request=ChangesSerializer,
        parameters=[_KEY_HEADER, _WAIT],
        responses={202: OrderTaskSerializer, 200: OrderTaskSerializer},
    )
    def partial_update(self, request: Request, task_id: UUID) -> Response:
        """Change an order. The answer is the task that does it."""
        changes = changes_of(_valid(ChangesSerializer, request))
        key, seconds = _key(request), _wait(request)
        target = target_of_task(_placing(_task(request, task_id)))
        with _told_of_reuse(target.account, key):
            return _answer(submit.modify(_name(request), target, changes, key=key), seconds)

    @extend_schema(
        request=None, parameters=[_KEY_HEADER, _WAIT], responses={202: OrderTaskSerializer, 200: OrderTaskSerializer}
    )
    def destroy(self, request: Request, task_id: UUID) -> Response:
        """Cancel an order: 200 with the order itself where it had not gone out, 202 with the task that cancels it."""
        key, seconds = _key(request), _wait(request)
        target = target_of_task(_placing(_task(request, task_id)))
        return _cancelled(request, target, key, seconds)

    @extend_schema(request=PreviewSerializer, responses=PreviewAnswerSerializer)
    @action(detail=False, methods=["post"])
    def preview(self, request: Request) -> Response:
        """What an order would need, and whether it would be taken. Nothing is stored or sent."""
        valid = _valid(PreviewSerializer, request)
        account = account_for(principal_of(request), Action.TRADE, valid["account"])
        return Response(PreviewAnswerSerializer(preview(account, request_of(valid))).data)

    @extend_schema(request=RequeueSerializer, responses=OrderTaskSerializer)
    @action(detail=True, methods=["post"])
    def requeue(self, request: Request, task_id: UUID) -> Response:
        """Send an order that waits for a person once more; refused if the broker's book shows it."""
        valid = _valid(RequeueSerializer, request)
        task = _task(request, task_id)
        valid_for = timedelta(seconds=valid["valid_for_seconds"])
        return _shown(requeue(task, _name(request), reason=valid["reason"], valid_for=valid_for))

    @extend_schema(request=ResolutionSerializer, responses=OrderTaskSerializer)
    @action(detail=True, methods=["post"])
    def resolve(self, request: Request, task_id: UUID) -> Response:
        """Say how an order that waits for a person has ended."""
        valid = _valid(ResolutionSerializer, request)
        task = _task(request, task_id)
        return _shown(resolve(task, _name(request), order_id=valid.get("order_id", ""), reason=valid["reason"]))


class BrokerOrderView(APIView):
    """An order by the broker's own id: also one that was placed elsewhere."""

    permission_classes = (MayTrade,)

    @extend_schema(
        request=ChangesSerializer,
        parameters=[_KEY_HEADER, _WAIT],
        responses={202: OrderTaskSerializer, 200: OrderTaskSerializer},
    )
    def patch(self, request: Request, public_id: UUID, order_id: str) -> Response:
        account = account_for(principal_of(request), Action.TRADE, public_id)
        changes = changes_of(_valid(ChangesSerializer, request))
        key, seconds = _key(request), _wait(request)
        target = _of_the_broker(account, order_id)
        with _told_of_reuse(target.account, key):
            return _answer(submit.modify(_name(request), target, changes, key=key), seconds)

    @extend_schema(
        request=None, parameters=[_KEY_HEADER, _WAIT], responses={202: OrderTaskSerializer, 200: OrderTaskSerializer}
    )
    def delete(self, request: Request, public_id: UUID, order_id: str) -> Response:
        account = account_for(principal_of(request), Action.TRADE, public_id)
        key, seconds = _key(request), _wait(request)
        return _cancelled(request, _of_the_broker(account, order_id), key, seconds)


class BatchOrdersView(APIView):
    """Several orders of one account: all are taken on, or none; purchases go first."""

    permission_classes = (MayTrade,)
    largest_body_bytes = 262_144
    most_keys = 2_000

    @extend_schema(
        request=BatchSerializer,
        parameters=[_KEY_HEADER],
        responses={202: BatchAnswerSerializer, 200: BatchAnswerSerializer},
    )
    def post(self, request: Request) -> Response:
        valid = _valid(BatchSerializer, request)
        key = _batch_key(request)
        account = account_for(principal_of(request), Action.TRADE, valid["account"])
        items = [(request_of(item), f"{key}:{place}") for place, item in enumerate(valid["items"])]
        with _told_of_reuse(account, key):
            submitted = submit.submit_all(
                _name(request), account, items, valid_for=_seconds(valid.get("valid_for_seconds"))
            )
        return _batch_answer(account, submitted)


class BatchCancelView(APIView):
    """Several orders of one account taken back, each by itself."""

    permission_classes = (MayTrade,)

    @extend_schema(request=BatchCancelSerializer, parameters=[_KEY_HEADER], responses={202: BatchAnswerSerializer})
    def post(self, request: Request) -> Response:
        valid = _valid(BatchCancelSerializer, request)
        key = _batch_key(request)
        account = account_for(principal_of(request), Action.TRADE, valid["account"])
        found = {
            task.public_id: task
            for task in OrderTask.objects.filter(account=account, public_id__in=valid["ids"]).select_related(
                "account__app"
            )
        }
        if missing := [str(public_id) for public_id in valid["ids"] if public_id not in found]:
            raise NotFound("Not all of these orders exist: nothing was cancelled.", details={"ids": missing})
        targets = [target_of_task(_placing(found[public_id])) for public_id in valid["ids"]]
        with _told_of_reuse(account, key):
            submitted = [
                submit.cancel(_name(request), target, key=f"{key}:{place}") for place, target in enumerate(targets)
            ]
        return _batch_answer(account, submitted)


def _tasks_of(request: Request) -> Any:
    """The tasks that the principal may see; every query starts here."""
    accounts = accounts_for(principal_of(request), Action.READ)
    return (
        OrderTask.objects.filter(account__in=accounts)
        .select_related("account__app")
        .prefetch_related("broker_orders")
        .order_by("-pk")
    )


def _task(request: Request, public_id: UUID) -> OrderTask:
    """A task that the principal may trade; another's is not found, one that may only be read is denied."""
    task: OrderTask | None = _tasks_of(request).filter(public_id=public_id).first()
    if task is None:
        tradable = accounts_for(principal_of(request), Action.TRADE)
        task = (
            OrderTask.objects.filter(account__in=tradable, public_id=public_id).select_related("account__app").first()
        )
        if task is None:
            raise NotFound
        return task
    if not accounts_for(principal_of(request), Action.TRADE).filter(pk=task.account_id).exists():
        raise Denied(f"You may not trade on account {task.account.kite_user_id}.")
    return task


def _of_the_broker(account: TradingAccount, order_id: str) -> Target:
    if not _ORDER_ID.fullmatch(order_id):
        raise NotFound
    order = BrokerOrder.objects.filter(account=account, order_id=order_id).select_related("account__app").first()
    if order is None:
        raise NotFound
    return target_of_broker_order(order)


def _placing(task: OrderTask) -> OrderTask:
    if Operation(task.operation) not in PLACING:
        raise NotFound(f"This is a {task.operation}, not an order: name the order that it is about.")
    return task


def _cancelled(request: Request, target: Target, key: str, seconds: float) -> Response:
    with _told_of_reuse(target.account, key):
        return _answer(submit.cancel(_name(request), target, key=key), seconds)


def _answer(submitted: Submitted, seconds: float) -> Response:
    task = wait_for_outcome(submitted.task, seconds)
    shown = _shown(task, HTTPStatus.ACCEPTED if submitted.is_new else HTTPStatus.OK)
    shown["Location"] = reverse("orders:order-detail", args=[task.public_id])
    if not submitted.is_new:
        shown["Idempotent-Replayed"] = "true"
    return shown


def _batch_answer(account: TradingAccount, submitted: list[Submitted]) -> Response:
    is_new = any(one.is_new for one in submitted)
    answer = {
        "items": [one.task for one in submitted],
        "needs_seconds": budget_check.seconds_for(account, len(submitted)),
    }
    response = Response(BatchAnswerSerializer(answer).data, status=HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK)
    if not is_new:
        response["Idempotent-Replayed"] = "true"
    return response


def _shown(task: OrderTask, status: int = HTTPStatus.OK) -> Response:
    return Response(OrderTaskSerializer(task).data, status=status)


class _told_of_reuse:  # noqa: N801 - used as a context manager
    """A key that came with another order is written down: somebody's program is wrong."""

    def __init__(self, account: TradingAccount, key: str) -> None:
        self._account, self._key = account, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, exc: BaseException | None, trace: Any) -> None:
        if isinstance(exc, KeyReused):
            audit.record(audit.Kind.ORDER_KEY_REUSED, account=self._account.kite_user_id, request=self._key)


def _valid(form: type[Serializer[Any]], request: Request) -> dict[str, Any]:
    filled = form(data=request.data)
    filled.is_valid(raise_exception=True)
    valid: dict[str, Any] = filled.validated_data
    return valid


def _name(request: Request) -> str:
    principal = principal_of(request)
    assert principal is not None  # noqa: S101 - the permission has asked
    return principal.name[:100]


def _key(request: Request) -> str:
    key = request.headers.get(IDEMPOTENCY_KEY, "")
    if not _KEY.fullmatch(key):
        raise KeyMissing
    return key


def _batch_key(request: Request) -> str:
    key = _key(request)
    if len(key) > LONGEST_BATCH_KEY:
        raise KeyMissing(f"The {IDEMPOTENCY_KEY} of a batch has {LONGEST_BATCH_KEY} characters at most.")
    return key


def _wait(request: Request) -> float:
    query = WaitSerializer(data=request.query_params.dict())
    query.is_valid(raise_exception=True)
    return float(query.validated_data["wait"])


def _seconds(value: int | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)
