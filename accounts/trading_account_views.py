"""REST for trading accounts: who they are, how they are logged in, and the secrets they need (written, never read)."""

from http import HTTPStatus
from uuid import UUID

from django.contrib.auth.models import User
from django.db import transaction
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import serializers, viewsets
from rest_framework.decorators import action
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from accounts.actions import Action
from accounts.audit import Kind as Event
from accounts.audit import record
from accounts.authorisation import account_for, accounts_for
from accounts.automated_login import opt_in, opt_out
from accounts.broker.login import accept_access_token, exchange_request_token, log_out
from accounts.credentials import Kind, store_secret
from accounts.exceptions import BrokerError, CredentialError, Denied, SessionMismatch
from accounts.models import TradingAccount
from accounts.permissions import AdministersService, MayAdminister, MayRead
from accounts.principals import ApiKeyPrincipal, principal_of, user_of
from accounts.serializers import valid
from accounts.token_refresh import log_in_now
from accounts.trading_account_serializers import (
    AppSecretSerializer,
    AutomatedLoginSerializer,
    LoginSerializer,
    NewTradingAccountSerializer,
    TradingAccountChangesSerializer,
    TradingAccountFilterSerializer,
    TradingAccountSerializer,
)
from accounts.trading_accounts import AppDetails, add_account, change_account, ensure_app


class TradingAccountViewSet(viewsets.GenericViewSet[TradingAccount]):
    """The accounts that one may see. Everything but reading takes the right to administer the account."""

    queryset = TradingAccount.objects.all()
    serializer_class = TradingAccountSerializer
    lookup_field = "public_id"
    lookup_value_converter = "uuid"

    def get_permissions(self) -> list[BasePermission]:
        if self.action == "create":
            return [AdministersService()]
        return [MayRead() if self.request.method == "GET" else MayAdminister()]

    @extend_schema(
        parameters=[
            OpenApiParameter("state", str, enum=TradingAccount.State.values),
            OpenApiParameter("limit", int, description="1 to 1000, 100 if not given."),
            OpenApiParameter("offset", int),
        ],
        responses=TradingAccountSerializer(many=True),
    )
    def list(self, request: Request) -> Response:
        query = TradingAccountFilterSerializer(data=request.query_params.dict())
        query.is_valid(raise_exception=True)
        accounts = accounts_for(principal_of(request), Action.READ).select_related("app", "owner", "session")
        if state := query.validated_data.get("state"):
            accounts = accounts.filter(state=state)
        page = self.paginate_queryset(accounts)
        return self.get_paginated_response(TradingAccountSerializer(page, many=True).data)

    @extend_schema(responses=TradingAccountSerializer)
    def retrieve(self, request: Request, public_id: UUID) -> Response:
        return _shown(self._account(public_id, Action.READ))

    @extend_schema(request=NewTradingAccountSerializer, responses={201: TradingAccountSerializer})
    def create(self, request: Request) -> Response:
        """Take on an account. For the service's administrators: an account cannot be claimed by whoever comes first."""
        principal = principal_of(request)
        given = valid(NewTradingAccountSerializer, request)
        with transaction.atomic():
            app = ensure_app(AppDetails(**given.pop("app")))
            account = add_account(**given | {"app": app, "owner": _owner(given.pop("owner", None), user_of(principal))})
            if isinstance(principal, ApiKeyPrincipal):
                principal.key.accounts.add(account)  # else it could not see what it has made
        return _shown(account, HTTPStatus.CREATED)

    @extend_schema(request=TradingAccountChangesSerializer, responses=TradingAccountSerializer)
    def partial_update(self, request: Request, public_id: UUID) -> Response:
        account = self._account(public_id)
        changes = valid(TradingAccountChangesSerializer, request)
        change_account(account, changes)
        return _shown(account)

    @extend_schema(methods=["PUT"], request=LoginSerializer, responses=TradingAccountSerializer)
    @extend_schema(methods=["DELETE"], responses=TradingAccountSerializer)
    @action(detail=True, methods=["put", "delete"])
    def session(self, request: Request, public_id: UUID) -> Response:
        """Log in at the broker, in one of three ways, or out. Both reach every process within seconds."""
        account = self._account(public_id)
        if request.method == "DELETE":
            log_out(account)
            return _shown(account)
        way = valid(LoginSerializer, request)
        if not ("request_token" in way or "access_token" in way):
            log_in_now(account)  # which notes its failures itself
            return _shown(account)
        try:
            if token := way.get("request_token"):
                exchange_request_token(account, token)
            else:
                accept_access_token(account, way["access_token"])
        except (BrokerError, CredentialError, SessionMismatch) as exc:
            record(Event.BROKER_LOGIN_FAILED, account=account.kite_user_id, reason=str(exc))
            raise
        return _shown(account)

    @extend_schema(methods=["PUT"], request=AutomatedLoginSerializer, responses=TradingAccountSerializer)
    @extend_schema(methods=["DELETE"], responses=TradingAccountSerializer)
    @action(detail=True, methods=["put", "delete"], url_path="automated-login")
    def automated_login(self, request: Request, public_id: UUID) -> Response:
        """Opt in to logging in by password and TOTP code, or out of it, which forgets both."""
        account = self._account(public_id)
        if request.method == "DELETE":
            opt_out(account)
            return _shown(account)
        given = valid(AutomatedLoginSerializer, request)
        opt_in(account, password=given["password"], totp_seed=given["totp_seed"])
        return _shown(account)

    @extend_schema(request=AppSecretSerializer, responses=TradingAccountSerializer)
    @action(detail=True, methods=["put"], url_path="app-secret")
    def app_secret(self, request: Request, public_id: UUID) -> Response:
        """Replace the secret of the account's app. It serves every account of the app, so it takes the right on all."""
        account = self._account(public_id)
        mine = accounts_for(principal_of(request), Action.ADMIN)
        if account.app.accounts.exclude(pk__in=mine.values("pk")).exists():
            raise Denied("The app serves accounts that you may not administer.")
        store_secret(account.app, Kind.API_SECRET, valid(AppSecretSerializer, request)["api_secret"])
        return _shown(account)

    def _account(self, public_id: UUID, action: Action = Action.ADMIN) -> TradingAccount:
        return account_for(principal_of(self.request), action, public_id)


def _owner(username: str | None, asking: User) -> User:
    if username is None:
        return asking
    owner = User.objects.filter(username=username, is_active=True).first()
    if owner is None:
        raise serializers.ValidationError({"owner": ["There is no such active user."]})
    return owner


def _shown(account: TradingAccount, status: int = HTTPStatus.OK) -> Response:
    fresh = TradingAccount.objects.select_related("app", "owner", "session").get(pk=account.pk)
    return Response(TradingAccountSerializer(fresh).data, status=status)
