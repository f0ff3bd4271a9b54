"""REST for the limits on an account's orders."""

from dataclasses import asdict
from decimal import Decimal
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import Action
from accounts.authorisation import account_for
from accounts.models import TradingAccount
from accounts.permissions import MayAdminister, MayRead
from accounts.principals import principal_of
from accounts.serializers import StrictSerializer
from orders.fields import DecimalTextField, WholeField
from orders.limits import FIGURES, OF_POSITIONS, all_limits_of, set_limits
from orders.serializers import STRATEGY


class _Rupees(DecimalTextField):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(max_digits=16, decimal_places=2, min_value=Decimal("0.01"), allow_null=True, **kwargs)


class LimitsSerializer(StrictSerializer):
    """All figures at once: a limit is lifted by writing null, never by leaving it out."""

    strategy = serializers.RegexField(STRATEGY, required=False, default="", allow_blank=True)
    max_quantity = WholeField(min_value=1, max_value=10_000_000, allow_null=True)
    max_notional = _Rupees(help_text="Of one order: quantity × price.")
    max_open_notional = _Rupees(help_text="Of all orders that are not filled yet.")
    max_orders_per_minute = WholeField(min_value=1, max_value=100_000, allow_null=True)
    price_band_percent = DecimalTextField(
        max_digits=5,
        decimal_places=2,
        min_value=Decimal("0.01"),
        max_value=Decimal(100),
        allow_null=True,
        help_text="How far beyond the last price, on the side that costs money, an order's price may be.",
    )
    max_day_loss = _Rupees(help_text="Of all positions today; beyond it only exits go out.")
    max_net_delta = DecimalTextField(
        max_digits=14,
        decimal_places=2,
        min_value=Decimal("0.01"),
        allow_null=True,
        help_text="Of all positions together, long or short, in units of their underlyings.",
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["strategy"]:
            wrong = {name: ["Positions are the account's, not a strategy's: null."] for name in OF_POSITIONS}
            if problems := {name: words for name, words in wrong.items() if attrs[name] is not None}:
                raise serializers.ValidationError(problems)
        return attrs


class ScopedLimitsSerializer(LimitsSerializer):
    scope = serializers.CharField(help_text="Whose limits: of every account, of this one, or of a strategy of it.")


class OrderLimitsSerializer(serializers.Serializer[Any]):
    account = serializers.UUIDField()
    limits = ScopedLimitsSerializer(many=True, help_text="An order has to keep within all that bear on it.")


class OrderLimitsView(APIView):
    """What the account's orders have to keep within. Changing it takes the right to administer the account."""

    def get_permissions(self) -> list[BasePermission]:
        return [MayRead() if self.request.method == "GET" else MayAdminister()]

    @extend_schema(responses=OrderLimitsSerializer)
    def get(self, request: Request, public_id: UUID) -> Response:
        return _shown(account_for(principal_of(request), Action.READ, public_id))

    @extend_schema(request=LimitsSerializer, responses=OrderLimitsSerializer)
    def put(self, request: Request, public_id: UUID) -> Response:
        """Set the limits of the account or, with `strategy`, of one of its strategies."""
        principal = principal_of(request)
        account = account_for(principal, Action.ADMIN, public_id)
        form = LimitsSerializer(data=request.data)
        form.is_valid(raise_exception=True)
        figures = {name: form.validated_data[name] for name in FIGURES}
        assert principal is not None  # noqa: S101 - the permission has asked
        set_limits(account, form.validated_data["strategy"], figures, actor=principal.name)
        return _shown(account)


def _shown(account: TradingAccount) -> Response:
    found = [{"scope": one.scope, "strategy": one.strategy, **asdict(one.limits)} for one in all_limits_of(account)]
    return Response(OrderLimitsSerializer({"account": account.public_id, "limits": found}).data)
