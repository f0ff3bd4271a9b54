"""Subscriptions and strike rules in the admin. A change is announced to the running stream like one through the API."""

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.db.models import Count, QuerySet
from django.http import HttpRequest
from unfold.admin import ModelAdmin
from unfold.decorators import display

from accounts.control import announce
from accounts.read_only_admin import ReadOnlyAdmin
from market.models import Instrument
from market.underlyings import canonical_name
from streaming.control import SUBSCRIPTIONS_CHANGED
from streaming.models import Subscription
from streaming.rebalancing import preview
from streaming.strike_models import StrikeMove, StrikeRule
from streaming.strike_rules import delete_rule, save_rule
from streaming.subscriptions import reasons_not_streamed


@admin.register(Subscription)
class SubscriptionAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    list_display = ["instrument", "requested_mode", "status", "rule", "account", "not_streamed_because", "updated_at"]
    list_filter = ["status", "requested_mode", "rule", "account", "instrument__exchange"]
    list_select_related = ["instrument", "rule", "account"]
    search_fields = ["instrument__tradingsymbol", "instrument__name", "=instrument__instrument_token"]
    raw_id_fields = ["instrument"]
    readonly_fields = ["rule", "created_by", "created_at", "updated_at"]
    list_per_page = 50

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        changelist: ChangeList = super().get_changelist_instance(request)
        reasons = reasons_not_streamed(changelist.result_list)
        for subscription in changelist.result_list:
            subscription.reason = reasons.get(subscription.pk, "")
        return changelist

    @admin.display(description="not streamed because")
    def not_streamed_because(self, subscription: Subscription) -> str:
        return getattr(subscription, "reason", "")

    def save_model(self, request: HttpRequest, obj: Subscription, form: object, change: bool) -> None:
        obj.rule = None  # what a person has decided, no rule changes
        super().save_model(request, obj, form, change)
        announce({"type": SUBSCRIPTIONS_CHANGED})

    def delete_model(self, request: HttpRequest, obj: Subscription) -> None:
        super().delete_model(request, obj)
        announce({"type": SUBSCRIPTIONS_CHANGED})

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[Subscription]") -> None:
        super().delete_queryset(request, queryset)
        announce({"type": SUBSCRIPTIONS_CHANGED})


class StrikeRuleForm(forms.ModelForm[StrikeRule]):
    """The name as contracts write it, and only where there are options."""

    def clean_underlying(self) -> str:
        return canonical_name(self.cleaned_data["underlying"])

    def clean(self) -> dict[str, Any] | None:
        found = super().clean()
        name, exchange = self.cleaned_data.get("underlying"), self.cleaned_data.get("exchange")
        if name and exchange and not Instrument.objects.options(name).filter(exchange=exchange).exists():
            self.add_error("underlying", f"No options on {name} are listed at {exchange}.")
        return found


@admin.register(StrikeRule)
class StrikeRuleAdmin(ModelAdmin):  # type: ignore[misc]
    form = StrikeRuleForm
    list_display = ["underlying", "state", "width_in_words", "expiries", "mode", "held", "last_run_at", "last_outcome"]
    list_filter = ["enabled", "width_kind", "exchange"]
    search_fields = ["underlying"]
    actions = ["what_now"]
    readonly_fields = ["last_run_at", "last_outcome", "created_at", "updated_at"]
    fieldsets = [
        (None, {"fields": [("underlying", "exchange"), "enabled"]}),
        ("Which strikes", {"fields": [("width_kind", "width"), ("expiries", "hysteresis"), "most_instruments"]}),
        ("How", {"fields": ["mode", ("full_within", "quote_within"), "account"]}),
        ("Its last turn", {"fields": [("last_run_at", "last_outcome"), ("created_at", "updated_at")]}),
    ]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[StrikeRule]":
        counted: QuerySet[StrikeRule] = super().get_queryset(request).annotate(held_count=Count("subscriptions"))
        return counted

    def get_readonly_fields(self, request: HttpRequest, obj: StrikeRule | None = None) -> list[str]:
        """Another underlying is another rule."""
        return [*self.readonly_fields, *(["underlying", "exchange"] if obj else [])]

    def save_model(self, request: HttpRequest, obj: StrikeRule, form: object, change: bool) -> None:
        save_rule(obj)

    def delete_model(self, request: HttpRequest, obj: StrikeRule) -> None:
        delete_rule(obj)

    def delete_queryset(self, request: HttpRequest, queryset: "QuerySet[StrikeRule]") -> None:
        for rule in queryset:
            delete_rule(rule)

    @admin.action(description="What would it do now?")
    def what_now(self, request: HttpRequest, rules: "QuerySet[StrikeRule]") -> None:
        for rule in rules:
            self.message_user(request, f"{rule}: {preview(rule).words}", messages.INFO)

    @display(description="State", ordering="enabled", label={"on": "success", "off": "warning"})  # type: ignore[untyped-decorator]
    def state(self, rule: StrikeRule) -> str:
        return "on" if rule.enabled else "off"

    @admin.display(description="Width")
    def width_in_words(self, rule: StrikeRule) -> str:
        return str(rule.terms)

    @admin.display(description="Instruments")
    def held(self, rule: Any) -> int:
        return int(rule.held_count)


@admin.register(StrikeMove)
class StrikeMoveAdmin(ReadOnlyAdmin):
    list_display = ["at", "underlying", "instrument", "action", "mode", "spot", "reason"]
    list_filter = ["action", "underlying", "mode"]
    list_select_related = ["instrument"]
    date_hierarchy = "at"
    list_per_page = 50
