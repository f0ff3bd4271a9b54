"""REST for the kill switch: who may trade an account may stop it, and let it go again with a reason.

A key with the scope `killswitch` may only stop it.

Everything at once is for the service's administrators.
"""

from typing import Any
from uuid import UUID

from django.db.models import Q
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import Action
from accounts.authorisation import account_for, accounts_for, is_administrator
from accounts.exceptions import Denied
from accounts.models import TradingAccount
from accounts.permissions import MayRead, MayStop
from accounts.principals import Principal, principal_of
from accounts.serializers import StrictSerializer, valid
from orders.halts import Scope, set_state
from orders.models import TradingState
from orders.open_orders import cancel_open
from orders.rest import name_of
from orders.serializers import STRATEGY

LEAST_REASON = 3


class NewStateSerializer(StrictSerializer):
    account = serializers.UUIDField(allow_null=True, help_text="Null: everything, for the service's administrators.")
    strategy = serializers.RegexField(STRATEGY, required=False, default="", allow_blank=True)
    state = serializers.ChoiceField(choices=TradingState.State.choices)
    reason = serializers.CharField(required=False, default="", allow_blank=True, max_length=300)
    cancel_open = serializers.BooleanField(
        default=False, help_text="Of a halt: also cancel our entries that are open at the broker. Exits stay."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if attrs["strategy"] and attrs["account"] is None:
            raise serializers.ValidationError({"strategy": ["A strategy belongs to an account."]})
        resumes = attrs["state"] == TradingState.State.ACTIVE
        if resumes and len(attrs["reason"]) < LEAST_REASON:
            raise serializers.ValidationError({"reason": ["Say why it is safe to trade again."]})
        if attrs["cancel_open"] and attrs["state"] != TradingState.State.HALTED:
            raise serializers.ValidationError({"cancel_open": ["It is an option of a halt."]})
        return attrs


class TradingStateSerializer(serializers.Serializer[Any]):
    account = serializers.UUIDField(source="account.public_id", default=None, allow_null=True)
    kite_user_id = serializers.CharField(source="account.kite_user_id", default=None, allow_null=True)
    strategy = serializers.CharField()
    state = serializers.ChoiceField(choices=TradingState.State.choices)
    reason = serializers.CharField()
    set_by = serializers.CharField()
    set_at = serializers.DateTimeField()
    epoch = serializers.IntegerField()


class TradingStatesSerializer(serializers.Serializer[Any]):
    items = TradingStateSerializer(many=True, help_text="What has no row was never stopped.")


class StateChangeSerializer(TradingStateSerializer):
    was = serializers.ChoiceField(choices=TradingState.State.choices)
    dropped = serializers.IntegerField(help_text="Entries that waited and will not be sent.")
    cancelled = serializers.IntegerField(help_text="Open orders for which a cancel was taken on.")


class TradingStatesView(APIView):
    """The kill switch. A halt is in force when the answer comes; exits and cancels always go out."""

    def get_permissions(self) -> list[BasePermission]:
        return [MayRead() if self.request.method == "GET" else MayStop()]

    @extend_schema(responses=TradingStatesSerializer)
    def get(self, request: Request) -> Response:
        """The state of everything, of the accounts that one may see, and of their strategies; the widest first."""
        own = accounts_for(principal_of(request), Action.READ)
        rows = TradingState.objects.filter(Q(account=None) | Q(account__in=own)).select_related("account")
        items = sorted(rows, key=lambda row: (row.account is not None, row.account_id or 0, row.strategy))
        return Response(TradingStatesSerializer({"items": items}).data)

    @extend_schema(request=NewStateSerializer, responses=StateChangeSerializer)
    def put(self, request: Request) -> Response:
        given = valid(NewStateSerializer, request)
        # Letting orders go takes more than stopping them, and so does sending cancels.
        is_more = given["state"] == TradingState.State.ACTIVE or given["cancel_open"]
        action = Action.TRADE if is_more else Action.KILLSWITCH
        scope = Scope(_account(principal_of(request), action, given["account"]), given["strategy"])
        name = name_of(request)
        change = set_state(scope, given["state"], actor=name, reason=given["reason"])
        cancelled = 0
        if given["cancel_open"]:
            key = f"halt-{change.state.pk}-{change.state.epoch}"
            cancelled = len(cancel_open(scope, name, key=key))
        told = TradingStateSerializer(change.state).data
        return Response(told | {"was": change.was, "dropped": change.dropped, "cancelled": cancelled})


def _account(principal: Principal | None, action: Action, public_id: UUID | None) -> TradingAccount | None:
    if public_id is not None:
        return account_for(principal, action, public_id)
    if not is_administrator(principal):
        raise Denied("Everything at once is stopped and resumed by the service's administrators: name an account.")
    return None
