"""The market in the admin: instruments and imports to look at, sessions to correct."""

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from unfold.admin import ModelAdmin
from unfold.decorators import action, display

from accounts.read_only_admin import ReadOnlyAdmin
from market import calendar
from market.admin_lists import list_page
from market.gap_models import FeedGap
from market.models import ChainMinute, Instrument, InstrumentImport, TradingSession, UnderlyingPricing
from market.underlyings import canonical_name


@admin.register(Instrument)
class InstrumentAdmin(ReadOnlyAdmin):
    list_display = [
        "tradingsymbol",
        "exchange",
        "name",
        "instrument_type",
        "expiry",
        "strike",
        "lot_size",
        "tick_size",
        "instrument_token",
        "listed",
    ]
    list_filter = ["is_active", "exchange", "instrument_type", "segment"]
    search_fields = ["tradingsymbol", "name", "=instrument_token"]
    search_help_text = "Words of the symbol or name, or a whole instrument token"
    show_full_result_count = False  # counting 115,000 rows twice would tell nobody anything
    list_per_page = 50
    date_hierarchy = "expiry"
    fieldsets = [
        ("Identity", {"fields": [("exchange", "tradingsymbol"), ("instrument_token", "exchange_token"), "segment"]}),
        ("Terms", {"fields": [("name", "instrument_type"), ("expiry", "strike"), ("lot_size", "tick_size")]}),
        ("In the broker's dump", {"fields": ["is_active", ("first_seen", "last_seen")]}),
    ]

    @display(description="Listed", label={"listed": "success", "retired": "warning"}, ordering="is_active")  # type: ignore[untyped-decorator]
    def listed(self, instrument: Instrument) -> str:
        return "listed" if instrument.is_active else "retired"


@admin.register(InstrumentImport)
class InstrumentImportAdmin(ReadOnlyAdmin):
    list_display = ["started_at", "result", "account", "rows", "added", "changed", "retired", "rejected", "took"]
    list_filter = ["outcome", "account"]
    fieldsets = [
        (None, {"fields": [("started_at", "took"), ("outcome", "reason"), ("account", "source")]}),
        ("Rows", {"fields": [("rows", "added", "changed", "retired"), "rejected", "rejected_rows"]}),
    ]
    readonly_fields = ["took", "rejected_rows"]

    @display(
        description="Outcome",
        ordering="outcome",
        label={"running": "info", "completed": "success", "refused": "warning", "failed": "danger"},
    )  # type: ignore[untyped-decorator]
    def result(self, report: InstrumentImport) -> str:
        return report.outcome

    @admin.display(description="Duration", ordering="duration_seconds")
    def took(self, report: InstrumentImport) -> str:
        return f"{report.duration_seconds:.1f} s"

    @admin.display(description="The first rejected rows")
    def rejected_rows(self, report: InstrumentImport) -> str:
        return "\n".join(f"line {problem['line']}: {problem['reason']}" for problem in report.problems) or "none"


@admin.register(TradingSession)
class TradingSessionAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["date", "weekday", "exchange", "segment", "sort", "hours", "verified", "set_by_hand", "source"]
    list_filter = ["exchange", "segment", "kind", "verified", "set_by_hand"]
    search_fields = ["source"]
    date_hierarchy = "date"
    ordering = ["-date", "exchange"]
    list_per_page = 50
    actions = ["mark_verified"]
    actions_list = ["import_list"]
    readonly_fields = ["set_by_hand", "from_list"]
    fieldsets = [
        (None, {"fields": [("exchange", "segment"), ("date", "kind"), ("opens_at", "closes_at")]}),
        ("Where this is known from", {"fields": ["source", "verified", ("set_by_hand", "from_list")]}),
    ]

    def save_model(self, request: HttpRequest, obj: TradingSession, form: "ModelForm[Any]", change: bool) -> None:
        obj.set_by_hand = True
        super().save_model(request, obj, form, change)

    @action(description="Import an exchange’s list", url_path="import-list", icon="upload", permissions=["change"])  # type: ignore[untyped-decorator]
    def import_list(self, request: HttpRequest) -> HttpResponse:
        return list_page(request, self.admin_site.each_context(request))

    @admin.action(description="Mark as checked against the exchange's own list")
    def mark_verified(self, request: HttpRequest, sessions: QuerySet[TradingSession]) -> None:
        marked = sessions.update(verified=True, set_by_hand=True)
        calendar.forget()
        self.message_user(request, f"{marked} sessions marked as checked.", messages.SUCCESS)

    @admin.display(description="Day")
    def weekday(self, session: TradingSession) -> str:
        return f"{session.date:%A}"

    @admin.display(description="Hours (IST)")
    def hours(self, session: TradingSession) -> str:
        if session.opens_at is None or session.closes_at is None:
            return "closed"
        return f"{session.opens_at:%H:%M} to {session.closes_at:%H:%M}"

    @display(
        description="Kind",
        ordering="kind",
        label={"regular": "success", "holiday": "danger", "special": "warning", "evening_only": "info"},
    )  # type: ignore[untyped-decorator]
    def sort(self, session: TradingSession) -> str:
        return session.kind


@admin.register(UnderlyingPricing)
class UnderlyingPricingAdmin(ModelAdmin):  # type: ignore[misc]
    list_display = ["underlying", "rate", "dividend_yield", "underlying_source", "option_price", "updated_at"]
    search_fields = ["underlying"]

    def save_model(self, request: HttpRequest, obj: UnderlyingPricing, form: "ModelForm[Any]", change: bool) -> None:
        obj.underlying = canonical_name(obj.underlying)
        super().save_model(request, obj, form, change)


@admin.register(ChainMinute)
class ChainMinuteAdmin(ReadOnlyAdmin):
    list_display = [
        "minute",
        "underlying",
        "expiry",
        "spot",
        "forward",
        "atm_implied_volatility",
        "straddle_price",
        "max_pain",
        "source",
    ]
    list_filter = ["source", "underlying"]
    date_hierarchy = "minute"
    show_full_result_count = False
    list_per_page = 50


@admin.register(FeedGap)
class FeedGapAdmin(ReadOnlyAdmin):
    list_display = ["started_at", "ended_at", "feed", "cause", "state", "instrument_count", "bars_refilled", "reason"]
    list_filter = ["status", "cause"]
    date_hierarchy = "started_at"
    list_per_page = 50
    fieldsets = [
        (None, {"fields": [("feed", "cause"), ("started_at", "ended_at")]}),
        (
            "Its minute bars",
            {
                "fields": [
                    ("status", "reason"),
                    ("instrument_count", "remaining_count", "refused_count", "bars_refilled"),
                    ("closed_at", "due_at", "repaired_at"),
                ]
            },
        ),
    ]
    readonly_fields = ["instrument_count", "remaining_count", "refused_count"]

    def get_queryset(self, request: HttpRequest) -> "QuerySet[FeedGap]":
        counted: QuerySet[FeedGap] = super().get_queryset(request).counted()
        return counted

    @display(
        description="Status",
        ordering="status",
        label={"open": "danger", "closed": "info", "repaired": "success", "given_up": "warning"},
    )  # type: ignore[untyped-decorator]
    def state(self, gap: FeedGap) -> str:
        return gap.status

    @admin.display(description="Instruments")
    def instrument_count(self, gap: Any) -> int:
        return int(gap.instrument_count)

    @admin.display(description="To be refilled")
    def remaining_count(self, gap: Any) -> int:
        return int(gap.remaining_count)

    @admin.display(description="Refused by the broker")
    def refused_count(self, gap: Any) -> int:
        return int(gap.refused_count)
