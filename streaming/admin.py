"""Subscriptions in the admin. A change is announced to the running stream like one through the API."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin

from accounts.control import announce
from streaming.control import SUBSCRIPTIONS_CHANGED
from streaming.models import Subscription


@admin.register(Subscription)
class SubscriptionAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display = ["instrument", "requested_mode", "status", "account", "updated_at"]
    list_filter = ["status", "requested_mode", "account", "instrument__exchange"]
    list_select_related = ["instrument", "account"]
    search_fields = ["instrument__tradingsymbol", "instrument__name", "=instrument__instrument_token"]
    raw_id_fields = ["instrument"]
    readonly_fields = ["created_by", "created_at", "updated_at"]
    list_per_page = 50

    def save_model(self, request: HttpRequest, obj: Subscription, form: object, change: bool) -> None:
        super().save_model(request, obj, form, change)
        announce({"type": SUBSCRIPTIONS_CHANGED})

    def delete_model(self, request: HttpRequest, obj: Subscription) -> None:
        super().delete_model(request, obj)
        announce({"type": SUBSCRIPTIONS_CHANGED})

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Subscription]") -> None:
        super().delete_queryset(request, queryset)
        announce({"type": SUBSCRIPTIONS_CHANGED})
