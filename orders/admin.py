"""Orders in the admin: to be read with everything that happened to them, and settled where they wait for a person."""

import json
from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from unfold.admin import TabularInline
from unfold.decorators import display
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts.actions import Action
from accounts.admin_buttons import button, done
from accounts.authorisation import account_for
from accounts.exceptions import Denied, NotAuthenticated, NotFound, Refused
from accounts.principals import principal_of
from accounts.read_only_admin import ReadOnlyAdmin
from orders import submit
from orders.models import BrokerOrder, OrderEvent, OrderTask
from orders.portfolio_admin import TradeAdmin as TradeAdmin  # the admin looks for it here
from orders.resolution import requeue, resolve
from orders.risk_admin import OrderLimitsAdmin as OrderLimitsAdmin  # the admin looks for them here
from orders.risk_admin import TradingStateAdmin as TradingStateAdmin
from orders.states import OPEN, PLACING, Operation, Status
from orders.targets import target_of_task
from orders.words import words_of

REQUEUED_FOR = timedelta(seconds=60)
WORD_COLOURS = {
    "Needs you": "danger",
    "Checking": "warning",
    "Trying again": "warning",
    "Refused here": "danger",
    "Refused by the broker": "danger",
    "Rejected": "danger",
    "Filled": "success",
}


class ReasonForm(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    """Why, for those who read the audit."""

    reason = forms.CharField(min_length=3, max_length=300, widget=UnfoldAdminTextInputWidget())


class EventInline(TabularInline):  # type: ignore[misc]
    """The timeline: every change of state with what proves it."""

    model = OrderEvent
    fields = ("number", "at", "from_status", "to_status", "reason", "actor", "shown_evidence")
    readonly_fields = fields
    extra = 0
    can_delete = False
    verbose_name_plural = "timeline"

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="evidence")
    def shown_evidence(self, event: OrderEvent) -> str:
        return ", ".join(f"{name}: {value}" for name, value in event.evidence.items())


class BrokerOrderInline(TabularInline):  # type: ignore[misc]
    """What the broker shows."""

    model = BrokerOrder
    fields = ("order_id", "status", "quantity", "filled_quantity", "average_price", "status_message", "source")
    readonly_fields = fields
    extra = 0
    can_delete = False

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


@admin.register(OrderTask)
class OrderTaskAdmin(ReadOnlyAdmin):
    """Nothing of a task can be edited; its buttons call the services that write it."""

    list_display = ["created_at", "account", "shown_words", "operation", "shown_order", "attempts", "error_message"]
    list_filter = ["status", "operation", "trading_date", "is_late_arrival", "account"]
    list_select_related = ["account"]
    search_fields = ["=tag", "=broker_order_id", "=idempotency_key", "=public_id", "error_code"]
    search_help_text = "A whole tag, order id, Idempotency-Key or id"
    date_hierarchy = "created_at"
    ordering = ["-pk"]
    inlines = [EventInline, BrokerOrderInline]
    fieldsets = [
        (
            "Asked for",
            {
                "fields": [
                    ("account", "operation"),
                    "pretty_params",
                    ("principal", "idempotency_key"),
                    "pretty_decision",
                ]
            },
        ),
        (
            "Where it stands",
            {
                "fields": [
                    ("shown_words", "status"),
                    ("broker_order_id", "tag"),
                    ("error_code", "http_status"),
                    "error_message",
                ]
            },
        ),
        (
            "Times",
            {
                "fields": [
                    ("created_at", "valid_until", "trading_date"),
                    ("send_started_at", "finished_at"),
                    "run_after",
                ]
            },
        ),
        (
            "Workers",
            {"fields": [("attempts", "max_attempts"), ("lease_owner", "lease_token", "lease_until"), "absent_reads"]},
        ),
    ]
    readonly_fields = ("pretty_params", "pretty_decision", "shown_words")
    actions_detail = ("press_requeue", "press_failed", "press_cancel")

    def get_queryset(self, request: HttpRequest) -> "QuerySet[OrderTask]":
        tasks: QuerySet[OrderTask] = super().get_queryset(request).prefetch_related("broker_orders")
        return tasks

    def has_trade_permission(self, request: HttpRequest, object_id: str | None = None) -> bool:
        """Whether a button may be pressed; on which accounts is asked when it is."""
        return bool(self.has_view_permission(request))

    @display(description="state", label=WORD_COLOURS)  # type: ignore[untyped-decorator]
    def shown_words(self, task: OrderTask) -> str:
        shown = next((order for order in task.broker_orders.all() if order.order_id == task.broker_order_id), None)
        return words_of(task, shown)

    @admin.display(description="order")
    def shown_order(self, task: OrderTask) -> str:
        asked = task.params
        words = ("transaction_type", "quantity", "tradingsymbol", "order_type", "price")
        return " ".join(str(asked[word]) for word in words if word in asked) or str(asked.get("order_id", ""))

    @admin.display(description="what is sent")
    def pretty_params(self, task: OrderTask) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(task.params, indent=2, ensure_ascii=False))

    @admin.display(description="price known then")
    def pretty_decision(self, task: OrderTask) -> str:
        return ", ".join(f"{name} {value}" for name, value in task.decision.items() if value is not None) or "none"

    def get_actions_detail(self, request: HttpRequest, object_id: str) -> list[Any]:
        """Only the buttons that would change something here."""
        task = self.get_object(request, object_id)
        useful: set[str] = set()
        if task is not None and task.status == Status.DEAD_LETTER:
            useful = {"press_requeue", "press_failed"}
        elif (
            task is not None
            and Operation(task.operation) in PLACING
            and (task.status in OPEN or task.status == Status.COMPLETED)
        ):
            useful = {"press_cancel"}
        found: list[Any] = super().get_actions_detail(request, object_id)
        return [one for one in found if one.action_name.endswith(tuple(useful))] if useful else []

    @button(
        "Send again",
        icon="replay",
        asks="The broker's book is read first; if the order is in it, nothing is sent.",
        form=ReasonForm,
        permission="trade",
    )
    def press_requeue(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        task, principal = self._task(request, object_id)
        try:
            requeue(task, principal, reason=form.cleaned_data["reason"], valid_for=REQUEUED_FOR)
        except Refused as exc:
            messages.error(request, str(exc))
        else:
            messages.success(request, "The order is sent again.")
        return done(request)

    @button(
        "It did not happen",
        icon="block",
        asks="The broker's book is read first; if the order is in it, it is completed instead.",
        form=ReasonForm,
        permission="trade",
    )
    def press_failed(self, request: HttpRequest, form: ReasonForm, object_id: str) -> HttpResponse:
        task, principal = self._task(request, object_id)
        try:
            resolve(task, principal, reason=form.cleaned_data["reason"])
        except Refused as exc:
            messages.error(request, str(exc))
        else:
            messages.success(request, "The order is settled as failed.")
        return done(request)

    @button(
        "Cancel the order",
        icon="cancel",
        asks="An order that waits is not sent; one at the broker is taken back by a task of its own.",
        permission="trade",
    )
    def press_cancel(self, request: HttpRequest, form: BaseDialogForm, object_id: str) -> HttpResponse:
        task, principal = self._task(request, object_id)
        try:
            # One press, one cancel: pressing twice asks for the same.
            made = submit.cancel(principal, target_of_task(task), key=f"admin-cancel:{task.public_id}:{task.version}")
        except Refused as exc:
            messages.error(request, str(exc))
        else:
            words = "is cancelled" if made.task.pk == task.pk else "is being cancelled"
            messages.success(request, f"The order {words}.")
        return done(request)

    def _task(self, request: HttpRequest, object_id: str) -> tuple[OrderTask, str]:
        """The order, if who presses may trade its account."""
        task: OrderTask | None = self.get_object(request, object_id)
        if task is None:
            raise Http404
        principal = principal_of(request)
        try:
            account_for(principal, Action.TRADE, task.account.public_id)
        except (Denied, NotFound, NotAuthenticated) as exc:
            raise PermissionDenied(str(exc)) from exc
        assert principal is not None  # noqa: S101 - else it would not be theirs
        return task, principal.name


@admin.register(BrokerOrder)
class BrokerOrderAdmin(ReadOnlyAdmin):
    list_display = [
        "order_timestamp",
        "account",
        "order_id",
        "status",
        "transaction_type",
        "quantity",
        "filled_quantity",
        "tradingsymbol",
        "average_price",
        "is_ours",
    ]
    list_filter = ["status", "exchange", "account", "source"]
    list_select_related = ["account"]
    search_fields = ["=order_id", "=tag", "tradingsymbol"]

    @admin.display(description="ours", boolean=True)
    def is_ours(self, order: BrokerOrder) -> bool:
        return order.task_id is not None
