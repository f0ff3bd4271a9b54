"""The orders page: the blotter, an order with its timeline beside it, and what a person does about an order."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode
from uuid import UUID, uuid4

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts import clock
from accounts.actions import Action
from accounts.authorisation import account_for, accounts_for
from accounts.exceptions import NotFound, Refused
from accounts.models import TradingAccount
from accounts.permissions import page_view
from accounts.principals import Principal, principal_of
from dashboard.account_views import frame
from dashboard.blotter import GROUPS, Need, needs_of
from dashboard.day_orders import counts_of, external_today, page_of, rows_of, strategies_of, tasks_today
from orders.models import BrokerOrder, OrderTask
from orders.resolution import requeue, resolve
from orders.states import PLACING, Operation, Status
from orders.submit import cancel
from orders.targets import target_of_broker_order, target_of_task
from orders.timeline import Stage, timeline

MOST_PAGES = 50
UUID_TEXT = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
MOST_CARDS = 20
SEEN = "seen_late_arrivals"
LEAST_REASON = 3
_GOOD = (Stage.ACCEPTED, Stage.RISK, Stage.MARKED, Stage.ANSWERED, Stage.OPEN, Stage.FILLED, Stage.LOOKED_UP)
REQUEUED_FOR = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class Filters:
    """What of the day is shown."""

    show: str = "all"
    account: str = ""
    strategy: str = ""
    page: int = 1
    selected: str = ""


@require_safe
@never_cache
@page_view(Action.READ)
def orders(request: HttpRequest) -> HttpResponse:
    """The day's orders of every account that the person may read; asked by htmx, the list alone."""
    context = _list(request)
    asked_by_htmx = request.headers.get("HX-Request") == "true"
    if asked_by_htmx:
        return render(request, "dashboard/_blotter.html", context)
    return render(request, "dashboard/orders.html", context | frame("orders"))


@require_safe
@never_cache
@page_view(Action.READ)
def order(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """One order with its timeline, beside the list; asked by htmx, itself alone."""
    task = _task(request, task_id)
    context: dict[str, Any] = {"shown": _drawer(request, task)}
    if request.headers.get("HX-Request") == "true":
        return render(request, "dashboard/_order.html", context)
    return render(request, "dashboard/orders.html", _list(request, selected=str(task_id)) | context | frame("orders"))


@require_safe
@never_cache
@page_view(Action.TRADE)
def new(request: HttpRequest) -> HttpResponse:
    """The list with a ticket open: of the contract, side and account that the address names."""
    asked = {
        name: request.GET.get(name, "")[:64]
        for name in ("account", "exchange", "symbol", "side", "price", "lots", "product", "exit")
    }
    return render(request, "dashboard/orders.html", _list(request) | {"ticket": asked} | frame("orders"))


@require_POST
@never_cache
@page_view(Action.TRADE)
def cancel_order(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """Take an order back. The form has its own key: pressed twice, it is one cancel."""
    task = _task(request, task_id, Action.TRADE)
    if Operation(task.operation) not in PLACING:
        raise Http404("This is not an order, but what was asked about one.")
    return _cancelled(request, target_of_task(task))


@require_POST
@never_cache
@page_view(Action.TRADE)
def cancel_external(request: HttpRequest, public_id: UUID, order_id: str) -> HttpResponse:
    """The same for an order that was placed elsewhere."""
    account = account_for(principal_of(request), Action.TRADE, public_id)
    found = BrokerOrder.objects.filter(account=account, order_id=order_id).select_related("account__app").first()
    if found is None:
        raise NotFound
    return _cancelled(request, target_of_broker_order(found))


@require_POST
@never_cache
@page_view(Action.TRADE)
def decide(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """What a person decides about an order that the service could not end: the broker's book is read first."""
    task = _task(request, task_id, Action.TRADE)
    name = _name(principal_of(request))
    decision, reason = request.POST.get("decision", ""), request.POST.get("reason", "").strip()[:300]
    order_id = request.POST.get("order_id", "").strip()
    try:
        if len(reason) < LEAST_REASON:
            raise Refused("Say why, in a few words.")
        if decision == "again":
            requeue(task, name, reason=reason, valid_for=REQUEUED_FOR)
            said = ("It is sent again", "The broker's book does not have it.")
        elif decision == "failed":
            resolve(task, name, order_id="", reason=reason)
            said = ("The order is ended", "It counts as never placed.")
        elif decision == "completed" and order_id.isascii() and order_id.isdecimal() and len(order_id) <= 20:
            resolve(task, name, order_id=order_id, reason=reason)
            said = ("The order is at the broker", f"It is order {order_id}.")
        else:
            raise Refused("Choose how it ended; an order at the broker has a number there.")
    except Refused as exc:
        messages.error(request, str(exc), extra_tags="Nothing was decided")
    else:
        messages.success(request, said[1], extra_tags=said[0])
    return redirect("dashboard:order", task_id)


@require_POST
@never_cache
@page_view(Action.READ)
def seen(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """A person has seen a late arrival: its card goes."""
    task = _task(request, task_id)
    request.session[SEEN] = [*request.session.get(SEEN, []), str(task.public_id)][-200:]
    return redirect("dashboard:order", task_id)


# --- the list --------------------------------------------------------------------------------------------------------


def _list(request: HttpRequest, *, selected: str = "") -> dict[str, Any]:
    principal = principal_of(request)
    readable = list(accounts_for(principal, Action.READ).order_by("kite_user_id"))
    tradable = set(accounts_for(principal, Action.TRADE).values_list("pk", flat=True))
    wanted = _filters(request)
    accounts = [one for one in readable if wanted.account in ("", str(one.public_id))]
    ours, theirs = tasks_today(accounts), external_today(accounts)
    if wanted.strategy:
        ours, theirs = ours.filter(params__strategy=wanted.strategy), theirs.none()
    counts = counts_of(ours, theirs)
    shown_ours, shown_theirs = ours, theirs
    if wanted.show in counts and wanted.show != "all":
        shown_ours, shown_theirs = ours.filter(group=wanted.show), theirs.filter(group=wanted.show)
    rows, more = page_of(shown_ours, shown_theirs, tradable, wanted.page)
    selected = selected or wanted.selected
    query = urlencode({"show": wanted.show, "account": wanted.account, "strategy": wanted.strategy})
    here = f"{reverse('dashboard:orders')}?{query}&page={wanted.page}&selected={selected}"
    return {
        "here": here,
        "back": reverse("dashboard:order", args=[selected]) if selected else here,
        "rows": rows,
        "needs": _needs(request, accounts, tradable),
        "groups": [(name, label, counts.get(name, 0)) for name, label in GROUPS.items()],
        "filters": wanted,
        "older": wanted.page + 1 if more and wanted.page < MOST_PAGES else None,
        "readable": readable,
        "strategies": strategies_of(readable),
        "may_trade": bool(tradable),
        "today": clock.now(),
        "total": counts["all"],
        "selected": selected,
        "looked_at": clock.now(),
    }


def _filters(request: HttpRequest) -> Filters:
    """What the address asks for; what cannot be read asks for nothing."""
    given = request.GET
    show, page, selected = given.get("show", "all"), given.get("page", "1"), given.get("selected", "")
    return Filters(
        show=show if show in GROUPS else "all",
        account=given.get("account", "")[:36],
        strategy=given.get("strategy", "")[:50].replace("\0", ""),
        selected=selected if UUID_TEXT.fullmatch(selected) else "",
        page=min(int(page), MOST_PAGES) if re.fullmatch("[1-9][0-9]{0,3}", page) else 1,
    )


def _needs(request: HttpRequest, accounts: Sequence[TradingAccount], tradable: set[int]) -> list[Need]:
    known = request.session.get(SEEN, [])
    mine = OrderTask.objects.filter(account__in=accounts).select_related("account").order_by("-pk")
    unknown = list(mine.filter(status=Status.UNKNOWN)[:MOST_CARDS])
    dead = list(mine.filter(status=Status.DEAD_LETTER)[:MOST_CARDS])
    arrived = mine.filter(is_late_arrival=True, trading_date=clock.today()).exclude(public_id__in=known)
    late = list(arrived[:MOST_CARDS])
    looked = {str(task.public_id): _looked(task) for task in unknown}
    return needs_of(rows_of(unknown, tradable), rows_of(dead, tradable), rows_of(late, tradable), looked)


def _looked(task: OrderTask) -> str:
    count = task.absent_reads
    if not count:
        return "The order book is being looked into."
    return f"{count} whole book{'' if count == 1 else 's'} without it so far."


# --- one order -------------------------------------------------------------------------------------------------------


def _drawer(request: HttpRequest, task: OrderTask) -> dict[str, Any]:
    tradable = set(accounts_for(principal_of(request), Action.TRADE).values_list("pk", flat=True))
    (row,) = rows_of([task], tradable)
    line = timeline(task)
    about = OrderTask.objects.filter(account=task.account, params__target=str(task.public_id)).order_by("pk")
    return {
        "row": row,
        "task": task,
        "line": line,
        "good_stages": _GOOD,
        "warn_stages": (Stage.UNKNOWN, Stage.PUT_BACK),
        "bad_stages": (Stage.REFUSED, Stage.NEEDS_YOU),
        "better": -line.slippage.rupees if line.slippage else None,
        "about": [(other, clock.at(other.created_at)) for other in about],
        "may_decide": task.status == Status.DEAD_LETTER and task.account_id in tradable,
        "at": clock.at(task.created_at),
    }


def _task(request: HttpRequest, task_id: UUID, action: Action = Action.READ) -> OrderTask:
    """Raises NotFound for one that is none of the person's business."""
    accounts = accounts_for(principal_of(request), action)
    found = OrderTask.objects.filter(account__in=accounts, public_id=task_id).select_related("account__app")
    task = found.prefetch_related("events", "broker_orders").first()
    if task is None:
        raise NotFound
    return task


def _cancelled(request: HttpRequest, target: Any) -> HttpResponse:
    key = request.POST.get("key", "")
    if not (key.isascii() and key.isalnum() and 8 <= len(key) <= 64):
        key = uuid4().hex
    try:
        submitted = cancel(_name(principal_of(request)), target, key=f"web-{key}")
    except Refused as exc:
        messages.error(request, str(exc), extra_tags="Nothing was cancelled")
    else:
        at_once = submitted.task.operation in PLACING
        said = "It had not gone out." if at_once else "The broker is asked to take it back."
        messages.success(request, said, extra_tags="Cancelled" if at_once else "Being cancelled")
    back = request.POST.get("next", "")
    if url_has_allowed_host_and_scheme(back, {request.get_host()}, require_https=request.is_secure()):
        return redirect(back)
    return redirect("dashboard:orders")


def _name(principal: Principal | None) -> str:
    return principal.name[:100] if principal is not None else ""
