"""The admin of rows that people look at and do not write."""

from typing import Any

from django.http import HttpRequest
from unfold.admin import ModelAdmin


class UneditableAdmin(ModelAdmin):  # type: ignore[misc]  # unfold has no types
    """Rows that only the service writes; a person may do away with them."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False


class ReadOnlyAdmin(UneditableAdmin):
    """Rows that only the service writes, and that stay. There may be too many to count."""

    show_full_result_count = False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return False
