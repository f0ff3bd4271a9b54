"""The kill switch for people: on every page, and on a page of its own that needs no JavaScript."""

from collections.abc import Callable
from functools import wraps
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.actions import Action
from accounts.authorisation import is_administrator
from accounts.permissions import page_view
from accounts.principals import Principal, principal_of
from dashboard.account_views import frame
from dashboard.trading import EVERYTHING, counts_of, scope_words, scopes_of, trading_of
from orders.halts import set_state
from orders.models import TradingState
from orders.open_orders import cancel_open

WORD = "RESUME"
LEAST_REASON = 3
FETCHED = "X-Requested-With"
"""Scripts send it, and are answered with the notices alone; a plain form is sent back to where it came from."""


def for_who_may_stop(view: Callable[[HttpRequest], HttpResponseBase]) -> Callable[[HttpRequest], HttpResponseBase]:
    """`page_view` for whoever may trade, and for the service's administrators, who need not."""
    of_traders, of_administrators = page_view(Action.TRADE)(view), page_view(Action.READ)(view)

    @wraps(view)
    def guarded(request: HttpRequest) -> HttpResponseBase:
        return (of_administrators if is_administrator(principal_of(request)) else of_traders)(request)

    return guarded


@require_safe
@never_cache
@page_view(Action.READ)
def trading(request: HttpRequest) -> HttpResponse:
    """What is stopped, and the forms that stop and resume."""
    return render(request, "dashboard/trading.html", frame("trading") | _counts(principal_of(request), EVERYTHING))


@require_safe
@never_cache
@page_view(Action.READ)
def notices(request: HttpRequest) -> HttpResponse:
    """What is stopped: asked again and again by pages that are open."""
    return _notices(request)


@require_safe
@never_cache
@for_who_may_stop
def consequences(request: HttpRequest) -> HttpResponse:
    """What a halt would do now, for the scope that is chosen."""
    context = _counts(principal_of(request), request.GET.get("scope", EVERYTHING))
    return render(request, "dashboard/_halt_does.html", context)


@require_POST
@never_cache
@for_who_may_stop
def halt(request: HttpRequest) -> HttpResponse:
    """Stop new orders. In force when the answer comes; again changes no more than the time."""
    principal = _known(request)
    scopes = scopes_of(request.POST.get("scope", ""), principal)
    dropped = cancelled = 0
    for scope in scopes:
        change = set_state(scope, TradingState.State.HALTED, actor=principal.name, reason="by hand, from a page")
        dropped += change.dropped
        if request.POST.get("cancel_open"):
            key = f"halt-{change.state.pk}-{change.state.epoch}"
            cancelled += len(cancel_open(scope, principal.name, key=key))
    text = f"{_orders(dropped, 'waiting ')} dropped."
    if request.POST.get("cancel_open"):
        text += f" {_orders(cancelled, 'open ')} being cancelled."
    return _answer(request, "warn", f"Trading is halted {_on(scopes)}", text)


@require_POST
@never_cache
@for_who_may_stop
def resume(request: HttpRequest) -> HttpResponse:
    """Let orders go again, for whoever types the word and says why."""
    principal = _known(request)
    scopes = scopes_of(request.POST.get("scope", ""), principal)
    reason = request.POST.get("reason", "").strip()
    if request.POST.get("word", "").strip() != WORD or len(reason) < LEAST_REASON:
        problem = f"Nothing was resumed: type {WORD}, and say why it is safe to trade again."
        return _answer(request, "bad", "Trading is still halted", problem, status=HTTPStatus.BAD_REQUEST)
    for scope in scopes:
        set_state(scope, TradingState.State.ACTIVE, actor=principal.name, reason=reason)
    return _answer(request, "ok", f"Trading is resumed {_on(scopes)}", "New orders are taken and sent again.")


def _counts(principal: Principal | None, scope: str) -> dict[str, Any]:
    found = trading_of(principal)
    if not found.may_stop:
        return {"counts": None}
    return {"counts": counts_of(scopes_of(scope, principal))}


def _answer(request: HttpRequest, tone: str, title: str, text: str, *, status: int = HTTPStatus.OK) -> HttpResponse:
    if FETCHED in request.headers:
        return _notices(request, status=status, said={"tone": tone, "title": title, "text": text})
    level = {"ok": messages.SUCCESS, "warn": messages.WARNING, "bad": messages.ERROR}[tone]
    messages.add_message(request, level, text, extra_tags=title)
    back = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        return redirect(back)
    return redirect("dashboard:trading")


def _notices(request: HttpRequest, *, status: int = HTTPStatus.OK, **context: Any) -> HttpResponse:
    # Anew: a change was made after the page's own was read.
    shown = {"trading": trading_of(principal_of(request)), **context}
    return render(request, "dashboard/_halts.html", shown, status=status)


def _known(request: HttpRequest) -> Principal:
    principal = principal_of(request)
    if principal is None:
        raise PermissionDenied
    return principal


def _on(scopes: list[Any]) -> str:
    return ", ".join(scope_words(scope.account, scope.strategy) for scope in scopes)


def _orders(count: int, kind: str) -> str:
    return f"{count or 'No'} {kind}order{'' if count == 1 else 's'}"
