"""What the ticket asks when it changes an order: how the order stands, and whether a change of it would be taken.

The change itself goes to the API, under a key of its own.
"""

import json
from http import HTTPStatus
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods
from rest_framework.exceptions import ValidationError

from accounts import clock
from accounts.actions import Action
from accounts.authorisation import account_for, accounts_for
from accounts.exceptions import NotFound
from accounts.permissions import page_view
from accounts.principals import principal_of
from dashboard.changing import terms_of, verdict_of, why_not
from dashboard.ticket import contract_of, quote_of
from market.exceptions import PricesUnavailable
from market.models import Instrument
from market.prices import price_of
from orders.models import BrokerOrder, OrderTask
from orders.requests import OrderChanges
from orders.serializers import ChangesSerializer, changes_of
from orders.states import PLACING
from orders.submit import changes_of as count_of_changes
from orders.submit import examine_change
from orders.targets import Target, target_of_broker_order, target_of_task

MOST_BYTES = 2_000


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@page_view(Action.TRADE)
def change(request: HttpRequest, task_id: UUID) -> HttpResponse:
    """GET: the order as it stands, its contract and price. POST, with the API's body: what the rules say of it."""
    accounts = accounts_for(principal_of(request), Action.TRADE)
    tasks = OrderTask.objects.filter(account__in=accounts, operation__in=sorted(PLACING), public_id=task_id)
    task = tasks.select_related("account__app").first()
    if task is None:
        raise NotFound
    return _answer(request, target_of_task(task), reverse("orders:order-detail", args=[task_id]))


@require_http_methods(["GET", "HEAD", "POST"])
@never_cache
@page_view(Action.TRADE)
def change_external(request: HttpRequest, public_id: UUID, order_id: str) -> HttpResponse:
    """The same for an order that was placed elsewhere."""
    account = account_for(principal_of(request), Action.TRADE, public_id)
    order = BrokerOrder.objects.filter(account=account, order_id=order_id).select_related("account__app").first()
    if order is None:
        raise NotFound
    return _answer(request, target_of_broker_order(order), reverse("orders:broker-order", args=[public_id, order_id]))


def _answer(request: HttpRequest, target: Target, address: str) -> HttpResponse:
    if problem := why_not(target):
        return JsonResponse({"error": problem}, status=HTTPStatus.CONFLICT)
    if request.method == "POST":
        changes = _changes(request)
        if changes is None:
            return JsonResponse({"error": "Nothing is changed yet."}, status=HTTPStatus.BAD_REQUEST)
        return JsonResponse(verdict_of(examine_change(target, changes)))
    order = target.request()
    instrument = Instrument.objects.active().filter(exchange=order.exchange, tradingsymbol=order.tradingsymbol).first()
    if instrument is None:
        return JsonResponse({"error": "Its contract is not listed any more."}, status=HTTPStatus.CONFLICT)
    try:
        price = price_of(instrument)
    except PricesUnavailable:
        price = None
    told: dict[str, Any] = {
        "address": address,
        "order": terms_of(target, order, count_of_changes(target)),
        "contract": contract_of(instrument, today=clock.today()),
        "quote": quote_of(price),
    }
    return JsonResponse(told)


def _changes(request: HttpRequest) -> OrderChanges | None:
    """None for a body that names no change, or none that can be read: the ticket says so, the API would refuse it."""
    if len(request.body) > MOST_BYTES:
        return None
    try:
        form = ChangesSerializer(data=json.loads(request.body))
        form.is_valid(raise_exception=True)
    except (ValueError, ValidationError):
        return None
    return changes_of(form.validated_data)
