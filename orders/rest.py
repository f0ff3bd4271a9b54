"""What the REST views of orders share: who asks for which order, under which key, and what they are told."""

import re
from datetime import timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.urls import reverse
from drf_spectacular.utils import OpenApiParameter
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import audit
from accounts.actions import Action
from accounts.authorisation import accounts_for
from accounts.exceptions import Denied, NotFound
from accounts.models import TradingAccount
from accounts.principals import principal_of
from orders import budget_check, submit
from orders.exceptions import KeyMissing, KeyReused
from orders.models import BrokerOrder, OrderTask
from orders.serializers import BatchAnswerSerializer, OrderTaskSerializer, WaitSerializer
from orders.states import PLACING, Operation
from orders.submit import Submitted
from orders.targets import Target, target_of_broker_order
from orders.waiting import wait_for_outcome

IDEMPOTENCY_KEY = "Idempotency-Key"
# A batch adds the number of each item to its key.
_KEY = re.compile(r"[A-Za-z0-9._:-]{1,128}")
LONGEST_BATCH_KEY = 120
_ORDER_ID = re.compile(r"[0-9]{1,20}")
KEY_HEADER = OpenApiParameter(
    IDEMPOTENCY_KEY, str, OpenApiParameter.HEADER, required=True, description="Yours; new with each new order."
)
WAIT = OpenApiParameter("wait", float, description="Wait up to so many seconds for the outcome, 10 at most.")


def tasks_of(request: Request) -> Any:
    """The tasks that the principal may see; every query starts here."""
    accounts = accounts_for(principal_of(request), Action.READ)
    return (
        OrderTask.objects.filter(account__in=accounts)
        .select_related("account__app")
        .prefetch_related("broker_orders")
        .order_by("-pk")
    )


def task_of(request: Request, public_id: UUID) -> OrderTask:
    """A task that the principal may trade; another's is not found, one that may only be read is denied."""
    task: OrderTask | None = tasks_of(request).filter(public_id=public_id).first()
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


def broker_target(account: TradingAccount, order_id: str) -> Target:
    if not _ORDER_ID.fullmatch(order_id):
        raise NotFound
    order = BrokerOrder.objects.filter(account=account, order_id=order_id).select_related("account__app").first()
    if order is None:
        raise NotFound
    return target_of_broker_order(order)


def placing(task: OrderTask) -> OrderTask:
    if Operation(task.operation) not in PLACING:
        raise NotFound(f"This is a {task.operation}, not an order: name the order that it is about.")
    return task


def cancelled(request: Request, target: Target, key: str, seconds: float) -> Response:
    with told_of_reuse(target.account, key):
        return answer(submit.cancel(name_of(request), target, key=key), seconds)


def answer(submitted: Submitted, seconds: float) -> Response:
    task = wait_for_outcome(submitted.task, seconds)
    response = shown(task, HTTPStatus.ACCEPTED if submitted.is_new else HTTPStatus.OK)
    response["Location"] = reverse("orders:order-detail", args=[task.public_id])
    if not submitted.is_new:
        response["Idempotent-Replayed"] = "true"
    return response


def batch_answer(account: TradingAccount, submitted: list[Submitted]) -> Response:
    is_new = any(one.is_new for one in submitted)
    answer = {
        "items": [one.task for one in submitted],
        "needs_seconds": budget_check.seconds_for(account, len(submitted)),
    }
    response = Response(BatchAnswerSerializer(answer).data, status=HTTPStatus.ACCEPTED if is_new else HTTPStatus.OK)
    if not is_new:
        response["Idempotent-Replayed"] = "true"
    return response


def shown(task: OrderTask, status: int = HTTPStatus.OK) -> Response:
    return Response(OrderTaskSerializer(task).data, status=status)


class told_of_reuse:  # noqa: N801 - used as a context manager
    """A key that came with another order is written down: somebody's program is wrong."""

    def __init__(self, account: TradingAccount, key: str) -> None:
        self._account, self._key = account, key

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: Any, exc: BaseException | None, trace: Any) -> None:
        if isinstance(exc, KeyReused):
            audit.record(audit.Kind.ORDER_KEY_REUSED, account=self._account.kite_user_id, request=self._key)


def name_of(request: Request) -> str:
    principal = principal_of(request)
    assert principal is not None  # noqa: S101 - the permission has asked
    return principal.name[:100]


def key_of(request: Request) -> str:
    key = request.headers.get(IDEMPOTENCY_KEY, "")
    if not _KEY.fullmatch(key):
        raise KeyMissing
    return key


def batch_key_of(request: Request) -> str:
    key = key_of(request)
    if len(key) > LONGEST_BATCH_KEY:
        raise KeyMissing(f"The {IDEMPOTENCY_KEY} of a batch has {LONGEST_BATCH_KEY} characters at most.")
    return key


def wait_of(request: Request) -> float:
    query = WaitSerializer(data=request.query_params.dict())
    query.is_valid(raise_exception=True)
    return float(query.validated_data["wait"])


def seconds_of(value: int | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)
