"""Limits and the kill switch in the admin."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from accounts import audit
from accounts.principals import UserPrincipal, principal_of
from orders.limits import FIGURES, OrderLimits, record_limits

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
