"""REST for what an account has: read from the tables, but for holdings and funds, which the broker is asked for."""

from datetime import datetime, time, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.db.models import Q, QuerySet
from django.db.models.functions import Now
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import viewsets
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import Action
from accounts.authorisation import account_for
from accounts.clock import IST
from accounts.exceptions import Refused
from accounts.models import TradingAccount
from accounts.permissions import MayRead
from accounts.principals import principal_of
from orders import portfolio, statements
from orders.drift import drift
from orders.models import BrokerOrder, OrderBook, PortfolioReading, Trade
from orders.portfolio_serializers import (
    DayFilterSerializer,
    DriftSerializer,
    FundsSerializer,
    HoldingsSerializer,
    PortfolioSerializer,
    ShownOrderSerializer,
    SyncAnswerSerializer,
    SyncSerializer,
    TradeSerializer,
)
from orders.tasks import ring_for_sync

ASK_AGAIN_SECONDS = 5
_PAGED: list[Any] = [
    DayFilterSerializer,
    OpenApiParameter("limit", int, description="1 to 1000, 100 if not given."),
    OpenApiParameter("offset", int),
]


class AskedAMomentAgo(Refused):
    """A reading was asked for just now, and is under way."""

    status_code = HTTPStatus.TOO_MANY_REQUESTS
    code = "asked_a_moment_ago"
    default_message = "The account is being read already; look again in a few seconds."
    retry_after_seconds = ASK_AGAIN_SECONDS


class PortfolioViewSet(viewsets.GenericViewSet[Trade]):
    """Positions, holdings, funds, trades and the broker's orders of one account."""

    permission_classes = [MayRead]
    queryset = Trade.objects.none()
    serializer_class = TradeSerializer

    @extend_schema(responses=PortfolioSerializer)
    def positions(self, request: Request, public_id: UUID) -> Response:
        """As last read, worth what fresh prices say; how old, and whether the broker's latest answer was believed."""
        return Response(PortfolioSerializer(portfolio.positions(self._account(public_id))).data)

    @extend_schema(responses=HoldingsSerializer)
    def holdings(self, request: Request, public_id: UUID) -> Response:
        """Asked of the broker, once in ten seconds; the last ones known if it does not answer."""
        return Response(HoldingsSerializer(statements.holdings(self._account(public_id))).data)

    @extend_schema(responses=FundsSerializer)
    def funds(self, request: Request, public_id: UUID) -> Response:
        """Asked of the broker, once in ten seconds; the last ones known if it does not answer."""
        return Response(FundsSerializer(statements.funds(self._account(public_id))).data)

    @extend_schema(parameters=_PAGED, responses=TradeSerializer(many=True))
    def trades(self, request: Request, public_id: UUID) -> Response:
        """Every fill that was ever read, the newest first."""
        rows = Trade.objects.filter(account=self._account(public_id))
        if day := self._day():
            rows = rows.filter(trading_date=day)
        return self._page(rows, TradeSerializer)

    @extend_schema(parameters=_PAGED, responses=ShownOrderSerializer(many=True))
    def broker_orders(self, request: Request, public_id: UUID) -> Response:
        """Every order that the broker has told of, the newest first, those placed elsewhere among them."""
        rows = BrokerOrder.objects.filter(account=self._account(public_id)).select_related("task")
        if day := self._day():
            begins = datetime.combine(day, time.min, IST)
            rows = rows.filter(order_timestamp__gte=begins, order_timestamp__lt=begins + timedelta(days=1))
        return self._page(rows, ShownOrderSerializer)

    @extend_schema(responses=DriftSerializer)
    def drift(self, request: Request, public_id: UUID) -> Response:
        """Where orders, book, trades and positions of today do not say the same."""
        account = self._account(public_id)
        book = OrderBook.objects.filter(account=account).first()
        reading = PortfolioReading.objects.filter(account=account).first()
        found = {
            "items": drift(account),
            "book_read_at": book.read_at if book else None,
            "portfolio_read_at": reading.read_at if reading else None,
        }
        return Response(DriftSerializer(found).data)

    @extend_schema(request=SyncSerializer, responses={202: SyncAnswerSerializer})
    def sync(self, request: Request, public_id: UUID) -> Response:
        """Have order book, trades and positions read now. Once in five seconds and account."""
        SyncSerializer(data=request.data).is_valid(raise_exception=True)
        account = self._account(public_id)
        PortfolioReading.objects.get_or_create(account=account)
        long_ago = Q(asked_at=None) | Q(asked_at__lte=Now() - timedelta(seconds=ASK_AGAIN_SECONDS))
        rows = PortfolioReading.objects.filter(account=account)
        if not rows.filter(long_ago).update(asked_at=Now(), wanted_at=Now()):
            raise AskedAMomentAgo
        ring_for_sync(account.pk)
        return Response(SyncAnswerSerializer(rows.get()).data, status=HTTPStatus.ACCEPTED)

    def _account(self, public_id: UUID) -> TradingAccount:
        return account_for(principal_of(self.request), Action.READ, public_id)

    def _day(self) -> Any:
        asked = {name: value for name, value in self.request.query_params.items() if name not in ("limit", "offset")}
        form = DayFilterSerializer(data=asked)
        form.is_valid(raise_exception=True)
        return form.validated_data.get("date")

    def _page(self, rows: "QuerySet[Any]", form: Any) -> Response:
        return self.get_paginated_response(form(self.paginate_queryset(rows), many=True).data)
