"""The audit in the admin: to be read and searched, not touched."""

import json
from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.audit_events import AuditEvent, Kind
from accounts.read_only_admin import ReadOnlyAdmin


class KindFilter(admin.SimpleListFilter):
    title = "kind"
    parameter_name = "kind"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(kind.value, str(kind.label)) for kind in Kind]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(kind=self.value()) if self.value() else queryset


@admin.register(AuditEvent)
class AuditEventAdmin(ReadOnlyAdmin):
    """Newest first. Whether the chain holds is for `manage.py audit_verify` to say."""

    list_display = ["at", "shown_kind", "who", "account", "address", "shown_details"]
    list_filter = [KindFilter, ("account", admin.AllValuesFieldListFilter), ("actor", admin.AllValuesFieldListFilter)]
    list_select_related = ["link"]
    search_fields = ["actor", "actor_label", "account", "address", "request_id"]
    date_hierarchy = "at"
    ordering = ["-at"]
    fields = [
        "position",
        "at",
        "shown_kind",
        "who",
        "account",
        "address",
        "request_id",
        "pretty_details",
        "digest",
        "hash",
    ]
    readonly_fields = fields

    @admin.display(description="kind", ordering="kind")
    def shown_kind(self, event: AuditEvent) -> str:
        return event.kind_label

    @admin.display(description="who", ordering="actor")
    def who(self, event: AuditEvent) -> str:
        return f"{event.actor_label} ({event.actor})" if event.actor_label else event.actor

    @admin.display(description="details")
    def shown_details(self, event: AuditEvent) -> str:
        return ", ".join(f"{name}: {value}" for name, value in event.details.items())

    @admin.display(description="details")
    def pretty_details(self, event: AuditEvent) -> SafeString:
        return format_html("<pre>{}</pre>", json.dumps(event.details, indent=2, ensure_ascii=False))

    @admin.display(description="position")
    def position(self, event: AuditEvent) -> int:
        return event.link.position

    @admin.display(description="hash")
    def hash(self, event: AuditEvent) -> str:
        return event.link.hash
