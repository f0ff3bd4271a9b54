"""REST for an order by the broker's own id: also one that was placed elsewhere."""

from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import Action
from accounts.authorisation import account_for
from accounts.permissions import MayTrade
from accounts.principals import principal_of
from accounts.serializers import valid
from orders import submit
from orders.rest import (
    KEY_HEADER,
    WAIT,
    answer,
    broker_target,
    cancelled,
    key_of,
    name_of,
    told_of_reuse,
    wait_of,
)
from orders.serializers import (
    ChangesSerializer,
    OrderTaskSerializer,
    changes_of,
)


class BrokerOrderView(APIView):
    """An order by the broker's own id: also one that was placed elsewhere."""

    permission_classes = (MayTrade,)

    @extend_schema(
        request=ChangesSerializer,
        parameters=[KEY_HEADER, WAIT],
        responses={202: OrderTaskSerializer, 200: OrderTaskSerializer},
    )
    def patch(self, request: Request, public_id: UUID, order_id: str) -> Response:
        account = account_for(principal_of(request), Action.TRADE, public_id)
        changes = changes_of(valid(ChangesSerializer, request))
        key, seconds = key_of(request), wait_of(request)
        target = broker_target(account, order_id)
        with told_of_reuse(target.account, key):
            return answer(submit.modify(name_of(request), target, changes, key=key), seconds)

    @extend_schema(
        request=None, parameters=[KEY_HEADER, WAIT], responses={202: OrderTaskSerializer, 200: OrderTaskSerializer}
    )
    def delete(self, request: Request, public_id: UUID, order_id: str) -> Response:
        account = account_for(principal_of(request), Action.TRADE, public_id)
        key, seconds = key_of(request), wait_of(request)
        return cancelled(request, broker_target(account, order_id), key, seconds)
