"""REST for subscriptions."""

from django.contrib.auth.models import User
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status, viewsets
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts import clock
from accounts.actions import Action
from accounts.authorisation import account_for
from accounts.permissions import MayRead, MayStream
from accounts.principals import principal_of
from streaming.models import Subscription
from streaming.serializers import SubscribeSerializer, SubscriptionFilterSerializer, SubscriptionSerializer
from streaming.subscriptions import find_subscription, reasons_not_streamed, subscribe, unsubscribe


class SubscriptionViewSet(viewsets.GenericViewSet[Subscription]):
    """What the stream carries. A change reaches the running stream within a second."""

    queryset = Subscription.objects.all()
    serializer_class = SubscriptionSerializer
    lookup_field = "instrument_token"
    lookup_value_regex = "[0-9]{1,10}"

    def get_permissions(self) -> list[BasePermission]:
        """Whoever may read sees the list; changing it takes the right to stream."""
        return [MayRead() if self.action in {"list", "retrieve"} else MayStream()]

    @extend_schema(
        parameters=[
            SubscriptionFilterSerializer,
            OpenApiParameter("limit", int, description="1 to 1000, 100 if not given."),
            OpenApiParameter("offset", int),
        ],
        responses=SubscriptionSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        query = SubscriptionFilterSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        subscriptions = Subscription.objects.select_related("instrument", "account")
        if wanted := query.validated_data.get("status"):
            subscriptions = subscriptions.filter(status=wanted)
        page = self.paginate_queryset(subscriptions)
        context = {"reasons": reasons_not_streamed(page or ())}
        return self.get_paginated_response(SubscriptionSerializer(page, many=True, context=context).data)

    @extend_schema(request=SubscribeSerializer, responses={200: SubscriptionSerializer, 201: SubscriptionSerializer})
    def create(self, request: Request) -> Response:
        form = SubscribeSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        wanted = form.validated_data
        principal = principal_of(request)
        account_id = wanted["account_id"]
        subscription, is_new = subscribe(
            instrument_token=wanted["instrument_token"],
            requested_mode=wanted["requested_mode"],
            account=account_for(principal, Action.STREAM, account_id) if account_id else None,
            created_by=request.user if isinstance(request.user, User) else None,
        )
        return Response(
            SubscriptionSerializer(subscription).data, status=status.HTTP_201_CREATED if is_new else status.HTTP_200_OK
        )

    @extend_schema(responses=SubscriptionSerializer)
    def retrieve(self, request: Request, instrument_token: str) -> Response:
        found = find_subscription(int(instrument_token), clock.today())
        context = {"reasons": reasons_not_streamed([found])}
        return Response(SubscriptionSerializer(found, context=context).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, instrument_token: str) -> Response:
        unsubscribe(instrument_token=int(instrument_token))
        return Response(status=status.HTTP_204_NO_CONTENT)
