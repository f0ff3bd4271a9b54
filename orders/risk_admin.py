"""Limits and the kill switch in the admin."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from unfold.admin import ModelAdmin
from unfold.decorators import display
from unfold.enums import ActionVariant
from unfold.forms import BaseDialogForm
from unfold.widgets import UnfoldAdminTextInputWidget

from accounts import audit
from accounts.admin_buttons import button, done
from accounts.authorisation import is_administrator
from accounts.principals import UserPrincipal, principal_of
from orders.halts import Scope, set_state
from orders.limits import FIGURES, OrderLimits, record_limits
from orders.models import TradingState

if TYPE_CHECKING:
    from django.forms import ModelForm


@admin.register(OrderLimits)
class OrderLimitsAdmin(ModelAdmin):  # type: ignore[misc]
    """A row without an account holds for each account by itself, in place of the limits that are built in."""

    list_display = ["__str__", *FIGURES, "set_by", "set_at"]
    list_filter = ["account"]
    list_select_related = ["account"]
    ordering = ["account__kite_user_id", "strategy"]
    fieldsets = [
        ("Whose orders", {"fields": [("account", "strategy")]}),
        ("One order", {"fields": [("max_quantity", "max_notional"), "price_band_percent"]}),
        ("All orders", {"fields": [("max_open_notional", "max_orders_per_minute")]}),
        ("Positions", {"fields": [("max_day_loss", "max_net_delta")]}),
    ]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return ["account", "strategy"] if obj else []

    def save_model(self, request: HttpRequest, obj: OrderLimits, form: "ModelForm[Any]", change: bool) -> None:
        before = asdict(OrderLimits.objects.get(pk=obj.pk).limits) if change else {}
        principal = principal_of(request)
        obj.set_by = principal.name if isinstance(principal, UserPrincipal) else audit.NOBODY.name
        super().save_model(request, obj, form, change)
        record_limits(obj, before, obj.set_by)


class WhyForm(BaseDialogForm):  # type: ignore[misc]  # unfold has no types
    """Nobody has to find words before stopping."""

    reason = forms.CharField(required=False, max_length=300, widget=UnfoldAdminTextInputWidget())


class WhySafeForm(BaseDialogForm):  # type: ignore[misc]
    reason = forms.CharField(min_length=3, max_length=300, widget=UnfoldAdminTextInputWidget())


@admin.register(TradingState)
class TradingStateAdmin(ModelAdmin):  # type: ignore[misc]
    """The kill switch. Rows appear with an account's first order, or with its first stop."""

    list_display = ["scope", "shown_state", "reason", "set_by", "set_at"]
    list_filter = ["state", "account"]
    list_select_related = ["account"]
    ordering = ["account__kite_user_id", "strategy"]
    fields = ["scope", "shown_state", "reason", "set_by", "set_at", "epoch"]
    readonly_fields = fields
    actions_list = ("press_halt_everything",)
    actions_row = ("press_halt", "press_reduce", "press_resume")
    actions_detail = actions_row

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    @admin.display(description="what", ordering="account__kite_user_id")
    def scope(self, row: TradingState) -> str:
        return str(Scope(row.account, row.strategy))

    @display(
        description="state",
        ordering="state",
        label={"active": "success", "exits only": "warning", "halted": "danger"},
    )  # type: ignore[untyped-decorator]
    def shown_state(self, row: TradingState) -> str:
        return str(row.get_state_display()).lower()

    @button(
        "Halt everything",
        icon="front_hand",
        asks="New orders of every account are refused, and those that wait are dropped. Exits and cancels go out.",
        form=WhyForm,
        variant=ActionVariant.DANGER,
    )
    def press_halt_everything(self, request: HttpRequest, form: WhyForm) -> HttpResponse:
        return self._set(request, Scope(), TradingState.State.HALTED, form)

    @button(
        "Halt",
        icon="front_hand",
        asks="New orders are refused, and those that wait are dropped. Exits and cancels go out.",
        form=WhyForm,
        variant=ActionVariant.DANGER,
    )
    def press_halt(self, request: HttpRequest, form: WhyForm, object_id: str) -> HttpResponse:
        return self._set(request, self._scope(request, object_id), TradingState.State.HALTED, form)

    @button(
        "Exits only",
        icon="trending_down",
        asks="New orders wait until trading is resumed. Exits and cancels go out.",
        form=WhyForm,
    )
    def press_reduce(self, request: HttpRequest, form: WhyForm, object_id: str) -> HttpResponse:
        return self._set(request, self._scope(request, object_id), TradingState.State.REDUCING, form)

    @button(
        "Resume",
        icon="play_arrow",
        asks="Programs may send orders the moment you resume. Say why it is safe.",
        form=WhySafeForm,
    )
    def press_resume(self, request: HttpRequest, form: WhySafeForm, object_id: str) -> HttpResponse:
        return self._set(request, self._scope(request, object_id), TradingState.State.ACTIVE, form)

    def _scope(self, request: HttpRequest, object_id: str) -> Scope:
        row: TradingState | None = self.get_object(request, object_id)
        if row is None:
            raise Http404
        return Scope(row.account, row.strategy)

    def _set(self, request: HttpRequest, scope: Scope, state: TradingState.State, form: BaseDialogForm) -> HttpResponse:
        principal = principal_of(request)
        if not is_administrator(principal) or principal is None:
            raise PermissionDenied("The kill switch in the admin is for the service's administrators.")
        change = set_state(scope, state, actor=principal.name, reason=form.cleaned_data["reason"])
        dropped = f"; {change.dropped} orders that waited are dropped" if change.dropped else ""
        messages.success(request, f"{scope}: {change.was} → {change.state.state}{dropped}.")
        return done(request)
