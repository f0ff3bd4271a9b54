"""REST for several orders at once."""

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import Action
from accounts.authorisation import account_for
from accounts.exceptions import NotFound
from accounts.permissions import MayTrade
from accounts.principals import principal_of
from accounts.serializers import valid
from orders import submit
from orders.models import OrderTask
from orders.rest import (
    KEY_HEADER,
    batch_answer,
    batch_key_of,
    name_of,
    placing,
    seconds_of,
    told_of_reuse,
)
from orders.serializers import (
    BatchAnswerSerializer,
    BatchCancelSerializer,
    BatchSerializer,
    request_of,
)
from orders.targets import target_of_task


class BatchOrdersView(APIView):
    """Several orders of one account: all are taken on, or none; purchases go first."""

    permission_classes = (MayTrade,)
    largest_body_bytes = 262_144
    most_keys = 2_000

    @extend_schema(
        request=BatchSerializer,
        parameters=[KEY_HEADER],
        responses={202: BatchAnswerSerializer, 200: BatchAnswerSerializer},
    )
    def post(self, request: Request) -> Response:
        given = valid(BatchSerializer, request)
        key = batch_key_of(request)
        account = account_for(principal_of(request), Action.TRADE, given["account"])
        items = [(request_of(item), f"{key}:{place}") for place, item in enumerate(given["items"])]
        with told_of_reuse(account, key):
            submitted = submit.submit_all(
                name_of(request), account, items, valid_for=seconds_of(given.get("valid_for_seconds"))
            )
        return batch_answer(account, submitted)


class BatchCancelView(APIView):
    """Several orders of one account taken back, each by itself."""

    permission_classes = (MayTrade,)

    @extend_schema(request=BatchCancelSerializer, parameters=[KEY_HEADER], responses={202: BatchAnswerSerializer})
    def post(self, request: Request) -> Response:
        given = valid(BatchCancelSerializer, request)
        key = batch_key_of(request)
        account = account_for(principal_of(request), Action.TRADE, given["account"])
        found = {
            task.public_id: task
            for task in OrderTask.objects.filter(account=account, public_id__in=given["ids"]).select_related(
                "account__app"
            )
        }
        if missing := [str(public_id) for public_id in given["ids"] if public_id not in found]:
            raise NotFound("Not all of these orders exist: nothing was cancelled.", details={"ids": missing})
        targets = [target_of_task(placing(found[public_id])) for public_id in given["ids"]]
        with told_of_reuse(account, key):
            submitted = [
                submit.cancel(name_of(request), target, key=f"{key}:{place}") for place, target in enumerate(targets)
            ]
        return batch_answer(account, submitted)
