"""Logging in to this service, logging accounts in at the broker, and what a principal may do."""

import logging
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.views import LoginView, LogoutView
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.shortcuts import render, resolve_url
from django.utils.decorators import method_decorator
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_POST
from drf_spectacular.utils import extend_schema
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from accounts.actions import Action
from accounts.addresses import client_address
from accounts.audit import NOBODY, record, record_refusal
from accounts.audit import Kind as Event
from accounts.authorisation import account_for, accounts_for
from accounts.breaker import breaker_names, states
from accounts.broker.login import exchange_request_token, log_out, login_page_address
from accounts.broker.places import calls_under_way
from accounts.budget_meters import data_meters, order_meters
from accounts.exceptions import BrokerError, CredentialError, LoginFailed, LoginUnderWay, NotFound, SessionMismatch
from accounts.guesses import TooManyTries, is_shut_out, note_wrong
from accounts.login_states import finish_state, start_state
from accounts.models import LoginLink, TradingAccount
from accounts.permissions import page_view
from accounts.principals import ApiKeyPrincipal, Principal, TokenPrincipal, principal_of
from accounts.serializers import BudgetSerializer, MeSerializer
from accounts.token_refresh import log_in_now

logger = logging.getLogger(__name__)

RETURN_TO = "kite_login_return_to"
MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"


@method_decorator(never_cache, name="dispatch")
class LogIn(LoginView):
    template_name = "accounts/login.html"
    redirect_authenticated_user = True

    def post(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if is_shut_out(client_address(request.META)):
            return _message(request, TooManyTries.default_message, HTTPStatus.TOO_MANY_REQUESTS)
        return super().post(request, *args, **kwargs)

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(**kwargs) | {"feed_source": settings.FEED_SOURCE}


class LogOut(LogoutView):
    """POST only, as Django has it: a link on a foreign page cannot log anybody out."""


@require_GET
@never_cache
def log_in_by_link(request: HttpRequest, token: str) -> HttpResponseBase:
    """Log in whom the link was made for, once. Link previews ask with HEAD first, which uses nothing up."""
    user = LoginLink.objects.redeem(token)
    if user is None:
        record_refusal(Event.PERSON_REFUSED, actor=NOBODY, way="link")
        try:
            note_wrong(client_address(request.META))
        except TooManyTries as exc:
            return _message(request, str(exc), HTTPStatus.TOO_MANY_REQUESTS)
        message = "This link was used before, or is too old. Ask for a new one, or log in with your password."
        return _message(request, message, HTTPStatus.GONE)
    login(request, user, backend=MODEL_BACKEND)
    return HttpResponseRedirect(resolve_url(settings.LOGIN_REDIRECT_URL))


@require_GET
@never_cache
@page_view(Action.ADMIN)
def start_kite_login(request: HttpRequest, public_id: UUID) -> HttpResponseBase:
    """Send the person to the broker's own login page; afterwards to the page of ours that `next` names."""
    account = account_for(principal_of(request), Action.ADMIN, public_id)
    request.session[RETURN_TO] = request.GET.get("next", "")[:200]
    return HttpResponseRedirect(login_page_address(account, state=start_state(request.session, account.public_id)))


@require_GET
@never_cache
@page_view(Action.ADMIN)
def kite_callback(request: HttpRequest) -> HttpResponseBase:
    """Where the broker's login page returns to. Without a `state` known here, nothing happens."""
    account_id = finish_state(request.session, request.GET.get("state", ""))
    if account_id is None:
        return _message(
            request, "This login was not started here, or is too old. Start it again.", HTTPStatus.BAD_REQUEST
        )
    account = account_for(principal_of(request), Action.ADMIN, account_id)
    request_token = request.GET.get("request_token", "")
    if request.GET.get("status") != "success" or not request_token:
        return _message(request, f"The broker did not log {account} in. Start again.", HTTPStatus.BAD_REQUEST)
    try:
        exchange_request_token(account, request_token)
    except (BrokerError, CredentialError, SessionMismatch) as exc:
        logger.warning("login of %s failed: %s", account, exc)
        record(Event.BROKER_LOGIN_FAILED, account=account.kite_user_id, reason=str(exc))
        return _message(request, f"{account} is not logged in: {exc}", HTTPStatus.BAD_GATEWAY)
    return _go_on(request, request.session.pop(RETURN_TO, ""))


@require_POST
@never_cache
@page_view(Action.ADMIN)
def refresh_kite_login(request: HttpRequest, public_id: UUID) -> HttpResponseBase:
    """The automated login, now, of an account that has opted in."""
    account = account_for(principal_of(request), Action.ADMIN, public_id)
    try:
        log_in_now(account)
    except LoginUnderWay as exc:
        return _message(request, str(exc), HTTPStatus.CONFLICT)
    except (BrokerError, CredentialError, LoginFailed, SessionMismatch) as exc:
        return _message(request, f"{account} is not logged in: {exc}", HTTPStatus.BAD_GATEWAY)
    return _go_on(request, request.POST.get("next", ""))


@require_POST
@never_cache
@page_view(Action.ADMIN)
def end_kite_login(request: HttpRequest, public_id: UUID) -> HttpResponseBase:
    """End the account's session, here and at the broker."""
    account = account_for(principal_of(request), Action.ADMIN, public_id)
    try:
        log_out(account)
    except BrokerError as exc:
        message = f"{account} is logged out here, but the broker did not confirm it: {exc}"
        return _message(request, message, HTTPStatus.BAD_GATEWAY)
    return _go_on(request, request.POST.get("next", ""))


class IsKnown(BasePermission):
    """Whoever has logged in or sent a good key may ask who they are, with or without any rights."""

    def has_permission(self, request: Request, view: APIView) -> bool:
        return principal_of(request) is not None


class Me(APIView):
    permission_classes = [IsKnown]

    @extend_schema(responses=MeSerializer, operation_id="me")
    def get(self, request: Request) -> Response:
        """Who is asking, and what they may do on which account."""
        principal = principal_of(request)
        if principal is None:  # the permission has seen to it
            raise NotFound
        return Response(MeSerializer(_me(principal)).data)


class Budget(APIView):
    @extend_schema(responses=BudgetSerializer, operation_id="trading_account_budget")
    def get(self, request: Request, public_id: UUID) -> Response:
        """What the account has used of the broker's limits, and whether the broker is being left alone."""
        account = account_for(principal_of(request), Action.READ, public_id)
        names = breaker_names(account.kite_user_id)
        found = {
            "kite_user_id": account.kite_user_id,
            "budgets": [*order_meters(account), *data_meters(account.app)],
            "breakers": [{"name": name, "state": state} for name, state in states(names).items()],
            "calls_under_way": calls_under_way(account.kite_user_id),
        }
        return Response(BudgetSerializer(found).data)


def _me(principal: Principal) -> dict[str, object]:
    actions_of: dict[TradingAccount, list[Action]] = {}
    for action in Action:
        for account in accounts_for(principal, action):
            actions_of.setdefault(account, []).append(action)
    kind, scopes = "user", list(Action)
    if isinstance(principal, ApiKeyPrincipal):
        kind, scopes = "api_key", [Action(scope) for scope in principal.key.scopes]
    elif isinstance(principal, TokenPrincipal):
        kind, scopes = "token", sorted(principal.scopes)
    return {
        "kind": kind,
        "name": principal.label,
        "scopes": scopes,
        "accounts": [
            {
                "public_id": account.public_id,
                "kite_user_id": account.kite_user_id,
                "label": account.label,
                "actions": actions,
            }
            for account, actions in actions_of.items()
        ],
    }


def _go_on(request: HttpRequest, target: str) -> HttpResponse:
    """To the page that was asked for, if it is one of ours."""
    is_ours = url_has_allowed_host_and_scheme(target, {request.get_host()}, require_https=request.is_secure())
    return HttpResponseRedirect(target if is_ours else resolve_url(settings.LOGIN_REDIRECT_URL))


def _message(request: HttpRequest, message: str, status: int) -> HttpResponse:
    return render(
        request, "accounts/message.html", {"message": message, "feed_source": settings.FEED_SOURCE}, status=status
    )
