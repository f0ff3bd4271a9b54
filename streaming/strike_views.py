"""REST for strike rules."""

from typing import Any

from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import Action
from accounts.authorisation import account_for, authorise
from accounts.permissions import MayRead, MayStream
from accounts.principals import principal_of
from accounts.serializers import valid
from market.underlyings import canonical_name
from streaming.rebalancing import preview
from streaming.strike_models import StrikeMove, StrikeRule
from streaming.strike_rules import change_rule, create_rule, delete_rule, find_rule
from streaming.strike_serializers import (
    NewStrikeRuleSerializer,
    StrikeMoveSerializer,
    StrikePreviewSerializer,
    StrikeRuleChangesSerializer,
    StrikeRuleFilterSerializer,
    StrikeRuleSerializer,
    preview_answer,
)

READING = {"list", "retrieve", "preview", "moves"}
PAGING = [
    OpenApiParameter("limit", int, description="1 to 1000, 100 if not given."),
    OpenApiParameter("offset", int),
]


class StrikeRuleViewSet(viewsets.GenericViewSet[StrikeRule]):
    """Rules that keep the strikes around the money streamed. A change shows at the next turn, within half a minute."""

    queryset = StrikeRule.objects.all()
    serializer_class = StrikeRuleSerializer
    lookup_field = "rule_id"
    lookup_value_regex = "[0-9]{1,18}"

    def get_permissions(self) -> list[BasePermission]:
        """Whoever may read sees rules and their moves; changing them takes the right to stream."""
        return [MayRead() if self.action in READING else MayStream()]

    @extend_schema(parameters=[StrikeRuleFilterSerializer, *PAGING], responses=StrikeRuleSerializer(many=True))
    def list(self, request: Request) -> Response:
        query = StrikeRuleFilterSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        wanted = query.validated_data
        rules = StrikeRule.objects.select_related("account")
        if underlying := wanted.get("underlying"):
            rules = rules.filter(underlying=canonical_name(underlying))
        if wanted["enabled"] is not None:
            rules = rules.filter(enabled=wanted["enabled"])
        page = self.paginate_queryset(rules)
        return self.get_paginated_response(StrikeRuleSerializer(page, many=True).data)

    @extend_schema(request=NewStrikeRuleSerializer, responses={201: StrikeRuleSerializer})
    def create(self, request: Request) -> Response:
        rule = create_rule(**_with_account(request, valid(NewStrikeRuleSerializer, request)))
        return Response(StrikeRuleSerializer(rule).data, status=status.HTTP_201_CREATED)

    @extend_schema(responses=StrikeRuleSerializer)
    def retrieve(self, request: Request, rule_id: str) -> Response:
        return Response(StrikeRuleSerializer(find_rule(int(rule_id))).data)

    @extend_schema(request=StrikeRuleChangesSerializer, responses=StrikeRuleSerializer)
    def partial_update(self, request: Request, rule_id: str) -> Response:
        changes = _with_account(request, valid(StrikeRuleChangesSerializer, request))
        rule = _changeable(request, rule_id)
        return Response(StrikeRuleSerializer(change_rule(rule.pk, changes)).data)

    @extend_schema(responses={204: None})
    def destroy(self, request: Request, rule_id: str) -> Response:
        delete_rule(_changeable(request, rule_id))
        return Response(status=status.HTTP_204_NO_CONTENT)

    @extend_schema(responses=StrikePreviewSerializer)
    @action(detail=True)
    def preview(self, request: Request, rule_id: str) -> Response:
        """What the rule would do at this moment, and why. Nothing is moved; it may be switched off."""
        return Response(preview_answer(preview(find_rule(int(rule_id)))))

    @extend_schema(parameters=PAGING, responses=StrikeMoveSerializer(many=True))
    @action(detail=True)
    def moves(self, request: Request, rule_id: str) -> Response:
        """What the rule did, the newest first."""
        moves = StrikeMove.objects.filter(rule=find_rule(int(rule_id))).select_related("instrument")
        page: Any = self.paginate_queryset(moves)  # type: ignore[arg-type]  # of moves, not of rules
        return self.get_paginated_response(StrikeMoveSerializer(page, many=True).data)


def _with_account(request: Request, fields: dict[str, Any]) -> dict[str, Any]:
    """The fields with the account in place of its public id, if the principal may stream through it."""
    if "account_id" not in fields:
        return fields
    account_id = fields.pop("account_id")
    account = account_for(principal_of(request), Action.STREAM, account_id) if account_id else None
    return fields | {"account": account}


def _changeable(request: Request, rule_id: str) -> StrikeRule:
    """The rule; one that is bound to an account is changed by who may stream through that account."""
    rule = find_rule(int(rule_id))
    if rule.account is not None:
        authorise(principal_of(request), Action.STREAM, rule.account)
    return rule
